use proptest::prelude::*;

use super::*;
use crate::directory::fixture::{NOW, descriptor, info, rng};
use crate::directory::{ByHand, ChainError};
use crate::keys::SignerKey;
use crate::wire::control::{GenesisTerms, Parameters, Voter};
use crate::wire::document::SignerId;

/// A network whose voters' keys are all here.
pub(in crate::directory) struct Story {
    pub(in crate::directory) voters: Vec<SignerKey>,
    pub(in crate::directory) held: Held,
}

pub(in crate::directory) const LENGTH: u64 = 3_600;

pub(in crate::directory) fn keys(seed: u64) -> Vec<SignerKey> {
    (0..4).map(|at| SignerKey::generate(&mut rng(seed + at))).collect()
}

pub(in crate::directory) fn set(keys: &[SignerKey]) -> VoterSet {
    let voters = keys.iter().zip(0..);
    let voter =
        |(key, at): (&SignerKey, u32)| Voter { key: SignerId(key.public()), operator: format!("operator {at}") };
    VoterSet::new(voters.map(voter).collect(), 1).unwrap()
}

impl Story {
    /// The document of the tenth epoch, which begins now, with three relays.
    pub(in crate::directory) fn new(seed: u64) -> Self {
        let voters = keys(seed);
        let genesis = Genesis::new(GenesisTerms {
            name: "story".into(),
            test_network: true,
            epoch_length: u32::try_from(LENGTH).unwrap(),
            epoch_zero: NOW - 10 * LENGTH,
            voters_per_operator: 1,
            voters: set(&voters),
            parameters: Parameters::new(),
        })
        .unwrap();
        let chain = Chain::from_genesis(genesis.clone());
        let relays = (0..3).map(|number| descriptor(number, &info(u8::try_from(number).unwrap()))).collect();
        let snapshot = ByHand::new(&chain, 10, relays).sign(&chain, &voters).unwrap();
        let held = Held::begin(genesis.network_id(), genesis, Vec::new(), &snapshot.encode()).unwrap();
        Self { voters, held }
    }

    /// A document that follows the newest one, by its voters.
    pub(in crate::directory) fn next(&self, change: impl FnOnce(&mut ByHand)) -> Snapshot {
        let chain = self.held.chain();
        let relays = self.held.snapshot().descriptors().to_vec();
        let mut by_hand = ByHand::new(chain, self.held.epoch() + 1, relays);
        by_hand.randomness = [u8::try_from(self.held.epoch()).unwrap(); 32];
        change(&mut by_hand);
        by_hand.sign(chain, &self.voters).unwrap()
    }

    /// Makes a following document the newest one.
    pub(in crate::directory) fn go(&mut self, change: impl FnOnce(&mut ByHand)) {
        let next = self.next(change);
        self.held.advance(&[], Step::Snapshot(&next.encode())).unwrap();
    }

    /// The same with other voters from then on.
    pub(in crate::directory) fn change_voters(&mut self, seed: u64) {
        let fresh = keys(seed);
        let voters = set(&fresh);
        self.go(|by_hand| by_hand.voters = Some(voters));
        self.voters = fresh;
    }
}

#[test]
fn a_newcomer_follows_every_change_of_voters_to_the_newest_document() {
    let mut story = Story::new(1);
    let first = story.held.clone();
    story.go(|_| ());
    story.change_voters(20);
    story.change_voters(30);
    story.go(|_| ());
    let (held, pinned) = (&story.held, story.held.chain().genesis().network_id());
    assert_eq!(Held::named_network(&held.encode()), Ok(pinned));
    assert!(Held::named_network(b"\x01\0").is_err() && Held::named_network(b"").is_err());
    let snapshot = held.snapshot().encode();
    let genesis = held.chain().genesis().clone();
    let begun = Held::begin(pinned, genesis.clone(), held.changes().to_vec(), &snapshot).unwrap();
    assert_eq!(&begun, held);
    assert_eq!(begun.changes().len(), 2);
    assert_eq!(begun.network(NOW + 4 * LENGTH).unwrap().relays().len(), 3);
    // Who was away goes the same way, by the difference from what it had.
    let mut old = first.clone();
    let difference = Difference::between(first.snapshot(), held.snapshot());
    old.advance(held.changes(), Step::Difference(&difference)).unwrap();
    assert_eq!(&old, held);
    // A missing link of the chain is noticed.
    let error = Held::begin(pinned, genesis, held.changes()[1..].to_vec(), &snapshot).unwrap_err();
    assert!(matches!(error, ChainError::OtherVoters { .. }), "{error}");
    let mut old = first.clone();
    assert!(old.advance(&held.changes()[..1], Step::Difference(&difference)).is_err());
    assert_eq!(old, first, "nothing changes");
}

#[test]
fn the_document_at_which_voters_change_may_be_the_newest() {
    let mut story = Story::new(1);
    let first = story.held.clone();
    story.change_voters(20);
    let genesis = first.chain().genesis().clone();
    let snapshot = story.held.snapshot().encode();
    // With and without its header among the changes.
    for changes in [story.held.changes().to_vec(), Vec::new()] {
        let begun = Held::begin(genesis.network_id(), genesis.clone(), changes.clone(), &snapshot).unwrap();
        assert_eq!(begun, story.held);
        let mut old = first.clone();
        old.advance(&changes, Step::Snapshot(&snapshot)).unwrap();
        assert_eq!(old, story.held);
    }
}

#[test]
fn other_networks_older_documents_and_forged_ones_are_refused() {
    let (story, other) = (Story::new(1), Story::new(50));
    let genesis = other.held.chain().genesis().clone();
    let pinned = story.held.chain().genesis().network_id();
    let snapshot = other.held.snapshot().encode();
    assert!(matches!(Held::begin(pinned, genesis, Vec::new(), &snapshot).unwrap_err(), ChainError::OtherNetwork(_)));
    let mut held = story.held.clone();
    assert!(matches!(
        held.advance(&[], Step::Snapshot(&story.held.snapshot().encode())).unwrap_err(),
        ChainError::NotNewer { .. }
    ));
    // Two of four voters are too few.
    let chain = story.held.chain();
    let relays = story.held.snapshot().descriptors().to_vec();
    let few = ByHand::new(chain, 11, relays).sign(chain, &story.voters[..2]).unwrap();
    assert_eq!(
        held.advance(&[], Step::Snapshot(&few.encode())).unwrap_err(),
        ChainError::TooFewSignatures { have: 2, need: 3 }
    );
    assert_eq!(held, story.held);
}

#[test]
fn an_expired_document_is_no_network_and_an_old_one_is_nothing_to_start_from() {
    let held = Story::new(1).held;
    let until = held.chain().head().valid_until;
    assert!(held.network(until - 1).is_ok());
    assert_eq!(held.network(until).unwrap_err(), ChainError::Expired { since: until });
    assert!(held.check_age(NOW + TRUST_LIMIT).is_ok());
    assert!(held.check_age(NOW + TRUST_LIMIT + 1).is_err());
}

#[test]
fn what_is_on_the_disk_comes_back_and_is_not_believed_when_altered() {
    let mut story = Story::new(1);
    story.change_voters(20);
    story.go(|_| ());
    let (bytes, pinned) = (story.held.encode(), story.held.chain().genesis().network_id());
    assert_eq!(Held::decode(pinned, &bytes).unwrap(), story.held);
    assert!(Held::decode(NetworkId([9; 32]), &bytes).is_err());
    for at in (0..bytes.len()).step_by(97).chain([bytes.len() - 1]) {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        assert!(Held::decode(pinned, &altered).is_err(), "byte {at}");
        assert!(Held::decode(pinned, &bytes[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn changes_come_back_from_what_relays_give() {
    let mut story = Story::new(1);
    story.change_voters(20);
    story.change_voters(30);
    let mut bytes = Vec::new();
    for change in story.held.changes() {
        let change = change.encode();
        bytes.extend_from_slice(&u32::try_from(change.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(&change);
    }
    assert_eq!(read_changes(&bytes).unwrap(), story.held.changes());
    assert!(read_changes(&bytes[..bytes.len() - 1]).is_err());
    assert!(read_changes(&u32::MAX.to_be_bytes()).is_err());
    assert_eq!(read_changes(&[]).unwrap(), []);
}

proptest! {
    #[test]
    fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Held::decode(NetworkId([1; 32]), &bytes).is_err());
        let _ = read_changes(&bytes);
    }
}

/// Two thirds of the genesis's voters, long after they left, sign another history that ends with a document of now.
#[test]
fn leaked_keys_of_the_genesis_do_not_lead_around_a_checkpoint() {
    let mut story = Story::new(1);
    story.change_voters(20);
    story.change_voters(30);
    let checkpoint = story.held.checkpoint();
    story.go(|_| ());
    story.change_voters(40);
    let held = &story.held;
    let genesis = held.chain().genesis().clone();
    assert_eq!(held.check_passes(&checkpoint), Ok(()));
    assert_eq!(held.check_passes(&held.checkpoint()), Ok(()));

    let mut forged = Story::new(1);
    forged.change_voters(90);
    for _ in 0..6 {
        forged.go(|_| ());
    }
    let snapshot = forged.held.snapshot().encode();
    let alone = Held::begin(genesis.network_id(), genesis.clone(), forged.held.changes().to_vec(), &snapshot).unwrap();
    let off = Err(ChainError::OffCheckpoint { epoch: checkpoint.epoch });
    assert_eq!(alone.check_passes(&checkpoint), off, "the genesis alone cannot tell");
    // Nor may the forged history end before the checkpoint, or hold a false document of its epoch by the right voters.
    assert!(Story::new(1).held.check_passes(&checkpoint).is_err());
    assert!(held.check_passes(&Checkpoint { hash: HeaderHash([1; 32]), ..checkpoint }).is_err());
    assert!(held.check_passes(&Checkpoint { voters: [1; 32], ..checkpoint }).is_err());
    // Who held a document of the true history does not follow the false one.
    let mut old = Story::new(1);
    old.change_voters(20);
    assert!(old.held.clone().advance(forged.held.changes(), Step::Snapshot(&snapshot)).is_err());

    // A genesis that is too old to start from is refused without a young checkpoint.
    let start = |checkpoint, unix| Chain::check_start(&genesis, checkpoint, unix);
    let zero = genesis.epoch_start(0);
    assert_eq!(start(None, zero + TRUST_LIMIT), Ok(()));
    assert!(matches!(start(None, zero + TRUST_LIMIT + 1), Err(ChainError::TooOld { .. })));
    assert_eq!(start(Some(&checkpoint), zero + TRUST_LIMIT + 1), Ok(()));
    assert!(start(Some(&checkpoint), genesis.epoch_start(checkpoint.epoch) + TRUST_LIMIT + 1).is_err());
}
