//! Who waits for whom at a meeting relay.
//!
//! A cookie is a secret of two people that the relay learns when it is used. The table does not keep cookies: it is
//! keyed by a hash under a secret of this relay, so a look-up takes the same steps however much of a guess is right.
//! A cookie works once; each link has a bound of its own, so that one cannot take every place; an entry that its circuit does not refresh goes after a time limit.

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

/// Circuits (by key `K`) that wait under a cookie, counted by the link `L` over which they came.
#[derive(Debug)]
pub(crate) struct Meetings<K, L> {
    secret: Zeroizing<[u8; 32]>,
    waiting: BTreeMap<CookieTag, Waiter<K, L>>,
    by_link: BTreeMap<L, usize>,
    most: usize,
    patience: Duration,
}

#[derive(Debug)]
struct Waiter<K, L> {
    circuit: K,
    link: L,
    refreshed: Instant,
}

impl<K: Copy + PartialEq, L: Copy + Ord> Meetings<K, L> {
    /// At most `most` circuits wait, each at most `patience` after its last request.
    pub(crate) fn new(most: usize, patience: Duration, rng: &mut impl Rng) -> Self {
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *secret);
        Self { secret, waiting: BTreeMap::new(), by_link: BTreeMap::new(), most, patience }
    }

    /// Keeps `circuit` under the cookie, or refreshes it. Nothing if another circuit holds the cookie, the table is full,
    /// or `most_of_link` circuits of its link wait already.
    pub(crate) fn wait(
        &mut self,
        now: Instant,
        cookie: &[u8; COOKIE_LEN],
        circuit: K,
        link: L,
        most_of_link: usize,
    ) -> Option<CookieTag> {
        let tag = self.tag(cookie);
        match self.waiting.get_mut(&tag) {
            Some(waiter) if waiter.circuit == circuit => waiter.refreshed = now,
            Some(_) => return None,
            None => {
                let of_link = self.by_link.get(&link).copied().unwrap_or(0);
                if self.waiting.len() >= self.most || of_link >= most_of_link {
                    return None;
                }
                self.by_link.insert(link, of_link + 1);
                self.waiting.insert(tag, Waiter { circuit, link, refreshed: now });
            }
        }
        Some(tag)
    }

    /// Takes the circuit that waits under the cookie out of the table.
    pub(crate) fn join(&mut self, now: Instant, cookie: &[u8; COOKIE_LEN]) -> Option<(K, CookieTag)> {
        let tag = self.tag(cookie);
        let waiter = self.remove(tag)?;
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
        self.remove(tag);
    }

    fn remove(&mut self, tag: CookieTag) -> Option<Waiter<K, L>> {
        let waiter = self.waiting.remove(&tag)?;
        if let Some(count) = self.by_link.get_mut(&waiter.link) {
            *count -= 1;
            if *count == 0 {
                self.by_link.remove(&waiter.link);
            }
        }
        Some(waiter)
    }

    /// Removes entries that were not refreshed in time, and returns their circuits.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<K> {
        let late = |waiter: &Waiter<K, L>| now.saturating_duration_since(waiter.refreshed) >= self.patience;
        let tags: Vec<CookieTag> =
            self.waiting.iter().filter(|(_, waiter)| late(waiter)).map(|(tag, _)| *tag).collect();
        tags.into_iter().filter_map(|tag| self.remove(tag)).map(|waiter| waiter.circuit).collect()
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

    fn table(most: usize) -> Meetings<u32, char> {
        Meetings::new(most, Duration::from_secs(60), &mut ChaCha12Rng::seed_from_u64(1))
    }

    #[test]
    fn a_cookie_works_once() {
        let now = any_instant();
        let mut table = table(4);
        assert!(table.wait(now, &[1; 16], 7, 'a', 9).is_some());
        assert!(table.wait(now, &[1; 16], 7, 'a', 9).is_some(), "asking again is harmless");
        assert!(table.wait(now, &[1; 16], 8, 'a', 9).is_none(), "taken");
        assert!(table.join(now, &[2; 16]).is_none());
        assert_eq!(table.join(now, &[1; 16]).map(|(circuit, _)| circuit), Some(7));
        assert!(table.join(now, &[1; 16]).is_none());
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn the_table_is_bounded_in_count_and_time() {
        let now = any_instant();
        let mut table = table(2);
        assert!(table.wait(now, &[1; 16], 1, 'a', 9).is_some());
        let tag = table.wait(now, &[2; 16], 2, 'a', 9).unwrap();
        assert!(table.wait(now, &[3; 16], 3, 'a', 9).is_none());
        table.forget(tag);
        assert!(table.wait(now + Duration::from_secs(30), &[3; 16], 3, 'a', 9).is_some());
        assert!(table.join(now + Duration::from_secs(60), &[1; 16]).is_none(), "too late");
        assert!(table.wait(now + Duration::from_secs(30), &[1; 16], 1, 'a', 9).is_some());
        assert!(table.expire(now + Duration::from_secs(89)).is_empty());
        assert_eq!(table.expire(now + Duration::from_secs(90)).len(), 2);
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn one_link_cannot_take_every_place() {
        let now = any_instant();
        let mut table = table(100);
        let wait = |table: &mut Meetings<u32, char>, cookie: u8, link: char| {
            table.wait(now, &[cookie; 16], u32::from(cookie), link, 2)
        };
        let first = wait(&mut table, 1, 'a').unwrap();
        wait(&mut table, 2, 'a').unwrap();
        assert!(wait(&mut table, 3, 'a').is_none());
        assert!(wait(&mut table, 2, 'a').is_some(), "refreshed");
        assert!(wait(&mut table, 4, 'b').is_some());
        table.forget(first);
        assert!(wait(&mut table, 3, 'a').is_some());
        assert!(table.join(now, &[2; 16]).is_some());
        assert!(wait(&mut table, 5, 'a').is_some());
        assert_eq!(table.expire(now + Duration::from_secs(60)).len(), 3);
        assert!(table.by_link.is_empty());
    }
}
