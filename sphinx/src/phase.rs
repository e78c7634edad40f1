//! Key phases: every 65,536 cells a chain moves to a key from which the earlier ones cannot be computed.

use std::time::{Duration, Instant};

use crate::{error::CellError, kdf::KeySource, secret::Secret, wide_block::WideBlock};

/// A counter's phase is `counter >> PHASE_BITS`.
pub(crate) const PHASE_BITS: u32 = 16;

/// How long the key of the previous phase is kept for late cells.
pub(crate) const KEEP_PREVIOUS: Duration = Duration::from_secs(30);

/// The phase that a counter belongs to.
pub(crate) fn phase_of(counter: u64) -> u64 {
    counter >> PHASE_BITS
}

/// One phase's key, expanded when it is first used.
struct PhaseKey {
    secret: Secret<32>,
    /// Boxed, because a circuit at rest should be small.
    expanded: Option<Box<WideBlock>>,
}

impl PhaseKey {
    fn cipher(&mut self) -> &WideBlock {
        self.expanded.get_or_insert_with(|| Box::new(WideBlock::new(self.secret.expose())))
    }
}

/// The keys of one chain: the present phase's, for a while the one before, and the secret that leads to the next.
pub(crate) struct PhaseKeys {
    /// Derives the phase after the present one; useless for any earlier one.
    onward: Secret<32>,
    phase: u64,
    present: PhaseKey,
    /// The key of the phase before, and when it must be gone.
    previous: Option<(PhaseKey, Instant)>,
}

impl PhaseKeys {
    /// Starts at phase 0.
    pub(crate) fn new(root: &Secret<32>) -> Self {
        let (present, onward) = ratchet(root);
        Self { onward, phase: 0, present, previous: None }
    }

    /// Whether a cell of that phase may still, or already, pass.
    pub(crate) fn check(&self, now: Instant, phase: u64) -> Result<(), CellError> {
        match phase.checked_sub(self.phase) {
            Some(0 | 1) => Ok(()),
            Some(_) => Err(CellError::TooFarAhead),
            None if phase + 1 == self.phase && self.previous.as_ref().is_some_and(|(_, until)| now < *until) => Ok(()),
            None => Err(CellError::TooOld),
        }
    }

    /// Moves one phase on if `phase` is the next one.
    pub(crate) fn advance(&mut self, now: Instant, phase: u64) {
        if phase == self.phase + 1 {
            let (next, onward) = ratchet(&self.onward);
            self.onward = onward;
            self.phase = phase;
            let passed = std::mem::replace(&mut self.present, next);
            self.previous = Some((passed, now + KEEP_PREVIOUS));
        }
    }

    /// The cipher of a phase that has a key.
    pub(crate) fn cipher(&mut self, phase: u64) -> Result<&WideBlock, CellError> {
        if phase == self.phase {
            return Ok(self.present.cipher());
        }
        match &mut self.previous {
            Some((key, _)) if phase + 1 == self.phase => Ok(key.cipher()),
            _ => Err(CellError::TooOld),
        }
    }

    /// Erases the previous phase's key if its time is over or no number from `lowest` on needs it.
    pub(crate) fn expire(&mut self, now: Instant, lowest: u64) {
        if let Some((_, until)) = &self.previous
            && (now >= *until || phase_of(lowest) >= self.phase)
        {
            self.previous = None;
        }
    }

    /// Gives back the memory of expanded keys; they are expanded again when a cell comes.
    pub(crate) fn fold(&mut self) {
        self.present.expanded = None;
    }
}

/// One step of the ratchet: a phase's key, and the secret of the next step.
fn ratchet(root: &Secret<32>) -> (PhaseKey, Secret<32>) {
    let source = KeySource::from_root(root);
    (PhaseKey { secret: source.derive("phase key"), expanded: None }, source.derive("next phase"))
}
