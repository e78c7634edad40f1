//! When an instance does what. All times are unix milliseconds.

use crate::wire::control::Genesis;

/// The schedule of an instance, from the length of an epoch L: commitments at its start, secrets and ballots L/8 later, the first
/// round another L/4 later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    start: u64,
    length: u64,
}

impl Timing {
    /// The instance that follows a document of `epoch`: it starts with that epoch. Where that is over for more than a margin, it
    /// starts a margin ago, so that every step has its time in it too, and nodes that begin almost at once differ by no more than that.
    #[must_use]
    pub fn after(genesis: &Genesis, epoch: u64, now: u64) -> Self {
        let length = u64::from(genesis.terms().epoch_length) * 1_000;
        let start = genesis.epoch_start(epoch).saturating_mul(1_000);
        let regular = Self { start, length };
        Self { start: start.max(now.saturating_sub(regular.margin())), length }
    }

    /// Whether this is later than the epoch asks for.
    pub(super) fn is_late(self, genesis: &Genesis, epoch: u64) -> bool {
        self.start > genesis.epoch_start(epoch).saturating_mul(1_000)
    }

    fn step(self) -> u64 {
        self.length / 8
    }

    /// When voters commit.
    #[must_use]
    pub fn commit(self) -> u64 {
        self.start
    }

    /// When they open their secrets and cast ballots. Of whom no commitment came before, no secret counts.
    #[must_use]
    pub fn reveal(self) -> u64 {
        self.start + self.step()
    }

    /// When the first round begins.
    #[must_use]
    pub fn propose(self) -> u64 {
        self.start + 3 * self.step()
    }

    /// How far voters may differ in when they see a message, by delays and clocks together: L/24.
    #[must_use]
    pub fn margin(self) -> u64 {
        self.step() / 3
    }

    /// How long each step of a round waits: L/32, and half as much more with each round.
    #[must_use]
    pub fn patience(self, round: u32) -> u64 {
        let base = self.length / 32;
        base + base.saturating_mul(u64::from(round.min(64))) / 2
    }
}

/// The latest epoch of which a document can be that was agreed on before `now`, or is before a margin has passed.
pub(super) fn latest_epoch(genesis: &Genesis, now: u64) -> u64 {
    let length = u64::from(genesis.terms().epoch_length) * 1_000;
    // Nobody takes a document of an epoch that begins later than in three quarters of one.
    genesis.epoch_at(now.saturating_add(3 * length / 4 + length / 24) / 1_000)
}

/// Of which epoch a document would be that is proposed at a time: of the next one, from the middle of an epoch on.
pub(super) fn epoch_for(genesis: &Genesis, previous: u64, now: u64) -> u64 {
    let half = u64::from(genesis.terms().epoch_length) * 500;
    genesis.epoch_at(now.saturating_add(half) / 1_000).max(previous + 1)
}
