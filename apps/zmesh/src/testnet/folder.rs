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
/// Ports below are those of known services.
const FIRST_PORT: u16 = 10_000;
/// From here on systems hand ports out to whoever does not ask for one, where they do not say it: Linux's default.
const HANDED_OUT: u16 = 32_768;

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
/// it, and the process then says so; the system hands it out to nobody.
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

    /// This port for UDP, and with `tcp` for that too; nothing if it has another user.
    fn hold(port: u16, tcp: bool) -> Option<Reserved> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let udp = UdpSocket::bind(address).ok()?;
        let listener = if tcp { Some(TcpListener::bind(address).ok()?) } else { None };
        Some(Reserved { address, _udp: udp, _tcp: listener })
    }
}

/// Ports that go into descriptors or are told to others beforehand, so that whoever will use them cannot choose for itself.
pub(crate) fn reserve(count: usize) -> Outcome<Vec<Reserved>> {
    draw(count, |port| Reserved::hold(port, false), "too few are free for UDP")
}

/// Ports for UDP and TCP.
pub(super) fn reserve_for_control(count: usize) -> Outcome<Vec<Reserved>> {
    draw(count, |port| Reserved::hold(port, true), "too few are free for both UDP and TCP")
}

fn draw(count: usize, hold: impl Fn(u16) -> Option<Reserved>, why: &'static str) -> Outcome<Vec<Reserved>> {
    let ports = FIRST_PORT..first_handed_out();
    let mut held = Vec::new();
    for _ in 0..count * DRAWS {
        if held.len() == count {
            break;
        }
        let mut bytes = [0; 4];
        getrandom::fill(&mut bytes)
            .map_err(|_| Failure::failed("cannot draw ports", "the system has no dice", "try again"))?;
        let among = u32::from(ports.end - ports.start);
        let port = ports.start + u16::try_from(u32::from_be_bytes(bytes) % among).unwrap_or_default();
        held.extend(hold(port));
    }
    if held.len() < count {
        return Err(Failure::failed("cannot find free ports", why, "stop other programs that use many ports"));
    }
    Ok(held)
}

/// The first of the ports that the system hands out to whoever does not ask for one.
fn first_handed_out() -> u16 {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first = range.split_ascii_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(HANDED_OUT);
    // A system that hands out nearly all of them leaves no others.
    if first > FIRST_PORT + 1_000 { first } else { HANDED_OUT }
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
    fn ports_are_none_that_the_system_hands_out() {
        let (links, first) = (reserve(40).expect("free ones"), first_handed_out());
        let control = reserve_for_control(40).expect("free ones");
        let mut all: Vec<_> = links.iter().chain(&control).map(|reserved| reserved.address().port()).collect();
        assert!(all.iter().all(|port| (FIRST_PORT..first).contains(port)), "{all:?}");
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 80, "each is drawn once");
        // Nobody waits forever for what is not there.
        let none = draw(1, |_| None, "none is");
        assert!(none.is_err_and(|failure| failure.to_string().contains("none is")));
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
