//! From the course of one load to a speed, and from several speeds to a figure.

use std::time::{Duration, Instant};

/// The greatest capacity that a voter states, in kB/s: 10 Gbit/s. More is a fault of a clock.
pub const CAPACITY_MAX: u32 = 1_250_000;
/// Of fewer bytes than these only the mean speed is looked at.
pub const LEAST_BYTES: u64 = 64 << 10;

/// Slices of a run, equal in bytes.
const SLICES: u64 = 8;
/// Runs of which the middle one counts.
const KEPT: usize = 5;

/// The speed of a run in kB/s: the middle one (of two, the slower) of the speeds of its eight slices, which are equal in bytes, but at most twice
/// the mean of all. So neither the slow beginning of a connection counts nor what a relay saved up for a burst; and what was held up
/// anywhere, also in this node itself, and then came at once, makes nobody quick.
///
/// `course` says how many bytes had come at which time since they were asked for; both ascend. Where fewer than [`LEAST_BYTES`] came it is
/// the mean, over a second at least: a relay that carries nothing is slow, and not unknown. `None` if nothing was tried.
#[must_use]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the value lies between 1 and the most")]
pub fn speed(course: &[(Duration, u64)]) -> Option<u32> {
    let (begin, end) = (course.first()?, course.last()?);
    let whole = end.1.saturating_sub(begin.1);
    let took = end.0.saturating_sub(begin.0).as_secs_f64();
    let bounded = |speed: f64| speed.clamp(1.0, f64::from(CAPACITY_MAX)) as u32;
    if whole < LEAST_BYTES {
        return Some(bounded(whole as f64 / took.max(1.0) / 1_000.0));
    }
    let at = |slice: u64| time_of(course, begin.1 + whole * slice / SLICES);
    let mut speeds: Vec<f64> = (0..SLICES)
        .map(|slice| {
            let took = at(slice + 1).saturating_sub(at(slice)).as_secs_f64();
            if took > 0.0 { whole as f64 / SLICES as f64 / took / 1_000.0 } else { f64::INFINITY }
        })
        .collect();
    speeds.sort_unstable_by(f64::total_cmp);
    let mean = whole as f64 / took.max(1e-9) / 1_000.0;
    Some(bounded(speeds[speeds.len() / 2 - 1].min(2.0 * mean)))
}

/// When so many bytes had come, on a line between the two times around it.
fn time_of(course: &[(Duration, u64)], bytes: u64) -> Duration {
    let after = course.partition_point(|(_, had)| *had < bytes);
    let Some(&(later, more)) = course.get(after) else { return course.last().map_or(Duration::ZERO, |(at, _)| *at) };
    let Some(&(earlier, fewer)) = after.checked_sub(1).and_then(|before| course.get(before)) else { return later };
    let part = bytes.saturating_sub(fewer) as f64 / more.saturating_sub(fewer).max(1) as f64;
    earlier + later.saturating_sub(earlier).mul_f64(part.clamp(0.0, 1.0))
}

/// The last speeds of one relay. Of up to five that are not too old the middle one counts (of two, the lower): one run that went well or badly
/// by chance moves nothing, and a relay that knows a voter has to be quick for it most of the time.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    runs: Vec<(Instant, u32)>,
}

impl Figures {
    /// A run at this time had this speed, in kB/s.
    pub fn add(&mut self, now: Instant, speed: u32) {
        if self.runs.len() == KEPT {
            self.runs.remove(0);
        }
        self.runs.push((now, speed.clamp(1, CAPACITY_MAX)));
    }

    /// The capacity in kB/s by runs that are at most so old; 0 where there are none.
    #[must_use]
    pub fn capacity(&self, now: Instant, stale: Duration) -> u32 {
        let fresh = self.runs.iter().filter(|(at, _)| now.saturating_duration_since(*at) <= stale);
        let mut speeds: Vec<u32> = fresh.map(|(_, speed)| *speed).collect();
        speeds.sort_unstable();
        speeds.len().checked_sub(1).map_or(0, |last| speeds[last / 2])
    }
}
