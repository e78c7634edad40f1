//! Writes `specs/vectors/agreement.json`: `cargo run -p zmesh-proto --example agreement_vectors [FILE]`.
#![allow(clippy::print_stdout, reason = "a program that says what it wrote")]

use std::net::SocketAddr;
use std::path::PathBuf;

use data_encoding::HEXLOWER;
use ed25519_dalek::SigningKey;
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;
use sha2::{Digest, Sha256};
use zmesh_proto::directory::{ByHand, Chain, Coordinate, Measure};
use zmesh_proto::keys::{RelayKeys, SignerKey, vrf_prove};
use zmesh_proto::wire::control::vote::{Ballot, Proposal, Scope, Sighting, Vote, VoteMessage};
use zmesh_proto::wire::control::{Genesis, GenesisTerms, Heartbeat, Parameters, RelayFlags, Vitals, Voter, VoterSet};
use zmesh_proto::wire::descriptor::{ControlAddress, ControlCarrier, Descriptor, DescriptorInfo, Region, Terms};
use zmesh_proto::wire::document::SignerId;

const UNIX: u64 = 1_760_000_000;

fn rng(seed: u64) -> ChaCha12Rng {
    ChaCha12Rng::seed_from_u64(seed)
}

fn hex(bytes: &[u8]) -> String {
    format!("\"{}\"", HEXLOWER.encode(bytes))
}

fn descriptor(number: u8) -> (RelayKeys, Descriptor) {
    let keys = RelayKeys::generate(&mut rng(100 + u64::from(number)), UNIX);
    let info = DescriptorInfo {
        nickname: format!("relay{number}"),
        operator: format!("operator {number}"),
        family: None,
        country: None,
        addresses: vec![SocketAddr::from(([20, number, 0, 1], 9_001))],
        exit: None,
        meeting: true,
        cache: false,
        mixer: false,
        directory: number == 1,
        region: (number == 1).then_some(Region::Europe),
        control: vec![ControlAddress {
            carrier: ControlCarrier::Quic,
            address: SocketAddr::from(([20, number, 0, 1], 9_002)),
        }],
    };
    let descriptor = Descriptor::create(&keys, &info, Terms::agreed(UNIX)).expect("a descriptor that keeps the rules");
    (keys, descriptor)
}

pub(crate) fn vectors() -> String {
    let keys: Vec<SignerKey> = (0..4).map(|seed| SignerKey::generate(&mut rng(seed))).collect();
    let voter = |(number, key): (usize, &SignerKey)| Voter {
        key: SignerId(key.public()),
        operator: format!("operator {number}"),
    };
    let voters = VoterSet::new(keys.iter().enumerate().map(voter).collect(), 1).expect("voters that differ");
    let genesis = Genesis::new(GenesisTerms {
        name: "vectors".into(),
        test_network: false,
        epoch_length: 3_600,
        epoch_zero: UNIX - 3_600,
        voters_per_operator: 1,
        voters,
        parameters: Parameters::new().with("lifetime", 4).expect("a good name"),
    })
    .expect("a genesis that keeps the rules");
    let chain = Chain::from_genesis(genesis.clone());
    let (relay, first) = descriptor(1);
    let (_, second) = descriptor(2);
    let measured = first.id();
    let mut hand = ByHand::new(&chain, 1, vec![first, second]);
    hand.randomness = [0x5a; 32];
    let place = Some(Coordinate { x: -120, y: 45, height: 30 });
    hand.measures.insert(measured, Measure { capacity: 12_345, place });
    let snapshot = hand.sign(&chain, &keys[..3]).expect("a document");

    let head = chain.head();
    let scope = Scope { network: genesis.network_id(), previous_epoch: 0, previous: head.hash };
    let header = Some(snapshot.document().hash());
    let sighting = Sighting {
        id: measured,
        descriptor: [7; 32],
        uptime: 987,
        measure: Measure { capacity: 12_345, place },
        flags: RelayFlags::DIRECTORY,
    };
    // The key of the first voter once more, in the form that proves.
    let first_key = SigningKey::generate(&mut rng(0));
    let asked = [b"zmesh voter secret v1\0".as_slice(), &genesis.network_id().0, &head.hash.0].concat();
    let (secret_proof, secret) = vrf_prove(&first_key, &asked);
    let committed = Sha256::new_with_prefix(b"zmesh commitment v1\0")
        .chain_update(genesis.network_id().0)
        .chain_update(head.hash.0)
        .chain_update(keys[0].public())
        .chain_update(&secret[..32])
        .finalize()
        .into();
    let ballot = Vote::Ballot(Ballot { sightings: vec![sighting], ..Ballot::default() });
    let place =
        head.voters.place(&SignerId(keys[0].public())).and_then(|place| u8::try_from(place).ok()).expect("a voter");
    let ballot_id =
        VoteMessage::sign(&keys[0], scope, ballot.clone()).expect("a ballot").ballot_id().expect("its name");
    let proposal = Proposal {
        round: 0,
        locked_round: None,
        proof: [0; 80],
        header: snapshot.document().signed().header().clone(),
        ballots: vec![(place, ballot_id)],
        secrets: vec![(place, secret_proof)],
    };
    let votes = [
        Vote::Commitment(committed),
        Vote::Reveal(secret_proof),
        ballot,
        Vote::Proposal(Box::new(proposal)),
        Vote::Prevote { round: 1, header },
        Vote::Prevote { round: 2, header: None },
        Vote::Precommit { round: 1, header },
        Vote::Precommit { round: 0, header: None },
    ]
    .map(|vote| hex(VoteMessage::sign(&keys[0], scope, vote).expect("a vote that keeps its form").as_bytes()));

    let ticket_key = SigningKey::from_bytes(&[9; 32]);
    let input = [
        b"zmesh proposer v1\0".as_slice(),
        &genesis.network_id().0,
        &head.hash.0,
        &head.randomness,
        &3u32.to_be_bytes(),
    ]
    .concat();
    let (proof, output) = vrf_prove(&ticket_key, &input);
    let heartbeat =
        Heartbeat::sign(genesis.network_id(), 7, Vitals::round((0, 1), 12, 90_000, Some(250)), &relay.signer());
    format!(
        "{{\n  \"genesis\": {},\n  \"network_id\": {},\n  \"genesis_randomness\": {},\n  \"snapshot\": {},\n  \
         \"header_hash\": {},\n  \"voters_hash\": {},\n  \"votes\": [\n    {}\n  ],\n  \"ticket\": {{\n    \"key\": {},\n    \
         \"round\": 3,\n    \"proof\": {},\n    \"output\": {}\n  }},\n  \"heartbeat\": {}\n}}\n",
        hex(genesis.as_bytes()),
        hex(&genesis.network_id().0),
        hex(&genesis.randomness()),
        hex(&snapshot.encode()),
        hex(&snapshot.document().hash().0),
        hex(&head.voters.hash()),
        votes.join(",\n    "),
        hex(&ticket_key.verifying_key().to_bytes()),
        hex(&proof),
        hex(&output),
        hex(&heartbeat),
    )
}

#[allow(dead_code, reason = "the test that includes this file has no use for it")]
fn main() -> std::io::Result<()> {
    let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../specs/vectors/agreement.json");
    let path = std::env::args_os().nth(1).map_or(default, PathBuf::from);
    std::fs::write(&path, vectors())?;
    println!("wrote {}", path.display());
    Ok(())
}
