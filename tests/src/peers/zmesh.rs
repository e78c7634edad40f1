//! Our own program as separate processes: a test network and a proxy into it, as a person starts them.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::Error;
use super::process::{Memory, Process, memory_of};

/// How long a process may take to end by itself when it is told to.
const GRACE: Duration = Duration::from_secs(10);

/// Finds the `zmesh` program: `ZMESH_BIN`, else beside the running program or above it.
///
/// # Errors
/// [`Error::Missing`] when there is none: build it by `cargo build -p zmesh`.
pub fn program() -> Result<PathBuf, Error> {
    if let Some(path) = std::env::var_os("ZMESH_BIN") {
        return Ok(PathBuf::from(path));
    }
    let here = std::env::current_exe().map_err(Error::io("asking for this program's path"))?;
    here.ancestors()
        .skip(1)
        .take(3)
        .map(|directory| directory.join("zmesh"))
        .find(|candidate| candidate.is_file())
        .ok_or(Error::Missing("the program zmesh (cargo build -p zmesh)"))
}

/// A process of our program that has said that it is ready.
#[derive(Debug)]
pub struct Ready {
    /// The process.
    pub process: Process,
    /// What it said: the line with `"ready": true`.
    pub said: Value,
    /// How long it took.
    pub took: Duration,
    lines: mpsc::Receiver<String>,
}

impl Ready {
    /// Starts `zmesh` with these arguments and waits for its ready line; its log goes to `log`.
    ///
    /// # Errors
    /// When it cannot be started, ends early, or is not ready in time.
    pub fn start(program: &Path, arguments: &[&str], log: &Path, patience: Duration) -> Result<Ready, Error> {
        Self::start_at(None, program, arguments, log, patience)
    }

    /// The same, with a log at this level.
    fn start_at(
        level: Option<&str>,
        program: &Path,
        arguments: &[&str],
        log: &Path,
        patience: Duration,
    ) -> Result<Ready, Error> {
        let begun = Instant::now();
        let name = format!("zmesh {}", arguments.first().copied().unwrap_or_default());
        let errors = std::fs::File::create(log).map_err(Error::io("making a log"))?;
        let mut process = Process::start(
            &name,
            Command::new(program)
                .args(arguments)
                .envs(level.map(|level| ("ZMESH_LOG", level)))
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(errors),
        )?;
        let stdout = process
            .child()
            .stdout
            .take()
            .ok_or_else(|| Error::Unexpected { program: name.clone(), said: "no output to read".to_owned() })?;
        // A thread of its own keeps reading, so that the program never waits for us.
        let (lines, said) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        let mut last = String::new();
        loop {
            let left = patience.saturating_sub(begun.elapsed());
            match said.recv_timeout(left) {
                Ok(line) => {
                    if let Ok(value) = serde_json::from_str::<Value>(&line)
                        && value["ready"] == Value::Bool(true)
                    {
                        return Ok(Ready { process, said: value, took: begun.elapsed(), lines: said });
                    }
                    last = line;
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    return Err(Error::NotReady { program: name, seconds: patience.as_secs(), last });
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(Error::Unexpected { program: name, said: super::process::last_line(log) });
                }
            }
        }
    }

    /// Waits for the next line of JSON that fits, for so long; lines before it are gone.
    pub fn wait_for(&mut self, patience: Duration, fits: impl Fn(&Value) -> bool) -> Option<Value> {
        let begun = Instant::now();
        loop {
            let line = self.lines.recv_timeout(patience.saturating_sub(begun.elapsed())).ok()?;
            if let Some(value) = serde_json::from_str::<Value>(&line).ok().filter(&fits) {
                return Some(value);
            }
        }
    }

    /// Tells it to stop and gives its last word: the line with `"stopped": true`, if it said one.
    pub fn stop(&mut self) -> Option<Value> {
        self.process.terminate(GRACE);
        self.lines
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(&line).ok())
            .find(|value| value["stopped"] == Value::Bool(true))
    }

    /// A text that the ready line holds under `key`.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.said[key].as_str()
    }
}

/// A test network of relay processes on loopback, and its files.
#[derive(Debug)]
pub struct ZmeshNetwork {
    // Dropped in this order: the network first, then its files.
    testnet: Ready,
    program: PathBuf,
    network: PathBuf,
    directory: TempDir,
    logs: usize,
    level: Option<&'static str>,
}

impl ZmeshNetwork {
    /// Starts `zmesh testnet` with this many relays, `exits` of them exits, and waits until it is usable.
    ///
    /// # Errors
    /// As [`Ready::start`].
    pub fn start(program: &Path, relays: usize, exits: usize, patience: Duration) -> Result<ZmeshNetwork, Error> {
        Self::start_at(None, program, relays, exits, patience)
    }

    /// The same, with every log of it at its most talkative.
    ///
    /// # Errors
    /// As [`Ready::start`].
    pub fn start_talkative(
        program: &Path,
        relays: usize,
        exits: usize,
        patience: Duration,
    ) -> Result<ZmeshNetwork, Error> {
        Self::start_at(Some("trace"), program, relays, exits, patience)
    }

    fn start_at(
        level: Option<&'static str>,
        program: &Path,
        relays: usize,
        exits: usize,
        patience: Duration,
    ) -> Result<ZmeshNetwork, Error> {
        let directory = tempfile::Builder::new()
            .prefix("zmesh-testnet-")
            .tempdir()
            .map_err(Error::io("making a directory for the test network"))?;
        let inside = directory.path().join("net");
        let arguments = [
            "testnet",
            "--dir",
            &inside.to_string_lossy(),
            "--relays",
            &relays.to_string(),
            "--exits",
            &exits.to_string(),
            // What is measured is not to share the processor with votes.
            "--file",
            "--json",
        ]
        .map(str::to_owned);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let testnet = Ready::start_at(level, program, &arguments, &directory.path().join("testnet.log"), patience)?;
        let network = testnet.text("network").map_or_else(|| inside.join("network"), PathBuf::from);
        Ok(ZmeshNetwork { testnet, program: program.to_owned(), network, directory, logs: 0, level })
    }

    /// How long it took until the network was usable.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.testnet.took
    }

    /// The network file.
    #[must_use]
    pub fn network(&self) -> &Path {
        &self.network
    }

    /// What `zmesh testnet` said when it was ready.
    #[must_use]
    pub fn said(&self) -> &Value {
        &self.testnet.said
    }

    /// The directory with everything that was written.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The relays, as the network named them when it was ready.
    #[must_use]
    pub fn relays(&self) -> Vec<RelayProcess> {
        let relays = self.said()["relays"].as_array();
        relays.into_iter().flatten().filter_map(RelayProcess::read).collect()
    }

    /// Stops the network and gives what each relay counted: `nickname`, `exit` and, of those that still ran, `metrics`.
    pub fn stop(&mut self) -> Vec<Value> {
        let said = self.testnet.stop().unwrap_or_default();
        said["relays"].as_array().cloned().unwrap_or_default()
    }

    /// Starts `zmesh proxy` on a free port of loopback.
    ///
    /// # Errors
    /// As [`Ready::start`]; [`Error::Unexpected`] when its ready line names no address.
    pub fn proxy(&mut self, more: &[&str], patience: Duration) -> Result<ZmeshProxy, Error> {
        let network = self.network.to_string_lossy().into_owned();
        let mut arguments = vec!["proxy", "--network", &network, "--listen", "127.0.0.1:0", "--json"];
        arguments.extend_from_slice(more);
        self.logs += 1;
        let log = self.directory.path().join(format!("proxy{}.log", self.logs));
        let ready = Ready::start_at(self.level, &self.program, &arguments, &log, patience)?;
        let socks = ready
            .text("address")
            .and_then(|address| address.parse().ok())
            .ok_or_else(|| Error::Unexpected { program: "zmesh proxy".to_owned(), said: ready.said.to_string() })?;
        Ok(ZmeshProxy { ready, socks, log })
    }
}

impl Drop for ZmeshNetwork {
    fn drop(&mut self) {
        // Relays are children of the network's process: it ends them when it is told to, not when it is killed.
        let relays = self.relays();
        if !self.testnet.process.terminate(GRACE) {
            relays.iter().for_each(RelayProcess::kill);
        }
    }
}

/// One relay of a test network.
#[derive(Debug, Clone)]
pub struct RelayProcess {
    /// Its name in the network document.
    pub nickname: String,
    /// Whether it is an exit.
    pub exit: bool,
    /// Its process.
    pub pid: u32,
    /// Where its links arrive.
    pub address: SocketAddr,
    /// Its id, in hexadecimal.
    pub id: String,
}

impl RelayProcess {
    fn read(value: &Value) -> Option<RelayProcess> {
        Some(RelayProcess {
            nickname: value["nickname"].as_str()?.to_owned(),
            exit: value["exit"].as_bool()?,
            pid: value["process"].as_u64()?.try_into().ok()?,
            address: value["address"].as_str()?.parse().ok()?,
            id: value["id"].as_str()?.to_owned(),
        })
    }

    /// Its resident memory, if it runs.
    #[must_use]
    pub fn memory(&self) -> Option<Memory> {
        memory_of(self.pid)
    }

    /// Ends it at once, as `kill -9` does.
    pub fn kill(&self) {
        let _ = Command::new("kill").arg("-KILL").arg(self.pid.to_string()).status();
    }
}

/// A proxy into a test network.
#[derive(Debug)]
pub struct ZmeshProxy {
    /// The process and what it said.
    pub ready: Ready,
    /// Where SOCKS5 and HTTP CONNECT are served.
    pub socks: SocketAddr,
    /// Where its log is.
    pub log: PathBuf,
}
