//! Simultaneous open: both sides of an exchange probe each other's addresses until one answers.
//!
//! Nobody vouches for an address: the peer names some, the relay between another, and both can lie. So a side sends a few
//! probes on its own account, fewer bytes than the signal that named the addresses had, and each further one only for a
//! probe that the peer has paid with through the flow of the exchange. Who wants a third party flooded has to send more than
//! arrives there.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rand_core::Rng;

use super::candidate::{CandidateKind, is_private, may_be_probed};
use super::exchange::Description;
use super::observe::Mapping;
use super::probe::{Probe, ProbeKey, Said};
use crate::link::route;
use crate::wire::datagram::PROBE_LEN;

/// Probing ends then.
const PATIENCE: Duration = Duration::from_secs(10);
/// The waits between the probes to one address; the last one repeats.
const WAITS: [u64; 6] = [50, 80, 150, 300, 500, 1000];
/// Probes before the peer has paid for any. With the headers of IPv6 and UDP that is 576 bytes, where the datagram of the
/// signal has 624; over IPv4 456, where it has 604.
pub(crate) const FREE: u32 = 6;
/// Addresses that the peer's own probes came from, taken up beside its candidates.
const DISCOVERED: usize = 16;
/// Transactions that may be answered.
const OPEN: usize = 512;
/// Probes of one attempt, at most, and as many that pay for the peer's.
pub(crate) const MAX_PROBES: u32 = 2_048;
/// Random ports that are tried against a translator whose next port cannot be known.
const GUESSES: u32 = 1_024;
/// Sockets from which the side behind such a translator asks.
pub(crate) const SOCKETS: u16 = 256;
/// The pause between two steps of guessing. A node guesses for one attempt at once, so it takes no more than 125 a second.
pub(crate) const GUESS_EVERY: Duration = Duration::from_millis(8);
/// Guesses in one step: its own, and one that was owed.
const GUESSES_A_STEP: u32 = 2;
/// Guessing begins when the usual ways have had this long.
const GUESS_AFTER: Duration = Duration::from_millis(700);
/// How soon it is asked again whether this attempt may guess.
const GUESS_LATER: Duration = Duration::from_millis(200);
/// TCP begins then where UDP might do, a connection is begun again so often, and each given up before the system repeats
/// its first datagram: one try is one datagram.
const STREAM_AFTER: Duration = Duration::from_secs(2);
const STREAM_EVERY: Duration = Duration::from_millis(1000);
/// How much later it begins than a peer without a translator.
const STREAM_SECOND: Duration = Duration::from_millis(400);
/// How long one try to connect may take.
pub const STREAM_PATIENCE: Duration = Duration::from_millis(900);
/// Ports below are those of other services, which a peer could name to have this node connect to them.
const LOWEST_PORT: u16 = 1024;
/// While it guesses, the peer has to pay for so many probes in each such time; else somebody else may guess.
const TRIAL: Duration = Duration::from_secs(1);
const TRIAL_PAID: u32 = 16;

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
    /// By a TCP connection that both sides opened.
    Stream,
}

#[derive(Clone, Copy, Debug)]
struct Target {
    address: SocketAddr,
    method: Method,
    sent: u32,
    next: Instant,
}

impl Target {
    /// Whether a connection leads there, so that nobody is sent anything who did not take it.
    fn is_connected(&self) -> bool {
        self.method == Method::Stream
    }
}

/// What to guess.
#[derive(Clone, Copy, Debug)]
enum What {
    /// The peer's ports are unknown: try random ones of its address.
    Ports { ip: IpAddr },
    /// Our ports are unknown to the peer: ask from many sockets.
    Sockets { to: SocketAddr, next: u16 },
}

/// Guessing ports: the birthday of 256 mappings on one side and 1,024 tries on the other among 64,512 ports.
#[derive(Clone, Copy, Debug)]
struct Guess {
    what: What,
    /// Steps that are left: each pays for an ask of the peer and makes one of our own due.
    left: u32,
    /// Asks whose step has come and that the peer has not paid for yet.
    owed: u32,
    next: Instant,
    /// Since when it is this attempt's turn, and what the peer had paid then; looked at again after each [`TRIAL`].
    turn: Option<(Instant, u32)>,
}

/// TCP, opened by both sides to each other at once.
#[derive(Clone, Copy, Debug)]
struct Stream {
    to: SocketAddr,
    next: Instant,
    /// Whether a connection is to be begun now.
    due: bool,
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
    /// The flow to the peer.
    flow: Option<SocketAddr>,
    targets: Vec<Target>,
    open: VecDeque<(u64, SocketAddr)>,
    guess: Option<Guess>,
    stream: Option<Stream>,
    /// Probes to addresses that nothing has proven to be the peer's.
    probes: u32,
    /// What the peer has paid for, and what this side has.
    credit: u32,
    paid: u32,
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
    /// The address that stands for the flow to the other side, through the relay between.
    pub flow: Option<SocketAddr>,
    /// Whether addresses that are not public may be probed: in test networks.
    pub anywhere: bool,
    /// Whether this side made the offer.
    pub offered: bool,
}

impl Punch {
    /// Begins.
    #[must_use]
    pub fn new(now: Instant, side: Side<'_>) -> Self {
        let Side { own, peer, seen, flow, anywhere, offered } = side;
        let (send, receive) = if offered {
            ProbeKey::pair(&own.secret, &peer.secret)
        } else {
            let (receive, send) = ProbeKey::pair(&peer.secret, &own.secret);
            (send, receive)
        };
        // Own private addresses are told only to a peer of the same network.
        let same_network = own.candidates.iter().any(|candidate| is_private(candidate.address.ip()));
        // Own targets only: a peer cannot have this node send by flows and carriers of others.
        let usable = |at: SocketAddr| !route::is_made_up(at) && may_be_probed(at.ip(), same_network, anywhere);
        let mut targets: Vec<Target> = Vec::new();
        let named = peer.candidates.iter().map(|candidate| (candidate.address, candidate.kind));
        let seen_there = seen.map(|address| (address, CandidateKind::Reflexive));
        let by_udp = |kind: CandidateKind| kind != CandidateKind::Stream;
        let usable_there = |(address, kind): &(SocketAddr, CandidateKind)| by_udp(*kind) && usable(*address);
        for (address, kind) in named.chain(seen_there).filter(usable_there) {
            if targets.iter().all(|target| target.address != address) {
                targets.push(Target { address, method: Method::Named(kind), sent: 0, next: now });
            }
        }
        // Without a flow nobody could pay for guesses.
        let what = flow.and_then(|_| Self::what_to_guess(own, peer, seen.filter(|seen| usable(*seen))?));
        let guess = what.map(|what| Guess { what, left: GUESSES, owed: 0, next: now + GUESS_AFTER, turn: None });
        Self {
            tag: own.tag,
            peer_tag: peer.tag,
            send,
            receive,
            flow,
            targets,
            open: VecDeque::new(),
            guess,
            stream: Self::stream_to(now, own, peer, usable),
            probes: 0,
            credit: 0,
            paid: 0,
            end: now + PATIENCE,
            found: None,
        }
    }

    /// Where guessing can help: one side's ports depend on the destination, the other's do not.
    fn what_to_guess(own: &Description, peer: &Description, seen: SocketAddr) -> Option<What> {
        match (own.mapping, peer.mapping) {
            (own, Mapping::Dependent) if seen.is_ipv4() && own.is_fixed() => Some(What::Ports { ip: seen.ip() }),
            (Mapping::Dependent, peer) if seen.is_ipv4() && peer.is_fixed() => {
                Some(What::Sockets { to: seen, next: 1 })
            }
            _ => None,
        }
    }

    /// TCP is tried if both sides know where theirs comes from: at once if nobody sees one of them by UDP, else when UDP has
    /// had its time.
    fn stream_to(
        now: Instant,
        own: &Description,
        peer: &Description,
        usable: impl Fn(SocketAddr) -> bool,
    ) -> Option<Stream> {
        let of = |side: &Description| {
            let mut all = side.candidates.iter().filter(|candidate| candidate.kind == CandidateKind::Stream);
            all.next().map(|candidate| candidate.address)
        };
        of(own)?;
        let able = |to: &SocketAddr| to.is_ipv4() && to.port() >= LOWEST_PORT && usable(*to);
        let to = of(peer).filter(able)?;
        let blocked = own.mapping == Mapping::Unknown || peer.mapping == Mapping::Unknown;
        let mut next = if blocked { now } else { now + STREAM_AFTER };
        // A machine without a translator refuses what comes before it has begun itself; translators are silent.
        if peer.mapping == Mapping::Open && own.mapping != Mapping::Open {
            next += STREAM_SECOND;
        }
        Some(Stream { to, next, due: false })
    }

    /// Where to begin a TCP connection now, after [`poll`](Self::poll). Tell of its success by
    /// [`connected`](Self::connected), and give it up after [`STREAM_PATIENCE`].
    pub fn take_connect(&mut self) -> Option<SocketAddr> {
        let stream = self.stream.as_mut().filter(|stream| stream.due)?;
        stream.due = false;
        Some(stream.to)
    }

    /// A TCP connection is there; `address` stands for it. Whoever is at its other end is asked like everybody.
    pub fn connected(&mut self, now: Instant, address: SocketAddr) {
        if route::is_stream(address) {
            self.discover(now, address);
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

    /// Whether it is guessing.
    #[must_use]
    pub fn is_guessing(&self) -> bool {
        self.found.is_none() && self.guess.is_some_and(|guess| guess.turn.is_some())
    }

    /// Whether one more probe may go to an address that nothing has proven to be the peer's.
    fn may_ask(&self) -> bool {
        self.probes < (FREE + self.credit).min(MAX_PROBES)
    }

    /// When to call [`poll`](Self::poll) at the latest.
    #[must_use]
    pub fn next_timeout(&self) -> Instant {
        if self.found.is_some() {
            return self.end;
        }
        let able = |target: &&Target| self.may_ask() || target.is_connected();
        let asks = self.targets.iter().filter(able).map(|target| target.next);
        let stream = self.stream.filter(|_| self.may_ask()).map(|stream| stream.next);
        let guess = self.guess.map(|guess| guess.next);
        asks.chain(stream).chain(guess).min().map_or(self.end, |at| at.min(self.end))
    }

    /// The probes that are due. `may_guess` says whether no other attempt of this node is guessing.
    pub fn poll(
        &mut self,
        now: Instant,
        may_guess: bool,
        rng: &mut impl Rng,
        mut send: impl FnMut(SocketAddr, [u8; PROBE_LEN]),
    ) {
        if self.found.is_some() || self.is_over(now) {
            return;
        }
        // First: where one side's UDP is blocked the other asks are in vain, and take what the peer pays.
        if self.may_ask()
            && let Some(stream) = self.stream.as_mut().filter(|stream| stream.next <= now)
        {
            (stream.due, stream.next) = (true, now + STREAM_EVERY);
            // The system sends one datagram for it, shorter than a probe.
            self.probes += 1;
            self.pay(rng, &mut send);
        }
        for at in 0..self.targets.len() {
            let may_ask = self.may_ask();
            let target = &mut self.targets[at];
            if target.next > now || !(may_ask || target.is_connected()) {
                continue;
            }
            let wait = WAITS.get(target.sent as usize).or(WAITS.last()).copied().unwrap_or(1000);
            target.sent += 1;
            target.next = now + Duration::from_millis(wait);
            let (to, connected) = (target.address, target.is_connected());
            send(to, self.ask(to, rng));
            if connected {
                // Whoever is there has taken the connection; nobody pays for these.
                self.probes -= 1;
                continue;
            }
            // The peer needs about as many.
            self.pay(rng, &mut send);
        }
        while let Some(guess) = self.guess.filter(|guess| guess.next <= now) {
            self.guess = self.guess_on(now, may_guess, guess);
            if !self.is_guessing() {
                continue;
            }
            if self.guess.is_some_and(|before| before.left < guess.left) {
                self.pay(rng, &mut send);
            }
            for _ in 0..GUESSES_A_STEP {
                let Some(to) = self.next_guess(rng) else { break };
                send(to, self.ask(to, rng));
            }
        }
    }

    /// The next step of guessing; `None` ends it. A step is never lost, however late it is: what the peer has not paid for yet is owed,
    /// and asked when it has.
    fn guess_on(&self, now: Instant, may_guess: bool, mut guess: Guess) -> Option<Guess> {
        match guess.turn {
            None if may_guess => (guess.turn, guess.next) = (Some((now, self.credit)), now),
            None => {
                guess.next = now + GUESS_LATER;
                return Some(guess);
            }
            Some((since, credit)) if now >= since + TRIAL => {
                if self.credit < credit + TRIAL_PAID {
                    return None;
                }
                guess.turn = Some((now, self.credit));
            }
            Some(_) => {}
        }
        guess.next += GUESS_EVERY;
        if guess.left > 0 {
            (guess.left, guess.owed) = (guess.left - 1, guess.owed + 1);
            return Some(guess);
        }
        (guess.owed > 0).then_some(guess)
    }

    fn next_guess(&mut self, rng: &mut impl Rng) -> Option<SocketAddr> {
        if !self.may_ask() {
            return None;
        }
        let guess = self.guess.as_mut().filter(|guess| guess.owed > 0)?;
        guess.owed -= 1;
        match &mut guess.what {
            What::Ports { ip } => {
                let port = u16::try_from(1024 + rng.next_u32() % 64_512).unwrap_or(1024);
                Some(SocketAddr::new(*ip, port))
            }
            What::Sockets { next, .. } if *next > SOCKETS => {
                guess.owed = 0;
                None
            }
            What::Sockets { to, next } => {
                let socket = *next;
                *next += 1;
                route::aside(*to, socket)
            }
        }
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

    /// Pays for one probe of the peer.
    fn pay(&mut self, rng: &mut impl Rng, send: &mut impl FnMut(SocketAddr, [u8; PROBE_LEN])) {
        if let Some(flow) = self.flow.filter(|_| self.paid < MAX_PROBES) {
            self.paid += 1;
            let transaction = rng.next_u64();
            send(flow, Probe { said: Said::Paid, tag: self.peer_tag, transaction, relay: [0; 16] }.seal(&self.send));
        }
    }

    /// Takes a probe with this attempt's tag; gives the answer to send back where it came from.
    pub fn handle(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) -> Option<[u8; PROBE_LEN]> {
        let probe = Probe::read(datagram)?;
        if probe.tag != self.tag || !Probe::check(datagram, &self.receive) {
            return None;
        }
        if route::is_made_up(from) && !route::is_aside(from) && !route::is_stream(from) {
            // Repeats of one count too: whoever sent them sent as many bytes.
            if probe.said == Said::Paid && Some(from) == self.flow {
                self.credit = self.credit.saturating_add(1).min(MAX_PROBES);
            }
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
            Said::Reached | Said::Paid => None,
        }
    }

    /// The peer's probe came from here: ask it there before all others, which also opens the translators in between. The
    /// source of a datagram proves nothing, so these asks count like the others.
    fn discover(&mut self, now: Instant, from: SocketAddr) {
        if let Some(at) = self.targets.iter().position(|target| target.address == from) {
            self.targets[..=at].rotate_right(1);
            let target = &mut self.targets[0];
            target.next = target.next.min(now);
            return;
        }
        let discovered = self.targets.iter().filter(|target| !matches!(target.method, Method::Named(_))).count();
        if discovered < DISCOVERED {
            let method = if route::is_aside(from) {
                Method::Guessed
            } else if route::is_stream(from) {
                Method::Stream
            } else {
                Method::Discovered
            };
            self.targets.insert(0, Target { address: from, method, sent: 0, next: now });
        }
    }
}
