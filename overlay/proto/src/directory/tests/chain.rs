//! What a client accepts, from the genesis on.

use std::collections::BTreeMap;

use crate::directory::fixture::{self, NOW, descriptor, genesis, info, network, snapshot, voter_keys, voter_set};
use crate::directory::{ByHand, Chain, ChainError, Coordinate, Fork, Measure, Network, TRUST_LIMIT};
use crate::keys::SignerKey;
use crate::wire::control::{
    Certificate, Difference, EpochDocument, FormError, RelayFlags, SignedHeader, Snapshot, Voter, VoterSet,
};
use crate::wire::descriptor::{Descriptor, Terms};
use crate::wire::document::SignerId;

fn chain(keys: &[SignerKey]) -> Chain {
    Chain::from_genesis(genesis(keys, false))
}

/// The same header with other signatures.
fn resigned(signed: &SignedHeader, signatures: Vec<(u8, [u8; 64])>) -> SignedHeader {
    let round = signed.certificate().round;
    SignedHeader::new(signed.header().clone(), Certificate { round, signatures }).unwrap()
}

#[test]
fn a_snapshot_is_verified_by_signatures_alone_and_becomes_a_network() {
    let keys = voter_keys(4);
    let mut chain = chain(&keys);
    let place = Some(Coordinate { x: -3, y: 40, height: 7 });
    let descriptors: Vec<_> = (0..5).map(|n| descriptor(1_000 + n, &info(u8::try_from(n).unwrap()))).collect();
    let measured = descriptors[2].id();
    let mut hand = ByHand::new(&chain, 1, descriptors);
    hand.randomness = [9; 32];
    hand.measures.insert(measured, Measure { capacity: 1_234, place });
    let bytes = hand.sign(&chain, &keys).unwrap().encode();

    let accepted = chain.accept_snapshot(&bytes).unwrap();
    assert_eq!(accepted.encode(), bytes);
    let network = Network::from_snapshot(&chain, accepted, NOW).unwrap();
    assert_eq!(network.relays().len(), 5);
    assert_eq!(network.shared_random(), [9; 32]);
    assert_eq!(network.measure(&measured), Measure { capacity: 1_234, place });
    assert_eq!(network.network_id(), chain.genesis().network_id());
    assert_eq!((network.epoch(), network.header_hash()), (Some(1), Some(chain.head().hash)));
    assert_eq!(network.valid_until() - network.valid_after(), 3 * 3_600);
    assert_eq!(network.signers().len(), 4);
    assert!(!network.flags(&measured).contains(RelayFlags::EXIT));
    // The same bytes again are no news and no fault.
    assert!(chain.accept_snapshot(&bytes).is_ok());
}

#[test]
fn a_network_file_and_an_epoch_document_answer_alike() {
    let keys = voter_keys(1);
    let mut chain = chain(&keys);
    let bytes = snapshot(&chain, &keys, 1, 0..3).encode();
    let snapshot = chain.accept_snapshot(&bytes).unwrap();
    let agreed = Network::from_snapshot(&chain, snapshot, NOW).unwrap();
    let filed = network(&[info(0), info(1), info(2)], false);
    assert_eq!(agreed.relays(), filed.relays());
    let path: Vec<_> = agreed.relays().iter().map(crate::directory::Relay::id).collect();
    assert_eq!(
        agreed.path_hops(&path, NOW).unwrap().iter().map(|hop| hop.onion).collect::<Vec<_>>(),
        filed.path_hops(&path, NOW).unwrap().iter().map(|hop| hop.onion).collect::<Vec<_>>()
    );
    assert_ne!(agreed.shared_random(), filed.shared_random());
    assert_eq!(filed.epoch(), None);
}

#[test]
fn strictly_more_than_two_thirds_have_to_sign() {
    for voters in 1..=10u64 {
        let keys = voter_keys(voters);
        let chain = chain(&keys);
        let whole = snapshot(&chain, &keys, 1, 0..1);
        let signed = whole.document().signed();
        let all = &signed.certificate().signatures;
        for count in 0..=all.len() {
            let fewer = resigned(signed, all[..count].to_vec());
            let enough = 3 * count > 2 * all.len();
            assert_eq!(chain.verify(&fewer).is_ok(), enough, "{count} of {voters}");
        }
    }
}

#[test]
fn forged_signatures_and_strangers_are_refused() {
    let keys = voter_keys(4);
    let chain = chain(&keys);
    let whole = snapshot(&chain, &keys, 1, 0..1);
    let signed = whole.document().signed();
    let mut bad = signed.certificate().signatures.clone();
    bad[3].1[5] ^= 1;
    assert_eq!(
        chain.verify(&resigned(signed, bad)),
        Err(ChainError::ForgedSignature(chain.head().voters.voters()[3].key))
    );
    let mut moved = signed.certificate().signatures.clone();
    moved[3].0 = 4;
    assert_eq!(chain.verify(&resigned(signed, moved)), Err(ChainError::AgainstRules("places of the signers")));
    // The right number of other keys.
    let others: Vec<_> = (50..54).map(|seed| SignerKey::generate(&mut crate::directory::fixture::rng(seed))).collect();
    let elsewhere = Chain::from_genesis(genesis(&others, false));
    let foreign = snapshot(&elsewhere, &others, 1, 0..1);
    assert!(matches!(chain.verify(foreign.document().signed()), Err(ChainError::OtherNetwork(_))));
    // Precommits of another round are signatures of another message.
    let round = Certificate { round: 1, signatures: signed.certificate().signatures.clone() };
    let replayed = SignedHeader::new(signed.header().clone(), round).unwrap();
    assert!(matches!(chain.verify(&replayed), Err(ChainError::ForgedSignature(_))));
}

/// The voters of epoch 1 name others, who name others again. A client that was away follows those two headers and the newest.
#[test]
fn a_client_follows_changes_of_voters() {
    let everybody = voter_keys(9);
    let (first, rest) = everybody.split_at(4);
    let mut source = chain(first);
    let mut headers = Vec::new();
    let mut sign = |source: &mut Chain, keys: &[SignerKey], epoch: u64, voters: Option<VoterSet>| {
        let mut hand = ByHand::new(source, epoch, vec![descriptor(1, &info(1))]);
        hand.voters = voters;
        let signed = hand.sign(source, keys).unwrap().document().signed().clone();
        source.advance(&signed).unwrap();
        headers.push(signed);
    };
    let second = &everybody[2..7];
    let third = &rest[1..];
    sign(&mut source, first, 1, None);
    sign(&mut source, first, 2, Some(voter_set(second)));
    sign(&mut source, second, 3, None);
    sign(&mut source, second, 4, None);
    sign(&mut source, second, 7, Some(voter_set(third)));
    sign(&mut source, third, 8, None);
    sign(&mut source, third, 9, None);

    let needed = [&headers[1], &headers[4], &headers[6]];
    let mut client = chain(first);
    client.follow(needed).unwrap();
    assert_eq!(client.head(), source.head());
    // Without the change of voters in the middle it stays where it was, and says why.
    let mut client = chain(first);
    let before = client.clone();
    assert_eq!(client.follow([&headers[1], &headers[6]]), Err(ChainError::OtherVoters { have: 2 }));
    assert_eq!(client, before);
    // Old ones again, and a past that is another.
    client.follow(needed).unwrap();
    assert_eq!(client.advance(&headers[4]), Err(ChainError::NotNewer { have: 9, found: 7 }));
}

#[test]
fn old_voters_cannot_sign_on_after_they_left() {
    let everybody = voter_keys(8);
    let (first, second) = everybody.split_at(4);
    let mut chain = chain(first);
    let before = chain.clone();
    let mut hand = ByHand::new(&chain, 1, vec![descriptor(1, &info(1))]);
    hand.voters = Some(voter_set(second));
    let signed = hand.sign(&chain, first).unwrap();
    chain.advance(signed.document().signed()).unwrap();
    let stale = snapshot(&before, first, 2, 0..1);
    assert_eq!(chain.verify(stale.document().signed()), Err(ChainError::OtherVoters { have: 1 }));
}

#[test]
fn a_crowded_operator_and_wrong_times_are_refused() {
    let keys = voter_keys(4);
    let chain = chain(&keys);
    let crowd: Vec<Voter> =
        voter_keys(8).iter().map(|key| Voter { key: SignerId(key.public()), operator: "Same".into() }).collect();
    let mut hand = ByHand::new(&chain, 1, vec![descriptor(1, &info(1))]);
    hand.voters = Some(VoterSet::new(crowd, 8).unwrap());
    let signed = hand.sign(&chain, &keys).unwrap();
    assert_eq!(
        chain.verify(signed.document().signed()),
        Err(ChainError::AgainstRules("number of voters per operator"))
    );
    let longer = ByHand::new(&chain, 1, vec![descriptor(1, &info(1))]);
    let parameters = longer.parameters.clone().with("lifetime", 5).unwrap();
    let five = ByHand { parameters, ..longer }.sign(&chain, &keys).unwrap();
    let header = five.document().signed().header();
    assert_eq!(chain.verify(five.document().signed()), Ok(()));
    assert_eq!(header.valid_until() - header.valid_after(), 5 * 3_600);
}

#[test]
fn time_and_age_are_checked() {
    let keys = voter_keys(4);
    let mut chain = chain(&keys);
    let bytes = snapshot(&chain, &keys, 1, 0..2).encode();
    let snapshot = chain.accept_snapshot(&bytes).unwrap();
    let until = NOW + 3 * 3_600;
    assert_eq!(chain.check_time(until - 1), Ok(()));
    assert_eq!(chain.check_time(until), Err(ChainError::Expired { since: until }));
    assert_eq!(chain.check_time(NOW - 3_600), Ok(()));
    assert_eq!(chain.check_time(NOW - 3_601), Err(ChainError::NotYetValid { from: NOW }));
    assert_eq!(chain.check_age(NOW + TRUST_LIMIT, TRUST_LIMIT), Ok(()));
    assert_eq!(
        chain.check_age(NOW + TRUST_LIMIT + 1, TRUST_LIMIT),
        Err(ChainError::TooOld { age: TRUST_LIMIT + 1, limit: TRUST_LIMIT })
    );
    assert!(matches!(Network::from_snapshot(&chain, snapshot, until), Err(ChainError::Expired { .. })));
}

#[test]
fn relays_that_a_network_must_not_list_are_left_out() {
    let keys = voter_keys(1);
    let private =
        crate::wire::descriptor::DescriptorInfo { addresses: vec!["127.0.0.1:9001".parse().unwrap()], ..info(1) };
    for (test_network, allowed) in [(false, false), (true, true)] {
        let mut chain = Chain::from_genesis(genesis(&keys, test_network));
        let old =
            Descriptor::create(&fixture::keys(3), &info(3), Terms { expires: NOW + 3 * 3_600 - 1, ..fixture::terms() });
        let hand = ByHand::new(&chain, 1, vec![descriptor(1, &private), descriptor(2, &info(2)), old.unwrap()]);
        let bytes = hand.sign(&chain, &keys).unwrap().encode();
        let snapshot = chain.accept_snapshot(&bytes).unwrap();
        let network = Network::from_snapshot(&chain, snapshot, NOW).unwrap();
        assert_eq!(network.relay(&fixture::keys(1).id()).is_some(), allowed);
        assert!(network.relay(&fixture::keys(2).id()).is_some());
        assert!(network.relay(&fixture::keys(3).id()).is_none());
    }
}

#[test]
fn an_altered_snapshot_is_refused() {
    let keys = voter_keys(1);
    let chain = chain(&keys);
    let bytes = snapshot(&chain, &keys, 1, 0..2).encode();
    for at in (0..bytes.len()).step_by(7) {
        let mut bad = bytes.clone();
        bad[at] ^= 4;
        assert!(chain.clone().accept_snapshot(&bad).is_err(), "byte {at}");
        assert!(chain.clone().accept_snapshot(&bytes[..at]).is_err(), "cut at {at}");
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(chain.clone().accept_snapshot(&longer).is_err());
}

#[test]
fn differences_lead_from_one_snapshot_to_another() {
    let keys = voter_keys(4);
    let mut chain = chain(&keys);
    let first = snapshot(&chain, &keys, 1, 0..6);
    chain.advance(first.document().signed()).unwrap();
    let mut descriptors: Vec<_> = (2..8u8).map(|n| descriptor(1_000 + u64::from(n), &info(n))).collect();
    // One of them says something else now, of another one only the figures changed.
    descriptors[0] = descriptor(1_002, &info(33));
    let measured = descriptors[1].id();
    let mut hand = ByHand::new(&chain, 3, descriptors);
    hand.measures = BTreeMap::from([(measured, Measure { capacity: 5, place: None })]);
    let second = hand.sign(&chain, &keys).unwrap();

    let difference = Difference::between(&first, &second);
    let bytes = difference.encode();
    assert_eq!(Difference::decode(&bytes).unwrap(), difference);
    assert!(bytes.len() < second.encode().len(), "{} bytes", bytes.len());
    assert_eq!(chain.verify(difference.signed()), Ok(()));
    assert_eq!(difference.apply(&first).unwrap(), second);
    assert!(matches!(difference.apply(&second), Err(FormError::Field { field: "difference", .. })));
    // What it says is bound by what was signed.
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        if let Ok(altered) = Difference::decode(&bad)
            && altered.signed().header() == difference.signed().header()
        {
            let result = altered.apply(&first);
            assert!(result.is_err() || result.unwrap().document().relays() == second.document().relays(), "byte {at}");
        }
    }
}

#[test]
fn a_fork_names_those_who_signed_twice() {
    let keys = voter_keys(7);
    let chain = chain(&keys);
    let voters = &chain.head().voters;
    // Places 0–4 sign one, places 2–6 the other.
    let key_at = |place: usize| keys.iter().find(|key| voters.at(place).unwrap().key.0 == key.public()).unwrap();
    let by = |places: std::ops::Range<usize>, epoch: u64, relays| {
        let whole = snapshot(&chain, &keys, epoch, relays);
        let all = &whole.document().signed().certificate().signatures;
        resigned(whole.document().signed(), all[places].to_vec())
    };
    let (left, right) = (by(0..5, 1, 0..2), by(2..7, 1, 0..3));
    let fork = Fork::find(&left, &right).unwrap();
    assert_eq!(Fork::find(&right, &left), Some(fork.clone()));
    assert_eq!(Fork::decode(&fork.encode()), Ok(fork.clone()));
    let found = fork.verify(chain.genesis(), voters).unwrap();
    let expected: Vec<SignerId> = (2..5).map(|place| SignerId(key_at(place).public())).collect();
    assert!(found.proven);
    assert_eq!(found.keys, expected);
    assert!(3 * found.keys.len() > keys.len(), "more than a third, whoever they are");
    // Documents of two epochs that follow the same one contradict each other too; a document does not contradict itself.
    assert!(Fork::find(&left, &by(0..5, 2, 0..2)).is_some());
    assert_eq!(Fork::find(&left, &by(1..6, 1, 0..2)), None);
    // Too few signatures prove nothing.
    let weak = Fork::find(&left, &by(2..6, 1, 0..3)).unwrap();
    assert_eq!(weak.verify(chain.genesis(), voters), Err(ChainError::TooFewSignatures { have: 4, need: 5 }));
    let strangers = voter_set(&voter_keys(8)[1..]);
    assert!(fork.verify(chain.genesis(), &strangers).is_err());
}

#[test]
fn documents_of_another_past_are_told_apart() {
    let keys = voter_keys(4);
    let mut chain = chain(&keys);
    let mut other = chain.clone();
    chain.advance(snapshot(&chain, &keys, 1, 0..2).document().signed()).unwrap();
    other.advance(snapshot(&other, &keys, 1, 0..3).document().signed()).unwrap();
    let next = snapshot(&other, &keys, 2, 0..3);
    assert_eq!(
        chain.verify(next.document().signed()),
        Err(ChainError::OtherPast { have: chain.head().hash, found: other.head().hash })
    );
    let document: &EpochDocument = next.document();
    assert_eq!(Snapshot::document_of(&next.encode()).as_ref(), Ok(document));
}
