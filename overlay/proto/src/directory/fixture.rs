//! Relays and networks for tests, from a seed.

use std::net::SocketAddr;

use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;

use super::{ByHand, Chain, Network};
use crate::keys::{RelayKeys, SignerKey};
use crate::wire::control::{Genesis, GenesisTerms, Parameters, Snapshot, Voter, VoterSet};
use crate::wire::descriptor::{Descriptor, DescriptorInfo, ExitSummary, PortSet, Terms};
use crate::wire::document::{Draft, DraftTerms, SignerId};

/// The time at which everything here begins, unix seconds.
pub(crate) const NOW: u64 = 1_760_000_000;
/// How long everything here lasts, in seconds.
pub(crate) const LIFETIME: u64 = 2 * 86_400;

pub(crate) fn rng(seed: u64) -> ChaCha12Rng {
    ChaCha12Rng::seed_from_u64(seed)
}

pub(crate) fn keys(seed: u64) -> RelayKeys {
    RelayKeys::generate(&mut rng(seed), NOW)
}

/// A relay that shares nothing with one of another number below 200.
pub(crate) fn info(number: u8) -> DescriptorInfo {
    DescriptorInfo {
        nickname: format!("relay{number}"),
        operator: format!("operator {number}"),
        family: None,
        country: None,
        addresses: vec![SocketAddr::from(([20 + number, 1, 2, 3], 9001))],
        exit: None,
        meeting: false,
        cache: false,
        mixer: false,
        directory: false,
        region: None,
        control: Vec::new(),
    }
}

pub(crate) fn exit(ports: &[u16], v6: bool) -> ExitSummary {
    ExitSummary { v4: true, v6, ports: PortSet::new(ports.iter().map(|port| *port..=*port)).unwrap() }
}

pub(crate) fn terms() -> Terms {
    Terms { published: NOW, expires: NOW + LIFETIME, revision: 1 }
}

pub(crate) fn descriptor(seed: u64, info: &DescriptorInfo) -> Descriptor {
    Descriptor::create(&keys(seed), info, terms()).unwrap()
}

pub(crate) fn draft(signers: &[SignerKey], test_network: bool) -> Draft {
    Draft::new(DraftTerms {
        name: "fixture".into(),
        test_network,
        valid_after: NOW,
        valid_until: NOW + LIFETIME,
        signers: signers.iter().map(|key| SignerId(key.public())).collect(),
    })
    .unwrap()
}

/// A network of one signer with these relays.
pub(crate) fn network(infos: &[DescriptorInfo], test_network: bool) -> Network {
    let signer = SignerKey::generate(&mut rng(99));
    let mut draft = draft(std::slice::from_ref(&signer), test_network);
    for (seed, info) in infos.iter().enumerate() {
        draft.add(descriptor(1_000 + seed as u64, info)).unwrap();
    }
    draft.sign(&signer, NOW).unwrap();
    Network::from_document(draft.into_document().unwrap(), NOW).unwrap()
}

/// Voters of a network that agrees, one operator each.
pub(crate) fn voter_keys(count: u64) -> Vec<SignerKey> {
    (0..count).map(|seed| SignerKey::generate(&mut rng(7_000 + seed))).collect()
}

pub(crate) fn voter_set(keys: &[SignerKey]) -> VoterSet {
    let voter = |(at, key): (usize, &SignerKey)| Voter { key: SignerId(key.public()), operator: format!("voter {at}") };
    VoterSet::new(keys.iter().enumerate().map(voter).collect(), 1).unwrap()
}

/// A genesis with epochs of an hour, of which the first begins at [`NOW`].
pub(crate) fn genesis(keys: &[SignerKey], test_network: bool) -> Genesis {
    Genesis::new(GenesisTerms {
        name: "fixture".into(),
        test_network,
        epoch_length: 3_600,
        epoch_zero: NOW - 3_600,
        voters_per_operator: 1,
        voters: voter_set(keys),
        parameters: Parameters::new(),
    })
    .unwrap()
}

/// The snapshot that these voters would sign for an epoch, with relays of these numbers.
pub(crate) fn snapshot(chain: &Chain, keys: &[SignerKey], epoch: u64, relays: std::ops::Range<u8>) -> Snapshot {
    let descriptors = relays.map(|n| descriptor(1_000 + u64::from(n), &info(n))).collect();
    let mut hand = ByHand::new(chain, epoch, descriptors);
    hand.randomness = [u8::try_from(epoch % 256).unwrap(); 32];
    hand.sign(chain, keys).unwrap()
}
