//! Asides: short messages between the two programs, one at a time, repeated until they have come (stop and wait).
//!
//! An aside takes room from the copies of one message after the other until the other side's frames say that it came. Only frames that are
//! newer than all before them are listened to, so a frame that was overtaken can neither bring back an old aside nor an old receipt.

use crate::media::frame::{ASIDE_MAX, Aside, VoiceFrame};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// Asides that wait for their turn at most.
const QUEUE_MAX: usize = 16;

/// An aside cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AsideError {
    /// It is empty or longer than [`ASIDE_MAX`].
    #[error("an aside has 1 to {ASIDE_MAX} bytes")]
    Length,
    /// Too many wait already.
    #[error("too many asides wait for the other side")]
    Full,
}

/// Both directions of one side.
#[derive(Default)]
pub(super) struct Asides {
    waiting: VecDeque<Arc<[u8]>>,
    /// Number of the first that waits.
    number: u8,
    /// Number of the other side's that is expected next.
    expected: u8,
    /// `sent` of the newest frame listened to.
    newest: Option<u64>,
}

impl fmt::Debug for Asides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What waits may hold keys.
        f.debug_struct("Asides")
            .field("waiting", &self.waiting.len())
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl Asides {
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), AsideError> {
        if !(1..=ASIDE_MAX).contains(&bytes.len()) {
            return Err(AsideError::Length);
        }
        if self.waiting.len() >= QUEUE_MAX {
            return Err(AsideError::Full);
        }
        self.waiting.push_back(bytes.into());
        Ok(())
    }

    /// Puts what there is to say into a frame.
    pub(super) fn fill(&self, voice: &mut VoiceFrame) {
        voice.aside_next = self.expected;
        voice.aside = self.waiting.front().map(|bytes| Aside { number: self.number, bytes: Arc::clone(bytes) });
    }

    /// Listens to a frame of the other side; returns an aside that comes for the first time.
    pub(super) fn listen(&mut self, voice: &VoiceFrame) -> Option<Arc<[u8]>> {
        if self.newest.is_some_and(|newest| voice.sent <= newest) {
            return None;
        }
        self.newest = Some(voice.sent);
        if !self.waiting.is_empty() && voice.aside_next == self.number.wrapping_add(1) {
            self.waiting.pop_front();
            self.number = voice.aside_next;
        }
        let aside = voice.aside.as_ref().filter(|aside| aside.number == self.expected)?;
        self.expected = self.expected.wrapping_add(1);
        Some(Arc::clone(&aside.bytes))
    }

    /// Asides that the other side has not confirmed.
    pub(super) fn unconfirmed(&self) -> usize {
        self.waiting.len()
    }
}
