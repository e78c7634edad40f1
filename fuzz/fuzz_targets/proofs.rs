//! Proofs against voters, found in any order or read from a store that holds anything: few are kept, what is written is what is kept,
//! and nothing is taken that does not verify.
#![no_main]

use std::collections::BTreeMap;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;
use zmesh_proto::directory::{PROOFS_MAX, ProofChange, Proofs};
use zmesh_proto::keys::SignerKey;
use zmesh_proto::wire::control::HeaderHash;
use zmesh_proto::wire::control::vote::{Evidence, Scope, Vote, VoteMessage};
use zmesh_proto::wire::document::NetworkId;

#[derive(Arbitrary, Debug)]
enum Step {
    Found { voter: u8, epoch: u16, round: u8, network: bool },
    Later(u16),
    Kept { name: Vec<u8>, bytes: Vec<u8> },
    Damaged { at: usize, bit: u8 },
    Restart,
}

const NETWORK: NetworkId = NetworkId([7; 32]);

fn evidence(voter: u8, epoch: u16, round: u8, ours: bool) -> Evidence {
    let key = SignerKey::generate(&mut ChaCha12Rng::seed_from_u64(u64::from(voter % 4)));
    let network = if ours { NETWORK } else { NetworkId([9; 32]) };
    let scope = Scope { network, previous_epoch: epoch.into(), previous: HeaderHash([1; 32]) };
    let vote = |byte| {
        let header = Some(HeaderHash([byte; 32]));
        VoteMessage::sign(&key, scope, Vote::Prevote { round: round.into(), header }).expect("a vote")
    };
    Evidence::find(&vote(1), &vote(2)).expect("two votes that differ")
}

fn write(store: &mut BTreeMap<Vec<u8>, Vec<u8>>, changes: Vec<ProofChange>) {
    for change in changes {
        match change {
            ProofChange::Keep(name, bytes) => drop(store.insert(name.to_bytes().to_vec(), bytes)),
            ProofChange::Forget(name) => assert!(store.remove(name.to_bytes().as_slice()).is_some(), "it was kept"),
        }
    }
}

fuzz_target!(|steps: Vec<Step>| {
    let (mut proofs, mut store, mut head) = (Proofs::new(NETWORK), BTreeMap::new(), 0_u64);
    for step in steps.iter().take(100) {
        match step {
            Step::Found { voter, epoch, round, network } => {
                let found = evidence(*voter, *epoch, round % 16, *network);
                let changes = proofs.note(&found, head);
                assert!(*network || changes.is_empty(), "of another network");
                write(&mut store, changes);
            }
            Step::Later(epochs) => {
                head += u64::from(*epochs);
                write(&mut store, proofs.expire(head));
            }
            Step::Kept { name, bytes } => assert!(proofs.clone().restore(name, bytes, head, |_| true).is_err()),
            Step::Damaged { at, bit } => {
                if let Some((name, bytes)) = store.first_key_value() {
                    let (mut bad, len) = (bytes.clone(), bytes.len());
                    bad[at % len] ^= 1 << (bit % 8);
                    assert!(Proofs::new(NETWORK).restore(name, &bad, head, |_| true).is_err());
                }
            }
            Step::Restart => {
                proofs = Proofs::new(NETWORK);
                for (name, bytes) in &store {
                    // What was there together fits in any order.
                    proofs.restore(name, bytes, head, |_| true).expect("it was kept");
                }
            }
        }
        assert!(proofs.len() == store.len() && proofs.len() <= PROOFS_MAX);
    }
});
