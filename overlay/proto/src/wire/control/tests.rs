use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::directory::Chain;
use crate::directory::fixture::{NOW, genesis, keys, snapshot, voter_keys, voter_set};
use crate::wire::document::{NetworkId, SignerId};

#[test]
fn a_genesis_round_trips_and_its_hash_is_the_network() {
    let keys = voter_keys(4);
    let made = genesis(&keys, false);
    assert_eq!(Genesis::decode(made.as_bytes()).unwrap(), made);
    assert_eq!(Genesis::from_text(made.to_text().as_bytes()).unwrap().unwrap(), made);
    let renamed = GenesisTerms { name: "other".into(), ..made.terms().clone() };
    assert_ne!(Genesis::new(renamed).unwrap().network_id(), made.network_id());
    assert_ne!(genesis(&keys, true).network_id(), made.network_id());
    assert_ne!(genesis(&keys[1..], false).network_id(), made.network_id());
    // It is not signed: whatever still reads is another network.
    let is_other = |bytes: &[u8]| Genesis::decode(bytes).is_ok_and(|read| read.network_id() != made.network_id());
    for at in 0..made.as_bytes().len() {
        let mut bad = made.as_bytes().to_vec();
        bad[at] ^= 1;
        for bytes in [bad.as_slice(), &made.as_bytes()[..at]] {
            assert!(Genesis::decode(bytes).is_err() || is_other(bytes), "byte {at}");
        }
    }
    assert_eq!(made.epoch_at(NOW - 3_600), 0);
    assert_eq!(made.epoch_at(NOW), 1);
    assert_eq!(made.epoch_at(0), 0);
    assert_eq!(made.epoch_start(1), NOW);
}

#[test]
fn terms_of_a_genesis_have_rules() {
    let terms = genesis(&voter_keys(4), false).terms().clone();
    let field = |terms: GenesisTerms| match Genesis::new(terms) {
        Err(FormError::Field { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(field(GenesisTerms { name: " x".into(), ..terms.clone() }), "name of the network");
    assert_eq!(field(GenesisTerms { epoch_length: 59, ..terms.clone() }), "length of an epoch");
    assert!(Genesis::new(GenesisTerms { epoch_length: 2, test_network: true, ..terms.clone() }).is_ok());
    assert_eq!(field(GenesisTerms { epoch_length: 86_401, ..terms.clone() }), "length of an epoch");
    assert_eq!(field(GenesisTerms { epoch_zero: 0, ..terms.clone() }), "beginning of epoch 0");
    assert_eq!(field(GenesisTerms { voters_per_operator: 0, ..terms }), "number of voters per operator");
}

#[test]
fn voters_per_operator_are_capped() {
    let named = |names: &[&str], cap| {
        let keys = voter_keys(names.len() as u64);
        let voter = |(name, key): (&&str, &crate::keys::SignerKey)| Voter {
            key: SignerId(key.public()),
            operator: (*name).to_owned(),
        };
        VoterSet::new(names.iter().zip(&keys).map(voter).collect(), cap)
    };
    assert!(named(&["a", "b", "c"], 1).is_ok());
    assert!(named(&["Alice", "b", "aLICE"], 1).is_err());
    assert!(named(&["Alice", "b", "aLICE"], 2).is_ok());
    assert!(named(&["a", "b", " "], 2).is_err());
    assert!(named(&[], 2).is_err());
    let twice = Voter { key: SignerId(voter_keys(1)[0].public()), operator: "a".into() };
    assert!(VoterSet::new(vec![twice.clone(), Voter { operator: "b".into(), ..twice }], 9).is_err());
    let weak = Voter { key: SignerId([0; 32]), operator: "a".into() };
    assert!(VoterSet::new(vec![weak], 9).is_err());
    for count in 1..=64u64 {
        let set = voter_set(&voter_keys(count));
        assert!(3 * set.quorum() > 2 * set.len() && 3 * set.tolerated() < set.len());
        assert!(set.len() - set.tolerated() >= set.quorum(), "those who are honest are enough");
    }
}

/// A later version says more; the signature covers it, and this version reads the rest.
#[test]
fn fields_of_later_versions_are_read_past_and_covered_by_the_signature() {
    use ed25519_dalek::Signer as _;
    #[derive(Clone, PartialEq, prost::Message)]
    struct Later {
        #[prost(bytes = "vec", tag = "1")]
        network: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        identity: Vec<u8>,
        #[prost(uint64, tag = "3")]
        epoch: u64,
        #[prost(uint32, tag = "5")]
        peers: u32,
        #[prost(uint32, tag = "6")]
        uptime: u32,
        #[prost(uint32, tag = "40")]
        temperature: u32,
    }
    let keys = keys(1);
    let identity = keys.identity_public().to_vec();
    let body = Later { network: vec![3; 32], identity, epoch: 9, peers: 1, uptime: 1, temperature: 40 }.encode_to_vec();
    let signature = keys.identity().sign(&[b"zmesh heartbeat v1\0", body.as_slice()].concat()).to_bytes().to_vec();
    let good = schema::Signed { body: body.clone(), signature: signature.clone() }.encode_to_vec();
    assert_eq!(Heartbeat::decode(&good).unwrap().epoch, 9);
    let mut cooler = body;
    *cooler.last_mut().unwrap() = 20;
    let bad = schema::Signed { body: cooler, signature }.encode_to_vec();
    assert_eq!(Heartbeat::decode(&bad), Err(FormError::ForgedSignature));
}

#[test]
fn topics_have_names_of_their_network() {
    let (network, other) = (NetworkId([1; 32]), NetworkId([2; 32]));
    for topic in Topic::ALL {
        assert_eq!(Topic::from_name(&topic.name(&network), &network), Some(topic));
        assert_eq!(Topic::from_name(&topic.name(&network), &other), None);
    }
    assert_eq!(Topic::Votes.name(&network), format!("/zmesh/1/{}/votes", "01".repeat(32)));
    assert_eq!(Verdict::against(Reason::Forged), Verdict::Reject(Reason::Forged));
    assert_eq!(Verdict::against(Reason::Stale), Verdict::Ignore(Reason::Stale));
}

#[test]
fn parameters_have_defaults_and_limits() {
    let none = Parameters::new();
    assert_eq!((none.lifetime(), none.seen_by(), none.voters(), none.voter_uptime()), (3, 0, 21, 950));
    let some = none.with("lifetime", 1).unwrap().with("voters", 500).unwrap().with("voter-uptime", 2_000).unwrap();
    assert_eq!((some.lifetime(), some.voters(), some.voter_uptime()), (2, 64, 1_000));
    assert!(Parameters::new().with("Bad Name", 1).is_err());
    let many = (0..33).try_fold(Parameters::new(), |all, n| all.with(&format!("p{n}"), n));
    assert!(many.is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        decode_all(&bytes)?;
    }

    /// What decodes encodes to the same bytes, extension and all.
    #[test]
    fn a_flipped_bit_is_found_or_stays_canonical(kind in 0..5usize, at in 0..4_000usize, bit in 0..8u8) {
        let mut bytes = GOOD.with(|good| good[kind].clone());
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        decode_all(&bytes)?;
    }
}

fn decode_all(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(read) = Genesis::decode(bytes) {
        let again = Genesis::new(read.terms().clone()).unwrap();
        prop_assert_eq!(again.as_bytes(), bytes);
    }
    if let Ok(read) = Header::decode(bytes) {
        prop_assert_eq!(read.as_bytes(), bytes);
    }
    if let Ok(read) = SignedHeader::decode(bytes) {
        prop_assert_eq!(read.encode(), bytes);
    }
    if let Ok(read) = EpochDocument::decode(bytes) {
        prop_assert_eq!(read.encode(), bytes);
    }
    if let Ok(read) = Snapshot::decode(bytes) {
        prop_assert_eq!(read.encode(), bytes);
    }
    if let Ok(read) = Difference::decode(bytes) {
        prop_assert_eq!(read.encode(), bytes);
    }
    let _ = Heartbeat::decode(bytes);
    Ok(())
}

thread_local! {
    static GOOD: Vec<Vec<u8>> = {
        let keys = voter_keys(4);
        let mut chain = Chain::from_genesis(genesis(&keys, false));
        let first = snapshot(&chain, &keys, 1, 0..2);
        chain.advance(first.document().signed()).unwrap();
        let second = snapshot(&chain, &keys, 2, 1..3);
        vec![
            chain.genesis().as_bytes().to_vec(),
            first.document().signed().header().as_bytes().to_vec(),
            first.document().signed().encode(),
            first.document().encode(),
            Difference::between(&first, &second).encode(),
        ]
    };
}
