//! Two people at home and the servers between them, on one machine: three network namespaces, and emulated access links of real packets.
//!
//! Each person's namespace has one way out, a TUN device. What it carries passes the pipes of a profile, packet by packet, in both
//! directions: so a program in there meets delay, jitter, loss in runs and queues as it would at home, whatever it speaks. The
//! servers share the third namespace and reach each other without delay. Needs root, `ip` and `/dev/net/tun`.

use std::collections::BinaryHeap;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use zmesh_netem::{Access, HEADERS, Pipe, Profile};

use crate::peers::Error;
use crate::peers::process::{Process, find_program};

/// Where the servers listen.
pub const SERVERS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The script that opens the devices.
const TUN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/quality/tun.py");
/// How often a thread without packets looks whether it should end.
const LOOK: Duration = Duration::from_millis(100);
/// Packets that may be on their way on one access link.
const MOST_PACKETS: usize = 50_000;

/// Who is at home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The one who calls.
    Caller,
    /// The one who is called.
    Answerer,
}

/// The namespaces. Dropping this removes them.
#[derive(Debug)]
pub struct Homes {
    names: [String; 3],
    tuns: Vec<Process>,
    stop: Arc<AtomicBool>,
}

impl Homes {
    /// Builds both homes with the access links of `profile`.
    ///
    /// # Errors
    /// When the machine does not allow it; the error names the command.
    pub fn build(profile: &Profile, seed: u64) -> Result<Homes, Error> {
        let stem = format!("zq{}", std::process::id());
        let mut homes =
            Homes { names: ["a", "b", "s"].map(|end| format!("{stem}{end}")), tuns: Vec::new(), stop: Arc::default() };
        for name in homes.names.clone() {
            ip(&format!("netns add {name}"))?;
            ip(&format!("-n {name} link set lo up"))?;
        }
        let servers = homes.names[2].clone();
        ip(&format!("-n {servers} addr add {SERVERS}/32 dev lo"))?;
        for (number, access) in [&profile.caller, &profile.answerer].into_iter().enumerate() {
            let home = homes.names[number].clone();
            let (inner, outer) = (format!("{stem}i{number}"), format!("{stem}o{number}"));
            homes.open(&inner, &outer, access, seed + number as u64)?;
            let net = format!("10.77.{}", number + 1);
            for (space, device, own, peer) in [
                (&home, &inner, format!("{net}.2"), format!("{net}.1")),
                (&servers, &outer, format!("{net}.1"), format!("{net}.2")),
            ] {
                ip(&format!("link set {device} netns {space}"))?;
                ip(&format!("-n {space} addr add {own} peer {peer} dev {device}"))?;
                ip(&format!("-n {space} link set {device} mtu 1400 up"))?;
            }
            ip(&format!("-n {home} route add default via {net}.1"))?;
        }
        Ok(homes)
    }

    /// Opens the devices of one access link and starts its emulation.
    fn open(&mut self, inner: &str, outer: &str, access: &Access, seed: u64) -> Result<(), Error> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Error::io("binding a socket"))?;
        socket.set_read_timeout(Some(LOOK)).map_err(Error::io("a socket's timeout"))?;
        let port = socket.local_addr().map_err(Error::io("asking for a port"))?.port();
        let python = find_program("python3").ok_or(Error::Missing("python3"))?;
        let mut tun = Process::start(
            "tun.py",
            Command::new(python)
                .args([TUN, inner, outer, &port.to_string()])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::inherit()),
        )?;
        let mut said = String::new();
        if let Some(stdout) = tun.child().stdout.take() {
            BufReader::new(stdout).read_line(&mut said).map_err(Error::io("reading from tun.py"))?;
        }
        self.tuns.push(tun);
        if said.trim() != "ready" {
            return Err(Error::Unexpected { program: "tun.py".to_owned(), said });
        }
        let pipes = [Pipe::new(access.up.clone(), seed * 2), Pipe::new(access.down.clone(), seed * 2 + 1)];
        emulate(socket, pipes, Arc::clone(&self.stop)).map_err(Error::io("starting an access link"))
    }

    /// What stands before a command that is to run at somebody's home.
    #[must_use]
    pub fn at_home(&self, who: Who) -> Vec<String> {
        enter(&self.names[usize::from(who == Who::Answerer)])
    }

    /// What stands before a command that is to run among the servers.
    #[must_use]
    pub fn at_servers(&self) -> Vec<String> {
        enter(&self.names[2])
    }
}

impl Drop for Homes {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.tuns.clear();
        for name in &self.names {
            let _ = ip(&format!("netns del {name}"));
        }
    }
}

fn enter(name: &str) -> Vec<String> {
    ["ip", "netns", "exec", name].map(str::to_owned).to_vec()
}

fn ip(arguments: &str) -> Result<(), Error> {
    let output = Command::new("ip").args(arguments.split(' ')).output().map_err(Error::io("starting ip"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Unexpected { program: format!("ip {arguments}"), said })
}

/// A packet on its way: the first is due first.
#[derive(Debug, PartialEq, Eq)]
struct Due {
    at: Instant,
    order: u64,
    /// The first byte names the device.
    message: Vec<u8>,
}

impl Ord for Due {
    fn cmp(&self, other: &Due) -> std::cmp::Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Due) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

type Way = Arc<(Mutex<BinaryHeap<Due>>, Condvar)>;

/// Takes packets from the script, keeps each as long as its pipe says, and gives it back for the other device.
fn emulate(socket: UdpSocket, pipes: [Pipe; 2], stop: Arc<AtomicBool>) -> std::io::Result<()> {
    let mut buffer = vec![0; 65_536];
    let (_, script) = socket.recv_from(&mut buffer)?;
    let way: Way = Arc::default();
    let (sending, sent_way, sent_stop) = (socket.try_clone()?, Arc::clone(&way), Arc::clone(&stop));
    thread::spawn(move || receive(&socket, pipes, &way, &stop));
    thread::spawn(move || give_back(&sending, script, &sent_way, &sent_stop));
    Ok(())
}

fn receive(socket: &UdpSocket, mut pipes: [Pipe; 2], way: &Way, stop: &AtomicBool) {
    let (start, mut order, mut buffer) = (Instant::now(), 0, vec![0; 65_536]);
    while !stop.load(Ordering::Relaxed) {
        let Ok(length) = socket.recv(&mut buffer) else { continue };
        let [from @ (0 | 1), packet @ ..] = &buffer[..length] else { continue };
        let now = Instant::now();
        // A pipe counts what is inside UDP; this packet has its headers already.
        let inside = packet.len().saturating_sub(HEADERS);
        let arrivals = pipes[usize::from(*from)].send(now - start, inside);
        let mut waiting = way.0.lock().unwrap_or_else(PoisonError::into_inner);
        for at in arrivals {
            if waiting.len() < MOST_PACKETS {
                let mut message = vec![1 - from];
                message.extend_from_slice(packet);
                order += 1;
                waiting.push(Due { at: start + at, order, message });
            }
        }
        way.1.notify_one();
    }
}

fn give_back(socket: &UdpSocket, script: SocketAddr, way: &Way, stop: &AtomicBool) {
    let mut waiting = way.0.lock().unwrap_or_else(PoisonError::into_inner);
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        let wait = match waiting.peek() {
            Some(first) if first.at <= now => Duration::ZERO,
            Some(first) => (first.at - now).min(LOOK),
            None => LOOK,
        };
        if wait.is_zero() {
            if let Some(first) = waiting.pop() {
                // A script that has ended loses the packet, as a cut line would.
                let _ = socket.send_to(&first.message, script);
            }
        } else {
            waiting = way.1.wait_timeout(waiting, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
