//! One session of a link: keys of one handshake, its indexes, and its replay window.

use super::clock::Nanos;
use super::suite::SessionKeys;
use super::window::ReplayWindow;
use crate::wire::datagram::{HEADER_LEN, Header, Kind};

/// A session is renewed after so many datagrams. At this count an adversary's advantage against AES-256-GCM with
/// datagrams of 73 blocks is below 2⁻⁵⁶ (σ² / 2¹²⁹ for σ = 73 · 2³⁰ blocks).
const RENEW_AFTER: u64 = 1 << 30;
/// A session seals no more than this.
const SEAL_LIMIT: u64 = 1 << 31;

/// Why a datagram of a known session is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// The header does not fit the session.
    Junk,
    /// The counter was seen, or is too old.
    Replay,
    /// Not authentic.
    BadTag,
}

/// Keys and window of one handshake. The counter comes from the link, so that it goes on over sessions and one FEEDBACK
/// describes them all.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) local_index: u32,
    pub(super) established: Nanos,
    remote_index: u32,
    suite: u8,
    keys: SessionKeys,
    window: ReplayWindow,
    sealed: u64,
}

impl Session {
    pub(super) fn new(keys: SessionKeys, suite: u8, local_index: u32, remote_index: u32, now: Nanos) -> Self {
        Self { local_index, established: now, remote_index, suite, keys, window: ReplayWindow::new(), sealed: 0 }
    }

    /// The peer's index of this session.
    pub(super) fn remote_index(&self) -> u32 {
        self.remote_index
    }

    /// Writes a whole datagram into `out`, which is longer than `plain` by header and tag.
    pub(super) fn seal(&mut self, counter: u64, plain: &[u8], out: &mut [u8]) -> bool {
        let header = Header { kind: Kind::Data, suite: self.suite, index: self.remote_index, counter };
        let (head, body) = out.split_at_mut(HEADER_LEN);
        head.copy_from_slice(&header.to_bytes());
        self.sealed += 1;
        self.keys.seal(counter, plain, body)
    }

    /// Decrypts a datagram into `plain`, which must be at least as long as its ciphertext.
    ///
    /// # Errors
    /// [`Refusal`]; the window is unchanged then.
    pub(super) fn open(&mut self, header: &Header, datagram: &[u8], plain: &mut [u8]) -> Result<usize, Refusal> {
        if header.suite != self.suite {
            return Err(Refusal::Junk);
        }
        if !self.window.is_fresh(header.counter) {
            return Err(Refusal::Replay);
        }
        let len = self.keys.open(header.counter, &datagram[HEADER_LEN..], plain).ok_or(Refusal::BadTag)?;
        self.window.mark(header.counter);
        Ok(len)
    }

    /// Whether the datagram with this counter may still come.
    pub(super) fn is_missing(&self, counter: u64) -> bool {
        self.window.is_fresh(counter)
    }

    /// Treats the datagram with this counter, which [is missing](Self::is_missing), as if it had come.
    pub(super) fn waive(&mut self, counter: u64) {
        self.window.mark(counter);
    }

    pub(super) fn wants_renewal(&self) -> bool {
        self.sealed >= RENEW_AFTER
    }

    pub(super) fn is_exhausted(&self) -> bool {
        self.sealed >= SEAL_LIMIT
    }
}
