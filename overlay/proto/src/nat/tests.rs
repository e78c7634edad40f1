//! Two ends behind simulated translators of each kind, in virtual time: they connect exactly where theory says so.

mod late;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use rand_core::Rng;

use super::candidate::{Candidate, CandidateKind};
use super::exchange::Description;
use super::observe::{Filtering, Mapping};
use super::probe::{Probe, ProbeKey, Said};
use super::punch::{FREE, GUESS_EVERY, MAX_PROBES, Punch, Side};
use crate::link::route;
use crate::random::Generator;
use crate::timer::any_instant;

const LATENCY: Duration = Duration::from_millis(25);
const RELAY: ([u8; 4], u16) = ([203, 0, 113, 1], 9000);
const MAPPINGS: usize = 4096;
/// What stands for the flow, at either end.
const FLOW: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x0100, 0, 0, 0, 0, 1, 0, 7)), 1);
/// Bytes of a signal's datagram, of a probe, and of one that pays, by IPv4.
const SIGNAL: u32 = 576 + 28;
const PROBE: u32 = 48 + 28;
const PAYING: u32 = 48 + 16 + 28;

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
    /// Asks of each side, and probes with which it paid for the other's.
    probes: [u32; 2],
    paid: [u32; 2],
}

fn side<'a>(own: &'a Description, peer: &'a Description, seen: SocketAddr, offered: bool) -> Side<'a> {
    Side { own, peer, seen: Some(seen), flow: Some(FLOW), anywhere: true, offered }
}

/// Lets two ends punch; `guess` says whether they know what their translators are like.
fn run(a: Kind, b: Kind, seed: u8, guess: bool) -> Run {
    let start = any_instant();
    let mut ends = [End::new(a, 1, seed), End::new(b, 2, seed)];
    let (told_a, seen_a) = ends[0].describe(1, guess);
    let (told_b, seen_b) = ends[1].describe(2, guess);
    let mut punches = [
        Punch::new(start, side(&told_a, &told_b, seen_b, true)),
        Punch::new(start, side(&told_b, &told_a, seen_a, false)),
    ];
    let mut rng = Generator::new(&[seed; 32]);
    // By when they arrive: for whom, from where to where, and what.
    type InTheAir = (usize, SocketAddr, SocketAddr, Vec<u8>);
    let mut air: BTreeMap<(Instant, u64), InTheAir> = BTreeMap::new();
    let (mut sequence, mut now, mut result) = (0, start, Run { found: [None; 2], probes: [0; 2], paid: [0; 2] });
    for _ in 0..200_000 {
        let mut leaving = Vec::new();
        for (at, punch) in punches.iter_mut().enumerate() {
            punch.poll(now, true, &mut rng, |to, probe| leaving.push((at, to, probe.to_vec())));
        }
        while let Some((at, to, bytes)) = leaving.pop() {
            if to == FLOW {
                // By the relay between, for whom no translator is in the way.
                result.paid[at] += 1;
                sequence += 1;
                air.insert((now + LATENCY * 2, sequence), (1 - at, FLOW, FLOW, bytes));
                continue;
            }
            result.probes[at] += 1;
            let (socket, to) = route::aside_of(to).unwrap_or((0, to));
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
            if to == FLOW {
                assert!(punches[at].handle(now, FLOW, &bytes).is_none(), "what pays is not answered");
                continue;
            }
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
        for at in 0..2 {
            assert!(run.probes[at] <= MAX_PROBES && run.paid[at] <= MAX_PROBES, "{:?} {:?}", run.probes, run.paid);
            assert!(run.probes[at] <= FREE + run.paid[1 - at], "{:?} for {:?}", run.probes, run.paid);
        }
    }
}

/// The same with another translator and other addresses.
fn other(told: &Description, mapping: Mapping, candidates: Vec<Candidate>) -> Description {
    Description { tag: told.tag, secret: told.secret, mapping, filtering: told.filtering, candidates }
}

/// What a relay between has a node do by sending it an offer of its own, in which everything is the victim's: the attack,
/// with `paid` probes by the flow. Gives the probes that the victim gets.
fn attack(own: Mapping, peer: Mapping, paid: u32) -> u32 {
    let mut end = End::new(Kind::Open, 1, 1);
    let (mut told, _) = end.describe(1, false);
    told.mapping = own;
    let victim = |i: u16| Candidate { kind: CandidateKind::Reflexive, address: ([192, 0, 2, 1], 53 + i).into() };
    let stream = Candidate { kind: CandidateKind::Stream, address: ([192, 0, 2, 1], 8443).into() };
    told.candidates.push(stream);
    let evil = other(&told, peer, std::iter::once(stream).chain((0..15).map(victim)).collect());
    let start = any_instant();
    let mut punch = Punch::new(start, side(&told, &evil, ([192, 0, 2, 1], 53).into(), false));
    let (key, _) = ProbeKey::pair(&evil.secret, &told.secret);
    let pays = Probe { said: Said::Paid, tag: told.tag, transaction: 1, relay: [0; 16] }.seal(&key);
    let mut rng = Generator::new(&[1; 32]);
    let mut hit = 0;
    for tick in 0..10_000 {
        let now = start + Duration::from_millis(1) * tick;
        // All at once, and the same one again and again.
        if tick >= 800 && tick < 800 + paid {
            assert!(punch.handle(now, FLOW, &pays).is_none());
        }
        punch.poll(now, true, &mut rng, |to, _| {
            let (_, to) = route::aside_of(to).unwrap_or((0, to));
            hit += u32::from(to != FLOW && to.ip() == IpAddr::from([192, 0, 2, 1]));
        });
        // The first datagram of TCP is shorter than a probe: 60 bytes with its headers, by IPv4.
        hit += u32::from(punch.take_connect().is_some());
    }
    hit
}

#[test]
fn nobody_gets_more_than_was_sent_for_it() {
    let fixed = [Mapping::Open, Mapping::Independent, Mapping::Unknown];
    for (own, peer) in fixed.map(|fixed| (fixed, Mapping::Dependent)).into_iter().chain([
        (Mapping::Dependent, Mapping::Open),
        (Mapping::Dependent, Mapping::Dependent),
        (Mapping::Unknown, Mapping::Unknown),
    ]) {
        for paid in [0, 1, 100, 1024, 5000] {
            let hit = attack(own, peer, paid);
            assert!(hit > 0, "the offer is taken up");
            let (cost, harm) = (SIGNAL + paid * PAYING, hit * PROBE);
            assert!(harm < cost, "{harm} bytes for {cost}: {own:?} and {peer:?}, {paid}");
        }
    }
}

#[test]
fn asks_that_seem_to_come_from_a_victim_are_answered_and_no_more() {
    let mut end = End::new(Kind::Open, 1, 1);
    let (told, _) = end.describe(1, false);
    let evil = other(&told, Mapping::Dependent, Vec::new());
    let (start, victim) = (any_instant(), SocketAddr::from(([192, 0, 2, 1], 53)));
    let mut punch = Punch::new(start, side(&told, &evil, victim, false));
    let (key, _) = ProbeKey::pair(&evil.secret, &told.secret);
    let mut rng = Generator::new(&[1; 32]);
    let (mut asked, mut answered) = (0, 0);
    for at in 0..1000u16 {
        let now = start + Duration::from_millis(at.into());
        let ask = Probe { said: Said::Ask, tag: told.tag, transaction: at.into(), relay: [0; 16] }.seal(&key);
        answered += u32::from(punch.handle(now, ([192, 0, 2, 1], 1000 + at).into(), &ask).is_some());
        punch.poll(now, true, &mut rng, |to, _| asked += u32::from(to != FLOW));
    }
    assert_eq!((answered, asked), (1000, FREE));
}

#[test]
fn what_is_guessed_is_paid_for_and_only_one_attempt_guesses() {
    let guesses = |may_guess: bool, paying: bool| {
        let mut end = End::new(Kind::Open, 1, 1);
        let (mut told, _) = end.describe(1, false);
        told.mapping = Mapping::Independent;
        let peer = other(&told, Mapping::Dependent, Vec::new());
        let start = any_instant();
        let mut punch = Punch::new(start, side(&told, &peer, ([192, 0, 2, 1], 53).into(), false));
        let (key, _) = ProbeKey::pair(&peer.secret, &told.secret);
        let pays = Probe { said: Said::Paid, tag: told.tag, transaction: 1, relay: [0; 16] }.seal(&key);
        let mut rng = Generator::new(&[1; 32]);
        let (mut guessed, mut now, mut held) = (0, start, 0);
        while !punch.is_over(now) {
            if paying {
                punch.handle(now, FLOW, &pays);
            }
            punch.poll(now, may_guess, &mut rng, |to, _| guessed += u32::from(to != FLOW && to.port() != 53));
            held += u32::from(punch.is_guessing());
            now += GUESS_EVERY;
        }
        (guessed, held)
    };
    let (guessed, held) = guesses(true, true);
    assert!((900..=1024).contains(&guessed) && held >= guessed, "{guessed}");
    assert_eq!(guesses(false, true), (0, 0), "another attempt of this node is guessing");
    let (guessed, held) = guesses(true, false);
    assert!(guessed <= FREE && held <= 126, "who does not pay holds the turn for a second: {guessed}, {held}");
}

#[test]
fn addresses_that_are_not_public_are_left_alone() {
    let mut end = End::new(Kind::Open, 1, 1);
    let (told, _) = end.describe(1, false);
    let named = ["127.0.0.1:53", "192.168.1.1:53", "224.0.0.1:53", "[fe80::1]:53", "100.64.0.1:53", "5.44.0.1:53"];
    let named = named.map(|at| Candidate { kind: CandidateKind::Host, address: at.parse().expect("an address") });
    let peer = other(&told, Mapping::Open, named.to_vec());
    let own = other(&told, Mapping::Open, Vec::new());
    let (start, mut rng) = (any_instant(), Generator::new(&[1; 32]));
    let home = Candidate { kind: CandidateKind::Host, address: ([192, 168, 1, 5], 9).into() };
    let neighbour = other(&told, Mapping::Open, vec![home]);
    for (own, expected) in [(&own, &named[5..]), (&neighbour, &[named[1], named[4], named[5]][..])] {
        let side = Side { anywhere: false, ..side(own, &peer, ([10, 0, 0, 1], 9).into(), false) };
        let mut punch = Punch::new(start, Side { seen: None, ..side });
        let mut sent = BTreeSet::new();
        punch.poll(start, true, &mut rng, |to, _| {
            sent.insert(to);
        });
        sent.remove(&FLOW);
        assert_eq!(sent, expected.iter().map(|candidate| candidate.address).collect());
    }
}

/// Two ends of which the first one's UDP is blocked, and where their TCP comes from.
fn by_stream(mapping: Mapping) -> [Description; 2] {
    let told = |tag: u32, mapping: Mapping, address: ([u8; 4], u16)| Description {
        tag,
        secret: [u8::try_from(tag).expect("small"); 32],
        mapping,
        filtering: Filtering::Unknown,
        candidates: vec![Candidate { kind: CandidateKind::Stream, address: address.into() }],
    };
    [told(1, Mapping::Unknown, ([198, 51, 100, 1], 4001)), told(2, mapping, ([198, 51, 100, 2], 4002))]
}

#[test]
fn tcp_is_opened_by_both_where_udp_is_blocked() {
    for mapping in [Mapping::Unknown, Mapping::Open, Mapping::Independent] {
        let start = any_instant();
        let told = by_stream(mapping);
        let side = |at: usize| Side { seen: None, ..side(&told[at], &told[1 - at], RELAY.into(), at == 0) };
        let mut punches = [Punch::new(start, side(0)), Punch::new(start, side(1))];
        let mut rng = Generator::new(&[1; 32]);
        let mut trying: [Option<Instant>; 2] = [None; 2];
        let (mut now, mut air) = (start, Vec::new());
        let mut met = None;
        while punches.iter().any(|punch| punch.found().is_none()) {
            assert!(now < start + Duration::from_secs(2), "{mapping:?}");
            for (at, punch) in punches.iter_mut().enumerate() {
                punch.poll(now, true, &mut rng, |to, probe| air.push((at, to, probe)));
                if let Some(to) = punch.take_connect() {
                    assert_eq!(to, told[1 - at].candidates[0].address);
                    trying[at] = Some(now);
                }
            }
            // They meet while both try, and a machine without a translator tries first.
            if met.is_none()
                && let [Some(a), Some(b)] = trying
                && a.max(b) < a.min(b) + super::punch::STREAM_PATIENCE
            {
                assert!(mapping != Mapping::Open || b < a, "what came to the open one earlier would be refused");
                met = Some(now);
                for (at, punch) in punches.iter_mut().enumerate() {
                    punch.connected(now, route::stream(7, told[1 - at].candidates[0].address));
                }
            }
            for (at, to, probe) in std::mem::take(&mut air) {
                if let Some(answer) = punches[1 - at].handle(now, arrived(at, to, &told), &probe) {
                    assert!(punches[at].handle(now, to, &answer).is_none());
                }
            }
            now += Duration::from_millis(10);
        }
        for (at, punch) in punches.iter().enumerate() {
            let stands = route::stream(7, told[1 - at].candidates[0].address);
            assert_eq!(punch.found(), Some((stands, super::punch::Method::Stream)));
        }
    }
}

/// Where something of side `at` seems to come from at the other: by the flow, or the connection.
fn arrived(at: usize, to: SocketAddr, told: &[Description; 2]) -> SocketAddr {
    if to == FLOW { FLOW } else { route::stream(7, told[at].candidates[0].address) }
}

#[test]
fn tcp_goes_to_no_service_and_no_private_network() {
    let connects = |own: &Description, peer: &Description| {
        let side = Side { anywhere: false, seen: None, ..side(own, peer, RELAY.into(), true) };
        let mut punch = Punch::new(any_instant(), side);
        punch.poll(any_instant() + Duration::from_secs(3), true, &mut Generator::new(&[1; 32]), |_, _| {});
        punch.take_connect().is_some()
    };
    let [own, peer] = by_stream(Mapping::Independent);
    let at = |address: &str| Candidate { kind: CandidateKind::Stream, address: address.parse().expect("an address") };
    let with = |address: &str| other(&peer, Mapping::Independent, vec![at(address)]);
    assert!(connects(&own, &with("5.44.0.1:4000")));
    for no in ["5.44.0.1:443", "5.44.0.1:22", "192.168.1.1:8080", "127.0.0.1:8080", "[2a00::1]:4000"] {
        assert!(!connects(&own, &with(no)), "{no}");
    }
    let mute = other(&own, Mapping::Unknown, Vec::new());
    assert!(!connects(&mute, &with("5.44.0.1:4000")), "the peer would not know where to");
}
