//! Any order of what can happen to a measurer: it keeps its bounds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use rand_chacha::ChaCha12Rng;

use super::*;
use crate::directory::fixture::rng;
use crate::directory::measuring::*;
use crate::directory::{Coordinate, Measure};

const OWN: usize = 0;
const RELAYS: usize = 14;

#[derive(Clone, Debug)]
enum Step {
    Wait(Duration),
    /// Asks for a job, as soon as one may be due.
    Next,
    /// The job's result: so many bytes, at so many kB/s.
    Done {
        bytes: u32,
        speed: u32,
    },
    Failed,
    /// A result of something that nobody asked for.
    Stray {
        relay: usize,
    },
    /// A document with the relays whose bit is set, and what it says of all of them.
    Network {
        relays: u16,
        capacity: u32,
    },
    /// A map, drawn long ago.
    Mapped,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0u64..200_000).prop_map(|ms| Step::Wait(Duration::from_millis(ms))),
        8 => Just(Step::Next),
        4 => (0u32..1 << 20, 1u32..5_000_000).prop_map(|(bytes, speed)| Step::Done { bytes, speed }),
        2 => Just(Step::Failed),
        1 => (0..RELAYS).prop_map(|relay| Step::Stray { relay }),
        1 => (any::<u16>(), prop_oneof![Just(0), 1u32..2_000_000]).prop_map(|(relays, capacity)| Step::Network { relays, capacity }),
        1 => Just(Step::Mapped),
    ]
}

fn pace() -> Pace {
    // Few bytes, so that they do run out.
    Pace { hourly: 256 << 20, ..Pace::of(12, true) }
}

/// A measurer, and what has to hold of it.
struct Watched {
    measurer: Measurer,
    rng: ChaCha12Rng,
    now: Instant,
    job: Option<Job>,
    listed: BTreeSet<RelayId>,
    capacity: u32,
    /// Of each relay since it was listed: when it was loaded, and the greatest speed that can be told from what came.
    loads: BTreeMap<RelayId, (Vec<Instant>, f64)>,
    /// Bytes of the budget that are used, and when that was.
    used: (f64, Instant),
}

impl Watched {
    fn new() -> Self {
        let now = start();
        let measurer = Measurer::new(id(OWN), pace(), now);
        let (listed, loads) = (BTreeSet::new(), BTreeMap::new());
        Self { measurer, rng: rng(9), now, job: None, listed, capacity: 0, loads, used: (0.0, now) }
    }

    fn follow(&mut self, relays: u16, capacity: u32) {
        self.listed = (0..RELAYS).filter(|number| relays >> number & 1 == 1).map(id).collect();
        self.capacity = capacity;
        self.measurer.take(self.listed.iter().map(|id| (*id, Measure { capacity, place: None })), self.now);
        self.loads.retain(|id, _| self.listed.contains(id));
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Wait(time) => self.now += time,
            Step::Next => self.next(),
            Step::Done { bytes, speed } => self.done(bytes, speed),
            Step::Failed => {
                self.measurer.failed(self.now, &mut self.rng);
                if let Some(Job::Load { bytes, .. }) = self.job.take() {
                    self.used.0 -= f64::from(bytes);
                }
            }
            Step::Stray { relay } => {
                let before = self.measurer.figures(self.now);
                let course = [(Duration::ZERO, 0), (Duration::from_millis(1), 1 << 20)];
                match self.job.take() {
                    Some(Job::Load { relay: asked, bytes }) if asked == id(relay) => {
                        self.measurer.failed(self.now, &mut self.rng);
                        self.used.0 -= f64::from(bytes);
                    }
                    _ => self.measurer.loaded(id(relay), &course, self.now, &mut self.rng),
                }
                assert_eq!(self.measurer.figures(self.now), before, "nobody asked for it");
            }
            Step::Network { relays, capacity } => self.follow(relays, capacity),
            Step::Mapped => {
                self.measurer.mapped((0..RELAYS).map(|number| (id(number), Coordinate::default())).collect())
            }
        }
    }

    fn next(&mut self) {
        self.now = self.now.max(self.measurer.due());
        let job = self.measurer.next(self.now, &mut self.rng);
        assert!(self.job.is_none() || job.is_none(), "one at a time");
        let measured = |id: &RelayId| *id != super::id(OWN) && self.listed.contains(id);
        match job {
            Some(Job::Load { relay, bytes }) => {
                assert!(measured(&relay) && bytes <= pace().bytes);
                let (times, _) = self.loads.entry(relay).or_default();
                times.push(self.now);
                let lately = times.iter().filter(|at| self.now - **at < pace().again).count();
                assert!(lately <= 8, "{lately} loads in the time of one");
                let refilled = (self.now - self.used.1).as_secs_f64() * (pace().hourly / 3_600) as f64;
                self.used = ((self.used.0 - refilled).max(0.0) + f64::from(bytes), self.now);
                assert!(self.used.0 <= f64::from(pace().bytes) * 2.0 + 1.0, "no more than the budget");
            }
            Some(Job::Times { first, second }) => assert!(first != second && measured(&first) && measured(&second)),
            None => {}
        }
        self.job = self.job.or(job);
    }

    fn done(&mut self, bytes: u32, speed: u32) {
        match self.job.take() {
            Some(Job::Load { relay, .. }) => {
                let took = Duration::from_secs_f64(f64::from(bytes) / f64::from(speed) / 1_000.0);
                let course: Vec<_> =
                    (0..=8).map(|part| (took * part / 8, u64::from(bytes) * u64::from(part) / 8)).collect();
                if let Some((_, greatest)) = self.loads.get_mut(&relay) {
                    *greatest = greatest.max(f64::from(speed)).max(1.0);
                }
                self.measurer.loaded(relay, &course, self.now, &mut self.rng);
            }
            Some(Job::Times { first, second }) => {
                let first_took = Duration::from_micros(bytes.into());
                let timing = Timing { first: first_took, second: Duration::from_micros(speed.into()) };
                self.measurer.timed(first, second, timing, self.now, &mut self.rng);
            }
            None => self.measurer.failed(self.now, &mut self.rng),
        }
    }

    fn check(&self) {
        for (relay, measure) in self.measurer.figures(self.now) {
            assert!(relay != id(OWN) && self.listed.contains(&relay));
            let greatest = self.loads.get(&relay).map_or(0.0, |(_, greatest)| *greatest);
            // What the document says stays while it is about right: an eighth of it.
            let stated = measure.capacity == self.capacity;
            let most = if stated { greatest * 8.0 / 7.0 } else { greatest };
            // Times are told to the nanosecond.
            assert!(f64::from(measure.capacity) <= most * 1.001 + 1.0, "{} of {greatest}", measure.capacity);
        }
        // What the document says, loads, places, and times to the voter and to a dozen others.
        assert!(self.measurer.held() <= self.listed.len() * (4 + NEIGHBOURS), "{}", self.measurer.held());
        assert!(self.measurer.survey().times.iter().all(|(a, b, _)| {
            let known = |relay: &RelayId| *relay == id(OWN) || self.listed.contains(relay);
            known(a) && known(b)
        }));
    }
}

proptest! {
    /// It measures only what the network has, one at a time and within its budget; it keeps no more than the network has, and
    /// states no more than came.
    #[test]
    fn a_measurer_keeps_its_bounds(steps in prop::collection::vec(step(), 0..400)) {
        let mut watched = Watched::new();
        watched.follow(u16::MAX, 0);
        for step in steps {
            watched.take(step);
            watched.check();
        }
    }
}
