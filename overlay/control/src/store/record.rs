//! What is kept of a peer.

use prost::Message;

use crate::address::Direct;
use crate::limits::{ADDRESSES, FORGET_AFTER};
use crate::reputation::Reputation;

/// A peer, as the store keeps it.
#[derive(Clone, PartialEq, Default)]
pub(crate) struct Record {
    /// Where it was met, the last one first. Empty for one that is only remembered for a ban.
    pub(crate) addresses: Vec<Direct>,
    /// When it was met last, unix seconds.
    pub(crate) met: u64,
    /// Attempts to reach it in vain since.
    pub(crate) failures: u32,
    pub(crate) reputation: Reputation,
}

#[derive(Clone, PartialEq, Message)]
struct Wire {
    #[prost(bytes = "vec", repeated, tag = "1")]
    addresses: Vec<Vec<u8>>,
    #[prost(uint64, tag = "2")]
    met: u64,
    #[prost(uint32, tag = "3")]
    failures: u32,
    #[prost(float, tag = "4")]
    points: f32,
    #[prost(uint64, tag = "5")]
    at: u64,
    #[prost(uint32, tag = "6")]
    bans: u32,
    #[prost(uint64, tag = "7")]
    banned_until: u64,
}

impl Record {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let wire = Wire {
            addresses: self.addresses.iter().map(|address| address.to_bytes()).collect(),
            met: self.met,
            failures: self.failures,
            points: self.reputation.points,
            at: self.reputation.at,
            bans: self.reputation.bans,
            banned_until: self.reputation.banned_until,
        };
        wire.encode_to_vec()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let wire = Wire::decode(bytes).ok()?;
        let addresses = wire.addresses.iter().take(ADDRESSES).filter_map(|bytes| Direct::from_bytes(bytes)).collect();
        let points = if wire.points.is_finite() { wire.points.clamp(-100.0, 100.0) } else { 0.0 };
        let reputation = Reputation { points, at: wire.at, bans: wire.bans, banned_until: wire.banned_until };
        Some(Self { addresses, met: wire.met, failures: wire.failures, reputation })
    }

    /// Puts an address first where the peer was met.
    pub(crate) fn met_at(&mut self, address: Direct, now: u64) {
        self.addresses.retain(|known| *known != address);
        self.addresses.insert(0, address);
        self.addresses.truncate(ADDRESSES);
        self.met = self.met.max(now);
        self.failures = 0;
    }

    /// Drops what has no use any more; false if nothing is left.
    pub(crate) fn expire(&mut self, now: u64) -> bool {
        if now.saturating_sub(self.met) > FORGET_AFTER || self.reputation.is_banned(now) {
            self.addresses.clear();
        }
        !self.addresses.is_empty() || !self.reputation.is_blank(now)
    }
}
