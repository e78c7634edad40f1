//! Starting other people's programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::peers::Error;
use crate::peers::process::find_program;

/// How long each program may take to be ready.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn not_ready(program: &str, last: String) -> Error {
    Error::NotReady { program: program.to_owned(), seconds: PATIENCE.as_secs(), last }
}

pub(super) fn program(name: &'static str) -> Result<PathBuf, Error> {
    find_program(name).ok_or(Error::Missing(name))
}

pub(super) fn inside(before: &[String], program: &Path) -> Command {
    match before.split_first() {
        Some((first, more)) => {
            let mut command = Command::new(first);
            command.args(more).arg(program);
            command
        }
        None => Command::new(program),
    }
}

pub(super) fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

/// Runs a command to its end and gives what it printed.
pub(super) fn run(command: &mut Command) -> Result<String, Error> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(Error::io(format!("starting {name}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Unexpected { program: name, said })
}
