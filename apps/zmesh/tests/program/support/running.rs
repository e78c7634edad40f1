//! Long-running commands. Every one stops when its stdin ends, so a test that fails leaves nothing running.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Folder;

/// Only so that a hang ends.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A long-running command that has said that it is ready.
pub(crate) struct Running {
    pub(crate) process: Child,
    stdin: Option<ChildStdin>,
    results: BufReader<ChildStdout>,
    pub(crate) ready: Value,
}

impl Running {
    pub(crate) fn start(folder: &Folder, arguments: &[&str]) -> Running {
        let arguments = [arguments, &["--json", "--exit-with-stdin"]].concat();
        let log = File::create(folder.path(&format!("{}.log", arguments[0]))).expect("a log");
        let process = folder
            .command(&arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("it starts");
        let mut running = Running::of(process);
        running.ready = running.result("ready");
        assert_eq!(running.ready["ready"], true, "{}", running.ready);
        running
    }

    /// A process whose stdout is piped, of which nothing was read yet.
    pub(crate) fn of(mut process: Child) -> Running {
        let stdin = process.stdin.take();
        let results = BufReader::new(process.stdout.take().expect("piped"));
        Running { process, stdin, results, ready: Value::Null }
    }

    /// The next line of results with the field `key`.
    pub(crate) fn result(&mut self, key: &str) -> Value {
        let mut line = String::new();
        loop {
            line.clear();
            assert_ne!(self.results.read_line(&mut line).expect("readable"), 0, "it ended without {key}");
            let value: Value = serde_json::from_str(&line).expect("JSON");
            if value.get(key).is_some() {
                return value;
            }
        }
    }

    /// A text of its first result.
    pub(crate) fn text(&self, key: &str) -> &str {
        self.ready[key].as_str().expect("text")
    }

    pub(crate) fn network(&self) -> &str {
        self.text("network")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.text("address").parse().expect("an address")
    }

    /// Stops it by SIGTERM; gives its last words.
    pub(crate) fn terminate(mut self) -> Value {
        signal("-TERM", self.process.id());
        let last = self.result("stopped");
        assert!(self.process.wait().expect("it ends").success());
        last
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && matches!(self.process.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Sends a signal to a process.
pub(crate) fn signal(which: &str, process: u32) {
    let status = Command::new("kill").arg(which).arg(process.to_string()).status();
    assert!(status.expect("kill is there").success());
}
