//! Conditions that change over time.

use std::time::Duration;

use crate::conditions::Conditions;

/// What one direction of a link does to datagrams, and when that changes. There is always something at time 0.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeline {
    steps: Vec<(Duration, Conditions)>,
    repeat: Option<Duration>,
}

impl Timeline {
    /// Conditions that never change.
    #[must_use]
    pub fn constant(conditions: Conditions) -> Timeline {
        Timeline { steps: vec![(Duration::ZERO, conditions)], repeat: None }
    }

    /// Conditions from these times on; with `repeat` they start anew whenever that time has passed.
    ///
    /// # Errors
    /// When the first time is not 0, the times do not rise, or they do not all lie before `repeat`.
    pub fn new(steps: Vec<(Duration, Conditions)>, repeat: Option<Duration>) -> Result<Timeline, TimelineError> {
        if steps.first().is_none_or(|(from, _)| !from.is_zero()) {
            return Err(TimelineError::NoBeginning);
        }
        if !steps.is_sorted_by(|(one, _), (next, _)| one < next) {
            return Err(TimelineError::NotRising);
        }
        if repeat.is_some_and(|repeat| steps.last().is_some_and(|(last, _)| *last >= repeat)) {
            return Err(TimelineError::AfterRepeat);
        }
        Ok(Timeline { steps, repeat })
    }

    /// What holds at this time since the start.
    #[must_use]
    pub fn at(&self, time: Duration) -> &Conditions {
        let time = match self.repeat {
            Some(repeat) => nanos_modulo(time, repeat),
            None => time,
        };
        let after = self.steps.partition_point(|(from, _)| *from <= time);
        &self.steps[after.saturating_sub(1)].1
    }

    /// The conditions, each with the time from which it holds.
    #[must_use]
    pub fn steps(&self) -> &[(Duration, Conditions)] {
        &self.steps
    }

    /// After which time it starts anew.
    #[must_use]
    pub fn repeat(&self) -> Option<Duration> {
        self.repeat
    }

    /// Whether it does nothing at any time.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        self.steps.iter().all(|(_, conditions)| *conditions == Conditions::CLEAR)
    }

    /// The same changes with these conditions in place of each.
    #[must_use]
    pub fn map(&self, change: impl Fn(Conditions) -> Conditions) -> Timeline {
        let steps = self.steps.iter().map(|(from, conditions)| (*from, change(*conditions))).collect();
        Timeline { steps, repeat: self.repeat }
    }
}

impl Default for Timeline {
    fn default() -> Timeline {
        Timeline::constant(Conditions::CLEAR)
    }
}

impl From<Conditions> for Timeline {
    fn from(conditions: Conditions) -> Timeline {
        Timeline::constant(conditions)
    }
}

fn nanos_modulo(time: Duration, period: Duration) -> Duration {
    let rest = time.as_nanos() % period.as_nanos().max(1);
    Duration::from_nanos(u64::try_from(rest).unwrap_or(u64::MAX))
}

/// Why steps are no [`Timeline`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimelineError {
    /// Nothing holds at time 0.
    #[error("nothing is said about the beginning")]
    NoBeginning,
    /// A step is not later than the one before it.
    #[error("a step must be later than the one before it")]
    NotRising,
    /// A step would never come, because everything starts anew before it.
    #[error("a step is not before the time at which everything starts anew")]
    AfterRepeat,
}
