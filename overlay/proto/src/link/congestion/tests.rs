//! The controller over a model of a bottleneck, in virtual time.

use std::collections::BTreeMap;

use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};

use super::*;
use crate::link::clock::MICRO;
use crate::link::received::Received;
use crate::link::sent::Sent;
use crate::wire::frame::Feedback;

/// A path: one bottleneck with a queue, equal delays there and back.
#[derive(Clone, Copy)]
struct Path {
    /// Bytes per second.
    rate: u64,
    /// Round trip without queue.
    base: Nanos,
    /// Bytes that the queue holds.
    buffer: u64,
    /// Datagrams lost at random, in thousandths, in both directions.
    loss: u32,
    /// The receiver's clock runs fast by so many millionths.
    drift: u64,
}

impl Path {
    fn new(rate: u64, base: Nanos) -> Self {
        Self { rate, base, buffer: u64::MAX, loss: 0, drift: 0 }
    }
}

enum Event {
    Arrive { flow: usize, counter: u64 },
    Report { flow: usize, feedback: Feedback },
}

struct Flow {
    congestion: Congestion,
    sent: Sent,
    received: Received,
    start: Nanos,
    arrived: u64,
}

struct World {
    path: Path,
    now: Nanos,
    busy_until: Nanos,
    flows: Vec<Flow>,
    events: BTreeMap<(Nanos, u64), Event>,
    sequence: u64,
    rng: ChaCha12Rng,
    queue: Vec<Nanos>,
    /// Nothing passes in this span.
    outage: std::ops::Range<Nanos>,
    /// Bytes per second that each flow offers at most.
    offered: Option<u64>,
    offered_sent: u64,
}

impl World {
    fn new(path: Path, starts: &[Nanos]) -> Self {
        let flow = |start: &Nanos| Flow {
            congestion: Congestion::new(*start),
            sent: Sent::default(),
            received: Received::default(),
            start: *start,
            arrived: 0,
        };
        Self {
            path,
            now: 0,
            busy_until: 0,
            flows: starts.iter().map(flow).collect(),
            events: BTreeMap::new(),
            sequence: 0,
            rng: ChaCha12Rng::from_seed([5; 32]),
            queue: Vec::new(),
            outage: 0..0,
            offered: None,
            offered_sent: 0,
        }
    }

    fn at(&mut self, time: Nanos, event: Event) {
        self.sequence += 1;
        self.events.insert((time, self.sequence), event);
    }

    fn is_lost(&mut self) -> bool {
        self.rng.next_u32() % 1000 < self.path.loss || self.outage.contains(&self.now)
    }

    fn may_offer(&self) -> bool {
        self.offered.is_none_or(|rate| self.offered_sent * SECOND / rate <= self.now)
    }

    fn send_all(&mut self, flow: usize) {
        while self.now >= self.flows[flow].start && self.flows[flow].congestion.can_send(self.now) && self.may_offer() {
            let state = &mut self.flows[flow];
            let counter = state.sent.next_counter();
            state.congestion.on_dropped(state.sent.note(self.now, 1200, true));
            state.congestion.on_sent(self.now, DATAGRAM, counter + 1);
            self.offered_sent += DATAGRAM;
            let waiting = self.busy_until.saturating_sub(self.now);
            self.queue.push(waiting);
            let full = waiting * self.path.rate / SECOND + DATAGRAM > self.path.buffer;
            if full || self.is_lost() {
                continue;
            }
            self.busy_until = self.busy_until.max(self.now) + DATAGRAM * SECOND / self.path.rate;
            self.at(self.busy_until + self.path.base / 2, Event::Arrive { flow, counter });
        }
    }

    fn report(&mut self, flow: usize) {
        let clock = self.now + self.now / 1_000_000 * self.path.drift;
        let state = &mut self.flows[flow];
        let due = state.received.due(state.congestion.rtt()).is_some_and(|due| due <= self.now);
        if due || state.received.overdue() {
            let mut feedback = state.received.report(self.now);
            feedback.arrived = feedback.arrived.wrapping_add(super::super::clock::micros32(clock - self.now));
            if !self.is_lost() {
                self.at(self.now + self.path.base / 2, Event::Report { flow, feedback });
            }
        }
    }

    /// Jumps from event to event until `end`.
    fn run(&mut self, end: Nanos) {
        for _ in 0..20_000_000u64 {
            for flow in 0..self.flows.len() {
                self.report(flow);
                if self.flows[flow].congestion.blackout_at().is_some_and(|at| at <= self.now) {
                    let next = self.flows[flow].sent.next_counter();
                    self.flows[flow].congestion.on_blackout(self.now, next);
                    self.flows[flow].sent.give_up();
                }
                self.send_all(flow);
            }
            let now = self.now;
            let timers = self.flows.iter().flat_map(|flow| {
                let start = (flow.start > now).then_some(flow.start);
                [
                    start,
                    flow.congestion.blackout_at(),
                    flow.congestion.paced_until(now),
                    flow.received.due(flow.congestion.rtt()),
                ]
            });
            let offer = self.offered.map(|rate| self.offered_sent * SECOND / rate + 1).filter(|at| *at > now);
            let event = self.events.first_key_value().map(|((at, _), _)| *at);
            let next = timers.chain([event, offer]).flatten().min().expect("a flow always has a timer");
            self.now = next.max(now);
            if self.now >= end {
                self.now = end;
                return;
            }
            while let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= self.now) {
                match entry.remove() {
                    Event::Arrive { flow, counter } => {
                        self.flows[flow].received.note(self.now, counter, true);
                        self.flows[flow].arrived += DATAGRAM;
                    }
                    Event::Report { flow, feedback } => {
                        let state = &mut self.flows[flow];
                        let report = state.sent.feedback(self.now, &feedback, |_, _| ()).expect("honest");
                        let next = state.sent.next_counter();
                        state.congestion.on_report(self.now, &report, next);
                    }
                }
            }
        }
        panic!("the model does not get on");
    }

    /// Runs from now to `end`; returns utilisation in percent, mean queue and 95th percentile of the queue.
    fn measure(&mut self, end: Nanos) -> (u64, Nanos, Nanos) {
        let (began, before) = (self.now, self.arrived());
        self.queue.clear();
        self.run(end);
        let capacity = u128::from(self.path.rate) * u128::from(end - began) / u128::from(SECOND);
        let used = u128::from(self.arrived() - before) * 100 / capacity;
        self.queue.sort_unstable();
        let mean = self.queue.iter().sum::<u64>() / self.queue.len() as u64;
        (u64::try_from(used).expect("a percentage"), mean, self.queue[self.queue.len() * 95 / 100])
    }

    fn arrived(&self) -> u64 {
        self.flows.iter().map(|flow| flow.arrived).sum()
    }
}

const MBIT: u64 = 125_000;

#[test]
fn a_path_is_used_and_its_queue_stays_near_the_target() {
    let paths = [
        ("LAN, 1 Gbit/s, 0.2 ms", Path::new(1000 * MBIT, MILLI / 5), MILLI),
        ("100 Mbit/s, 20 ms", Path::new(100 * MBIT, 20 * MILLI), 5 * MILLI),
        ("100 Mbit/s, 150 ms", Path::new(100 * MBIT, 150 * MILLI), 5 * MILLI),
        ("10 Mbit/s, 50 ms", Path::new(10 * MBIT, 50 * MILLI), 5 * MILLI),
        ("500 Mbit/s, 80 ms", Path::new(500 * MBIT, 80 * MILLI), 5 * MILLI),
    ];
    let mut failures = Vec::new();
    for (name, path, target) in paths {
        let mut world = World::new(path, &[0]);
        world.run(5 * SECOND);
        let (used, mean, high) = world.measure(20 * SECOND);
        println!("{name}: {used} % used, queue mean {} µs, p95 {} µs", mean / MICRO, high / MICRO);
        // Slack: a burst of four datagrams stands in the queue for a moment.
        let burst = MIN_BURST * SECOND / path.rate;
        if used < 85 || mean > target + target / 4 + burst / 2 || high > 2 * target + burst {
            failures.push(name);
        }
    }
    assert!(failures.is_empty(), "{failures:?}");
}

#[test]
fn the_queue_does_not_creep_up_over_minutes() {
    let mut world = World::new(Path::new(20 * MBIT, 30 * MILLI), &[0]);
    world.run(240 * SECOND);
    let (used, mean, _) = world.measure(270 * SECOND);
    println!("{used} % used, queue mean {} µs", mean / MICRO);
    assert!(used >= 85 && mean <= 7 * MILLI, "{used} % used, queue {mean} ns");
}

#[test]
fn random_loss_is_borne() {
    for (loss, least) in [(50, 70), (100, 60)] {
        let path = Path { loss, ..Path::new(50 * MBIT, 40 * MILLI) };
        let mut world = World::new(path, &[0]);
        world.run(5 * SECOND);
        let (used, mean, _) = world.measure(25 * SECOND);
        println!("loss {loss} ‰: {used} % used, queue mean {} µs", mean / MICRO);
        assert!(used >= least && mean <= 7 * MILLI, "{used} % used, queue {mean} ns");
    }
}

#[test]
fn a_short_buffer_is_not_flooded() {
    // The queue never reaches the target: loss is the only sign.
    let path = Path { buffer: 40 * DATAGRAM, ..Path::new(100 * MBIT, 20 * MILLI) };
    let mut world = World::new(path, &[0]);
    world.run(10 * SECOND);
    let sent_before = world.flows[0].sent.next_counter();
    let (used, ..) = world.measure(30 * SECOND);
    let sent = (world.flows[0].sent.next_counter() - sent_before) * DATAGRAM;
    let wasted = sent.saturating_sub(used * path.rate / 100 * 20) * 100 / sent;
    println!("{used} % used, {wasted} % lost");
    assert!(used >= 80 && wasted <= 15, "{used} % used, {wasted} % lost");
}

#[test]
fn start_up_is_quick() {
    // 200 MB/s over a loopback-like path within 50 ms.
    let mut world = World::new(Path::new(400_000_000, 100 * MICRO), &[0]);
    world.run(50 * MILLI);
    let (used, ..) = world.measure(250 * MILLI);
    println!("{used} % of 400 MB/s used from 50 ms on");
    assert!(used >= 50, "{used} %");
}

#[test]
fn a_black_out_collapses_probes_and_recovers() {
    let mut world = World::new(Path::new(50 * MBIT, 40 * MILLI), &[0]);
    world.run(5 * SECOND);
    world.outage = 5 * SECOND..8 * SECOND;
    world.run(7 * SECOND);
    let window = world.flows[0].congestion.window();
    assert!((MIN_WINDOW..2 * MIN_WINDOW).contains(&window), "what a call needs and no more: {window}");
    world.queue.clear();
    world.run(8 * SECOND);
    assert!(world.queue.len() >= 2 && world.queue.len() < 20, "it probes, sparingly: {}", world.queue.len());
    world.run(10 * SECOND);
    let (used, mean, _) = world.measure(15 * SECOND);
    assert!(used >= 85 && mean <= 7 * MILLI, "{used} % used, queue {mean} ns");
}

#[test]
fn flows_share() {
    let mut world = World::new(Path::new(100 * MBIT, 30 * MILLI), &[0, 5 * SECOND]);
    world.run(30 * SECOND);
    let before: Vec<u64> = world.flows.iter().map(|flow| flow.arrived).collect();
    let (used, mean, _) = world.measure(60 * SECOND);
    let shares: Vec<u64> = world.flows.iter().zip(before).map(|(flow, before)| flow.arrived - before).collect();
    println!("{used} % used, queue mean {} µs, shares {shares:?}", mean / MICRO);
    assert!(used >= 85 && mean <= 12 * MILLI, "{used} % used, queue {mean} ns");
    assert!(shares.iter().min().expect("two") * 5 >= *shares.iter().max().expect("two"), "{shares:?}");
}

#[test]
fn a_light_load_neither_grows_nor_starves_the_window() {
    let mut world = World::new(Path::new(100 * MBIT, 30 * MILLI), &[0]);
    world.offered = Some(MBIT);
    world.run(10 * SECOND);
    let window = world.flows[0].congestion.window();
    assert!((MIN_WINDOW..=4 * INITIAL_WINDOW).contains(&window), "{window}");
    let (used, _, high) = world.measure(20 * SECOND);
    assert!(used == 1 || used == 0, "{used}");
    assert!(high <= MILLI, "no bursts: {high} ns");
}

#[test]
fn a_drifting_clock_does_little_harm() {
    for drift in [0, 200] {
        let path = Path { drift, ..Path::new(50 * MBIT, 40 * MILLI) };
        let mut world = World::new(path, &[0]);
        world.run(10 * SECOND);
        let (used, mean, _) = world.measure(30 * SECOND);
        println!("drift {drift} ppm: {used} % used, queue mean {} µs", mean / MICRO);
        assert!(used >= 80 && mean <= 9 * MILLI, "drift {drift}: {used} % used, queue {mean} ns");
    }
}
