//! Rows that outlive the program: each is written as soon as it is measured, one JSON object a line, so that a run that is cut short keeps
//! what it has, and can go on.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;

use zmesh_tests::quality::report::Row;

use crate::AnyError;

/// A file of rows, or none.
#[derive(Debug)]
pub(crate) struct Rows {
    file: Option<Mutex<File>>,
    /// What the file held before.
    before: Vec<Row>,
}

impl Rows {
    /// Rows are written to the file at `path`, if there is one. What it holds already is kept and not measured again if `resume`; otherwise it is
    /// begun anew.
    pub(crate) fn open(path: Option<&Path>, resume: bool) -> Result<Rows, AnyError> {
        let Some(path) = path else { return Ok(Rows { file: None, before: Vec::new() }) };
        let before = if resume && path.exists() { read(path)? } else { Vec::new() };
        let mut options = OpenOptions::new();
        let file = options.create(true).write(true).truncate(true).open(path);
        let file = file.map_err(|error| format!("{}: {error}", path.display()))?;
        let rows = Rows { file: Some(Mutex::new(file)), before };
        // Written again, so that a line that was cut short does not spoil the next.
        rows.before.iter().try_for_each(|row| rows.keep(row))?;
        Ok(rows)
    }

    /// The row of this call, if it was measured before.
    pub(crate) fn find(&self, profile: &str, setting: &str, seed: u64, seconds: f64) -> Option<Row> {
        let same = |row: &&Row| {
            (row.profile.as_str(), row.setting.as_str(), row.seed) == (profile, setting, seed)
                && row.seconds.total_cmp(&seconds).is_eq()
        };
        self.before.iter().rev().find(same).cloned()
    }

    /// Writes a row.
    pub(crate) fn keep(&self, row: &Row) -> Result<(), AnyError> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut line = serde_json::to_string(row)?;
        line.push('\n');
        let mut file = file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.write_all(line.as_bytes())?;
        Ok(file.flush()?)
    }
}

/// The rows in a file. A last line that was cut short is left out: the program was stopped while it wrote.
pub(crate) fn read(path: &Path) -> Result<Vec<Row>, AnyError> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut rows = Vec::new();
    for (number, line) in text.split_inclusive('\n').enumerate().filter(|(_, line)| line.ends_with('\n')) {
        rows.push(
            serde_json::from_str(line).map_err(|error| format!("{}, line {}: {error}", path.display(), number + 1))?,
        );
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(setting: &str) -> Row {
        let heard = zmesh_tests::quality::report::Heard::untold(None);
        Row {
            profile: "wifi".to_owned(),
            setting: setting.to_owned(),
            seed: 1,
            seconds: 2.0,
            heard: [heard.clone(), heard],
            added_p99_ms: None,
            kbit_s: Some([1.5, 2.5]),
            ended_early: false,
        }
    }

    #[test]
    fn a_run_that_was_cut_short_goes_on_with_what_it_has() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rows");
        let rows = Rows::open(Some(&path), false).unwrap();
        rows.keep(&row("shipped")).unwrap();
        rows.keep(&row("doubled")).unwrap();
        // The program is stopped in the middle of a line.
        let whole = std::fs::read_to_string(&path).unwrap();
        let cut = whole.len() - 7;
        std::fs::write(&path, &whole[..cut]).unwrap();
        assert_eq!(read(&path).unwrap().len(), 1);
        let again = Rows::open(Some(&path), true).unwrap();
        assert_eq!(again.find("wifi", "shipped", 1, 2.0).unwrap().kbit_s, Some([1.5, 2.5]));
        for (profile, setting, seed, seconds) in [
            ("wifi", "doubled", 1, 2.0),
            ("dsl", "shipped", 1, 2.0),
            ("wifi", "shipped", 2, 2.0),
            ("wifi", "shipped", 1, 3.0),
        ] {
            assert!(again.find(profile, setting, seed, seconds).is_none(), "{profile} {setting} {seed} {seconds}");
        }
        // The half line must not spoil the next one.
        again.keep(&row("doubled")).unwrap();
        let whole = read(&path).unwrap();
        assert_eq!(whole.iter().map(|row| row.setting.as_str()).collect::<Vec<_>>(), ["shipped", "doubled"]);
        // Without asking to go on, it begins anew.
        Rows::open(Some(&path), false).unwrap();
        assert!(read(&path).unwrap().is_empty());
        assert!(Rows::open(None, true).unwrap().find("wifi", "shipped", 1, 2.0).is_none());
    }
}
