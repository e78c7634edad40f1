//! The small price of leaving a descriptor at a relay.
//!
//! Whoever wants others' descriptors gone from a store needs many names, each better placed there than theirs. Names are cheap; this work is what each
//! costs, at each relay and again for each publication. A service does it some times an hour and does not notice.

use zmesh_sphinx::RelayId;

use super::key::BlindedKey;
use super::period::Period;
use super::pow::{Trial, reaches};
use crate::directory::Network;

/// Length of what shows the work, in bytes. It stands behind the descriptor.
pub const PLACE_WORK_LEN: usize = 16;

/// Attempts on average: tens of milliseconds.
pub const PLACE_EFFORT: u32 = 128;
/// The same in a test network, where many services run on one machine.
const EFFORT_TEST: u32 = 4;

const CONTEXT: &[u8] = b"zmesh service place v1\0";

/// What is left where, once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placing {
    /// The name.
    pub blinded: BlindedKey,
    /// Its period.
    pub period: Period,
    /// The descriptor's revision.
    pub revision: u64,
    /// The store.
    pub relay: RelayId,
}

/// What the relays of a network ask for.
#[must_use]
pub fn effort(network: &Network) -> u32 {
    if network.is_test_network() { EFFORT_TEST } else { PLACE_EFFORT }
}

impl Placing {
    /// Does the work: `effort` attempts on average, at `start` and behind it.
    #[must_use]
    pub fn solve(&self, effort: u32, start: [u8; PLACE_WORK_LEN]) -> [u8; PLACE_WORK_LEN] {
        let mut trial = Trial::new();
        let mut nonce = u128::from_be_bytes(start);
        while !self.fits(&mut trial, effort, &nonce.to_be_bytes()) {
            nonce = nonce.wrapping_add(1);
        }
        nonce.to_be_bytes()
    }

    /// Whether the work was done: costs one attempt.
    #[must_use]
    pub fn holds(&self, effort: u32, work: &[u8; PLACE_WORK_LEN]) -> bool {
        self.fits(&mut Trial::new(), effort, work)
    }

    fn fits(&self, trial: &mut Trial, effort: u32, work: &[u8; PLACE_WORK_LEN]) -> bool {
        reaches(&self.hash(trial, work), effort)
    }

    pub(super) fn hash(&self, trial: &mut Trial, work: &[u8; PLACE_WORK_LEN]) -> [u8; 32] {
        let (period, revision) = (self.period.0.to_be_bytes(), self.revision.to_be_bytes());
        trial.argon(&[CONTEXT, &self.blinded.0, &period, &revision, work].concat(), &self.relay.0)
    }
}
