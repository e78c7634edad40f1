//! The chain of onion keys: one per half day, each forgotten soon after.
//!
//! A network document that is a file lives for weeks, yet the route inside recorded set-up packets must become
//! undecipherable within a day. So a relay announces the public keys of many half days at once, and holds one seed:
//! the seed of an epoch gives that epoch's key and, one way, the seed of the next. Erasing an epoch is replacing the
//! seed by its successor; nothing stored can lead back. Decision 0040 has the reasons.

use std::fmt;

use curve25519_dalek::Scalar;
use hkdf::Hkdf;
use rand_core::CryptoRng;
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};
use zmesh_sphinx::{OnionSecret, SLOT_SECONDS};

use super::{Error, invalid};
use crate::wire::codec::{self, Reader, Writer};

/// How long one onion key is announced for, in seconds: epoch `n` begins at `n × EPOCH_SECONDS` of unix time.
pub const EPOCH_SECONDS: u64 = 43_200;
/// How far beyond its epoch, to both sides, a relay still opens set-ups with a key, in seconds. The slot inside a set-up
/// packet allows clocks to differ by less than this, so a longer overlap would help nobody.
pub const OVERLAP_SECONDS: u64 = 2 * SLOT_SECONDS;
/// Most onion keys that a descriptor may announce: 64 days.
pub const SCHEDULE_MAX: usize = 128;

/// Epochs that one erasure may pass: about eight years. A clock further off than that is broken.
const STEPS_MAX: u32 = 6_000;
const KEY_INFO: &[u8] = b"zmesh onion key v1";
const NEXT_INFO: &[u8] = b"zmesh onion chain v1";

pub(super) const STATE_LEN: usize = 4 + 32;

/// The epoch in which a time (unix seconds) lies. Times past the last epoch count as the last.
#[must_use]
pub fn epoch_at(unix: u64) -> u32 {
    u32::try_from(unix / EPOCH_SECONDS).unwrap_or(u32::MAX)
}

/// The onion keys of a relay from some epoch on. A copy has to be told to forget by itself.
#[derive(Clone)]
pub struct OnionKeys {
    first: u32,
    seed: Zeroizing<[u8; 32]>,
}

impl OnionKeys {
    /// Draws a new chain that begins one overlap before `unix_now`, in seconds.
    pub fn generate(rng: &mut impl CryptoRng, unix_now: u64) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *seed);
        Self { first: epoch_at(unix_now.saturating_sub(OVERLAP_SECONDS)), seed }
    }

    /// The oldest epoch whose key is still held.
    #[must_use]
    pub fn first_epoch(&self) -> u32 {
        self.first
    }

    /// The keys with which set-ups may be opened at `unix`, in seconds: the current epoch's first, and beside it a
    /// neighbour's within [`OVERLAP_SECONDS`] of the border. Erased keys are left out; a time implausibly far ahead of
    /// the chain gives none.
    #[must_use]
    pub fn secrets_at(&self, unix: u64) -> Vec<OnionSecret> {
        let now = epoch_at(unix);
        let around =
            [now, epoch_at(unix.saturating_sub(OVERLAP_SECONDS)), epoch_at(unix.saturating_add(OVERLAP_SECONDS))];
        let mut wanted: Vec<u32> = around.to_vec();
        wanted.dedup();
        if wanted.len() > 1 && wanted.last() == Some(&now) {
            wanted.pop();
        }
        wanted.into_iter().filter_map(|epoch| self.secret(epoch).ok()).collect()
    }

    /// When, in unix seconds, the answer of [`OnionKeys::secrets_at`] changes next after `unix`.
    #[must_use]
    pub fn next_change(&self, unix: u64) -> u64 {
        let into = unix % EPOCH_SECONDS;
        let begin = unix - into;
        let border = if into < OVERLAP_SECONDS {
            OVERLAP_SECONDS
        } else if into < EPOCH_SECONDS - OVERLAP_SECONDS {
            EPOCH_SECONDS - OVERLAP_SECONDS
        } else {
            EPOCH_SECONDS
        };
        begin.saturating_add(border)
    }

    /// The key of an epoch.
    ///
    /// # Errors
    /// [`Error::Erased`], or [`Error::Clock`] when the epoch is implausibly far ahead.
    pub fn secret(&self, epoch: u32) -> Result<OnionSecret, Error> {
        let mut chain = self.clone();
        chain.step_to(epoch)?;
        Ok(OnionSecret::from_bytes(&chain.scalar())
            .expect("a reduced scalar is canonical; zero has probability 2^-252"))
    }

    /// The keys of `count` epochs from `first` on.
    ///
    /// # Errors
    /// As [`OnionKeys::secret`].
    pub(crate) fn schedule(&self, first: u32, count: usize) -> Result<Vec<OnionSecret>, Error> {
        let mut chain = self.clone();
        chain.step_to(first)?;
        (0..count)
            .map(|_| {
                let secret = OnionSecret::from_bytes(&chain.scalar())
                    .expect("a reduced scalar is canonical; zero has probability 2^-252");
                chain.step();
                Ok(secret)
            })
            .collect()
    }

    /// Erases the key of every epoch that ended more than an overlap before `unix`, in seconds; true when there was
    /// one. A time before the chain's own erases nothing.
    ///
    /// # Errors
    /// [`Error::Clock`] when that would erase years of keys at once; nothing is erased then.
    pub fn erase_before(&mut self, unix: u64) -> Result<bool, Error> {
        let keep = epoch_at(unix.saturating_sub(OVERLAP_SECONDS));
        if keep <= self.first {
            return Ok(false);
        }
        self.step_to(keep)?;
        Ok(true)
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.u32(self.first);
        w.put(&*self.seed);
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, codec::Error> {
        let first = r.u32()?;
        if first > u32::MAX - STEPS_MAX {
            return Err(invalid(r));
        }
        Ok(Self { first, seed: Zeroizing::new(r.array()?) })
    }

    fn step_to(&mut self, epoch: u32) -> Result<(), Error> {
        let steps = epoch.checked_sub(self.first).ok_or(Error::Erased)?;
        if steps > STEPS_MAX {
            return Err(Error::Clock);
        }
        for _ in 0..steps {
            self.step();
        }
        Ok(())
    }

    fn step(&mut self) {
        let mut next = Zeroizing::new([0; 32]);
        self.expand(NEXT_INFO, &mut *next);
        // Copied over the old seed in place, so that it is gone at once.
        self.seed.copy_from_slice(&*next);
        self.first = self.first.saturating_add(1);
    }

    /// The scalar of the first epoch held.
    fn scalar(&self) -> Zeroizing<[u8; 32]> {
        let mut wide = Zeroizing::new([0; 64]);
        self.expand(KEY_INFO, &mut *wide);
        let mut scalar = Scalar::from_bytes_mod_order_wide(&wide);
        let bytes = Zeroizing::new(scalar.to_bytes());
        scalar.zeroize();
        bytes
    }

    fn expand(&self, info: &[u8], out: &mut [u8]) {
        // The seed is uniform, so HKDF's extract step is not needed (RFC 5869, section 3.3).
        Hkdf::<Sha256>::from_prk(&*self.seed)
            .expect("a seed is as long as the hash")
            .expand(info, out)
            .expect("HKDF gives up to 8,160 bytes");
    }
}

impl fmt::Debug for OnionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnionKeys([redacted])")
    }
}
