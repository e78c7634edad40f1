//! A child process that ends with its owner, and what `/proc` says about it.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use super::Error;

/// A child process; it is killed, by its own process id, when this is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
}

/// Resident memory of a process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Now.
    pub now: u64,
    /// The most so far.
    pub peak: u64,
}

impl Process {
    /// Starts `command`; `name` is how errors call it.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(name: &str, command: &mut Command) -> Result<Process, Error> {
        let child = command.spawn().map_err(Error::io(format!("starting {name}")))?;
        Ok(Process { name: name.to_owned(), child })
    }

    /// What errors call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The child itself, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it at once, as `kill -9` does.
    pub fn kill(&mut self) {
        // Both fail only when the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end (SIGTERM) and gives it `patience` before it is killed. True when it ended by itself.
    pub fn terminate(&mut self, patience: std::time::Duration) -> bool {
        let _ = Command::new("kill").arg("-TERM").arg(self.id().to_string()).status();
        let until = std::time::Instant::now() + patience;
        while std::time::Instant::now() < until {
            if !self.runs() {
                return true;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        self.kill();
        false
    }

    /// Its resident memory.
    #[must_use]
    pub fn memory(&self) -> Option<Memory> {
        memory_of(self.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Resident memory of the process with this id, from `/proc`.
#[must_use]
pub fn memory_of(pid: u32) -> Option<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| -> Option<u64> {
        let line = status.lines().find(|line| line.starts_with(name))?;
        let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kilobytes * 1024)
    };
    Some(Memory { now: field("VmRSS:")?, peak: field("VmHWM:")? })
}

/// CPU time that the process with this id has used, in seconds (user and system).
#[must_use]
pub fn cpu_seconds_of(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let user: f64 = fields.get(11)?.parse().ok()?;
    let system: f64 = fields.get(12)?.parse().ok()?;
    // USER_HZ is 100 on every Linux that Rust's standard library runs on.
    Some((user + system) / 100.0)
}

/// Datagrams that the system dropped because the receive buffer of a UDP socket at `port` was full, over all sockets there.
#[must_use]
pub fn udp_drops_at(port: u16) -> u64 {
    let wanted = format!(":{port:04X}");
    ["/proc/net/udp", "/proc/net/udp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| {
            let drops = |line: &str| {
                let fields: Vec<&str> = line.split_whitespace().collect();
                let here = fields.get(1).is_some_and(|local| local.ends_with(&wanted));
                here.then(|| fields.last()?.parse::<u64>().ok()).flatten()
            };
            table.lines().skip(1).filter_map(drops).collect::<Vec<u64>>()
        })
        .sum()
}

/// `N` loopback TCP ports that were free a moment ago, all different.
///
/// # Errors
/// When the system has none.
pub fn free_ports<const N: usize>() -> Result<[u16; N], Error> {
    let mut listeners = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Error::io("binding a free port"))?;
        *port = listener.local_addr().map_err(Error::io("asking for a port"))?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

/// Where a program is on `PATH` or in the system directories.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/bin", "/usr/sbin", "/bin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}

/// The last line of a file that is not empty; empty when there is none.
#[must_use]
pub fn last_line(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().to_owned()
}
