//! Other `zmesh` processes, started, listened to and stopped by this one.
//!
//! A child reads stdin to its end and then stops. So it stops when we close the pipe, and also when this process dies in
//! whatever way: nothing is left running. It is in a process group of its own, so that Ctrl-C in the terminal reaches
//! this process alone, which then stops its children in order.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::failure::{Failure, Outcome};
use crate::files;

/// Results of a child that nobody has asked for yet; a child prints a handful.
const RESULTS_MAX: usize = 1024;

/// A running child.
#[derive(Debug)]
pub(crate) struct Child {
    name: String,
    process: tokio::process::Child,
    stdin: Option<ChildStdin>,
    results: Lines<BufReader<ChildStdout>>,
    early: VecDeque<Value>,
    log: PathBuf,
}

impl Child {
    /// Starts this program with other arguments. What it says on stderr goes to the file `log`. `name` is for failures.
    pub(crate) fn start(
        name: impl Into<String>,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        log: &Path,
    ) -> Outcome<Child> {
        let name = name.into();
        let cannot = |error: std::io::Error| {
            Failure::failed(format_args!("cannot start {name}"), error, "see the system's limits")
        };
        let program = std::env::current_exe().map_err(cannot)?;
        let errors = std::fs::File::create(log).map_err(|error| {
            Failure::failed(
                format_args!("cannot write {}", log.display()),
                files::reason(&error),
                "choose another place",
            )
        })?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .arg("--exit-with-stdin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0);
        let mut process = command.spawn().map_err(cannot)?;
        let stdin = process.stdin.take();
        let stdout = process.stdout.take().expect("stdout is piped");
        let results = BufReader::new(stdout).lines();
        Ok(Child { name, process, stdin, results, early: VecDeque::new(), log: log.to_owned() })
    }

    /// Its process id, while it runs.
    pub(crate) fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Writes a line to its stdin, which stays open.
    pub(crate) async fn say(&mut self, line: &str) -> Outcome {
        if let Some(stdin) = &mut self.stdin
            && stdin.write_all(format!("{line}\n").as_bytes()).await.is_err()
        {
            return Err(self.ended().await);
        }
        Ok(())
    }

    /// The next line of results that has the field `key`; others are kept for [`Child::stop`].
    pub(crate) async fn result(&mut self, key: &str, within: Duration) -> Outcome<Value> {
        match timeout(within, self.find(key)).await {
            Ok(found) => found,
            Err(_) => Err(Failure::failed(
                format_args!("{} did not get ready", self.name),
                format_args!("nothing after {} s", within.as_secs()),
                format_args!("see {}", self.log.display()),
            )),
        }
    }

    /// The same; `None` if it has not come in time.
    pub(crate) async fn result_within(&mut self, key: &str, within: Duration) -> Outcome<Option<Value>> {
        timeout(within, self.find(key)).await.ok().transpose()
    }

    async fn find(&mut self, key: &str) -> Outcome<Value> {
        while let Some(value) = self.next().await {
            if value.get(key).is_some() {
                return Ok(value);
            }
            if self.early.len() < RESULTS_MAX {
                self.early.push_back(value);
            }
        }
        Err(self.ended().await)
    }

    async fn next(&mut self) -> Option<Value> {
        while let Ok(Some(line)) = self.results.next_line().await {
            match serde_json::from_str(&line) {
                Ok(value) => return Some(value),
                Err(_) => tracing::debug!("a child printed a line that is no JSON"),
            }
        }
        None
    }

    /// Waits until the child ends by itself, and says why, as far as it told.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn ended(&mut self) -> Failure {
        loop {
            tokio::select! {
                status = self.process.wait() => return self.obituary(status.ok()),
                // What it says meanwhile is read, or it would wait for us once the pipe is full.
                Ok(Some(line)) = self.results.next_line() => {
                    if self.early.len() < RESULTS_MAX {
                        self.early.extend(serde_json::from_str(&line).ok());
                    }
                }
            }
        }
    }

    fn obituary(&self, status: Option<ExitStatus>) -> Failure {
        let last_words = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last_words = last_words.lines().rev().find_map(|line| line.strip_prefix("error: ")).map(str::to_owned);
        let why = last_words.unwrap_or_else(|| match status.map(|status| (status.code(), status)) {
            Some((Some(code), _)) => format!("it ended with exit code {code}"),
            Some((None, status)) => format!("it was ended: {status}"),
            None => "it ended".to_owned(),
        });
        Failure::failed(format_args!("{} is gone", self.name), why, format_args!("its log is {}", self.log.display()))
    }

    /// Stops the child: asks by closing its stdin, and after `within` ends it. Gives the results that nobody read.
    pub(crate) async fn stop(mut self, within: Duration) -> Vec<Value> {
        drop(self.stdin.take());
        let mut left: Vec<Value> = std::mem::take(&mut self.early).into();
        let farewell = async {
            while let Some(value) = self.next().await {
                left.push(value);
            }
            let _ = self.process.wait().await;
        };
        if timeout(within, farewell).await.is_err() {
            tracing::warn!(name = self.name, "a child did not stop when asked, and was ended");
            let _ = self.process.kill().await;
        }
        left
    }
}

/// Memory that a process holds (resident set), in bytes, where the system tells.
pub(crate) fn memory(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// Processor time that a process has used so far, all its threads together, where the system tells (to 10 ms).
pub(crate) fn cpu_time(id: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name, in brackets, may hold anything; user and system time are the 12th and 13th field after it (proc(5)).
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    // USER_HZ is 100 wherever Linux runs.
    Some(Duration::from_millis(ticks * 10))
}
