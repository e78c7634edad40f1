//! What an observer of every wire sees, and a hash of all of it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::HostId;

/// One datagram as it leaves its sender.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// Virtual time since the start.
    pub at: Duration,
    /// Who sent it.
    pub from: HostId,
    /// To whom.
    pub to: HostId,
    /// Its bytes.
    pub data: &'a [u8],
    /// Whether the first stretch of its way loses it: the sender's access where it has one, else the path.
    pub lost: bool,
}

/// A condensed record of a run: equal for equal seeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    times: u64,
    contents: u64,
    lengths: BTreeMap<usize, u64>,
}

impl Default for Trace {
    fn default() -> Trace {
        Trace { times: FNV_OFFSET, contents: FNV_OFFSET, lengths: BTreeMap::new() }
    }
}

impl Trace {
    /// Hash over time, sender, receiver, length and fate of every datagram.
    #[must_use]
    pub fn times(&self) -> u64 {
        self.times
    }

    /// Hash over the bytes of every datagram. Differs between runs with TLS in them: a TLS library brings its own dice.
    #[must_use]
    pub fn contents(&self) -> u64 {
        self.contents
    }

    /// How many datagrams of each length were sent.
    #[must_use]
    pub fn lengths(&self) -> &BTreeMap<usize, u64> {
        &self.lengths
    }

    /// How many datagrams were sent.
    #[must_use]
    pub fn datagrams(&self) -> u64 {
        self.lengths.values().sum()
    }

    pub(super) fn note(&mut self, seen: &Observed<'_>) {
        *self.lengths.entry(seen.data.len()).or_default() += 1;
        let words =
            [super::nanos(seen.at), seen.from.0 as u64, seen.to.0 as u64, seen.data.len() as u64, u64::from(seen.lost)];
        for word in words {
            self.times = fnv(self.times, &word.to_le_bytes());
        }
        self.contents = fnv(self.contents, seen.data);
    }
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo): no cryptography, only a stable fingerprint.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

fn fnv(state: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(state, |state, byte| (state ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
