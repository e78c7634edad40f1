//! The model's network as a client has it: voters agree on what they measured, and the client verifies that from the genesis on.

use std::collections::BTreeMap;

use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;
use zmesh_proto::directory::{Chain, Held, Measure, Network};
use zmesh_proto::keys::SignerKey;
use zmesh_proto::wire::control::vote::Ballot;
use zmesh_proto::wire::control::{Genesis, GenesisTerms, Parameters, Snapshot, Voter, VoterSet};
use zmesh_proto::wire::descriptor::Descriptor;
use zmesh_proto::wire::document::SignerId;
use zmesh_sphinx::RelayId;

use crate::agreement::{Council, sighting};
use crate::topology::UNIX_START;

/// With four voters one may fail.
const VOTERS: u64 = 4;
/// In seconds.
const EPOCH: u32 = 3_600;
/// An uptime that makes a relay a stable one, in thousandths.
const UPTIME: u16 = 1_000;

/// When relays describe themselves, so that their descriptors are there before the first document is voted on (unix seconds).
pub(super) fn described_at() -> u64 {
    UNIX_START - u64::from(EPOCH)
}

/// The network of the first epoch, of which all voters measured the same.
///
/// # Panics
/// If the voters do not agree or the client does not believe them, which would be a defect.
pub(super) fn network(descriptors: &BTreeMap<RelayId, Descriptor>, measures: &BTreeMap<RelayId, Measure>) -> Network {
    let keys: Vec<SignerKey> =
        (0..VOTERS).map(|voter| SignerKey::generate(&mut ChaCha12Rng::seed_from_u64(voter))).collect();
    let voter =
        |(number, key): (usize, &SignerKey)| Voter { key: SignerId(key.public()), operator: format!("voter {number}") };
    let genesis = Genesis::new(GenesisTerms {
        name: "synthetic".to_owned(),
        test_network: false,
        epoch_length: EPOCH,
        epoch_zero: described_at(),
        voters_per_operator: 1,
        voters: VoterSet::new(keys.iter().enumerate().map(voter).collect(), 1).expect("voters that differ"),
        parameters: Parameters::new(),
    })
    .expect("a genesis that keeps the rules");
    let seen = |(id, descriptor): (&RelayId, &Descriptor)| {
        sighting(descriptor, UPTIME, measures.get(id).copied().unwrap_or_default())
    };
    let mut council = Council::new(&genesis, keys);
    council.set_ballot(&Ballot { sightings: descriptors.iter().map(seen).collect(), ..Ballot::default() });
    let document = council.run_until(UNIX_START * 1_000).expect("the first document in time");
    let snapshot = Snapshot::new(document, |entry| descriptors.get(&entry.id).cloned());
    let snapshot = snapshot.expect("the descriptors that voters saw").encode();
    Chain::check_start(&genesis, None, UNIX_START).expect("a young genesis");
    let held = Held::begin(genesis.network_id(), genesis, Vec::new(), &snapshot).expect("what the voters signed");
    let network = held.network(UNIX_START).expect("it holds");
    assert_eq!(network.relays().len(), descriptors.len(), "the voters left out relays");
    network
}
