//! Handshakes that strangers have begun: bounds, replay of first messages, and who waits for what.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use zeroize::Zeroizing;

use super::clock::{Nanos, SECOND};
use super::cookie::Mac;
use super::crowd::Crowd;
use super::session::Session;
use super::types::{LinkId, LinkPeerInfo};

/// How long an answered handshake waits for the initiator's first datagram.
const HALF_OPEN: Nanos = 5 * SECOND;
/// First messages remembered by their `mac1`.
const RECENT: usize = 1024;
/// Initiators whose last timestamp is remembered.
const TIMESTAMPS: usize = 4096;

/// A handshake whose public-key work is under way.
pub(super) struct Guest {
    pub(super) from: SocketAddr,
    /// The initiator's index.
    pub(super) index: u32,
    pub(super) suite: u8,
    /// It came from the address of a link that exists, and holds a place of the reserve.
    pub(super) known: bool,
    pub(super) answer: Option<Answer>,
}

/// What the responder settled before it answers.
pub(super) struct Answer {
    pub(super) local_index: u32,
    pub(super) info: LinkPeerInfo,
    pub(super) token: Zeroizing<[u8; 32]>,
    /// The link that the handshake renews.
    pub(super) renews: Option<LinkId>,
}

/// An answered handshake: its session becomes a link's once the initiator has used it.
pub(super) struct HalfOpen {
    pub(super) session: Session,
    pub(super) from: SocketAddr,
    pub(super) answer: Answer,
    /// Its place among strangers' handshakes; renewals have none.
    pub(super) place: Option<u64>,
}

/// All handshakes of strangers. Everything here is bounded.
pub(super) struct Guests {
    working: BTreeMap<u64, Guest>,
    half_open: BTreeMap<u32, HalfOpen>,
    expiry: VecDeque<(Nanos, u32)>,
    sources: BTreeMap<u64, usize>,
    tickets: u64,
    /// Of the handshakes under way, those whose first message is still to be read.
    unread: usize,
    /// Of these, those from addresses of links, by address.
    known: BTreeMap<SocketAddr, usize>,
    known_unread: usize,
    crowd: Crowd,
    /// Answered renewals, by the link that they renew.
    renewals: BTreeMap<LinkId, u32>,
    recent: BTreeSet<Mac>,
    recent_order: VecDeque<Mac>,
    timestamps: BTreeMap<[u8; 32], (u64, u64)>,
    timestamp_order: BTreeMap<u64, [u8; 32]>,
    timestamp_clock: u64,
}

impl Guests {
    pub(super) fn new() -> Self {
        Self {
            working: BTreeMap::new(),
            half_open: BTreeMap::new(),
            expiry: VecDeque::new(),
            sources: BTreeMap::new(),
            tickets: 0,
            unread: 0,
            known: BTreeMap::new(),
            known_unread: 0,
            crowd: Crowd::default(),
            renewals: BTreeMap::new(),
            recent: BTreeSet::new(),
            recent_order: VecDeque::new(),
            timestamps: BTreeMap::new(),
            timestamp_order: BTreeMap::new(),
            timestamp_clock: 0,
        }
    }

    /// First messages of strangers that wait to be read.
    pub(super) fn unread(&self) -> usize {
        self.unread - self.known_unread
    }

    /// First messages from addresses of links that wait to be read: all, and those of this one.
    pub(super) fn unread_known(&self, from: SocketAddr) -> (usize, usize) {
        (self.known_unread, self.known.get(&from).copied().unwrap_or(0))
    }

    /// Handshakes that are being answered.
    pub(super) fn answering_now(&self) -> usize {
        self.working.len() - self.unread
    }

    /// Handshakes that are being answered, or were answered and wait for the initiator; no renewals among the latter.
    pub(super) fn answered(&self) -> usize {
        self.crowd.len() + self.answering_now()
    }

    /// Handshakes of any stage from the network of this address (IPv4 address, IPv6 /64).
    pub(super) fn count_from(&self, from: SocketAddr) -> usize {
        self.sources.get(&source(from)).copied().unwrap_or(0)
    }

    /// Whether the first message with this `mac1` was accepted lately.
    pub(super) fn is_repeat(&self, mac1: &Mac) -> bool {
        self.recent.contains(mac1)
    }

    /// Notes an accepted first message and gives its ticket.
    pub(super) fn admit(&mut self, guest: Guest, mac1: Mac) -> u64 {
        if self.recent_order.len() >= RECENT
            && let Some(old) = self.recent_order.pop_front()
        {
            self.recent.remove(&old);
        }
        self.recent.insert(mac1);
        self.recent_order.push_back(mac1);
        *self.sources.entry(source(guest.from)).or_default() += 1;
        self.tickets += 1;
        self.unread += 1;
        if guest.known {
            self.known_unread += 1;
            *self.known.entry(guest.from).or_default() += 1;
        }
        self.working.insert(self.tickets, guest);
        self.tickets
    }

    /// Takes a handshake whose work has come back.
    pub(super) fn take(&mut self, ticket: u64) -> Option<Guest> {
        let guest = self.working.remove(&ticket)?;
        if guest.answer.is_none() {
            self.unread -= 1;
            if guest.known {
                self.known_unread -= 1;
                if let Some(count) = self.known.get_mut(&guest.from) {
                    *count -= 1;
                    if *count == 0 {
                        self.known.remove(&guest.from);
                    }
                }
            }
        }
        Some(guest)
    }

    /// Puts a handshake back that will now be answered.
    pub(super) fn answering(&mut self, ticket: u64, guest: Guest) {
        self.working.insert(ticket, guest);
    }

    /// The handshake from this address is over.
    pub(super) fn release(&mut self, from: SocketAddr) {
        if let Some(count) = self.sources.get_mut(&source(from)) {
            *count -= 1;
            if *count == 0 {
                self.sources.remove(&source(from));
            }
        }
    }

    /// Keeps an answered handshake until the initiator speaks. Returns the index of the one that gave way: the last
    /// renewal of the same link, or beyond `max` the oldest of the network with the most.
    pub(super) fn keep(&mut self, now: Nanos, mut half_open: HalfOpen, max: usize) -> Option<u32> {
        let index = half_open.answer.local_index;
        let evicted = match half_open.answer.renews {
            Some(link) => self.renewals.insert(link, index),
            None => {
                half_open.place = Some(self.crowd.enter(half_open.from, index));
                if self.crowd.len() > max { self.crowd.victim() } else { None }
            }
        };
        self.expiry.push_back((now + HALF_OPEN, index));
        self.half_open.insert(index, half_open);
        evicted.filter(|old| self.leave(*old).is_some())
    }

    pub(super) fn half_open_mut(&mut self, index: u32) -> Option<&mut HalfOpen> {
        self.half_open.get_mut(&index)
    }

    /// Takes an answered handshake, because the initiator spoke or the wait is over.
    pub(super) fn leave(&mut self, index: u32) -> Option<HalfOpen> {
        let half_open = self.half_open.remove(&index)?;
        self.release(half_open.from);
        if let Some(place) = half_open.place {
            self.crowd.leave(half_open.from, place);
        }
        if let Some(link) = half_open.answer.renews
            && self.renewals.get(&link) == Some(&index)
        {
            self.renewals.remove(&link);
        }
        Some(half_open)
    }

    /// The next index whose wait is over.
    pub(super) fn expired(&mut self, now: Nanos) -> Option<u32> {
        self.expiry.pop_front_if(|(at, _)| *at <= now).map(|(_, index)| index)
    }

    /// When the next wait is over.
    pub(super) fn deadline(&self) -> Option<Nanos> {
        self.expiry.front().map(|(at, _)| *at)
    }

    /// Whether the timestamp is later than any before from this link key; notes it then. Of [`TIMESTAMPS`] keys the
    /// one that has been silent for longest is forgotten: its old first messages could be read again, but a replayed
    /// one never becomes a session, since that takes the initiator's answer.
    pub(super) fn is_later(&mut self, key: &[u8; 32], timestamp: u64) -> bool {
        let known = self.timestamps.get(key).copied();
        if known.is_some_and(|(last, _)| timestamp <= last) {
            return false;
        }
        if let Some((_, place)) = known {
            self.timestamp_order.remove(&place);
        } else if self.timestamps.len() >= TIMESTAMPS
            && let Some((_, oldest)) = self.timestamp_order.pop_first()
        {
            self.timestamps.remove(&oldest);
        }
        self.timestamp_clock += 1;
        self.timestamps.insert(*key, (timestamp, self.timestamp_clock));
        self.timestamp_order.insert(self.timestamp_clock, *key);
        true
    }
}

impl std::fmt::Debug for Guests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guests").field("unread", &self.unread).field("half_open", &self.half_open.len()).finish()
    }
}

fn source(from: SocketAddr) -> u64 {
    match from.ip() {
        IpAddr::V4(ip) => u64::from(u32::from(ip)),
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            u64::from(a) << 48 | u64::from(b) << 32 | u64::from(c) << 16 | u64::from(d)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_only_grow_and_the_table_is_bounded() {
        let mut guests = Guests::new();
        let key = |number: usize| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&number.to_be_bytes());
            key
        };
        assert!(guests.is_later(&key(0), 5));
        assert!(!guests.is_later(&key(0), 5) && !guests.is_later(&key(0), 4));
        assert!(guests.is_later(&key(0), 6) && guests.is_later(&key(1), 1));
        for number in 2..3 * TIMESTAMPS {
            assert!(guests.is_later(&key(number), 1));
        }
        assert!(guests.timestamps.len() == TIMESTAMPS && guests.timestamp_order.len() == TIMESTAMPS);
    }
}
