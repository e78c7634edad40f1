//! The files of a test network, and where its relays listen.

use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;

use crate::failure::{Failure, Outcome};
use crate::files;

/// Marks a directory as one that may be made anew.
const MARK: &str = ".zmesh-testnet";
/// Of the network as a whole: which of them there are depends on how relays know each other.
const SHARED: [&str; 3] = ["network", "genesis", "bootstrap"];
/// What people on this machine keep of the network, if they keep it here.
pub(crate) const PEOPLE: &str = "people";
/// How often a port is drawn that has to be free for UDP and TCP.
const DRAWS: usize = 64;

/// An empty directory: a new one, or one that an earlier test network left behind. It is this one's as long as the file lives that
/// comes back.
pub(super) fn clear(dir: &Path) -> Outcome<File> {
    files::directory(dir)?;
    let cannot = |error: std::io::Error| {
        Failure::failed(format_args!("cannot use {}", dir.display()), files::reason(&error), "choose another directory")
    };
    let mark = dir.join(MARK);
    if !mark.exists() && fs::read_dir(dir).map_err(cannot)?.next().is_some() {
        return Err(Failure::misused(
            format_args!("cannot use {}", dir.display()),
            "it holds other files",
            "choose a new directory",
        ));
    }
    let lock = File::options().create(true).truncate(false).read(true).write(true).open(&mark).map_err(cannot)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(Failure::misused(
                format_args!("cannot use {}", dir.display()),
                "a test network runs in it",
                "stop that one, or choose another directory",
            ));
        }
        // Where files cannot be locked, nobody finds out; the network works all the same.
        Err(TryLockError::Error(_)) => {}
    }
    for entry in fs::read_dir(dir).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        let name = entry.file_name();
        if name == PEOPLE || name.to_string_lossy().starts_with("relay-") {
            fs::remove_dir_all(entry.path()).map_err(cannot)?;
        }
    }
    for name in SHARED {
        match fs::remove_file(dir.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(cannot(error)),
            _ => {}
        }
    }
    (&lock).write_all(b"made by zmesh testnet; what is here may be overwritten\n").map_err(cannot)?;
    Ok(lock)
}

/// A port of this machine that is kept for a process to come: given up, it is free for that process. In between somebody else may take
/// it, and the process then says so.
#[derive(Debug)]
pub(crate) struct Reserved {
    address: SocketAddr,
    _udp: UdpSocket,
    _tcp: Option<TcpListener>,
}

impl Reserved {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A port for UDP, and with `tcp` for that too; nothing if TCP has another user.
    fn draw(tcp: bool) -> std::io::Result<Option<Reserved>> {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = udp.local_addr()?;
        if !tcp {
            return Ok(Some(Reserved { address, _udp: udp, _tcp: None }));
        }
        Ok(TcpListener::bind(address).ok().map(|tcp| Reserved { address, _udp: udp, _tcp: Some(tcp) }))
    }
}

/// Ports that go into descriptors or are told to others beforehand, so that whoever will use them cannot choose for itself.
pub(crate) fn reserve(count: usize) -> Outcome<Vec<Reserved>> {
    draw(count, false)
}

/// Ports for UDP and TCP.
pub(super) fn reserve_for_control(count: usize) -> Outcome<Vec<Reserved>> {
    draw(count, true)
}

fn draw(count: usize, tcp: bool) -> Outcome<Vec<Reserved>> {
    let cannot = |why: &dyn std::fmt::Display| {
        Failure::failed("cannot find free ports", why, "stop other programs that use many ports")
    };
    let mut held = Vec::new();
    for _ in 0..count * DRAWS {
        if held.len() == count {
            break;
        }
        held.extend(Reserved::draw(tcp).map_err(|error| cannot(&files::reason(&error)))?);
    }
    if held.len() < count {
        return Err(cannot(&"too few are free for both UDP and TCP"));
    }
    Ok(held)
}

/// A relay's configuration.
#[derive(Clone, Copy)]
pub(super) struct Config<'a> {
    pub(super) nickname: &'a str,
    pub(super) listen: SocketAddr,
    pub(super) advertise: SocketAddr,
    pub(super) exit: bool,
    /// Where it meets others to agree on documents, if they do.
    pub(super) control: Option<SocketAddr>,
    /// Whom it asks first.
    pub(super) contact: Option<&'a str>,
    pub(super) votes: bool,
    /// Whether a voter measures the others.
    pub(super) measures: bool,
}

impl Config<'_> {
    pub(super) fn text(&self) -> String {
        let Self { nickname, listen, advertise, exit, .. } = self;
        let base = format!(
            "# Made by zmesh testnet.\n\
             nickname = \"{nickname}\"\n\
             operator = \"testnet\"\n\
             listen = [\"{listen}\"]\n\
             advertise = [\"{advertise}\"]\n\
             keys = \"keys\"\n\
             network = \"../network\"\n\
             state = \"state\"\n\
             meeting = true\n\
             \n\
             [exit]\n\
             enabled = {exit}\n\
             policy = [\"accept *\"]\n\
             ipv4 = true\n\
             ipv6 = true\n\
             streams = 1024\n\
             connects_per_minute = 60000\n\
             lookups_per_minute = 60000\n\
             test_network = true\n\
             \n\
             [nat]\n\
             enabled = false\n\
             \n\
             [chunks]\n\
             megabytes = 1024\n\
             put_bytes_per_second = 67108864\n"
        );
        base + &self.directory()
    }

    fn directory(&self) -> String {
        let Some(control) = self.control else { return String::new() };
        let contacts = self.contact.map(|contact| format!("\"{contact}\"")).unwrap_or_default();
        let voter = if self.votes { format!("voter = \"keys\"\nmeasure = {}\n", self.measures) } else { String::new() };
        format!(
            "\n\
             [directory]\n\
             genesis = \"../genesis\"\n\
             listen = [\"{control}\"]\n\
             contacts = [{contacts}]\n\
             {voter}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_port_is_nobody_elses_until_it_is_given_up() {
        let [reserved] = <[Reserved; 1]>::try_from(reserve_for_control(1).expect("a port")).expect("one");
        let address = reserved.address();
        assert!(UdpSocket::bind(address).is_err() && TcpListener::bind(address).is_err());
        drop(reserved);
        assert!(UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok());
    }

    #[test]
    fn a_running_network_keeps_its_directory() {
        let dir = tempfile::tempdir().expect("a directory");
        let lock = clear(dir.path()).expect("a new one");
        fs::create_dir(dir.path().join("relay-1")).expect("made");
        let refused = clear(dir.path()).expect_err("it runs");
        assert!(refused.to_string().contains("a test network runs in it"), "{refused}");
        assert!(dir.path().join("relay-1").exists());
        drop(lock);
        clear(dir.path()).expect("it is over");
        assert!(!dir.path().join("relay-1").exists());
    }
}
