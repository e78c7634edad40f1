//! Who may publish what, and who loses that right for a while.
//!
//! There are three tiers. Whoever connects may read. Whoever k independent nodes saw up may publish, and so may everybody in the newest
//! document. Voters are those whom the document names; whoever k independent nodes saw up for long enough is a candidate that voters
//! may name ([`Admission::candidates`]). Until nodes have a reputation, uptime that others saw is all that decides: it costs a Sybil
//! machines that run, and observers count once for each operator.
//!
//! [`Admission`] is pure state: it is asked about each message before anything expensive is done with it, is told what became of it, and
//! is stored as bytes. Times are unix seconds.

mod attestation;
pub(super) mod bucket;
mod standing;
mod store;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::BTreeMap;

pub use attestation::{ATTESTATION_LIFE, ATTESTATION_MAX, Attestation};
pub use standing::Standing;
pub use watch::Watch;

use bucket::Bucket;

use super::Network;
use crate::wire::control::canonical::FormError;
use crate::wire::control::{Genesis, Parameters, Reason, Topic, Verdict, VoterSet};
use crate::wire::document::{NetworkId, SignerId};

/// Most authors of whom something is kept, besides voters and relays.
pub const AUTHORS_MAX: usize = 8_192;
/// Most attestations of one node that are kept, one for each operator of an observer.
pub const OBSERVERS_MAX: usize = 16;
/// How many messages of nodes that may only read are taken in a minute, all of them together: their descriptors, so that voters come to
/// know them at all.
pub const NEWCOMERS_PER_MINUTE: u32 = 30;
/// How many authors are looked at to make room for another.
const EVICTION_LOOKS: usize = 16;
/// For how long a candidate has to have been watched, in seconds: a day, or three epochs where that is less.
const CANDIDACY: u64 = 86_400;
/// Which uptime makes a publisher, in thousandths.
const PUBLISHER_UPTIME: u16 = 500;

/// What a node may do. Each tier may do what those before it may.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Tier {
    /// Read, and hand in its own descriptor, within a budget that all such nodes share.
    ReadOnly,
    /// Publish descriptors, reports of load, attestations and heartbeats.
    Publisher,
    /// Vote.
    Voter,
}

/// Standing, tiers and proofs of one network.
#[derive(Clone, PartialEq, Debug)]
pub struct Admission {
    network: NetworkId,
    epoch_length: u64,
    voters: BTreeMap<SignerId, String>,
    /// Identities and operators of the relays in the newest document.
    relays: BTreeMap<SignerId, String>,
    parameters: Parameters,
    /// One more than may lie.
    tolerated: usize,
    standings: BTreeMap<SignerId, Standing>,
    /// By the node that was watched, then by the operator of the observer.
    attestations: BTreeMap<SignerId, BTreeMap<String, Attestation>>,
    newcomers: Bucket,
}

impl Admission {
    /// Starts with the voters of the genesis.
    #[must_use]
    pub fn new(genesis: &Genesis) -> Self {
        let mut admission = Self {
            network: genesis.network_id(),
            epoch_length: u64::from(genesis.terms().epoch_length),
            voters: BTreeMap::new(),
            relays: BTreeMap::new(),
            parameters: genesis.terms().parameters.clone(),
            tolerated: 0,
            standings: BTreeMap::new(),
            attestations: BTreeMap::new(),
            newcomers: Bucket::full(NEWCOMERS_PER_MINUTE),
        };
        admission.set_voters(genesis.voters());
        admission
    }

    fn set_voters(&mut self, voters: &VoterSet) {
        self.tolerated = voters.tolerated();
        self.voters = voters.voters().iter().map(|voter| (voter.key, voter.operator.to_lowercase())).collect();
    }

    /// Takes over a new document: its voters, relays and parameters.
    pub fn set_network(&mut self, voters: &VoterSet, parameters: &Parameters, network: &Network) {
        self.set_voters(voters);
        self.parameters = parameters.clone();
        self.relays = network
            .relays()
            .iter()
            .map(|relay| (SignerId(relay.identity()), relay.operator().to_lowercase()))
            .collect();
    }

    /// How many independent observers are needed: one more than may lie, or what was agreed if that is more.
    #[must_use]
    pub fn observers_needed(&self) -> usize {
        self.parameters.seen_by().clamp(self.tolerated + 1, OBSERVERS_MAX)
    }

    /// What a node may do.
    #[must_use]
    pub fn tier(&self, key: &SignerId, now: u64) -> Tier {
        if self.voters.contains_key(key) {
            Tier::Voter
        } else if self.relays.contains_key(key) || self.uptime(key, 0, now).is_some_and(|up| up >= PUBLISHER_UPTIME) {
            Tier::Publisher
        } else {
            Tier::ReadOnly
        }
    }

    /// The uptime that enough independent observers vouch for, in thousandths, each having watched for at least `watched` seconds.
    #[must_use]
    pub fn uptime(&self, key: &SignerId, watched: u64, now: u64) -> Option<u16> {
        let mut seen: Vec<u16> = self
            .attestations
            .get(key)?
            .values()
            .filter(|attestation| attestation.holds_at(now) && attestation.watched >= watched)
            .map(|attestation| attestation.uptime)
            .collect();
        seen.sort_unstable_by(|a, b| b.cmp(a));
        seen.get(self.observers_needed() - 1).copied()
    }

    /// Nodes of the newest document that are fit to become voters: up for as much of a day as was agreed, as enough independent observers
    /// saw. With the operators that their descriptors name.
    #[must_use]
    pub fn candidates(&self, now: u64) -> Vec<(SignerId, &str)> {
        let watched = CANDIDACY.min(3 * self.epoch_length);
        let fit =
            |key: &SignerId| self.uptime(key, watched, now).is_some_and(|up| up >= self.parameters.voter_uptime());
        self.relays
            .iter()
            .filter(|(key, _)| !self.voters.contains_key(*key) && fit(key) && !self.is_banned(key, now))
            .map(|(key, operator)| (*key, operator.as_str()))
            .collect()
    }

    /// Whether a message of this author is looked at at all: bans, tiers and floods. Ask before its signature is verified, and charge
    /// nobody for what another wrote in its name.
    pub fn check(&mut self, topic: Topic, author: &SignerId, len: usize, now: u64) -> Verdict {
        if self.is_banned(author, now) {
            return Verdict::Ignore(Reason::Banned);
        }
        let tier = self.tier(author, now);
        let least = match topic {
            Topic::Descriptors => Tier::ReadOnly,
            Topic::Votes | Topic::Snapshots => Tier::Voter,
            Topic::Proofs | Topic::Meta => Tier::Publisher,
        };
        if tier < least {
            return Verdict::Ignore(Reason::NotEntitled);
        }
        if tier == Tier::ReadOnly && !self.newcomers.take(1, NEWCOMERS_PER_MINUTE, now) {
            return Verdict::Ignore(Reason::TooMany);
        }
        let Some(standing) = self.standing_mut(author, now) else { return Verdict::Ignore(Reason::Full) };
        if standing.take(topic, len, now) { Verdict::Accept } else { Verdict::Ignore(Reason::TooMany) }
    }

    /// Notes that a message whose *sender* this is was refused for a reason that it could have known. It may be banned for it.
    pub fn blame(&mut self, sender: &SignerId, reason: Reason, now: u64) {
        if let Some(standing) = self.standing_mut(sender, now) {
            standing.blame(reason, now);
        }
    }

    /// Notes that a sender brought something good first.
    pub fn credit(&mut self, sender: &SignerId, now: u64) {
        if let Some(standing) = self.standing_mut(sender, now) {
            standing.credit(now);
        }
    }

    /// Whether a node is banned now.
    #[must_use]
    pub fn is_banned(&self, key: &SignerId, now: u64) -> bool {
        self.standings.get(key).is_some_and(|standing| standing.is_banned(now))
    }

    /// What is kept of a node.
    #[must_use]
    pub fn standing(&self, key: &SignerId) -> Option<&Standing> {
        self.standings.get(key)
    }

    /// Takes an attestation that was published: verified, of an observer in the newest document, newer than what is known of its
    /// operator. One operator's observers count as one.
    pub fn handle_attestation(&mut self, bytes: &[u8], now: u64) -> Verdict {
        let attestation = match Attestation::decode(bytes) {
            Ok(attestation) => attestation,
            Err(FormError::TooLarge { .. }) => return Verdict::Reject(Reason::Oversized),
            Err(FormError::ForgedSignature) => return Verdict::Reject(Reason::Forged),
            Err(_) => return Verdict::Reject(Reason::Malformed),
        };
        if attestation.network != self.network {
            return Verdict::Reject(Reason::OtherNetwork);
        }
        if !attestation.holds_at(now) {
            return Verdict::Ignore(if attestation.made > now { Reason::Early } else { Reason::Expired });
        }
        let operator_of = |key| self.voters.get(key).or_else(|| self.relays.get(key));
        let Some(operator) = operator_of(&attestation.observer).cloned() else {
            return Verdict::Ignore(Reason::NotEntitled);
        };
        // Nobody vouches for its own.
        if operator_of(&attestation.subject) == Some(&operator) || attestation.subject == attestation.observer {
            return Verdict::Ignore(Reason::AgainstRules);
        }
        let known = self.attestations.contains_key(&attestation.subject);
        if !known && self.attestations.len() >= AUTHORS_MAX {
            self.attestations.retain(|_, of| of.values().any(|attestation| attestation.holds_at(now)));
            if self.attestations.len() >= AUTHORS_MAX {
                return Verdict::Ignore(Reason::Full);
            }
        }
        let of = self.attestations.entry(attestation.subject).or_default();
        match of.get(&operator) {
            Some(old) if *old == attestation => return Verdict::Ignore(Reason::Duplicate),
            Some(old) if old.made >= attestation.made => return Verdict::Ignore(Reason::Stale),
            None if of.len() >= OBSERVERS_MAX => return Verdict::Ignore(Reason::Full),
            _ => {}
        }
        of.insert(operator, attestation);
        Verdict::Accept
    }

    /// Forgets what no longer matters. Call it every few minutes.
    pub fn prune(&mut self, now: u64) {
        for of in self.attestations.values_mut() {
            of.retain(|_, attestation| attestation.holds_at(now));
        }
        self.attestations.retain(|_, of| !of.is_empty());
        self.standings.retain(|_, standing| !standing.is_forgotten(now));
    }

    fn standing_mut(&mut self, key: &SignerId, now: u64) -> Option<&mut Standing> {
        let is_known = |key: &SignerId| self.voters.contains_key(key) || self.relays.contains_key(key);
        // Voters and relays always have a place; strangers share what there is.
        if !self.standings.contains_key(key) && self.standings.len() >= AUTHORS_MAX && !is_known(key) {
            // Only strangers in good standing make room: a flood of identities must not wash bans away. A few are looked at, next to the
            // new one in the order of keys.
            let around = self.standings.range(*key..).chain(self.standings.range(..*key)).take(EVICTION_LOOKS);
            let spare = around
                .filter(|(key, standing)| standing.is_clean(now) && !is_known(key))
                .map(|(key, _)| *key)
                .next()?;
            self.standings.remove(&spare);
        }
        Some(self.standings.entry(*key).or_insert_with(|| Standing::new(now)))
    }
}
