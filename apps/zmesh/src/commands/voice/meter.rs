//! A line that shows a running call: levels, delay, loss.

use std::io::{self, IsTerminal, Write};

use zmesh_voice::runner::Reading;

/// Cells of a level bar, and the quietest level that lights one, in dBFS.
const CELLS: usize = 12;
const QUIETEST: f32 = -60.0;

/// Rewrites one line of a terminal; says nothing elsewhere.
pub(super) struct Meter {
    terminal: bool,
    shown: bool,
    /// What the key of push to talk says, if there is one.
    key: Option<bool>,
    last: String,
}

impl Meter {
    pub(super) fn new() -> Meter {
        Meter { terminal: io::stderr().is_terminal(), shown: false, key: None, last: String::new() }
    }

    pub(super) fn show(&mut self, reading: &Reading) {
        self.last = text(reading);
        self.draw();
    }

    /// The key was switched.
    pub(super) fn key(&mut self, on: bool) {
        self.key = Some(on);
        self.draw();
    }

    fn draw(&mut self) {
        if self.terminal {
            self.shown = true;
            let key = match self.key {
                Some(true) => "[you are heard]  ",
                Some(false) => "[space: speak]  ",
                None => "",
            };
            let mut err = io::stderr().lock();
            let _ = write!(err, "\r\x1b[K{key}{}", self.last);
            let _ = err.flush();
        }
    }

    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

fn text(reading: &Reading) -> String {
    let delay = reading.delay_ms.map_or("  ? ms".to_owned(), |delay| format!("{delay:3.0} ms"));
    format!(
        "you {}  they {}  delay {delay}  loss {:.1} %",
        bar(reading.level_in_dbfs),
        bar(reading.level_out_dbfs),
        reading.loss * 100.0,
    )
}

fn bar(dbfs: f32) -> String {
    let share = ((dbfs - QUIETEST) / -QUIETEST).clamp(0.0, 1.0);
    let lit = (0..CELLS).take_while(|cell| (*cell as f32) < share * CELLS as f32).count();
    format!("{}{}", "█".repeat(lit), "·".repeat(CELLS - lit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars() {
        assert_eq!(bar(-96.0), "·".repeat(CELLS));
        assert_eq!(bar(0.0), "█".repeat(CELLS));
        assert_eq!(bar(-30.0), format!("{}{}", "█".repeat(6), "·".repeat(6)));
    }
}
