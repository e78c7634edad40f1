//! Two ends behind simulated translators of each kind, in virtual time: they connect exactly where theory says so.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rand_core::Rng;

use super::candidate::{Candidate, CandidateKind};
use super::exchange::Description;
use super::observe::{Filtering, Mapping};
use super::punch::{Punch, Side};
use crate::link::route;
use crate::random::Generator;
use crate::timer::any_instant;

const LATENCY: Duration = Duration::from_millis(25);
const RELAY: ([u8; 4], u16) = ([203, 0, 113, 1], 9000);
const MAPPINGS: usize = 4096;

/// RFC 4787's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Open,
    FullCone,
    AddressRestricted,
    PortRestricted,
    Symmetric,
    Blocked,
}

const KINDS: [Kind; 6] =
    [Kind::Open, Kind::FullCone, Kind::AddressRestricted, Kind::PortRestricted, Kind::Symmetric, Kind::Blocked];

/// One end: its translator with what it remembers.
struct End {
    kind: Kind,
    outside: IpAddr,
    /// Outer port by inner socket, and by destination where that matters.
    mappings: BTreeMap<(u16, Option<SocketAddr>), u16>,
    sent_to: BTreeSet<(u16, SocketAddr)>,
    rng: Generator,
}

impl End {
    fn new(kind: Kind, number: u8, seed: u8) -> Self {
        let outside = IpAddr::from([198, 51, 100, number]);
        let rng = Generator::new(&[seed ^ number << 4; 32]);
        Self { kind, outside, mappings: BTreeMap::new(), sent_to: BTreeSet::new(), rng }
    }

    /// Sends from an inner socket; the outer source, if it gets out.
    fn out(&mut self, socket: u16, to: SocketAddr) -> Option<SocketAddr> {
        if self.kind == Kind::Blocked || self.mappings.len() >= MAPPINGS {
            return None;
        }
        let key = (socket, (self.kind == Kind::Symmetric).then_some(to));
        let taken: BTreeSet<u16> = self.mappings.values().copied().collect();
        let port = match self.mappings.get(&key) {
            Some(port) => *port,
            None => loop {
                let port = u16::try_from(1024 + self.rng.next_u32() % 64_512).expect("a port");
                if !taken.contains(&port) {
                    break port;
                }
            },
        };
        self.mappings.insert(key, port);
        self.sent_to.insert((port, to));
        Some(SocketAddr::new(self.outside, port))
    }

    /// A datagram comes to an outer port: the inner socket that gets it.
    fn inward(&self, port: u16, from: SocketAddr) -> Option<u16> {
        let (key, _) = self.mappings.iter().find(|(_, mapped)| **mapped == port)?;
        let met = |same: fn(SocketAddr, SocketAddr) -> bool| {
            self.sent_to.iter().any(|(by, to)| *by == port && same(*to, from))
        };
        let let_in = match self.kind {
            Kind::Open | Kind::FullCone => true,
            Kind::AddressRestricted => met(|a, b| a.ip() == b.ip()),
            Kind::PortRestricted | Kind::Symmetric => met(|a, b| a == b),
            Kind::Blocked => false,
        };
        let_in.then_some(key.0)
    }

    fn mapping(&self) -> Mapping {
        match self.kind {
            Kind::Open => Mapping::Open,
            Kind::Symmetric => Mapping::Dependent,
            _ => Mapping::Independent,
        }
    }

    /// What this end tells the other, after a relay has seen it.
    fn describe(&mut self, tag: u32, guess: bool) -> (Description, SocketAddr) {
        let seen = self.out(0, RELAY.into()).unwrap_or(SocketAddr::new(self.outside, 9));
        let mapping = if guess { self.mapping() } else { Mapping::Unknown };
        let candidates = vec![Candidate { kind: CandidateKind::Reflexive, address: seen }];
        let secret = [u8::try_from(tag).expect("small"); 32];
        (Description { tag, secret, mapping, filtering: Filtering::Unknown, candidates }, seen)
    }
}

struct Run {
    found: [Option<Duration>; 2],
    bytes: usize,
}

/// Lets two ends punch; `guess` says whether they know what their translators are like.
fn run(a: Kind, b: Kind, seed: u8, guess: bool) -> Run {
    let start = any_instant();
    let mut ends = [End::new(a, 1, seed), End::new(b, 2, seed)];
    let (told_a, seen_a) = ends[0].describe(1, guess);
    let (told_b, seen_b) = ends[1].describe(2, guess);
    let mut punches = [
        Punch::new(start, Side { own: &told_a, peer: &told_b, seen: Some(seen_b), offered: true }),
        Punch::new(start, Side { own: &told_b, peer: &told_a, seen: Some(seen_a), offered: false }),
    ];
    let mut rng = Generator::new(&[seed; 32]);
    // By when they arrive: for whom, from where to where, and what.
    type InTheAir = (usize, SocketAddr, SocketAddr, Vec<u8>);
    let mut air: BTreeMap<(Instant, u64), InTheAir> = BTreeMap::new();
    let (mut sequence, mut now, mut result) = (0, start, Run { found: [None; 2], bytes: 0 });
    for _ in 0..200_000 {
        let mut leaving = Vec::new();
        for (at, punch) in punches.iter_mut().enumerate() {
            punch.poll(now, &mut rng, |to, probe| leaving.push((at, to, probe.to_vec())));
        }
        while let Some((at, to, bytes)) = leaving.pop() {
            let (socket, to) = route::aside_of(to).unwrap_or((0, to));
            result.bytes += bytes.len();
            if let Some(from) = ends[at].out(socket, to) {
                sequence += 1;
                air.insert((now + LATENCY, sequence), (1 - at, from, to, bytes));
            }
        }
        let next = punches.iter().map(Punch::next_timeout).min().expect("two ends");
        now = air.first_key_value().map_or(next, |((at, _), _)| next.min(*at)).max(now);
        if punches.iter().all(|punch| punch.is_over(now)) {
            break;
        }
        while let Some(entry) = air.first_entry().filter(|entry| entry.key().0 <= now) {
            let (at, from, to, bytes) = entry.remove();
            if to.ip() != ends[at].outside {
                continue;
            }
            let Some(socket) = ends[at].inward(to.port(), from) else { continue };
            let from = if socket == 0 { from } else { route::aside(from, socket).expect("IPv4") };
            if let Some(answer) = punches[at].handle(now, from, &bytes) {
                assert_eq!(answer.len(), bytes.len(), "no answer is longer than what it answers");
                let (socket, to) = route::aside_of(from).unwrap_or((0, from));
                if let Some(from) = ends[at].out(socket, to) {
                    sequence += 1;
                    air.insert((now + LATENCY, sequence), (1 - at, from, to, answer.to_vec()));
                }
            }
            if result.found[at].is_none() && punches[at].found().is_some() {
                result.found[at] = Some(now.saturating_duration_since(start));
            }
        }
    }
    result
}

/// Without knowledge of the translators: Ford, Srisuresh and Kegel, 2005.
fn theory(a: Kind, b: Kind) -> bool {
    let blocked = a == Kind::Blocked || b == Kind::Blocked;
    let strict = |kind| matches!(kind, Kind::PortRestricted | Kind::Symmetric);
    let symmetric = a == Kind::Symmetric || b == Kind::Symmetric;
    let hopeless = symmetric && strict(a) && strict(b);
    !blocked && !hopeless
}

#[test]
fn ends_connect_exactly_where_theory_says_so() {
    for a in KINDS {
        for b in KINDS {
            for seed in 0..3 {
                let run = run(a, b, seed, false);
                let connected = run.found.iter().all(Option::is_some);
                assert_eq!(connected, theory(a, b), "{a:?} and {b:?}: {:?}", run.found);
                assert_eq!(run.found[0].is_some(), run.found[1].is_some(), "{a:?} and {b:?}: one side only");
            }
        }
    }
}

#[test]
fn where_it_works_it_takes_two_round_trips() {
    for a in KINDS {
        for b in KINDS.into_iter().filter(|b| theory(a, *b)) {
            let run = run(a, b, 1, false);
            let slowest = run.found.iter().flatten().max().expect("both");
            assert!(*slowest <= LATENCY * 8, "{a:?} and {b:?}: {slowest:?}");
        }
    }
}

#[test]
fn guessing_gets_through_a_symmetric_translator_before_a_strict_one() {
    let got = |a, b| (0..24).filter(|seed| run(a, b, *seed, true).found.iter().all(Option::is_some)).count();
    let (there, back) = (got(Kind::Symmetric, Kind::PortRestricted), got(Kind::PortRestricted, Kind::Symmetric));
    assert!(there >= 21 && back >= 21, "{there} and {back} of 24");
    assert_eq!(got(Kind::Symmetric, Kind::Symmetric), 0, "that would be luck");
}

#[test]
fn what_an_attempt_sends_is_bounded() {
    for (a, b) in
        [(Kind::Blocked, Kind::Blocked), (Kind::Symmetric, Kind::PortRestricted), (Kind::Symmetric, Kind::Symmetric)]
    {
        let run = run(a, b, 1, true);
        assert!(run.bytes <= 2 * 2048 * 48, "{} bytes", run.bytes);
    }
}

#[test]
fn addresses_that_nobody_vouches_for_get_less_than_the_offer_was_long() {
    let (mut own, peer) = (End::new(Kind::Open, 1, 1), End::new(Kind::Open, 2, 1));
    let (told, _) = own.describe(1, false);
    let victim = |i: u8| Candidate { kind: CandidateKind::Reflexive, address: SocketAddr::from(([192, 0, 2, i], 53)) };
    let mut evil = told.clone();
    evil.candidates = (1..=16).map(victim).collect();
    let start = any_instant();
    let seen = Some(SocketAddr::new(peer.outside, 9));
    let mut punch = Punch::new(start, Side { own: &told, peer: &evil, seen, offered: false });
    let mut rng = Generator::new(&[1; 32]);
    let mut to_victims: BTreeMap<SocketAddr, usize> = BTreeMap::new();
    for tick in 0..1000 {
        punch.poll(start + Duration::from_millis(10) * tick, &mut rng, |to, probe| {
            *to_victims.entry(to).or_default() += if Some(to) == seen { 0 } else { probe.len() };
        });
    }
    let all: usize = to_victims.values().sum();
    assert!(all > 0 && all < 576, "{all} bytes for a signal of 576");
}
