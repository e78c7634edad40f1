//! Words for people and lines for machines. Results go to stdout, everything else to stderr.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use serde_json::Value;

use crate::failure::Failure;

/// A line of results. A reader that has gone away is no error.
pub(crate) fn line(text: impl Display) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

/// One JSON value on one line.
pub(crate) fn json(value: &Value) {
    line(value);
}

/// The program by the name that it was called by, for commands to copy.
pub(crate) fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "zmesh".to_owned())
}

/// Progress of something that may take longer than a second.
pub(crate) fn progress(text: impl Display) {
    let mut err = io::stderr().lock();
    let _ = if colour() { writeln!(err, "\x1b[2m· {text}\x1b[0m") } else { writeln!(err, "· {text}") };
}

/// What people must read while something goes on: on stderr, which they see, and as a result as well where results go elsewhere.
pub(crate) fn told(text: impl Display) {
    let mut err = io::stderr().lock();
    let _ = if colour() { writeln!(err, "\x1b[1m· {text}\x1b[0m") } else { writeln!(err, "· {text}") };
    drop(err);
    if !io::stdout().is_terminal() {
        line(text);
    }
}

/// Something that the user should know and that is no failure.
pub(crate) fn warning(text: impl Display) {
    let mut err = io::stderr().lock();
    let _ = if colour() { writeln!(err, "\x1b[33mwarning\x1b[0m: {text}") } else { writeln!(err, "warning: {text}") };
}

/// The one line about a failure.
pub(crate) fn error(failure: &Failure) {
    let mut err = io::stderr().lock();
    let _ = if colour() { writeln!(err, "\x1b[31merror\x1b[0m: {failure}") } else { writeln!(err, "error: {failure}") };
}

/// Colours only on a terminal, and not where they are unwanted (<https://no-color.org>).
fn colour() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Rows of cells, columns aligned, the first row a heading.
pub(crate) fn table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max())
        .map(Option::unwrap_or_default)
        .collect();
    for row in rows {
        let mut text = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
        line(text.trim_end());
    }
}
