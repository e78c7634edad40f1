//! Places for streams, of which there are not enough for all.
//!
//! Who comes when all are taken gets one as long as somebody has more: of the link that has most places, the session
//! that has most loses its latest. So a link, and within it a session, that takes all there is leaves the next one its
//! first place and its share. What that costs does not grow with how many are there, but for the depth of a few search
//! trees.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use zmesh_proto::crowd::{Crowd, Via};
use zmesh_proto::service::Source;

/// While fewer than a quarter of all places are free, a session that has this many gets no more: then nobody needs to
/// lose any.
const OF_SESSION_WHEN_SCARCE: usize = 16;

/// See the head of this module.
pub(super) struct Pool {
    most: usize,
    held: Mutex<Held>,
}

struct Held {
    crowd: Crowd,
    links: HashMap<Via, OfLink>,
    next: u64,
}

/// The places of one link.
#[derive(Default)]
struct OfLink {
    /// Numbers rise, so the last one is the latest.
    sessions: HashMap<u64, BTreeMap<u64, Arc<Notify>>>,
    /// Sessions, the one with most places last.
    order: BTreeSet<(usize, u64)>,
}

impl OfLink {
    fn of(&self, session: u64) -> usize {
        self.sessions.get(&session).map_or(0, BTreeMap::len)
    }

    fn insert(&mut self, session: u64, number: u64, lost: Arc<Notify>) {
        let places = self.sessions.entry(session).or_default();
        self.order.remove(&(places.len(), session));
        places.insert(number, lost);
        self.order.insert((places.len(), session));
    }

    fn remove(&mut self, session: u64, number: u64) -> Option<Arc<Notify>> {
        let places = self.sessions.get_mut(&session)?;
        let before = places.len();
        let lost = places.remove(&number)?;
        let after = places.len();
        self.order.remove(&(before, session));
        if after == 0 {
            self.sessions.remove(&session);
        } else {
            self.order.insert((after, session));
        }
        Some(lost)
    }
}

impl Held {
    fn remove(&mut self, source: Source, number: u64) -> Option<Arc<Notify>> {
        let link = self.links.get_mut(&source.via)?;
        let lost = link.remove(source.session, number)?;
        if link.sessions.is_empty() {
            self.links.remove(&source.via);
        }
        self.crowd.leave(source.via);
        Some(lost)
    }

    /// Whose place goes for one of this source, and which.
    fn gives_way(&self, source: Source) -> Option<(Source, u64)> {
        let other = self.crowd.gives_way(source.via);
        let via = other.unwrap_or(source.via);
        let link = self.links.get(&via)?;
        let (most, session) = *link.order.last()?;
        // The link has no more to expect: its sessions share what it has.
        if other.is_none() && most <= link.of(source.session) + 1 {
            return None;
        }
        let (latest, _) = link.sessions.get(&session)?.last_key_value()?;
        Some((Source { session, via }, *latest))
    }
}

impl Pool {
    /// `most` places, of which `of_strangers` are the share of strangers.
    pub(super) fn new(most: usize, of_strangers: usize) -> Arc<Self> {
        let held = Held { crowd: Crowd::new(most, of_strangers), links: HashMap::new(), next: 0 };
        Arc::new(Self { most, held: Mutex::new(held) })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many places are taken.
    pub(super) fn taken(&self) -> usize {
        self.held().crowd.len()
    }

    /// A place for one more stream, if it is this source's turn to have one.
    pub(super) fn take(self: &Arc<Self>, source: Source) -> Option<Taken> {
        let mut held = self.held();
        let free = held.crowd.free();
        let own = held.links.get(&source.via).map_or(0, |link| link.of(source.session));
        if free < self.most / 4 && own >= OF_SESSION_WHEN_SCARCE {
            return None;
        }
        if free == 0 {
            let (loser, latest) = held.gives_way(source)?;
            held.remove(loser, latest)?.notify_one();
        }
        let number = held.next;
        held.next += 1;
        let lost = Arc::new(Notify::new());
        held.crowd.enter(source.via);
        held.links.entry(source.via).or_default().insert(source.session, number, Arc::clone(&lost));
        drop(held);
        Some(Taken { pool: Arc::clone(self), source, number, lost })
    }
}

/// A place, which is free again when this is dropped.
pub(super) struct Taken {
    pool: Arc<Pool>,
    source: Source,
    number: u64,
    lost: Arc<Notify>,
}

impl Taken {
    /// Waits until somebody else has the place.
    ///
    /// # Cancel safety
    /// Cancel safe, as long as nothing waits after it has returned.
    pub(super) async fn lost(&self) {
        self.lost.notified().await;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // One that was lost is not there any more.
        self.pool.held().remove(self.source, self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use zmesh_proto::crowd::Class;

    use super::*;

    fn known(link: u64, session: u64) -> Source {
        Source { session, via: Via { class: Class::Known, link } }
    }

    fn stranger(link: u64, session: u64) -> Source {
        Source { session, via: Via { class: Class::Stranger, link } }
    }

    fn has_lost(place: &Taken) -> bool {
        place.lost().now_or_never().is_some()
    }

    /// Sessions of a link take what they get until all places are taken.
    fn fill(pool: &Arc<Pool>, source: impl Fn(u64) -> Source) -> Vec<Taken> {
        let mut places = Vec::new();
        for session in 0.. {
            let of_session = std::iter::from_fn(|| pool.take(source(session)));
            places.extend(of_session.take(64.min(pool.most - places.len())));
            if places.len() == pool.most {
                break;
            }
        }
        places
    }

    #[test]
    fn a_link_that_takes_all_it_gets_leaves_the_next_one_its_share() {
        let pool = Pool::new(768, 48);
        let greedy = fill(&pool, |session| known(1, session));
        assert_eq!((greedy.len(), pool.taken()), (768, 768));
        let first = pool.take(known(2, 900)).expect("a place for the first stream of another link");
        assert_eq!((pool.taken(), greedy.iter().filter(|place| has_lost(place)).count()), (768, 1));
        // It goes on until both have the same, and then nobody is moved to and fro.
        let more: Vec<_> = (901..2_000).map_while(|session| pool.take(known(2, session))).collect();
        assert_eq!(more.len() + 1, 384);
        let another = pool.take(known(1, 5_000)).expect("its own link's greedy sessions pay");
        assert!(pool.take(known(2, 5_000)).is_none(), "each session of its link has one");
        let third = pool.take(known(3, 6_000)).expect("a place for a third link");
        assert!(!has_lost(&third));
        assert_eq!(pool.taken(), 768);
        drop((greedy, first, more, another, third));
        assert_eq!(pool.taken(), 0, "places that were lost are not given back twice");
    }

    #[test]
    fn the_session_that_has_most_loses_its_latest() {
        let pool = Pool::new(40, 4);
        let modest: Vec<_> = (0..4).map(|_| pool.take(known(1, 1)).expect("room")).collect();
        let greedy: Vec<_> = (0..27).map(|_| pool.take(known(1, 2)).expect("room")).collect();
        assert!(pool.take(known(1, 2)).is_none(), "places are scarce");
        let other: Vec<_> = (0..9).map(|_| pool.take(known(2, 3)).expect("room")).collect();
        assert_eq!(pool.taken(), 40);
        let first = pool.take(known(3, 4)).expect("the first one of a link");
        let own = pool.take(known(1, 1)).expect("its link has most, and another session of it more than this one");
        assert!(has_lost(&greedy[26]) && has_lost(&greedy[25]) && !has_lost(&greedy[24]));
        assert!(modest.iter().chain(&other).chain([&first, &own]).all(|place| !has_lost(place)));
    }

    #[test]
    fn links_of_strangers_pay_first() {
        let pool = Pool::new(80, 20);
        let relays: Vec<_> = (0..30).map(|session| pool.take(known(1, session)).expect("room")).collect();
        let strangers: Vec<_> = (0..50).map(|link| pool.take(stranger(link, 100 + link)).expect("room")).collect();
        assert!(pool.take(stranger(90, 900)).is_none(), "they have more than their share, one each");
        let more: Vec<_> = (30..200).map_while(|session| pool.take(known(1, session))).collect();
        assert_eq!(more.len(), 30, "all but the strangers' share");
        assert_eq!(strangers.iter().filter(|place| has_lost(place)).count(), 30);
        assert!(relays.iter().chain(&more).all(|place| !has_lost(place)));
    }
}
