//! What a relay decides about introductions: for whom it passes them on, and whose is next.
//!
//! The relay cannot read them, so it does not know junk. It passes on what a service can look at, which is far more than a service answers:
//! what is too much is for the service to see, whose price rises. Those that wait for one service take turns by the links over which they
//! came; a session has few (see [`Visitor`](super::visitor::Visitor)). Places for services are shared out by links,
//! too: when all are taken, the latest one of the link that has most gives way to a link that has fewer (see
//! [`crowd`](crate::crowd)).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::Source;
use super::introduce::{IntroName, IntroSecret};
use crate::crowd::{Class, Crowd, Via};
use crate::pace::Pace;
use crate::turns::Turns;

/// Services that one session may be known by: a circuit serves one introduction point, and a little more for those that are replaced.
const PER_SESSION: usize = 2;

/// Of all places one in so many is the strangers' share, and a stranger's link has so many times fewer than a relay's.
/// A service comes by a guard at least, so only where documents of different ages are in use does one seem to come by a
/// stranger's link.
const OF_STRANGERS: usize = 16;

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
    crowd: Crowd,
    /// The handles of each link. They rise, so the last one is the latest.
    by_link: BTreeMap<Via, BTreeSet<u64>>,
    by_session: BTreeMap<u64, usize>,
    most_of_link: usize,
}

impl<T> Intros<T> {
    /// For at most `most` services, `most_of_link` of them over the link of one relay, and fewer over a stranger's.
    #[must_use]
    pub fn new(most: usize, most_of_link: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            names: BTreeMap::new(),
            crowd: Crowd::new(most, most / OF_STRANGERS),
            by_link: BTreeMap::new(),
            by_session: BTreeMap::new(),
            most_of_link,
        }
    }

    /// Passes introductions on to `handle`, which is higher than all before it, from now on. The handle that lost its
    /// place for it, if any, is returned: that of the same service, for who shows the secret again has lost its
    /// circuit, and what waited, and the pace, stay with the service; or that of another one that had to give way.
    ///
    /// # Errors
    /// [`Refusal::Full`].
    pub fn establish(&mut self, secret: &IntroSecret, handle: u64, source: Source) -> Result<Option<u64>, Refusal> {
        let name = secret.name();
        let before = self.entries.get(&name).map(|entry| (entry.handle, entry.source));
        // Its own old place is free for it. Without room in the new one it keeps the old.
        let own = |is_own: fn(Source, Source) -> bool| usize::from(before.is_some_and(|(_, old)| is_own(old, source)));
        let of_link = self.crowd.held(source.via) - own(|old, new| old.via == new.via);
        let of_session = self.by_session.get(&source.session).copied().unwrap_or(0);
        if of_link >= self.most_of(source.via.class)
            || of_session - own(|old, new| old.session == new.session) >= PER_SESSION
        {
            return Err(Refusal::Full);
        }
        let gone = match before {
            Some((before, _)) => Some(before),
            None if self.crowd.free() > 0 => None,
            None => Some(self.latest_to_give_way(source.via).ok_or(Refusal::Full)?),
        };
        let entry = gone.and_then(|gone| self.remove(gone)).filter(|_| before.is_some());
        let (pace, waiting) = match entry {
            Some(entry) => (entry.pace, entry.waiting),
            None => (Pace::new(INTRODUCTIONS_PER_SECOND, INTRODUCTIONS_AT_ONCE), Turns::new(INTRODUCTIONS_WAITING)),
        };
        self.crowd.enter(source.via);
        self.by_link.entry(source.via).or_default().insert(handle);
        *self.by_session.entry(source.session).or_default() += 1;
        self.names.insert(handle, name);
        self.entries.insert(name, Entry { handle, source, pace, waiting });
        Ok(gone)
    }

    fn most_of(&self, class: Class) -> usize {
        match class {
            Class::Known => self.most_of_link,
            Class::Stranger => (self.most_of_link / OF_STRANGERS).max(1),
        }
    }

    /// The latest service of the link that gives way to another one over this link.
    fn latest_to_give_way(&self, via: Via) -> Option<u64> {
        self.by_link.get(&self.crowd.gives_way(via)?)?.last().copied()
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
        let Source { session, via } = entry.source;
        self.crowd.leave(via);
        if let Some(handles) = self.by_link.get_mut(&via) {
            handles.remove(&handle);
            if handles.is_empty() {
                self.by_link.remove(&via);
            }
        }
        if let Some(count) = self.by_session.get_mut(&session) {
            *count -= 1;
            if *count == 0 {
                self.by_session.remove(&session);
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
