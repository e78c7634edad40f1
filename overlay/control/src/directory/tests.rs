//! What a directory node makes of peers that lie, stall, or never end, by the clock of the test.

use std::sync::Arc;

use zmesh_proto::directory::{ByHand, Catalogue, Chain};
use zmesh_proto::keys::{RelayKeys, SignerKey};
use zmesh_proto::random::Generator;
use zmesh_proto::wire::control::{
    Certificate, Genesis, GenesisTerms, Parameters, Reason, SignedHeader, Snapshot, Verdict, Voter, VoterSet,
};
use zmesh_proto::wire::descriptor::{Descriptor, DescriptorInfo, Terms};
use zmesh_proto::wire::document::SignerId;

use super::fetching::{CHANGES_TIME, Way};
use super::follow::{Follow, Progress};
use super::gather::Gather;
use super::question::{Answer, Question};
use crate::PeerIdentity;

const NOW: u64 = 1_760_000_000;
const EPOCH: u32 = 3_600;

fn keys(n: u8) -> RelayKeys {
    RelayKeys::generate(&mut Generator::new(&[n; 32]), NOW)
}

fn signers(from: u8) -> Vec<SignerKey> {
    (from..from + 4).map(|n| keys(n).signer()).collect()
}

fn voters(from: u8) -> VoterSet {
    let voter =
        |(n, key): (usize, &SignerKey)| Voter { key: SignerId(key.public()), operator: format!("operator {n}") };
    VoterSet::new(signers(from).iter().enumerate().map(voter).collect(), 1).expect("voters")
}

/// A network in its first epoch.
fn genesis() -> Genesis {
    Genesis::new(GenesisTerms {
        name: "pure".to_owned(),
        test_network: true,
        epoch_length: EPOCH,
        epoch_zero: NOW - u64::from(EPOCH),
        voters_per_operator: 1,
        voters: voters(1),
        parameters: Parameters::new(),
    })
    .expect("a genesis")
}

fn descriptor(n: u8, published: u64) -> Descriptor {
    let info = DescriptorInfo {
        nickname: format!("relay{n}"),
        operator: format!("operator {n}"),
        family: None,
        country: None,
        addresses: vec![([127, 0, 0, 1], 9_000 + u16::from(n)).into()],
        exit: None,
        meeting: false,
        cache: false,
        mixer: false,
        directory: true,
        region: None,
        control: Vec::new(),
    };
    let terms = Terms { published, expires: published + 7_200, revision: published };
    Descriptor::create(&keys(n), &info, terms).expect("a descriptor")
}

fn sign(chain: &Chain, epoch: u64, relays: std::ops::Range<u8>, from: u8) -> Snapshot {
    let relays = relays.map(|n| descriptor(n, NOW)).collect();
    ByHand::new(chain, epoch, relays).sign(chain, &signers(from)).expect("a document")
}

fn header(snapshot: &Snapshot) -> Vec<u8> {
    snapshot.document().signed().encode()
}

/// A chain as others would have it who are a change of voters ahead.
fn other_voters(genesis: &Genesis) -> Chain {
    let mut chain = Chain::from_genesis(genesis.clone());
    let mut change = ByHand::new(&chain, 1, vec![descriptor(1, NOW)]);
    change.voters = Some(voters(50));
    let change = change.sign(&chain, &signers(1)).expect("a document");
    chain.advance(change.document().signed()).expect("follows");
    chain
}

fn peer(n: u8) -> PeerIdentity {
    PeerIdentity([n; 32])
}

const LIAR: u8 = 66;

/// A header of voters that nobody knows can neither be believed nor refused, so its document is asked for; and then nothing comes.
#[test]
fn a_peer_that_stalls_holds_up_itself() {
    let genesis = genesis();
    let mut follow = Follow::new(genesis.clone(), None);
    let junk = header(&sign(&other_voters(&genesis), 2, 1..3, 50));
    assert_eq!(follow.judge(&junk, NOW), (Verdict::Ignore(Reason::Unrelated), true));
    let mut busy = 0;
    for second in 0..3_600 {
        let now = NOW + second;
        follow.give_up_slow(now);
        // It says so all the time, and answers nothing.
        let _ = follow.begin(peer(LIAR), Way::Brought, now);
        // Another each time, so that none of these rests.
        let mut other = [1; 32];
        other[..8].copy_from_slice(&second.to_be_bytes());
        busy += u64::from(follow.begin(PeerIdentity(other), Way::Brought, now).is_none());
        follow.give_up(&PeerIdentity(other), now);
        if second == 5 {
            let chosen = follow.begin(peer(2), Way::Chosen, now);
            assert_eq!(chosen, Some(Question::Changes { after: 0 }), "the node's own choice has a place of its own");
        }
    }
    // 40, 80, 160, 320, and then 640 seconds lie between.
    assert_eq!(busy, 9 * (CHANGES_TIME + 1), "seconds of an hour");
}

#[test]
fn a_document_arrives_while_another_peer_stalls() {
    let genesis = genesis();
    let mut follow = Follow::new(genesis.clone(), None);
    assert!(follow.begin(peer(LIAR), Way::Brought, NOW).is_some());
    assert!(follow.begin(peer(1), Way::Chosen, NOW).is_some());
    let mut source = Follow::new(genesis.clone(), None);
    let snapshot = sign(&Chain::from_genesis(genesis), 1, 1..4, 1);
    assert_eq!(source.adopt(&snapshot), Ok(true));
    let Progress::Ask(Question::Document { have: None }) = follow.answered(&peer(1), source.changes(0), NOW) else {
        panic!("a document is asked for");
    };
    let bytes = source.document(None).expect("has it");
    let answer = Answer::decode(&bytes).expect("an answer");
    let Progress::Verify(job) = follow.answered(&peer(1), answer, NOW + 1) else { panic!("it is verified") };
    assert_eq!(follow.verified(job.run(), NOW + 2), (peer(1), Ok(true)));
    assert_eq!((follow.epoch(), follow.listed().len()), (1, 3));
    // What the other one says now is of no use, and no fault.
    assert!(matches!(follow.answered(&peer(LIAR), Answer::none(), NOW + 3), Progress::Nothing));
}

#[test]
fn who_says_it_has_a_document_has_to_have_it() {
    let genesis = genesis();
    let mut follow = Follow::new(genesis, None);
    let mut nothing = |way, n, now| {
        assert!(follow.begin(peer(n), way, now).is_some());
        assert!(matches!(follow.answered(&peer(n), Answer::none(), now), Progress::Ask(_)));
        let progress = follow.answered(&peer(n), Answer::none(), now);
        (matches!(progress, Progress::Blame), follow.begin(peer(n), way, now + 1).is_none())
    };
    assert_eq!(nothing(Way::Said, 1, NOW), (true, true));
    assert_eq!(nothing(Way::Brought, 2, NOW), (false, true), "it may have heard of it only");
    assert_eq!(nothing(Way::Chosen, 3, NOW), (false, false), "it said nothing of the kind");
}

#[test]
fn headers_of_the_far_future_and_copies_of_one_go_nowhere() {
    let genesis = genesis();
    let mut follow = Follow::new(genesis.clone(), None);
    let far = header(&sign(&other_voters(&genesis), 1_000_000, 1..3, 50));
    assert_eq!(follow.judge(&far, NOW), (Verdict::Ignore(Reason::Unrelated), false));
    let chain = Chain::from_genesis(genesis);
    let early = header(&sign(&chain, 4, 1..3, 1));
    assert_eq!(follow.judge(&early, NOW), (Verdict::Ignore(Reason::Early), false));
    assert_eq!(follow.judge(&early, NOW + u64::from(EPOCH)), (Verdict::Accept, true));

    // Three signatures of four are enough: five good messages of one header, of which one is passed on.
    let mut follow = Follow::new(chain.genesis().clone(), None);
    let snapshot = sign(&chain, 1, 1..3, 1);
    let signed = snapshot.document().signed();
    assert_eq!(follow.judge(&signed.encode(), NOW), (Verdict::Accept, true));
    for left_out in 0..4 {
        let mut signatures = signed.certificate().signatures.clone();
        signatures.remove(left_out);
        let certificate = Certificate { round: signed.certificate().round, signatures };
        let copy = SignedHeader::new(signed.header().clone(), certificate).expect("a header");
        assert_eq!(follow.judge(&copy.encode(), NOW), (Verdict::Ignore(Reason::Duplicate), true));
    }
}

#[test]
fn a_document_is_encoded_once_for_all() {
    let genesis = genesis();
    let mut follow = Follow::new(genesis.clone(), None);
    assert!(follow.document(None).is_none() && follow.head() == Answer::none());
    let mut chain = Chain::from_genesis(genesis);
    let first = sign(&chain, 1, 1..6, 1);
    follow.adopt(&first).expect("good");
    chain.advance(first.document().signed()).expect("follows");
    let old = follow.document(None).expect("a document");
    assert!(Arc::ptr_eq(&old, &follow.document(None).expect("a document")));
    let second = sign(&chain, 2, 1..7, 1);
    follow.adopt(&second).expect("good");
    let (whole, hash) = (follow.document(None).expect("a document"), first.document().hash());
    assert_ne!(whole, old);
    let difference = follow.document(Some(hash)).expect("a difference");
    assert!(Arc::ptr_eq(&difference, &follow.document(Some(hash)).expect("a difference")));
    assert!(difference.len() < whole.len() / 2 && Answer::decode(&difference).expect("an answer").difference);
    assert!(follow.document(Some(second.document().hash())).is_none(), "it has that one");
}

/// Pages of descriptors that are over: worth nothing, and without an end.
#[test]
fn endless_pages_of_nothing_have_an_end() {
    let mut catalogue = Catalogue::new(&genesis());
    let mut gather = Gather::default();
    let mut old: Vec<_> = (1..=40).map(|n| descriptor(n, NOW - 10_000)).collect();
    old.sort_by_key(Descriptor::id);
    let (mut after, mut pages) = (None, 0);
    for descriptor in &old {
        let page = Answer::parts(vec![descriptor.as_bytes().to_vec()]);
        let (next, news) = gather.take(peer(LIAR), after, &page, &mut catalogue, NOW);
        assert!(!news, "no praise for that");
        pages += 1;
        match next {
            Ok(Some(Question::Descriptors { after: next })) => after = next,
            other => {
                assert_eq!(other, Ok(None));
                break;
            }
        }
    }
    assert_eq!(pages, 32);
    let good = Answer::parts(vec![descriptor(1, NOW).as_bytes().to_vec()]);
    let (next, news) = gather.take(peer(1), None, &good, &mut catalogue, NOW);
    assert!(news && matches!(next, Ok(Some(_))));
    let (next, news) = gather.take(peer(1), Some(descriptor(1, NOW).id()), &good, &mut catalogue, NOW);
    assert_eq!((next, news), (Err(()), false), "pages ascend");
}
