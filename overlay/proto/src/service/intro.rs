//! What a relay decides about introductions: for whom it passes them on, and whose is next.
//!
//! The relay cannot read them, so it does not know junk. It passes on what a service can look at, which is far more than a service answers:
//! what is too much is for the service to see, whose price rises. Those that wait for one service take turns by the links over which they
//! came; a session has few (see [`Visitor`](super::visitor::Visitor)).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Source;
use super::introduce::{IntroName, IntroSecret};
use crate::pace::Pace;
use crate::turns::Turns;

/// Services that one session may be known by: a circuit serves one introduction point, and a little more for those that are replaced.
const PER_SESSION: usize = 2;

/// Introductions that are passed on for one service, in a second: some milliseconds of the service's work, 29 kB.
pub const INTRODUCTIONS_PER_SECOND: u64 = 200;
/// The same, at once.
pub const INTRODUCTIONS_AT_ONCE: u64 = 200;
/// Introductions that wait for one service.
pub const INTRODUCTIONS_WAITING: usize = 128;

/// When to ask again after [`Next::Later`]: in this time the next one may go.
pub const PAUSE: Duration = Duration::from_millis(1_000 / INTRODUCTIONS_PER_SECOND);

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
    /// Too many introductions for this service wait over this link.
    #[error("too many introductions for this service")]
    Busy,
}

/// What a service is given next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next<T> {
    /// This one.
    Take(T),
    /// One that waits, after [`PAUSE`].
    Later,
    /// Nothing waits.
    Nothing,
    /// Another handle has the service's place, or none.
    Gone,
}

#[derive(Debug)]
struct Entry<T> {
    handle: u64,
    source: Source,
    pace: Pace,
    waiting: Turns<T>,
}

/// The services for which a relay passes introductions on, which are of type `T`. A handle is what the driver knows a service's stream by.
#[derive(Debug)]
pub struct Intros<T> {
    entries: BTreeMap<IntroName, Entry<T>>,
    names: BTreeMap<u64, IntroName>,
    by_link: BTreeMap<u64, usize>,
    by_session: BTreeMap<u64, usize>,
    most: usize,
    most_of_link: usize,
}

impl<T> Intros<T> {
    /// For at most `most` services, `most_of_link` of them over one link.
    #[must_use]
    pub fn new(most: usize, most_of_link: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            names: BTreeMap::new(),
            by_link: BTreeMap::new(),
            by_session: BTreeMap::new(),
            most,
            most_of_link,
        }
    }

    /// Passes introductions on to `handle` from now on. The handle that had the place before, if any, is returned: who shows the secret
    /// again has lost its circuit. What waited, and the pace, stay with the service.
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
        let (pace, waiting) = match before.and_then(|(before, _)| self.remove(before)) {
            Some(entry) => (entry.pace, entry.waiting),
            None => (Pace::new(INTRODUCTIONS_PER_SECOND, INTRODUCTIONS_AT_ONCE), Turns::new(INTRODUCTIONS_WAITING)),
        };
        *self.by_link.entry(source.link).or_default() += 1;
        *self.by_session.entry(source.session).or_default() += 1;
        self.names.insert(handle, name);
        self.entries.insert(name, Entry { handle, source, pace, waiting });
        Ok(before.map(|(handle, _)| handle))
    }

    /// An introduction for `name` came over a link. Gives the handle to which it goes, and one of another link that had to give way to it.
    ///
    /// # Errors
    /// [`Refusal::Unknown`] or [`Refusal::Busy`]; the introduction is dropped.
    pub fn introduce(&mut self, name: &IntroName, link: u64, item: T) -> Result<(u64, Option<T>), Refusal> {
        let entry = self.entries.get_mut(name).ok_or(Refusal::Unknown)?;
        let displaced = entry.waiting.push(link, item).map_err(|_| Refusal::Busy)?;
        Ok((entry.handle, displaced))
    }

    /// What the service behind this handle is given next.
    pub fn next(&mut self, now: Instant, handle: u64) -> Next<T> {
        let entry = self.names.get(&handle).and_then(|name| self.entries.get_mut(name));
        let Some(Entry { pace, waiting, .. }) = entry else { return Next::Gone };
        if waiting.is_empty() {
            return Next::Nothing;
        }
        waiting.pop_if(|_| pace.take(now, 1)).map_or(Next::Later, Next::Take)
    }

    /// The service behind this handle is gone, and what waited for it.
    pub fn leave(&mut self, handle: u64) {
        self.remove(handle);
    }

    fn remove(&mut self, handle: u64) -> Option<Entry<T>> {
        let entry = self.names.remove(&handle).and_then(|name| self.entries.remove(&name))?;
        for (counts, key) in [(&mut self.by_link, entry.source.link), (&mut self.by_session, entry.source.session)] {
            if let Some(count) = counts.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(&key);
                }
            }
        }
        Some(entry)
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
