//! What the relays of the newest document say of their health, and what that comes to for the whole network.
//!
//! A relay is heard once an epoch; others are not heard, so identities that cost nothing have no say, and all of it is bounded by the
//! document. Pure: the time, in unix seconds, is an argument.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::wire::control::{FormError, Genesis, Heartbeat, Reason, Verdict, Vitals};

/// How many steps of load there are, the unknown one included.
pub const LOAD_STEPS: usize = 5;

/// The newest heartbeat of each relay that the document lists.
#[derive(Clone, Debug)]
pub struct Heartbeats {
    genesis: Genesis,
    listed: BTreeSet<[u8; 32]>,
    heard: BTreeMap<[u8; 32], (u64, Vitals)>,
}

/// What the relays that were heard in this epoch or the one before say together.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Health {
    /// Relays that were heard.
    pub alive: usize,
    /// How many of them are at each step of load ([`Vitals::load`]); the first is unknown.
    pub load: [usize; LOAD_STEPS],
    /// The lower median of their steps of peers ([`Vitals::peers`]).
    pub peers: u8,
}

impl Health {
    /// The lower median of the steps of load that are known, 1 to 4; `None` if none is.
    #[must_use]
    pub fn typical_load(&self) -> Option<u8> {
        let known: usize = self.load[1..].iter().sum();
        let middle = known.checked_sub(1)? / 2;
        let mut below = 0;
        (1u8..).zip(&self.load[1..]).find_map(|(step, count)| {
            below += count;
            (below > middle).then_some(step)
        })
    }
}

impl Heartbeats {
    /// Of a network before its first document: nobody is heard.
    #[must_use]
    pub fn new(genesis: &Genesis) -> Self {
        Self { genesis: genesis.clone(), listed: BTreeSet::new(), heard: BTreeMap::new() }
    }

    /// Takes over the identities of the relays of a new document.
    pub fn list(&mut self, identities: impl IntoIterator<Item = [u8; 32]>) {
        self.listed = identities.into_iter().collect();
        self.heard.retain(|identity, _| self.listed.contains(identity));
    }

    /// Whether a relay is heard.
    #[must_use]
    pub fn is_listed(&self, identity: &[u8; 32]) -> bool {
        self.listed.contains(identity)
    }

    /// Takes a heartbeat that was published, unless there is a reason against it. Its signature is looked at last.
    pub fn offer(&mut self, bytes: &[u8], now: u64) -> Verdict {
        let unverified = match Heartbeat::peek(bytes) {
            Ok(unverified) => unverified,
            Err(FormError::TooLarge { .. }) => return Verdict::Reject(Reason::Oversized),
            Err(_) => return Verdict::Reject(Reason::Malformed),
        };
        if let Some(reason) = self.judge(unverified.claim(), now) {
            return Verdict::against(reason);
        }
        let Ok(Heartbeat { identity, epoch, vitals, .. }) = unverified.verify() else {
            return Verdict::Reject(Reason::Forged);
        };
        self.heard.insert(identity, (epoch, vitals));
        Verdict::Accept
    }

    /// Why not.
    fn judge(&self, claim: &Heartbeat, now: u64) -> Option<Reason> {
        let epoch = self.genesis.epoch_at(now);
        if claim.network != self.genesis.network_id() {
            return Some(Reason::OtherNetwork);
        }
        if claim.epoch > epoch.saturating_add(1) {
            return Some(Reason::Early);
        }
        if claim.epoch.saturating_add(1) < epoch {
            return Some(Reason::Expired);
        }
        if !self.is_listed(&claim.identity) {
            return Some(Reason::NotEntitled);
        }
        match self.heard.get(&claim.identity)? {
            (known, vitals) if *known == claim.epoch => {
                Some(if *vitals == claim.vitals { Reason::Duplicate } else { Reason::TooMany })
            }
            (known, _) if *known > claim.epoch => Some(Reason::Stale),
            _ => None,
        }
    }

    /// What the network says of itself.
    #[must_use]
    pub fn health(&self, now: u64) -> Health {
        let epoch = self.genesis.epoch_at(now);
        let recent = self.heard.values().filter(|(heard, _)| heard.saturating_add(1) >= epoch);
        let (mut health, mut peers) = (Health::default(), Vec::new());
        for (_, vitals) in recent {
            health.alive += 1;
            health.load[usize::from(vitals.load()).min(LOAD_STEPS - 1)] += 1;
            peers.push(vitals.peers());
        }
        peers.sort_unstable();
        health.peers = peers.get(peers.len().saturating_sub(1) / 2).copied().unwrap_or(0);
        health
    }
}
