//! Simultaneous open: both sides of an exchange probe each other's addresses until one answers.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rand_core::Rng;

use super::candidate::{CandidateKind, is_private};
use super::exchange::Description;
use super::observe::Mapping;
use super::probe::{Probe, ProbeKey, Said};
use crate::link::route;
use crate::wire::datagram::PROBE_LEN;

/// Probing ends then.
const PATIENCE: Duration = Duration::from_secs(10);
/// The waits between the probes to one address; the last one repeats.
const WAITS: [u64; 6] = [50, 80, 150, 300, 500, 1000];
/// Addresses that the relay between did not see the peer at, and probes to each: together they are shorter than the offer
/// that names them, so nobody is made to send more than was sent to it.
const UNVOUCHED: usize = 4;
const UNVOUCHED_PROBES: u32 = 2;
/// Addresses that the peer's own probes came from, taken up beside its candidates.
const DISCOVERED: usize = 8;
/// Transactions that may be answered.
const OPEN: usize = 512;
/// Probes of one attempt, at most.
const MAX_PROBES: u32 = 2_048;
/// Random ports that are tried against a translator whose next port cannot be known.
const GUESSES: u32 = 1_024;
/// Sockets from which the side behind such a translator asks.
pub(crate) const SOCKETS: u16 = 256;
/// The pause between two guesses, or two sockets.
const GUESS_EVERY: Duration = Duration::from_millis(4);
/// Guessing begins when the usual ways have had this long.
const GUESS_AFTER: Duration = Duration::from_millis(700);

/// How an address of the peer became known to this attempt.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// The peer named it.
    Named(CandidateKind),
    /// The peer's probes came from there.
    Discovered,
    /// Its port was guessed, or asked from one of many sockets.
    Guessed,
}

#[derive(Clone, Copy, Debug)]
struct Target {
    address: SocketAddr,
    method: Method,
    sent: u32,
    most: u32,
    next: Instant,
}

/// Guessing ports: the birthday of 256 mappings on one side and 1,024 tries on the other among 64,512 ports.
#[derive(Clone, Copy, Debug)]
enum Guess {
    /// The peer's ports are unknown: try random ones of its address.
    Ports { ip: IpAddr, left: u32 },
    /// Our ports are unknown to the peer: ask from many sockets.
    Sockets { to: SocketAddr, next: u16 },
}

/// One attempt after the exchange. Drive it: [`poll`](Self::poll) at [`next_timeout`](Self::next_timeout) and send what it
/// gives, [`handle`](Self::handle) each probe with [`tag`](Self::tag), until [`found`](Self::found) or
/// [`is_over`](Self::is_over).
#[derive(Debug)]
pub struct Punch {
    tag: u32,
    peer_tag: u32,
    send: ProbeKey,
    receive: ProbeKey,
    targets: Vec<Target>,
    open: VecDeque<(u64, SocketAddr)>,
    guess: Option<Guess>,
    guess_at: Instant,
    probes: u32,
    end: Instant,
    found: Option<(SocketAddr, Method)>,
}

/// A side of an attempt.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// What this side said.
    pub own: &'a Description,
    /// What the other side said.
    pub peer: &'a Description,
    /// Where the relay between sees the other side.
    pub seen: Option<SocketAddr>,
    /// Whether this side made the offer.
    pub offered: bool,
}

impl Punch {
    /// Begins.
    #[must_use]
    pub fn new(now: Instant, side: Side<'_>) -> Self {
        let Side { own, peer, seen, offered } = side;
        let (send, receive) = if offered {
            ProbeKey::pair(&own.secret, &peer.secret)
        } else {
            let (receive, send) = ProbeKey::pair(&peer.secret, &own.secret);
            (send, receive)
        };
        // Own private addresses are told only to a peer of the same network.
        let same_network = own.candidates.iter().any(|candidate| is_private(candidate.address.ip()));
        let vouched = |ip: IpAddr| seen.is_some_and(|seen| seen.ip() == ip) || (same_network && is_private(ip));
        let mut unvouched = 0;
        let mut targets: Vec<Target> = Vec::new();
        let named = peer.candidates.iter().map(|candidate| (candidate.address, candidate.kind));
        let seen_there = seen.map(|address| (address, CandidateKind::Reflexive));
        for (address, kind) in named.chain(seen_there) {
            // Own targets only: a peer cannot have this node send by flows and carriers of others.
            if route::is_made_up(address) || targets.iter().any(|target| target.address == address) {
                continue;
            }
            let most = if vouched(address.ip()) { MAX_PROBES } else { UNVOUCHED_PROBES };
            if most == UNVOUCHED_PROBES {
                unvouched += 1;
                if unvouched > UNVOUCHED {
                    continue;
                }
            }
            targets.push(Target { address, method: Method::Named(kind), sent: 0, most, next: now });
        }
        let guess = Self::guess(own, peer, seen);
        Self {
            tag: own.tag,
            peer_tag: peer.tag,
            send,
            receive,
            targets,
            open: VecDeque::new(),
            guess,
            guess_at: now + GUESS_AFTER,
            probes: 0,
            end: now + PATIENCE,
            found: None,
        }
    }

    /// Where guessing can help: one side's ports depend on the destination, the other's do not.
    fn guess(own: &Description, peer: &Description, seen: Option<SocketAddr>) -> Option<Guess> {
        let seen = seen.filter(|seen| seen.is_ipv4())?;
        match (own.mapping, peer.mapping) {
            (own, Mapping::Dependent) if own.is_fixed() => Some(Guess::Ports { ip: seen.ip(), left: GUESSES }),
            (Mapping::Dependent, peer) if peer.is_fixed() => Some(Guess::Sockets { to: seen, next: 1 }),
            _ => None,
        }
    }

    /// What probes to this side carry.
    #[must_use]
    pub fn tag(&self) -> u32 {
        self.tag
    }

    /// The address at which the peer has answered, and how it became known.
    #[must_use]
    pub fn found(&self) -> Option<(SocketAddr, Method)> {
        self.found
    }

    /// Whether the time is over. The peer may still need answers until then.
    #[must_use]
    pub fn is_over(&self, now: Instant) -> bool {
        now >= self.end
    }

    /// When to call [`poll`](Self::poll) at the latest.
    #[must_use]
    pub fn next_timeout(&self) -> Instant {
        if self.found.is_some() || self.probes >= MAX_PROBES {
            return self.end;
        }
        let due = self.targets.iter().filter(|target| target.sent < target.most).map(|target| target.next);
        due.chain(self.guess.map(|_| self.guess_at)).min().map_or(self.end, |at| at.min(self.end))
    }

    /// The probes that are due.
    pub fn poll(&mut self, now: Instant, rng: &mut impl Rng, mut send: impl FnMut(SocketAddr, [u8; PROBE_LEN])) {
        if self.found.is_some() || self.is_over(now) {
            return;
        }
        for at in 0..self.targets.len() {
            let target = &mut self.targets[at];
            if target.next > now || target.sent >= target.most || self.probes >= MAX_PROBES {
                continue;
            }
            let wait = WAITS.get(target.sent as usize).or(WAITS.last()).copied().unwrap_or(1000);
            target.sent += 1;
            target.next = now + Duration::from_millis(wait);
            let to = target.address;
            send(to, self.ask(to, rng));
        }
        while self.guess_at <= now && self.probes < MAX_PROBES {
            let Some(to) = self.next_guess(rng) else { break };
            self.guess_at += GUESS_EVERY;
            send(to, self.ask(to, rng));
        }
    }

    fn next_guess(&mut self, rng: &mut impl Rng) -> Option<SocketAddr> {
        match self.guess.as_mut()? {
            Guess::Ports { left: 0, .. } => self.guess = None,
            Guess::Ports { ip, left } => {
                *left -= 1;
                let port = u16::try_from(1024 + rng.next_u32() % 64_512).unwrap_or(1024);
                return Some(SocketAddr::new(*ip, port));
            }
            Guess::Sockets { next, .. } if *next > SOCKETS => self.guess = None,
            Guess::Sockets { to, next } => {
                let socket = *next;
                *next += 1;
                return route::aside(*to, socket);
            }
        }
        None
    }

    fn ask(&mut self, to: SocketAddr, rng: &mut impl Rng) -> [u8; PROBE_LEN] {
        let transaction = rng.next_u64();
        if self.open.len() == OPEN {
            self.open.pop_front();
        }
        self.open.push_back((transaction, to));
        self.probes += 1;
        Probe { said: Said::Ask, tag: self.peer_tag, transaction, relay: [0; 16] }.seal(&self.send)
    }

    /// Takes a probe with this attempt's tag; gives the answer to send back where it came from.
    pub fn handle(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) -> Option<[u8; PROBE_LEN]> {
        let probe = Probe::read(datagram)?;
        if probe.tag != self.tag || !Probe::check(datagram, &self.receive) {
            return None;
        }
        match probe.said {
            Said::Ask => {
                self.discover(now, from);
                let answer = Probe { said: Said::Answer, tag: self.peer_tag, ..probe };
                Some(answer.seal(&self.send))
            }
            Said::Answer => {
                // From the very address that was asked: else the path back is another than the path there.
                let at = self.open.iter().position(|open| *open == (probe.transaction, from))?;
                self.open.remove(at);
                if self.found.is_none() {
                    let known = self.targets.iter().find(|target| target.address == from);
                    self.found = Some((from, known.map_or(Method::Guessed, |target| target.method)));
                }
                None
            }
            Said::Reached => None,
        }
    }

    /// The peer's probe came from here: ask it there at once, which also opens the translators in between.
    fn discover(&mut self, now: Instant, from: SocketAddr) {
        if let Some(target) = self.targets.iter_mut().find(|target| target.address == from) {
            target.most = MAX_PROBES;
            if target.sent > 0 {
                target.next = target.next.min(now);
            }
            return;
        }
        let discovered = self.targets.iter().filter(|target| target.method == Method::Discovered).count();
        if discovered < DISCOVERED {
            let method = if route::is_aside(from) { Method::Guessed } else { Method::Discovered };
            self.targets.push(Target { address: from, method, sent: 0, most: MAX_PROBES, next: now });
        }
    }
}
