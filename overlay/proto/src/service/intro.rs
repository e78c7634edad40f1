//! What a relay decides about introductions: for whom it passes them on, and how many.

use std::collections::BTreeMap;
use std::time::Instant;

use super::Source;
use super::introduce::{IntroName, IntroSecret};
use crate::seeding::cache::Pace;

/// Services that one session may be known by: a circuit serves one introduction point, and a little more for those that are replaced.
const PER_SESSION: usize = 2;

/// Introductions that are passed on for one service, in a second.
pub const INTRODUCTIONS_PER_SECOND: u64 = 20;
/// The same, at once.
pub const INTRODUCTIONS_AT_ONCE: u64 = 100;

/// Why a relay does not do it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No room for another service, in all or over this link.
    #[error("the relay has no room for another service")]
    Full,
    /// Nobody is known here by this name.
    #[error("nobody is known here by this name")]
    Unknown,
    /// Too many introductions for this service.
    #[error("too many introductions for this service")]
    Busy,
}

#[derive(Debug)]
struct Entry {
    handle: u64,
    source: Source,
    pace: Pace,
}

/// The services for which a relay passes introductions on. A handle is what the driver knows a service's stream by.
#[derive(Debug)]
pub struct Intros {
    entries: BTreeMap<IntroName, Entry>,
    by_link: BTreeMap<u64, usize>,
    by_session: BTreeMap<u64, usize>,
    most: usize,
    most_of_link: usize,
}

impl Intros {
    /// For at most `most` services, `most_of_link` of them over one link.
    #[must_use]
    pub fn new(most: usize, most_of_link: usize) -> Self {
        Self { entries: BTreeMap::new(), by_link: BTreeMap::new(), by_session: BTreeMap::new(), most, most_of_link }
    }

    /// Passes introductions on to `handle` from now on. The handle that had the place before, if any, is returned: who shows the secret
    /// again has lost its circuit.
    ///
    /// # Errors
    /// [`Refusal::Full`].
    pub fn establish(&mut self, secret: &IntroSecret, handle: u64, source: Source) -> Result<Option<u64>, Refusal> {
        let name = secret.name();
        let before = self.entries.get(&name).map(|entry| (entry.handle, entry.source));
        // Its own old place is free for it. Without room in the new one it keeps the old.
        let count = |counts: &BTreeMap<u64, usize>, key: u64, own: Option<u64>| {
            counts.get(&key).copied().unwrap_or(0) - usize::from(own == Some(key))
        };
        if self.entries.len() - usize::from(before.is_some()) >= self.most
            || count(&self.by_link, source.link, before.map(|(_, source)| source.link)) >= self.most_of_link
            || count(&self.by_session, source.session, before.map(|(_, source)| source.session)) >= PER_SESSION
        {
            return Err(Refusal::Full);
        }
        let before = before.map(|(handle, _)| handle);
        if let Some(before) = before {
            self.remove(before);
        }
        *self.by_link.entry(source.link).or_default() += 1;
        *self.by_session.entry(source.session).or_default() += 1;
        self.entries
            .insert(name, Entry { handle, source, pace: Pace::new(INTRODUCTIONS_PER_SECOND, INTRODUCTIONS_AT_ONCE) });
        Ok(before)
    }

    /// The handle to which an introduction for `name` goes.
    ///
    /// # Errors
    /// [`Refusal::Unknown`] or [`Refusal::Busy`].
    pub fn introduce(&mut self, now: Instant, name: &IntroName) -> Result<u64, Refusal> {
        let entry = self.entries.get_mut(name).ok_or(Refusal::Unknown)?;
        if entry.pace.take(now, 1) { Ok(entry.handle) } else { Err(Refusal::Busy) }
    }

    /// The service behind this handle is gone.
    pub fn remove(&mut self, handle: u64) {
        let Some(name) = self.entries.iter().find(|(_, entry)| entry.handle == handle).map(|(name, _)| *name) else {
            return;
        };
        let Some(entry) = self.entries.remove(&name) else { return };
        for (counts, key) in [(&mut self.by_link, entry.source.link), (&mut self.by_session, entry.source.session)] {
            if let Some(count) = counts.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(&key);
                }
            }
        }
    }

    /// How many services are known here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
