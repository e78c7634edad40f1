use super::*;
use crate::call::MESSAGE_LEN;
use proptest::prelude::*;
use std::collections::BTreeMap;

const SLOT: Duration = Duration::from_millis(20);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn frame(counter: u64) -> Message {
    let mut message = [7; MESSAGE_LEN];
    message[0] = 3;
    message[1..9].copy_from_slice(&counter.to_be_bytes());
    message
}

/// A path that a leg takes: how long it takes each way, what share it loses, and whether it is dead.
#[derive(Clone, Copy)]
struct Way {
    delay: Duration,
    loss: f64,
    dead: bool,
}

impl Way {
    fn delay(delay: Duration) -> Self {
        Self { delay, loss: 0.0, dead: false }
    }
}

/// One side, with what it was given.
struct Side {
    legs: Legs,
    counter: u64,
    /// When each message of the call came, by counter.
    heard: BTreeMap<u64, Duration>,
    twice: u64,
    events: Vec<(Duration, LegEvent)>,
    sent: BTreeMap<u8, u64>,
}

impl Side {
    fn new(legs: Legs) -> Self {
        Self { legs, counter: 0, heard: BTreeMap::new(), twice: 0, events: Vec::new(), sent: BTreeMap::new() }
    }

    fn moves(&self) -> Vec<(LegId, LegId, Cause)> {
        let moved = |(_, event): &(Duration, LegEvent)| match *event {
            LegEvent::Moved { from, to, cause } => Some((from, to, cause)),
            _ => None,
        };
        self.events.iter().filter_map(moved).collect()
    }

    /// The longest time without a message that is new, between `from` and `until`.
    fn longest_gap(&self, from: Duration, until: Duration) -> Duration {
        let mut times: Vec<_> = self.heard.values().copied().filter(|at| (from..until).contains(at)).collect();
        times.sort_unstable();
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(until - from)
    }
}

/// Two sides and the paths between them; each new leg takes `way`.
struct Pair {
    now: Duration,
    sides: [Side; 2],
    ways: BTreeMap<u8, Way>,
    way: Way,
    under_way: Vec<(Duration, usize, Carried)>,
    dice: u64,
    /// Whoever carries a dead leg repeats the last message that came through.
    repeats: bool,
    last: BTreeMap<(usize, u8), Vec<u8>>,
    /// Circuits of new legs cannot be built.
    closed: bool,
    offers: u32,
}

enum Carried {
    Message(LegId, Vec<u8>),
    Aside(Vec<u8>),
    Joined(LegId),
    Gone(LegId),
}

impl Pair {
    fn new(caller: Mode, answerer: Mode, first: Way, next: Way) -> Self {
        let sides = [Side::new(Legs::caller(caller)), Side::new(Legs::answerer(answerer, Seed::new([3; 32])))];
        let ways = BTreeMap::from([(0, first)]);
        let (now, under_way) = (Duration::ZERO, Vec::new());
        let (repeats, last) = (false, BTreeMap::new());
        let mut pair =
            Self { now, sides, ways, way: next, under_way, dice: 1, repeats, last, closed: false, offers: 0 };
        for side in &mut pair.sides {
            side.legs.connected(Duration::ZERO);
        }
        pair
    }

    fn standby() -> Self {
        Self::new(Mode::Standby, Mode::Standby, Way::delay(ms(60)), Way::delay(ms(70)))
    }

    fn chance(&mut self) -> f64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) as f64 / (1u64 << 31) as f64
    }

    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.slot();
            let end = self.now + SLOT;
            for at in 1..=20 {
                self.deliver(end - SLOT + ms(at));
            }
            self.now = end;
        }
    }

    fn slot(&mut self) {
        for at in [0, 1] {
            let message = frame(self.sides[at].counter);
            self.sides[at].counter += 1;
            let out: Vec<_> = self.sides[at].legs.transmit(self.now, &message).collect();
            for (leg, bytes) in out {
                *self.sides[at].sent.entry(leg.0).or_default() += 1;
                let Some(way) = self.ways.get(&leg.0).copied() else { continue };
                if way.dead || self.chance() < way.loss {
                    if let Some(old) = self.last.get(&(at, leg.0)).filter(|_| self.repeats).cloned() {
                        self.under_way.push((self.now + way.delay, 1 - at, Carried::Message(leg, old)));
                    }
                    continue;
                }
                self.last.insert((at, leg.0), bytes.clone());
                self.under_way.push((self.now + way.delay, 1 - at, Carried::Message(leg, bytes)));
            }
            while let Some(said) = self.sides[at].legs.poll_aside() {
                self.under_way.push((self.now + ms(80), 1 - at, Carried::Aside(said)));
            }
            while let Some(step) = self.sides[at].legs.poll_step() {
                self.step(at, step);
            }
            while let Some(event) = self.sides[at].legs.poll_event() {
                self.sides[at].events.push((self.now, event));
            }
        }
    }

    fn step(&mut self, at: usize, step: Step) {
        match step {
            Step::Offer(leg) => {
                self.offers += 1;
                if self.closed {
                    return self.sides[at].legs.failed(self.now, leg);
                }
                self.ways.insert(leg.0, self.way);
                self.sides[at].legs.opened(self.now, leg, [1; 16], [leg.0; 16], Reach::default());
            }
            Step::Join { leg, cookie, .. } => {
                assert_eq!(cookie, [leg.0; 16]);
                self.under_way.push((self.now + ms(200), at, Carried::Joined(leg)));
            }
            // What is closed is gone for the other side, too, a moment later.
            Step::Close(leg) => {
                self.ways.remove(&leg.0);
                self.under_way.push((self.now + ms(60), 1 - at, Carried::Gone(leg)));
            }
        }
    }

    fn deliver(&mut self, now: Duration) {
        let (due, later) = std::mem::take(&mut self.under_way).into_iter().partition(|(at, ..)| *at <= now);
        self.under_way = later;
        let due: Vec<(Duration, usize, Carried)> = due;
        for (_, at, carried) in due {
            let side = &mut self.sides[at];
            match carried {
                Carried::Message(leg, bytes) => {
                    if let Some(message) = side.legs.handle_message(now, leg, &bytes) {
                        let counter = counter_of(&message).expect("a frame");
                        side.twice += u64::from(side.heard.insert(counter, now).is_some());
                    }
                }
                Carried::Aside(said) => side.legs.handle_aside(now, &said),
                Carried::Joined(leg) => side.legs.opened(now, leg, [1; 16], [0; 16], Reach::default()),
                Carried::Gone(leg) => side.legs.lost(now, leg),
            }
        }
    }
}

#[test]
fn a_standby_comes_up_and_carries_every_third_message() {
    let mut pair = Pair::standby();
    pair.run(secs(2));
    for side in &pair.sides {
        assert!(side.legs.has_standby(), "{:?}", side.legs);
        assert_eq!(side.legs.active(), LegId(0));
        assert!(matches!(side.events[..], [(_, LegEvent::Ready { leg: LegId(1), .. })]), "{:?}", side.events);
    }
    let before = pair.sides[0].sent.clone();
    pair.run(secs(6));
    let sent = |leg| pair.sides[0].sent[&leg] - before[&leg];
    assert_eq!((sent(0), sent(1)), (300, 100), "constant rates");
    for side in &pair.sides {
        assert_eq!(side.twice, 0);
        assert_eq!(side.longest_gap(secs(0), secs(8)), SLOT, "no gap from the beginning on");
    }
}

#[test]
fn a_dead_leg_costs_three_frames_and_is_replaced() {
    for phase in 0..12 {
        let mut pair = Pair::standby();
        pair.run(secs(3) + SLOT * phase);
        let killed = pair.now;
        pair.ways.get_mut(&0).expect("the first leg").dead = true;
        pair.run(secs(8));
        for side in &pair.sides {
            assert_eq!(side.moves(), [(LegId(0), LegId(1), Cause::Silent)]);
            let gap = side.longest_gap(killed, pair.now);
            assert!(gap <= ms(90), "phase {phase}: {gap:?}");
            assert!(side.events.iter().any(|(_, event)| matches!(event, LegEvent::Gone { leg: LegId(0), .. })));
            assert!(side.legs.has_standby(), "a third leg stands by");
            assert_eq!(side.twice, 0);
        }
    }
}

#[test]
fn a_dead_leg_that_repeats_what_it_carried_is_dead() {
    let mut pair = Pair::standby();
    pair.run(secs(3));
    let killed = pair.now;
    pair.ways.get_mut(&0).expect("the first leg").dead = true;
    pair.repeats = true;
    pair.run(secs(8));
    for side in &pair.sides {
        assert_eq!(side.moves(), [(LegId(0), LegId(1), Cause::Silent)]);
        assert!(side.longest_gap(killed, pair.now) <= ms(90));
        assert_eq!(side.twice, 0);
    }
}

#[test]
fn a_dead_standby_is_replaced_and_nothing_moves() {
    let mut pair = Pair::standby();
    pair.run(secs(3));
    pair.ways.get_mut(&1).expect("the second leg").dead = true;
    pair.run(secs(8));
    for side in &pair.sides {
        assert!(side.moves().is_empty(), "{:?}", side.events);
        assert!(side.legs.has_standby());
        assert_eq!(side.longest_gap(secs(0), secs(11)), SLOT);
    }
}

#[test]
fn doubled_legs_leave_no_gap_at_all() {
    let mut pair = Pair::new(Mode::Doubled, Mode::Doubled, Way::delay(ms(60)), Way::delay(ms(60)));
    pair.run(secs(3));
    let killed = pair.now;
    pair.ways.get_mut(&0).expect("the first leg").dead = true;
    pair.run(secs(8));
    for side in &pair.sides {
        assert_eq!(side.longest_gap(killed - SLOT, pair.now), SLOT);
        assert_eq!(side.twice, 0);
    }
}

#[test]
fn a_leg_that_loses_more_is_left_once() {
    let mut pair = Pair::standby();
    pair.run(secs(3));
    pair.ways.get_mut(&0).expect("the first leg").loss = 0.35;
    pair.run(secs(60));
    for side in &pair.sides {
        let moves = side.moves();
        assert!((1..=2).contains(&moves.len()), "{moves:?}");
        assert!(side.events.iter().any(|(_, event)| matches!(event, LegEvent::Gone { leg: LegId(0), .. })), "given up");
    }
}

#[test]
fn a_leg_that_grows_slow_is_left() {
    let mut pair = Pair::standby();
    pair.run(secs(3));
    pair.ways.get_mut(&0).expect("the first leg").delay = ms(190);
    pair.run(secs(30));
    for side in &pair.sides {
        assert_eq!(side.moves().len(), 1, "{:?}", side.events);
        assert_eq!(side.legs.active(), LegId(1));
    }
}

#[test]
fn loss_that_both_legs_share_moves_nothing_for_long() {
    // 10 % of each, at random: as an access link does it.
    let lossy = Way { loss: 0.1, ..Way::delay(ms(60)) };
    let mut pair = Pair::new(Mode::Standby, Mode::Standby, lossy, lossy);
    pair.run(secs(300));
    for side in &pair.sides {
        assert!(side.moves().len() <= 4, "{:?}", side.moves());
        let gone = side.events.iter().filter(|(_, event)| matches!(event, LegEvent::Gone { .. })).count();
        assert_eq!(gone, 0, "{:?}", side.events);
    }
}

#[test]
fn a_leg_that_comes_and_goes_makes_nothing_flap() {
    let mut pair = Pair::standby();
    pair.run(secs(3));
    // One second dead, one second well, for two minutes.
    for _ in 0..60 {
        pair.ways.entry(0).and_modify(|way| way.dead = true);
        pair.run(secs(1));
        pair.ways.entry(0).and_modify(|way| way.dead = false);
        pair.run(secs(1));
    }
    for side in &pair.sides {
        assert!(side.moves().len() <= 3, "{:?}", side.moves());
    }
}

#[test]
fn whoever_kills_legs_gets_few_new_choices() {
    let mut pair = Pair::standby();
    pair.run(secs(3));
    for _ in 0..600 {
        // Every standby dies as soon as it is there.
        let active = pair.sides[1].legs.active().0;
        for (leg, way) in &mut pair.ways {
            way.dead = *leg != active;
        }
        pair.run(secs(1));
    }
    assert!(pair.offers <= 6 + 10, "{} offers in ten minutes", pair.offers);
    assert!(pair.sides[1].events.iter().any(|(_, event)| *event == LegEvent::BudgetSpent));
    assert_eq!(pair.sides[0].longest_gap(secs(1), pair.now), SLOT, "the call itself goes on");
}

#[test]
fn circuits_that_cannot_be_built_are_tried_more_and_more_rarely() {
    let mut pair = Pair::standby();
    pair.closed = true;
    pair.run(secs(120));
    assert!(pair.offers <= 8, "{}", pair.offers);
    assert_eq!(pair.sides[0].longest_gap(secs(0), secs(120)), SLOT);
}

#[test]
fn one_side_that_wants_one_leg_gets_one() {
    for (caller, answerer) in [(Mode::Single, Mode::Standby), (Mode::Standby, Mode::Single)] {
        let mut pair = Pair::new(caller, answerer, Way::delay(ms(60)), Way::delay(ms(60)));
        pair.run(secs(5));
        assert_eq!(pair.offers, 0);
        assert!(pair.sides.iter().all(|side| !side.legs.has_standby() && side.twice == 0));
        assert!(pair.sides.iter().all(|side| side.longest_gap(secs(0), secs(5)) == SLOT));
    }
}

#[test]
fn messages_are_taken_once_and_from_their_own_leg() {
    let mut pair = Pair::standby();
    pair.run(secs(3));
    let now = pair.now;
    let out: Vec<_> = pair.sides[0].legs.transmit(now, &frame(9_000)).collect();
    assert_eq!(out.len(), 2, "a multiple of three goes by both");
    let answerer = &mut pair.sides[1].legs;
    let (first, second) = (&out[0], &out[1]);
    assert!(answerer.handle_message(now, second.0, &first.1).is_none(), "moved to the other leg");
    assert!(answerer.handle_message(now, first.0, &first.1).is_some());
    assert!(answerer.handle_message(now, first.0, &first.1).is_none(), "repeated");
    assert!(answerer.handle_message(now, second.0, &second.1).is_none(), "the copy");
    assert!(answerer.handle_message(now, LegId(7), &second.1).is_none(), "no such leg");
    assert!(answerer.handle_message(now + secs(1), LegId(0), &frame(9_001)).is_none(), "without keys, too late");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes, in whatever order: nothing panics, queues stay bounded, and nothing is delivered twice.
    #[test]
    fn anything_may_happen(seed in any::<u64>(), ops in prop::collection::vec((0u8..8, any::<u8>(), any::<u16>()), 1..300)) {
        let mut pair = Pair::standby();
        pair.dice = seed;
        for (op, number, value) in ops {
            let now = pair.now;
            let side = usize::from(number & 1);
            let leg = LegId(number >> 1 & 7);
            match op {
                0 => pair.run(SLOT * u32::from(value % 50)),
                1 => pair.sides[side].legs.lost(now, leg),
                2 => pair.sides[side].legs.failed(now, leg),
                3 => pair.sides[side].legs.opened(now, leg, [1; 16], [leg.0; 16], Reach::default()),
                4 => pair.sides[side].legs.handle_aside(now, &value.to_be_bytes()),
                5 => {
                    let offer = Agree::Offer { leg, relay: [2; 16], cookie: [leg.0; 16] };
                    pair.sides[side].legs.handle_aside(now, &offer.encode());
                }
                6 => { pair.sides[side].legs.handle_message(now, leg, &[number; LEG_MESSAGE_LEN]); }
                _ => { pair.ways.entry(leg.0).and_modify(|way| way.dead = value & 1 == 0); }
            }
            for side in &pair.sides {
                prop_assert_eq!(side.twice, 0);
                prop_assert!(side.legs.asides.len() <= QUEUE_MAX && side.legs.events.len() <= QUEUE_MAX);
            }
        }
    }
}
