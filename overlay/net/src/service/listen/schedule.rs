//! When a service publishes under which name.
//!
//! For six hours a day a service can be found under two names. Nobody without its address may see that they are one service's, so each
//! period has a timer of its own, with a pause that is drawn anew, and the two are never published in one burst. Only the name of the
//! present period, which clients ask for first, is published at once when something changed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand_core::Rng;
use zmesh_proto::service::period::Period;

/// The least time between two publications of one period, in which changes are gathered.
const GATHER: Duration = Duration::from_secs(10);

/// A publication that not all relays took is repeated after this, doubled each time.
const REPEAT: Duration = Duration::from_secs(30);
const REPEAT_MAX: Duration = Duration::from_secs(900);

/// The publication of a period that is not the present one waits for a random time between these, in seconds.
const APART: std::ops::Range<u64> = 120..1_800;

/// Nor does it begin so soon after one of another period.
const BURST: Duration = Duration::from_secs(60);

/// Between 45 and 75 minutes, in seconds: relays keep a descriptor for three hours, and nobody sets a clock by it.
const AGAIN: std::ops::Range<u64> = 2_700..4_500;

#[derive(Debug, Default)]
struct Plan {
    at: Option<Instant>,
    began: Option<Instant>,
    done: Option<Instant>,
    running: bool,
    repeats: u32,
}

impl Plan {
    fn no_later_than(&mut self, at: Instant) {
        self.at = Some(self.at.map_or(at, |sooner| sooner.min(at)));
    }
}

/// See the head of this module.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    plans: BTreeMap<Period, Plan>,
    present: Option<Period>,
}

impl Schedule {
    /// The periods for which the service has to be found from now on, the present one first.
    pub(super) fn turn(&mut self, now: Instant, around: &[Period], rng: &mut impl Rng) {
        self.plans.retain(|period, _| around.contains(period));
        self.present = around.first().copied();
        for period in around {
            let plan = self.plans.entry(*period).or_default();
            if self.present == Some(*period) && plan.done.is_none() && !plan.running {
                plan.at = Some(now);
            } else if plan.at.is_none() && !plan.running {
                plan.at = Some(now + pause(rng));
            }
        }
    }

    /// Something changed that clients should know: the present name says so soon, the other one at a time of its own.
    pub(super) fn soon(&mut self, now: Instant, rng: &mut impl Rng) {
        for (period, plan) in &mut self.plans {
            let at = match self.present == Some(*period) {
                true => plan.done.map_or(now, |done| now.max(done + GATHER)),
                false => now + pause(rng),
            };
            plan.no_later_than(at);
        }
    }

    /// A period that is to be published now.
    pub(super) fn due(&mut self, now: Instant, rng: &mut impl Rng) -> Option<Period> {
        let (mut due, mut late) = (None, None);
        for (period, plan) in &self.plans {
            if plan.running || plan.at.is_none_or(|at| at > now) {
                continue;
            }
            *(if self.present == Some(*period) { &mut due } else { &mut late }) = Some(*period);
        }
        if due.is_some() {
            return due;
        }
        let late = late?;
        let mut others = self.plans.iter().filter(|(period, _)| **period != late);
        let burst = others.any(|(_, plan)| {
            plan.running || [plan.began, plan.done].iter().flatten().any(|at| now.duration_since(*at) < BURST)
        });
        if burst {
            self.put_off(late, now + pause(rng));
            return None;
        }
        Some(late)
    }

    /// Nothing can be published for the period before this time.
    pub(super) fn put_off(&mut self, period: Period, until: Instant) {
        if let Some(plan) = self.plans.get_mut(&period) {
            plan.at = Some(until);
        }
    }

    /// A publication has begun.
    pub(super) fn began(&mut self, now: Instant, period: Period) {
        if let Some(plan) = self.plans.get_mut(&period) {
            (plan.began, plan.at, plan.running) = (Some(now), None, true);
        }
    }

    /// A publication has ended; `whole` if every relay took it.
    pub(super) fn ended(&mut self, now: Instant, period: Period, whole: bool, rng: &mut impl Rng) {
        let Some(plan) = self.plans.get_mut(&period) else { return };
        (plan.done, plan.running) = (Some(now), false);
        let next = if whole {
            plan.repeats = 0;
            Duration::from_secs(between(AGAIN, rng))
        } else {
            plan.repeats = plan.repeats.saturating_add(1);
            (REPEAT * 2u32.saturating_pow(plan.repeats.min(10) - 1)).min(REPEAT_MAX)
        };
        plan.no_later_than(now + next);
    }

    /// A publication ended without a word; of which period nobody knows.
    pub(super) fn lost(&mut self, now: Instant, rng: &mut impl Rng) {
        let running: Vec<Period> =
            self.plans.iter().filter(|(_, plan)| plan.running).map(|(period, _)| *period).collect();
        for period in running {
            self.ended(now, period, false, rng);
        }
    }

    /// Whether the period was published.
    pub(super) fn was_published(&self, period: Period) -> bool {
        self.plans.get(&period).is_some_and(|plan| plan.done.is_some())
    }

    /// Whether this is the present period.
    pub(super) fn is_present(&self, period: Period) -> bool {
        self.present == Some(period)
    }
}

fn pause(rng: &mut impl Rng) -> Duration {
    Duration::from_secs(between(APART, rng))
}

fn between(range: std::ops::Range<u64>, rng: &mut impl Rng) -> u64 {
    range.start + rng.next_u64() % (range.end - range.start)
}

#[cfg(test)]
mod tests {
    use zmesh_proto::random::Generator;

    use super::*;
    use crate::clock;

    const NOW: Period = Period(7);
    const NEXT: Period = Period(8);

    /// Runs six hours second by second, with a change every `change` seconds. Gives when which period's publication began; each takes 20 s.
    fn hours(schedule: &mut Schedule, change: u64, rng: &mut Generator) -> Vec<(u64, Period)> {
        let start = clock::now();
        let (mut running, mut began) = (Vec::new(), Vec::new());
        schedule.turn(start, &[NOW], rng);
        for second in 0..6 * 3_600 {
            let now = start + Duration::from_secs(second);
            if second == 600 {
                schedule.turn(now, &[NOW, NEXT], rng);
            }
            if second % change == change - 1 {
                schedule.soon(now, rng);
            }
            running.retain(|(until, period)| {
                let over = *until <= second;
                if over {
                    schedule.ended(now, *period, true, rng);
                }
                !over
            });
            if let Some(period) = schedule.due(now, rng) {
                schedule.began(now, period);
                running.push((second + 20, period));
                began.push((second, period));
            }
        }
        began
    }

    #[test]
    fn two_names_are_never_published_in_one_burst() {
        for seed in 0..20 {
            let rng = &mut Generator::new(&[seed; 32]);
            let began = hours(&mut Schedule::default(), 1_000, rng);
            let of = |wanted| began.iter().filter(move |(_, period)| *period == wanted).map(|(at, _)| *at);
            assert!(of(NOW).count() >= 20, "each change, at once");
            assert!(of(NEXT).count() >= 5, "and the next name by itself: {began:?}");
            for at in of(NEXT) {
                let before = of(NOW).filter(|other| *other <= at).max().expect("the present one came first");
                assert!(at - before >= 60, "{before} and {at}");
            }
        }
    }

    /// Who compares what two stores got must not find that one name follows the other at a fixed distance.
    #[test]
    fn the_distance_between_two_names_is_drawn_anew_each_time() {
        let mut distances = std::collections::BTreeSet::new();
        for seed in 0..20 {
            let rng = &mut Generator::new(&[seed; 32]);
            let began = hours(&mut Schedule::default(), 100_000, rng);
            let first = began.iter().find(|(_, period)| *period == NEXT).expect("published").0;
            assert!((600 + 120..=600 + 4 * 1_800).contains(&first), "{first}");
            distances.insert(first);
        }
        assert!(distances.len() >= 18, "{distances:?}");
    }

    #[test]
    fn a_period_that_begins_was_published_before_and_one_that_was_not_is_published_at_once() {
        let (rng, now) = (&mut Generator::new(&[1; 32]), clock::now());
        let mut schedule = Schedule::default();
        schedule.turn(now, &[NOW, NEXT], rng);
        assert_eq!(schedule.due(now, rng), Some(NOW));
        schedule.began(now, NOW);
        assert_eq!(schedule.due(now + Duration::from_secs(3_600), rng), None, "not while another is on its way");
        schedule.ended(now, NOW, false, rng);
        let later = now + Duration::from_secs(61);
        assert_eq!(schedule.due(later, rng), Some(NOW), "what not all took comes again");
        schedule.began(later, NOW);
        schedule.ended(later, NOW, true, rng);
        assert!(schedule.was_published(NOW) && !schedule.was_published(NEXT));
        // The period turns before the next name's time has come.
        schedule.turn(later, &[NEXT, NOW], rng);
        assert_eq!(schedule.due(later, rng), Some(NEXT));
        schedule.turn(later, &[NEXT], rng);
        assert!(schedule.is_present(NEXT) && !schedule.was_published(NOW), "what is over is forgotten");
    }
}
