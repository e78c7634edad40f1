use proptest::prelude::*;

use super::*;
use crate::directory::fixture::{genesis, rng, voter_keys};
use crate::keys::SignerKey;
use crate::wire::control::HeaderHash;
use crate::wire::control::vote::{Scope, Vote, VoteMessage};

fn network() -> NetworkId {
    genesis(&voter_keys(4), false).network_id()
}

fn scope(epoch: u64) -> Scope {
    Scope { network: network(), previous_epoch: epoch, previous: HeaderHash([1; 32]) }
}

/// That a voter voted twice in a round, on the document after one of this epoch.
fn proof(voter: u64, scope: Scope, round: u32) -> Evidence {
    let key = SignerKey::generate(&mut rng(500 + voter));
    let vote = |byte| {
        let header = Some(HeaderHash([byte; 32]));
        VoteMessage::sign(&key, scope, Vote::Precommit { round, header }).unwrap()
    };
    Evidence::find(&vote(1), &vote(2)).unwrap()
}

/// How many are about votes on the document after one of this epoch.
fn about(proofs: &Proofs, epoch: u64) -> usize {
    proofs.kept.keys().filter(|name| name.epoch == epoch).count()
}

/// What a store holds after these changes.
fn write(store: &mut BTreeMap<Vec<u8>, Vec<u8>>, changes: Vec<ProofChange>) {
    for change in changes {
        match change {
            ProofChange::Keep(name, bytes) => drop(store.insert(name.to_bytes().to_vec(), bytes)),
            ProofChange::Forget(name) => drop(store.remove(name.to_bytes().as_slice()).expect("it was kept")),
        }
    }
}

#[test]
fn what_was_kept_comes_back_and_is_about_its_document() {
    let (mut proofs, mut store) = (Proofs::new(network()), BTreeMap::new());
    for (voter, epoch) in [(1, 7), (1, 8), (2, 8)] {
        write(&mut store, proofs.note(&proof(voter, scope(epoch), 0), 8));
    }
    assert!(proofs.note(&proof(2, scope(8), 0), 8).is_empty(), "it is known");
    assert_eq!((proofs.len(), proofs.voters(), store.len()), (3, 2, 3));

    let mut again = Proofs::new(network());
    for (name, bytes) in &store {
        assert_eq!(again.restore(name, bytes, 8, |_| true), Ok(()));
    }
    assert_eq!((again.len(), again.voters()), (3, 2));
    assert_eq!(again.kept, proofs.kept);
}

#[test]
fn what_is_damaged_is_refused_and_the_rest_is_not() {
    let (mut proofs, mut store) = (Proofs::new(network()), BTreeMap::new());
    for voter in 1..=2 {
        write(&mut store, proofs.note(&proof(voter, scope(3), 0), 3));
    }
    let (name, bytes) = store.pop_first().unwrap();
    let mut again = Proofs::new(network());
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        assert_eq!(again.restore(&name, &bad, 3, |_| true), Err(ProofError::OtherName), "byte {at}");
        // Whoever damages the name as well still has no signatures.
        let named = [&name[..8], Sha256::digest(&bad).as_slice()].concat();
        assert!(again.restore(&named, &bad, 3, |_| true).is_err(), "byte {at}");
    }
    for len in 0..name.len() {
        assert_eq!(again.restore(&name[..len], &bytes, 3, |_| true), Err(ProofError::OtherName), "a name of {len}");
    }
    let late = [&9u64.to_be_bytes()[..], &name[8..]].concat();
    assert_eq!(again.restore(&late, &bytes, 3, |_| true), Err(ProofError::OtherName), "it would be kept for longer");
    let foreign = proof(1, Scope { network: NetworkId([9; 32]), ..scope(3) }, 0);
    let foreign_bytes = foreign.encode();
    let foreign_name = ProofName::of(&foreign, &foreign_bytes).to_bytes();
    assert_eq!(again.restore(&foreign_name, &foreign_bytes, 3, |_| true), Err(ProofError::OtherNetwork));
    assert_eq!(again.restore(&name, &bytes, 3, |_| false), Err(ProofError::NoVoter));
    assert!(again.is_empty());

    let (name, bytes) = store.pop_first().unwrap();
    assert_eq!(again.restore(&name, &bytes, 3, |_| true), Ok(()), "the other one is there");
}

#[test]
fn proofs_are_forgotten_when_their_epoch_is_long_gone() {
    let (mut proofs, mut store) = (Proofs::new(network()), BTreeMap::new());
    write(&mut store, proofs.note(&proof(1, scope(10), 0), 10));
    write(&mut store, proofs.note(&proof(1, scope(11), 0), 11));
    let kept = store.clone();
    assert!(proofs.expire(10 + PROOF_EPOCHS).is_empty());
    write(&mut store, proofs.expire(11 + PROOF_EPOCHS));
    assert_eq!((proofs.len(), store.len()), (1, 1));
    assert!(proofs.note(&proof(2, scope(10), 0), 11 + PROOF_EPOCHS).is_empty());
    // The same where a node was away for so long.
    let (name, bytes) = kept.first_key_value().unwrap();
    let mut again = Proofs::new(network());
    assert_eq!(again.restore(name, bytes, 11 + PROOF_EPOCHS, |_| true), Err(ProofError::LongGone));
}

#[test]
fn a_few_of_each_voter_are_kept_and_the_latest() {
    let (mut proofs, mut store) = (Proofs::new(network()), BTreeMap::new());
    write(&mut store, proofs.note(&proof(1, scope(5), 0), 5));
    for round in 0..20 {
        write(&mut store, proofs.note(&proof(2, scope(5), round), 5));
    }
    assert_eq!((proofs.len(), proofs.voters()), (1 + PROOFS_PER_VOTER, 2), "one who floods forgets nobody else's");
    for round in 0..20 {
        write(&mut store, proofs.note(&proof(2, scope(6), round), 6));
    }
    assert_eq!(about(&proofs, 6), PROOFS_PER_VOTER, "its own earlier ones made room");
    assert_eq!(about(&proofs, 5), 1);
    assert_eq!(store.len(), proofs.len());
}

#[test]
fn there_is_an_end_to_them() {
    let (mut proofs, mut store) = (Proofs::new(network()), BTreeMap::new());
    let all = u64::try_from(PROOFS_MAX).unwrap();
    for voter in 0..all {
        write(&mut store, proofs.note(&proof(voter, scope(voter / 64), 0), 2));
    }
    assert_eq!(proofs.len(), PROOFS_MAX);
    assert!(proofs.note(&proof(all, scope(0), 0), 2).is_empty(), "no later than what would make room");
    write(&mut store, proofs.note(&proof(all, scope(2), 0), 2));
    assert_eq!((proofs.len(), store.len()), (PROOFS_MAX, PROOFS_MAX));
    assert_eq!(about(&proofs, 2), 1);
}

proptest! {
    #[test]
    fn any_bytes_are_refused(name: Vec<u8>, bytes: Vec<u8>, head: u64) {
        let mut proofs = Proofs::new(network());
        prop_assert!(proofs.restore(&name, &bytes, head, |_| true).is_err());
        let named = [&[0; 8][..], Sha256::digest(&bytes).as_slice()].concat();
        prop_assert_eq!(proofs.restore(&named, &bytes, head, |_| true), Err(ProofError::NoProof));
    }
}
