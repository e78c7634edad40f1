//! A stage that may fall over without taking the call with it.
//!
//! The stages are other people's signal processing, and one of them has been seen to panic in the field (sonora 0.1, mended in 0.2: an index
//! out of range when the echo path changed). A stage that panics is built anew; one that does so again and again is left out.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How often a stage is built anew in one call.
const SECOND_CHANCES: u32 = 3;

/// A stage, or nothing where it is off.
pub(super) struct Guarded<T> {
    name: &'static str,
    stage: Option<Box<T>>,
    build: fn() -> T,
    falls: u32,
}

impl<T> Guarded<T> {
    pub(super) fn new(name: &'static str, on: bool, build: fn() -> T) -> Self {
        Self { name, stage: on.then(|| Box::new(build())), build, falls: 0 }
    }

    /// Lets the stage do `work`. `None` if it is off or fell over, in which case the sound may be half done.
    pub(super) fn run<R>(&mut self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        let stage = self.stage.as_mut()?;
        // Unwind safe: a stage that panicked is thrown away, and half a step of wrong sound is all that is left of it.
        if let Ok(result) = catch_unwind(AssertUnwindSafe(|| work(stage))) {
            return Some(result);
        }
        self.falls += 1;
        tracing::warn!(stage = self.name, falls = self.falls, "sound processing fell over");
        self.stage = (self.falls <= SECOND_CHANCES).then(|| Box::new((self.build)()));
        None
    }
}

impl<T> fmt::Debug for Guarded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded")
            .field("name", &self.name)
            .field("on", &self.stage.is_some())
            .field("falls", &self.falls)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_that_falls_over_is_built_anew_three_times_and_then_left_out() {
        let mut counter: Guarded<u32> = Guarded::new("counter", true, || 0);
        let count = |counter: &mut Guarded<u32>| {
            counter.run(|count| {
                *count += 1;
                *count
            })
        };
        assert_eq!((count(&mut counter), count(&mut counter)), (Some(1), Some(2)));
        for _ in 0..SECOND_CHANCES {
            assert_eq!(counter.run(|_| panic!("as if an index were out of range")), None::<()>);
            assert_eq!(count(&mut counter), Some(1), "a fresh one");
        }
        assert_eq!(counter.run(|_| panic!("once more")), None::<()>);
        assert_eq!(count(&mut counter), None);
        let mut off: Guarded<u32> = Guarded::new("off", false, || 0);
        assert_eq!(count(&mut off), None);
    }
}
