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
    /// The instance that follows a document of `epoch`: it starts with that epoch, or now if that is over already.
    #[must_use]
    pub fn after(genesis: &Genesis, epoch: u64, now: u64) -> Self {
        let length = u64::from(genesis.terms().epoch_length) * 1_000;
        let begin = genesis.epoch_start(epoch).saturating_mul(1_000);
        let late = now >= begin.saturating_add(length);
        Self { start: if late { now } else { begin }, length }
    }

    fn step(self) -> u64 {
        self.length / 8
    }

    /// When voters commit.
    #[must_use]
    pub fn commit(self) -> u64 {
        self.start
    }

    /// When they open their commitments and cast ballots. A commitment that comes later does not count.
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

/// Of which epoch a document would be that is proposed at a time: of the next one, from the middle of an epoch on.
pub(super) fn epoch_for(genesis: &Genesis, previous: u64, now: u64) -> u64 {
    let half = u64::from(genesis.terms().epoch_length) * 500;
    genesis.epoch_at(now.saturating_add(half) / 1_000).max(previous + 1)
}
