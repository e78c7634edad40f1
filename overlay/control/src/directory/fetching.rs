//! Whom documents are asked of: two peers at a time, so that one who says that it has something newer, and then says nothing, holds up
//! itself and not the node.
//!
//! Pure: the time, in unix seconds, is an argument.

use std::collections::BTreeMap;

use zmesh_proto::wire::control::SignedHeader;

use crate::PeerIdentity;

/// How long a peer may take to say at which headers voters changed, in seconds. A document may take as long as any answer.
pub(crate) const CHANGES_TIME: u64 = 10;
/// For how long a peer of which nothing came is not asked again, in seconds; doubles each time. Longer than any answer takes, so that a
/// late one is not taken for that to the next question.
const REST_FIRST: u64 = 40;
const REST_LONGEST: u64 = 640;
/// Peers of which this is remembered.
const RESTS: usize = 512;

/// Why a peer is asked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Way {
    /// It brought a header by gossip: it may not have the document itself.
    Brought,
    /// It answered that its own newest document is this one.
    Said,
    /// This node chose it among its peers.
    Chosen,
}

/// What is asked of one peer.
pub(crate) struct Fetch {
    pub(crate) peer: PeerIdentity,
    pub(crate) way: Way,
    /// Epoch of the document that was held at the beginning.
    pub(crate) from: u64,
    /// Once the peer has said them.
    pub(crate) changes: Option<Vec<SignedHeader>>,
    begun: u64,
}

struct Rest {
    times: u32,
    until: u64,
}

/// What is asked for, and of whom.
#[derive(Default)]
pub(crate) struct Fetching {
    /// Of a peer that told of something newer.
    told: Option<Fetch>,
    /// Of a peer of this node's own choice: no other can take this place.
    chosen: Option<Fetch>,
    rests: BTreeMap<PeerIdentity, Rest>,
}

impl Fetching {
    /// Begins to ask a peer; false while it rests or is asked, or the place is taken.
    pub(crate) fn begin(&mut self, peer: PeerIdentity, way: Way, from: u64, now: u64) -> bool {
        let rests = self.rests.get(&peer).is_some_and(|rest| now < rest.until);
        let asked = self.told.iter().chain(&self.chosen).any(|fetch| fetch.peer == peer);
        let place = if way == Way::Chosen { &mut self.chosen } else { &mut self.told };
        if rests || asked || place.is_some() {
            return false;
        }
        *place = Some(Fetch { peer, way, from, changes: None, begun: now });
        true
    }

    /// Takes what is asked of a peer out of its place.
    pub(crate) fn take(&mut self, peer: &PeerIdentity) -> Option<Fetch> {
        let is_its = |fetch: &mut Fetch| fetch.peer == *peer;
        self.told.take_if(is_its).or_else(|| self.chosen.take_if(is_its))
    }

    /// Puts it back.
    pub(crate) fn put(&mut self, fetch: Fetch) {
        let place = if fetch.way == Way::Chosen { &mut self.chosen } else { &mut self.told };
        *place = Some(fetch);
    }

    /// Nothing came of a peer.
    pub(crate) fn in_vain(&mut self, peer: PeerIdentity, now: u64) {
        if self.rests.len() >= RESTS {
            self.rests.retain(|_, rest| now < rest.until.saturating_add(REST_LONGEST));
        }
        if self.rests.len() >= RESTS && !self.rests.contains_key(&peer) {
            let soonest = self.rests.iter().min_by_key(|(_, rest)| rest.until).map(|(peer, _)| *peer);
            if let Some(peer) = soonest {
                self.rests.remove(&peer);
            }
        }
        let rest = self.rests.entry(peer).or_insert(Rest { times: 0, until: 0 });
        rest.until = now + (REST_FIRST << rest.times.min(8)).min(REST_LONGEST);
        rest.times += 1;
    }

    /// A peer gave what was asked for.
    pub(crate) fn was_good(&mut self, peer: &PeerIdentity) {
        self.rests.remove(peer);
    }

    /// Gives up on peers that are too slow to begin.
    pub(crate) fn give_up_slow(&mut self, now: u64) {
        let slow = |fetch: &mut Fetch| fetch.changes.is_none() && now.saturating_sub(fetch.begun) > CHANGES_TIME;
        let gone = [self.told.take_if(slow), self.chosen.take_if(slow)];
        for fetch in gone.into_iter().flatten() {
            self.in_vain(fetch.peer, now);
        }
    }
}
