//! Which introductions a service has seen: a relay that passes one on twice gets nothing for it.

use std::collections::BTreeSet;
use std::fmt;

use zeroize::Zeroizing;

use super::digest;
use crate::relay::kind::COOKIE_LEN;

const CONTEXT: &str = "zmesh service seen v1";

/// The cookies of introductions that came by way of one introduction point. When it is full that point has to be given up: a filter that
/// forgets lets old introductions in again.
pub struct Seen {
    secret: Zeroizing<[u8; 32]>,
    tags: BTreeSet<[u8; 16]>,
    most: usize,
}

impl Seen {
    /// Remembers `most` cookies, under a random secret: nobody chooses where they fall.
    #[must_use]
    pub fn new(most: usize, secret: Zeroizing<[u8; 32]>) -> Self {
        Self { secret, tags: BTreeSet::new(), most }
    }

    /// Whether the cookie is there.
    #[must_use]
    pub fn contains(&self, cookie: &[u8; COOKIE_LEN]) -> bool {
        self.tags.contains(&self.tag(cookie))
    }

    /// Remembers a cookie; false if it is there already, or if there is no room.
    pub fn insert(&mut self, cookie: &[u8; COOKIE_LEN]) -> bool {
        let tag = self.tag(cookie);
        !self.is_full() && self.tags.insert(tag)
    }

    /// Whether there is no room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.tags.len() >= self.most
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tags.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tags.is_empty()
    }

    fn tag(&self, cookie: &[u8; COOKIE_LEN]) -> [u8; 16] {
        let hash = digest(CONTEXT, &[&*self.secret, cookie]);
        let mut tag = [0; 16];
        tag.copy_from_slice(&hash[..16]);
        tag
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seen({} of {})", self.tags.len(), self.most)
    }
}
