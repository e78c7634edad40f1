//! Wakes the shard's task from anywhere, at most once per turn.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;

/// A doorbell: rings between two turns of the shard cost one wake in all.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Bell {
    /// Wakes the shard unless somebody has done so since its last turn.
    pub(crate) fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel)
            && let Some(waker) = &*self.waker.lock().unwrap_or_else(PoisonError::into_inner)
        {
            waker.wake_by_ref();
        }
    }

    /// The shard begins a turn: what is rung from here on wakes it again.
    pub(crate) fn answer(&self, waker: &Waker) {
        let mut current = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if !current.as_ref().is_some_and(|current| current.will_wake(waker)) {
            *current = Some(waker.clone());
        }
        drop(current);
        // A swap and no store: it reads what the last ringer wrote, and with it what that ringer did before.
        self.rung.swap(false, Ordering::AcqRel);
    }
}
