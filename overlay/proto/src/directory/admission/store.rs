//! What of [`Admission`] survives a restart: standings and proofs. Voters and relays come from the newest document again.

use std::collections::BTreeMap;

use prost::Message as _;

use super::{AUTHORS_MAX, Admission, Attestation, OBSERVERS_MAX, Standing};
use crate::wire::control::canonical::{self, FormError, array, rule};
use crate::wire::control::{Genesis, VOTERS_MAX};
use crate::wire::document::{NetworkId, RELAYS_MAX, SignerId};

/// Largest store, in bytes.
const STORE_MAX: usize = 64 << 20;

impl Admission {
    /// The bytes to keep on the disk.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let standings = self
            .standings
            .iter()
            .map(|(key, standing)| schema::Standing {
                key: key.0.to_vec(),
                points: standing.points,
                at: standing.at,
                bans: standing.bans,
                banned_until: standing.banned_until,
            })
            .collect();
        let attestations = self
            .attestations
            .values()
            .flatten()
            .map(|(operator, attestation)| schema::Attested {
                operator: operator.clone(),
                observer: attestation.observer.0.to_vec(),
                subject: attestation.subject.0.to_vec(),
                made: attestation.made,
                watched: attestation.watched,
                uptime: u32::from(attestation.uptime),
            })
            .collect();
        schema::Store { network: self.network.0.to_vec(), standings, attestations }.encode_to_vec()
    }

    /// Reads what [`Admission::encode`] wrote: this node's own file, whose signatures were verified when it was written. Hand it the
    /// newest document next ([`Admission::set_network`]).
    ///
    /// # Errors
    /// Damaged, or of another network.
    pub fn decode(bytes: &[u8], genesis: &Genesis, now: u64) -> Result<Self, FormError> {
        let store: schema::Store = canonical::read_strict(bytes, STORE_MAX)?;
        let network = NetworkId(array(&store.network, "network id")?);
        rule(network == genesis.network_id(), "network id", "has to be that of the genesis")?;
        rule(
            store.standings.len() <= AUTHORS_MAX + RELAYS_MAX + VOTERS_MAX,
            "list of standings",
            "has too many entries",
        )?;
        let mut admission = Self::new(genesis);
        for kept in store.standings {
            rule(kept.points.is_finite() && kept.points >= 0.0, "points", "have to be a number from 0 on")?;
            let mut standing = Standing::new(now);
            standing.points = kept.points;
            (standing.at, standing.bans, standing.banned_until) = (kept.at, kept.bans, kept.banned_until);
            admission.standings.insert(SignerId(array(&kept.key, "key")?), standing);
        }
        for kept in store.attestations {
            let attestation = Attestation {
                network,
                observer: SignerId(array(&kept.observer, "observer")?),
                subject: SignerId(array(&kept.subject, "subject")?),
                made: kept.made,
                watched: kept.watched,
                uptime: u16::try_from(kept.uptime).unwrap_or(1_000).min(1_000),
            };
            let of: &mut BTreeMap<_, _> = admission.attestations.entry(attestation.subject).or_default();
            of.insert(kept.operator, attestation);
            rule(of.len() <= OBSERVERS_MAX, "list of attestations", "has too many of one node")?;
        }
        rule(admission.attestations.len() <= AUTHORS_MAX, "list of attestations", "has too many entries")?;
        Ok(admission)
    }
}

mod schema {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Standing {
        #[prost(bytes = "vec", tag = "1")]
        pub(super) key: Vec<u8>,
        #[prost(double, tag = "2")]
        pub(super) points: f64,
        #[prost(uint64, tag = "3")]
        pub(super) at: u64,
        #[prost(uint32, tag = "4")]
        pub(super) bans: u32,
        #[prost(uint64, tag = "5")]
        pub(super) banned_until: u64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Attested {
        #[prost(string, tag = "1")]
        pub(super) operator: String,
        #[prost(bytes = "vec", tag = "2")]
        pub(super) observer: Vec<u8>,
        #[prost(bytes = "vec", tag = "3")]
        pub(super) subject: Vec<u8>,
        #[prost(uint64, tag = "4")]
        pub(super) made: u64,
        #[prost(uint64, tag = "5")]
        pub(super) watched: u64,
        #[prost(uint32, tag = "6")]
        pub(super) uptime: u32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Store {
        #[prost(bytes = "vec", tag = "1")]
        pub(super) network: Vec<u8>,
        #[prost(message, repeated, tag = "2")]
        pub(super) standings: Vec<Standing>,
        #[prost(message, repeated, tag = "3")]
        pub(super) attestations: Vec<Attested>,
    }
}
