//! A fetch in virtual time, from seeders that do what they please.
#![allow(clippy::cast_possible_truncation, reason = "small numbers of tests")]

use proptest::prelude::*;
use zmesh_fec::chunk::{Encoder, REPAIRS};

use super::*;
use crate::seeding::placement::first_symbol;
use crate::seeding::{ChunkId, Class, Shelf};

/// What a seeder does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Manner {
    /// Answers after so many milliseconds.
    Honest(u64),
    /// Says that it does not hold the chunk.
    Absent,
    /// Cannot be connected to.
    Dead,
    /// Takes questions and never answers.
    Silent,
    /// Alters one byte in every so-manieth answer.
    Liar(u64),
    /// Gives symbols of another chunk, all of them in order.
    Another,
    /// Gives right symbols at first and wrong ones from this question on.
    Turncoat(u64),
    /// Answers too little.
    Short,
    /// Is busy so many times, then honest.
    Busy(u64),
    /// Alters every answer, and where it is asked for more than so many answers of one chunk, holds it no more.
    Denier(u64),
    /// Breaks its circuit at every so-manieth question.
    Breaks(u64),
}

fn bytes(class: Class, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..class.len()).map(|_| next()).collect()
}

fn relay(number: usize) -> RelayId {
    RelayId([number as u8 + 1; 16])
}

struct World {
    manners: Vec<Manner>,
    chunks: Vec<(ChunkRef, Vec<u8>, Encoder, Encoder)>,
    asked: Vec<u64>,
    /// Questions about one chunk to one seeder.
    of_chunk: BTreeMap<(usize, [u8; 32]), u64>,
    /// Chunks that are wanted at once.
    at_once: usize,
}

enum Happens {
    Connected(RelayId),
    Lost(RelayId),
    Answer(u64, Vec<u8>),
    Refusal(u64, Refusal),
}

struct Ran {
    done: BTreeMap<usize, Vec<u8>>,
    failed: BTreeMap<usize, Shortage>,
    liars: Vec<RelayId>,
    totals: Totals,
    took: Duration,
}

impl World {
    fn new(manners: &[Manner], classes: &[Class]) -> Self {
        let chunks = classes
            .iter()
            .enumerate()
            .map(|(seed, class)| {
                let chunk = bytes(*class, seed as u64);
                let of = ChunkRef { id: ChunkId::of(&chunk), shelf: Shelf([0; 16]), class: *class };
                let (right, other) = (Encoder::new(&chunk), Encoder::new(&bytes(*class, 1_000 + seed as u64)));
                (of, chunk, right.unwrap(), other.unwrap())
            })
            .collect();
        Self {
            manners: manners.to_vec(),
            chunks,
            asked: vec![0; manners.len()],
            of_chunk: BTreeMap::new(),
            at_once: usize::MAX,
        }
    }

    fn answer(&mut self, ask: &Ask) -> Option<(u64, Happens)> {
        let at = usize::from(ask.seeder.0[0]) - 1;
        self.asked[at] += 1;
        let (_, _, right, other) = self.chunks.iter().find(|chunk| chunk.0.id == ask.run.chunk.id).unwrap();
        let mut symbols = Vec::new();
        right.symbols(ask.run.first, ask.run.count, &mut symbols);
        let count = self.asked[at];
        let lie = |symbols: &mut Vec<u8>| symbols[usize::from(ask.run.count / 2) * SYMBOL_LEN] ^= 0x40;
        let mut delay = 50;
        match self.manners[at] {
            Manner::Honest(millis) => delay = millis,
            Manner::Absent => return Some((50, Happens::Refusal(ask.number, Refusal::Absent))),
            Manner::Dead | Manner::Silent => return None,
            Manner::Liar(every) => {
                if count.is_multiple_of(every) {
                    lie(&mut symbols);
                }
            }
            Manner::Another => {
                symbols.clear();
                other.symbols(ask.run.first, ask.run.count, &mut symbols);
            }
            Manner::Turncoat(from) => {
                if count >= from {
                    lie(&mut symbols);
                }
            }
            Manner::Denier(most) => {
                let of_chunk = self.of_chunk.entry((at, ask.run.chunk.id.0)).or_default();
                *of_chunk += 1;
                if *of_chunk > most {
                    return Some((20, Happens::Refusal(ask.number, Refusal::Absent)));
                }
                lie(&mut symbols);
            }
            Manner::Short => drop(symbols.pop()),
            Manner::Busy(times) => {
                if count <= times {
                    return Some((20, Happens::Refusal(ask.number, Refusal::Busy)));
                }
            }
            Manner::Breaks(every) => {
                if count.is_multiple_of(every) {
                    return Some((20, Happens::Refusal(ask.number, Refusal::Lost)));
                }
            }
        }
        Some((delay, Happens::Answer(ask.number, symbols)))
    }

    /// Fetches every chunk from everybody.
    fn run(mut self) -> Ran {
        let start = crate::timer::any_instant();
        let mut now = start;
        let mut fetch = Fetch::new();
        let mut ran = Ran {
            done: BTreeMap::new(),
            failed: BTreeMap::new(),
            liars: Vec::new(),
            totals: Totals::default(),
            took: Duration::ZERO,
        };
        let mut queue: BTreeMap<(Instant, u64), Happens> = BTreeMap::new();
        let mut order = 0;
        let everybody: Vec<RelayId> = (0..self.manners.len()).map(relay).collect();
        let mut chunks = self.chunks.iter().map(|chunk| chunk.0).enumerate().collect::<Vec<_>>().into_iter();
        for (index, chunk) in chunks.by_ref().take(self.at_once) {
            fetch.want(index, chunk, everybody.clone());
        }
        // Bounded: what does not end by itself is a fault.
        for _ in 0..100_000 {
            let mut idle = true;
            while let Some(seeder) = fetch.poll_connect() {
                order += 1;
                let dead = self.manners[usize::from(seeder.0[0]) - 1] == Manner::Dead;
                let happens = if dead { Happens::Lost(seeder) } else { Happens::Connected(seeder) };
                queue.insert((now + Duration::from_millis(80), order), happens);
            }
            while let Some(ask) = fetch.poll_ask(now) {
                assert!(ask.run.count <= crate::seeding::SYMBOLS_MAX && ask.run.first < REPAIRS);
                order += 1;
                idle = false;
                if let Some((millis, happens)) = self.answer(&ask) {
                    queue.insert((now + Duration::from_millis(millis), order), happens);
                }
            }
            while let Some(attempt) = fetch.poll_attempt() {
                idle = false;
                fetch.handle_judgement(attempt.run());
            }
            while let Some(event) = fetch.poll_event() {
                match event {
                    Event::Done { index, chunk } => assert!(ran.done.insert(index, chunk).is_none(), "{index} twice"),
                    Event::Failed { index, shortage } => assert!(ran.failed.insert(index, shortage).is_none()),
                    Event::Cancel { number } => queue.retain(|_, happens| match happens {
                        Happens::Answer(other, _) | Happens::Refusal(other, _) => *other != number,
                        _ => true,
                    }),
                    Event::Liar { seeder } => ran.liars.push(seeder),
                }
            }
            if self.at_once != usize::MAX
                && fetch.pending() < self.at_once
                && let Some((index, chunk)) = chunks.next()
            {
                fetch.want(index, chunk, everybody.clone());
                continue;
            }
            if fetch.pending() == 0 {
                ran.totals = fetch.totals();
                ran.took = now - start;
                return ran;
            }
            if !idle {
                continue;
            }
            let next = queue.keys().next().map(|(at, _)| *at);
            let until = next.into_iter().chain(fetch.poll_timeout()).min().expect("something is to come");
            now = now.max(until);
            if next == Some(until) {
                let (_, happens) = queue.pop_first().unwrap();
                match happens {
                    Happens::Connected(seeder) => fetch.handle_connected(seeder),
                    Happens::Lost(seeder) => fetch.handle_lost(seeder),
                    Happens::Answer(number, symbols) => fetch.handle_answer(now, number, symbols),
                    Happens::Refusal(number, refusal) => fetch.handle_refusal(now, number, refusal),
                }
            }
            fetch.handle_timeout(now);
        }
        panic!("it does not end");
    }
}

fn fetch(manners: &[Manner], classes: &[Class]) -> Ran {
    let world = World::new(manners, classes);
    let right: Vec<Vec<u8>> = world.chunks.iter().map(|chunk| chunk.1.clone()).collect();
    let ran = world.run();
    for (index, chunk) in &ran.done {
        assert!(*chunk == right[*index], "a wrong chunk got out");
    }
    for liar in &ran.liars {
        let manner = manners[usize::from(liar.0[0]) - 1];
        assert!(
            matches!(manner, Manner::Liar(_) | Manner::Another | Manner::Turncoat(_) | Manner::Denier(_)),
            "{manner:?} did not lie"
        );
    }
    assert_eq!(ran.done.len() + ran.failed.len(), classes.len());
    ran
}

#[test]
fn four_honest_seeders_share_the_work() {
    let ran = fetch(&[Manner::Honest(50); 4], &[Class::Full; 6]);
    assert_eq!(ran.done.len(), 6);
    assert_eq!(ran.totals.attempts, 6);
    // Two symbols more than needed for each chunk, no others.
    assert_eq!(ran.totals.symbols, 6 * 258);
}

#[test]
fn a_slow_seeder_holds_nobody_up() {
    let quick = fetch(&[Manner::Honest(50); 3], &[Class::Full; 8]);
    let ran =
        fetch(&[Manner::Honest(50), Manner::Honest(3_000), Manner::Honest(50), Manner::Honest(50)], &[Class::Full; 8]);
    assert_eq!(ran.done.len(), 8);
    assert!(ran.took < quick.took + Duration::from_millis(1_000), "{:?} instead of {:?}", ran.took, quick.took);
    assert!(ran.totals.symbols < 8 * 258 + 8 * u64::from(BATCH), "{:?}", ran.totals);
}

#[test]
fn silent_dead_and_absent_seeders_are_replaced_by_the_next() {
    let manners = [Manner::Dead, Manner::Silent, Manner::Absent, Manner::Breaks(1), Manner::Short, Manner::Honest(50)];
    let ran = fetch(&manners, &[Class::Sheet, Class::Full]);
    assert_eq!(ran.done.len(), 2);
    assert!(ran.liars.is_empty());
}

#[test]
fn nobody_has_it() {
    let ran = fetch(&[Manner::Absent, Manner::Dead, Manner::Absent, Manner::Another], &[Class::Page]);
    let shortage = ran.failed[&0];
    assert_eq!((shortage.seeders, shortage.absent, shortage.lost, shortage.liars), (4, 2, 1, 1));
    assert_eq!(shortage.need, 16);
}

#[test]
fn a_liar_is_found_at_the_price_of_one_chunk() {
    for liar in [Manner::Liar(1), Manner::Liar(2), Manner::Another, Manner::Turncoat(3)] {
        let ran = fetch(&[Manner::Honest(50), Manner::Honest(60), liar, Manner::Honest(70)], &[Class::Full; 10]);
        assert_eq!(ran.done.len(), 10, "{liar:?}");
        assert_eq!(ran.liars, [relay(2)], "{liar:?}");
        // The chunks under way when the lie came out are spoilt too; after that nothing is.
        let spoilt = ran.totals.attempts - 10;
        assert!(spoilt <= 10 + 2, "{liar:?}: {:?}", ran.totals);
        assert!(ran.totals.symbols <= 2 * 10 * 258, "{liar:?}: {:?}", ran.totals);
    }
}

/// It gives most of each chunk, and once it has to give the whole alone it says that it has it no more. The honest one is slow, so
/// that it is never the one to be tested first.
#[test]
fn a_liar_who_says_that_the_chunk_is_gone_spoils_no_other() {
    let mut world = World::new(&[Manner::Denier(2), Manner::Honest(1_200)], &[Class::Sheet; 8]);
    world.at_once = 1;
    let ran = world.run();
    assert_eq!(ran.done.len(), 8);
    assert!(ran.totals.attempts <= 8 + 1, "{:?}", ran.totals);
    // Saying so is no proof; the wrong symbols that it gave before are, once the honest one has given the chunk.
    assert_eq!(ran.liars, [relay(0)]);
}

#[test]
fn one_honest_seeder_is_enough_among_liars() {
    for honest in 0..4 {
        let mut manners = vec![Manner::Another, Manner::Liar(1), Manner::Turncoat(2), Manner::Liar(2)];
        manners[honest] = Manner::Honest(100);
        let ran = fetch(&manners, &[Class::Full]);
        assert_eq!(ran.done.len(), 1);
        // Each liar costs two attempts and one chunk's symbols at most.
        assert!(ran.totals.attempts <= 1 + 2 * 3, "{:?}", ran.totals);
        assert!(ran.totals.symbols <= 258 * (1 + 3 + 1), "{:?}", ran.totals);
    }
}

#[test]
fn who_is_shunned_is_not_asked() {
    let world = World::new(&[Manner::Honest(1)], &[Class::Note]);
    let mut fetch = Fetch::new();
    fetch.shun(relay(0));
    fetch.want(0, world.chunks[0].0, vec![relay(0)]);
    assert_eq!(fetch.poll_connect(), None);
    assert!(matches!(fetch.poll_event(), Some(Event::Failed { index: 0, shortage }) if shortage.liars == 1));
    assert_eq!(fetch.pending(), 0);
}

#[test]
fn a_circuit_that_was_given_up_can_come_back_any_number_of_times() {
    let world = World::new(&[Manner::Honest(1)], &[Class::Note]);
    let mut fetch = Fetch::new();
    fetch.want(0, world.chunks[0].0, vec![relay(0)]);
    for _ in 0..10 {
        assert_eq!(fetch.poll_connect(), Some(relay(0)));
        assert_eq!(fetch.poll_connect(), None);
        fetch.handle_connected(relay(0));
        let ask = fetch.poll_ask(crate::timer::any_instant()).unwrap();
        fetch.release(relay(0));
        assert_eq!(fetch.poll_event(), Some(Event::Cancel { number: ask.number }));
    }
    assert_eq!(fetch.pending(), 1);
}

#[test]
fn seeders_whose_symbols_coincide_only_cost_more_of_them() {
    let chunk = bytes(Class::Note, 5);
    let of = ChunkRef { id: ChunkId::of(&chunk), shelf: Shelf([0; 16]), class: Class::Note };
    let first = first_symbol(&relay(0), &of.id);
    let runs = [(first, 4), (first + 2, 4), (REPAIRS - 1, 3), (0, 1)]
        .map(|(first, count): (u32, usize)| attempt::Run { first, symbols: vec![0; count * SYMBOL_LEN] });
    assert_eq!(attempt::distinct(runs.iter()), 6 + 3);
}

fn manner() -> impl Strategy<Value = Manner> {
    prop_oneof![
        3 => (1u64..2_000).prop_map(Manner::Honest),
        1 => Just(Manner::Absent),
        1 => Just(Manner::Dead),
        1 => Just(Manner::Silent),
        2 => (1u64..4).prop_map(Manner::Liar),
        1 => Just(Manner::Another),
        1 => (1u64..6).prop_map(Manner::Turncoat),
        1 => Just(Manner::Short),
        1 => (1u64..5).prop_map(Manner::Denier),
        1 => (1u64..12).prop_map(Manner::Busy),
        1 => (1u64..5).prop_map(Manner::Breaks),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// It always ends, no wrong byte gets out, nobody honest is accused, an honest seeder is enough, and the cost is bounded.
    #[test]
    fn whatever_seeders_do(
        manners in prop::collection::vec(manner(), 1..9),
        classes in prop::collection::vec(prop::sample::select(Class::ALL.to_vec()), 1..5),
    ) {
        let ran = fetch(&manners, &classes);
        let honest = manners.iter().any(|manner| matches!(manner, Manner::Honest(_)));
        if honest {
            prop_assert_eq!(ran.done.len(), classes.len(), "{:?}", ran.failed);
        }
        let liars = manners.iter().filter(|m| matches!(m, Manner::Liar(_) | Manner::Another | Manner::Turncoat(_)));
        let liars = liars.count() as u64;
        let chunks = classes.len() as u64;
        prop_assert!(ran.totals.attempts <= chunks * (2 + 3 * liars), "{:?}", ran.totals);
        let goal: u64 = classes.iter().map(|class| u64::from(class.sources()) + 8).sum();
        let most = goal * (2 + manners.len() as u64 + liars);
        prop_assert!(ran.totals.symbols <= most, "{:?} over {}", ran.totals, most);
    }
}
