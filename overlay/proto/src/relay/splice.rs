//! Who waits for whom at a meeting relay.
//!
//! A cookie is a secret of two people that the relay learns when it is used. The table does not keep cookies: it is
//! keyed by a hash under a secret of this relay, so a look-up takes the same steps however much of a guess is right.
//! A cookie works once; an entry that its circuit does not refresh goes after a time limit.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand_core::Rng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::kind::COOKIE_LEN;

/// What stands in the table instead of a cookie.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CookieTag([u8; 16]);

impl std::fmt::Debug for CookieTag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CookieTag([redacted])")
    }
}

/// Circuits (by key `K`) that wait under a cookie.
#[derive(Debug)]
pub(crate) struct Meetings<K> {
    secret: Zeroizing<[u8; 32]>,
    waiting: BTreeMap<CookieTag, Waiter<K>>,
    most: usize,
    patience: Duration,
}

#[derive(Debug)]
struct Waiter<K> {
    circuit: K,
    refreshed: Instant,
}

impl<K: Copy + PartialEq> Meetings<K> {
    /// At most `most` circuits wait, each at most `patience` after its last request.
    pub(crate) fn new(most: usize, patience: Duration, rng: &mut impl Rng) -> Self {
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *secret);
        Self { secret, waiting: BTreeMap::new(), most, patience }
    }

    /// Keeps `circuit` under the cookie, or refreshes it. Nothing if another circuit holds the cookie or the table is
    /// full.
    pub(crate) fn wait(&mut self, now: Instant, cookie: &[u8; COOKIE_LEN], circuit: K) -> Option<CookieTag> {
        let tag = self.tag(cookie);
        match self.waiting.get_mut(&tag) {
            Some(waiter) if waiter.circuit == circuit => waiter.refreshed = now,
            Some(_) => return None,
            None => {
                if self.waiting.len() >= self.most {
                    return None;
                }
                self.waiting.insert(tag, Waiter { circuit, refreshed: now });
            }
        }
        Some(tag)
    }

    /// Takes the circuit that waits under the cookie out of the table.
    pub(crate) fn join(&mut self, now: Instant, cookie: &[u8; COOKIE_LEN]) -> Option<(K, CookieTag)> {
        let tag = self.tag(cookie);
        let waiter = self.waiting.remove(&tag)?;
        (now.saturating_duration_since(waiter.refreshed) < self.patience).then_some((waiter.circuit, tag))
    }

    /// The hash under which a cookie stands.
    pub(crate) fn tag(&self, cookie: &[u8; COOKIE_LEN]) -> CookieTag {
        let digest =
            Sha256::new().chain_update(b"zmesh meeting cookie").chain_update(*self.secret).chain_update(cookie);
        let mut tag = [0; 16];
        tag.copy_from_slice(&digest.finalize()[..16]);
        CookieTag(tag)
    }

    /// The circuit that waited under `tag` is gone.
    pub(crate) fn forget(&mut self, tag: CookieTag) {
        self.waiting.remove(&tag);
    }

    /// Removes entries that were not refreshed in time, and returns their circuits.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<K> {
        let patience = self.patience;
        let mut gone = Vec::new();
        self.waiting.retain(|_, waiter| {
            let keep = now.saturating_duration_since(waiter.refreshed) < patience;
            if !keep {
                gone.push(waiter.circuit);
            }
            keep
        });
        gone
    }

    /// How many circuits wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha12Rng;
    use rand_core::SeedableRng;

    use super::*;
    use crate::timer::any_instant;

    fn table(most: usize) -> Meetings<u32> {
        Meetings::new(most, Duration::from_secs(60), &mut ChaCha12Rng::seed_from_u64(1))
    }

    #[test]
    fn a_cookie_works_once() {
        let now = any_instant();
        let mut table = table(4);
        assert!(table.wait(now, &[1; 16], 7).is_some());
        assert!(table.wait(now, &[1; 16], 7).is_some(), "asking again is harmless");
        assert!(table.wait(now, &[1; 16], 8).is_none(), "taken");
        assert!(table.join(now, &[2; 16]).is_none());
        assert_eq!(table.join(now, &[1; 16]).map(|(circuit, _)| circuit), Some(7));
        assert!(table.join(now, &[1; 16]).is_none());
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn the_table_is_bounded_in_count_and_time() {
        let now = any_instant();
        let mut table = table(2);
        assert!(table.wait(now, &[1; 16], 1).is_some());
        let tag = table.wait(now, &[2; 16], 2).unwrap();
        assert!(table.wait(now, &[3; 16], 3).is_none());
        table.forget(tag);
        assert!(table.wait(now + Duration::from_secs(30), &[3; 16], 3).is_some());
        assert!(table.join(now + Duration::from_secs(60), &[1; 16]).is_none(), "too late");
        assert!(table.wait(now + Duration::from_secs(30), &[1; 16], 1).is_some());
        assert_eq!(table.expire(now + Duration::from_secs(89)), []);
        assert_eq!(table.expire(now + Duration::from_secs(90)).len(), 2);
        assert_eq!(table.len(), 0);
    }
}
