use proptest::prelude::*;

use super::*;
use crate::directory::Network;
use crate::directory::fixture::{self, LIFETIME, NOW, descriptor, info, keys, rng, terms};
use crate::keys::SignerKey;
use crate::wire::codec::ErrorKind;
use crate::wire::descriptor::Terms;

fn signers(count: u64) -> Vec<SignerKey> {
    (0..count).map(|seed| SignerKey::generate(&mut rng(500 + seed))).collect()
}

/// A draft of two relays.
fn draft(signers: &[SignerKey]) -> Draft {
    let mut draft = fixture::draft(signers, false);
    draft.add(descriptor(1, &info(1))).unwrap();
    draft.add(descriptor(2, &info(2))).unwrap();
    draft
}

fn signed(count: u64) -> Document {
    let signers = signers(count);
    let mut draft = draft(&signers);
    for signer in &signers {
        draft.sign(signer, NOW).unwrap();
    }
    draft.into_document().unwrap()
}

#[test]
fn more_than_two_thirds_have_to_sign() {
    for (signers, need) in [(1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (6, 5), (7, 5), (9, 7), (64, 43)] {
        assert_eq!(signatures_needed(signers), need);
        assert!(3 * need > 2 * signers && 3 * (need - 1) <= 2 * signers);
    }
}

#[test]
fn three_people_form_a_network() {
    let people = signers(3);
    let mut draft = draft(&people);
    let unsigned = draft.clone();
    for (at, signer) in people.iter().enumerate() {
        let text = draft.to_text();
        assert_eq!(
            Network::decode(text.as_bytes(), NOW).unwrap_err(),
            DocumentError::TooFewSignatures { have: at, need: 3 }
        );
        // Each works on the file that the last one sent.
        draft = Draft::from_text(text.as_bytes()).unwrap();
        let progress = draft.sign(signer, NOW).unwrap();
        assert_eq!(progress, Progress { have: at + 1, need: 3 });
    }
    let text = draft.to_text();
    let network = Network::decode(text.as_bytes(), NOW).unwrap();
    assert_eq!(network.relays().len(), 2);
    assert_eq!(network.network_id(), unsigned.network_id());
    let document = Document::from_text(text.as_bytes()).unwrap();
    assert_eq!(document.to_text(), text);
    assert_eq!(document.signed_by().len(), 3);
    // Or all at once, put together afterwards.
    let mut merged = unsigned.clone();
    for signer in &people {
        let mut copy = unsigned.clone();
        copy.sign(signer, NOW).unwrap();
        merged.merge(&copy).unwrap();
    }
    assert_eq!(merged, draft);
    let mut other = unsigned.clone();
    other.set_validity(NOW, NOW + 60).unwrap();
    assert!(merged.merge(&other).is_err());
}

#[test]
fn a_threshold_is_enough_but_not_less() {
    let people = signers(4);
    let mut draft = draft(&people);
    for signer in &people[..2] {
        draft.sign(signer, NOW).unwrap();
    }
    // The same person twice is one person.
    assert_eq!(draft.sign(&people[0], NOW).unwrap(), Progress { have: 2, need: 3 });
    assert_eq!(draft.clone().into_document(), Err(DocumentError::TooFewSignatures { have: 2, need: 3 }));
    assert_eq!(Document::decode(&draft.encode()), Err(DocumentError::TooFewSignatures { have: 2, need: 3 }));
    draft.sign(&people[3], NOW).unwrap();
    assert!(draft.into_document().is_ok());
}

#[test]
fn strangers_do_not_sign() {
    let mut draft = draft(&signers(1));
    let stranger = SignerKey::generate(&mut rng(7));
    assert_eq!(draft.sign(&stranger, NOW), Err(DocumentError::UnknownSigner(SignerId(stranger.public()))));
}

#[test]
fn a_change_drops_the_signatures() {
    let people = signers(1);
    let mut draft = draft(&people);
    for change in 0..4 {
        draft.sign(&people[0], NOW).unwrap();
        assert!(draft.progress().is_enough());
        match change {
            0 => assert_eq!(draft.add(descriptor(3, &info(3))), Ok(Added::New)),
            1 => assert!(draft.remove(&keys(3).id())),
            2 => draft.set_validity(NOW, NOW + 3_600).unwrap(),
            _ => {
                let newer = Terms { revision: 2, ..terms() };
                let newer = Descriptor::create(&keys(1), &info(1), newer).unwrap();
                assert_eq!(draft.add(newer), Ok(Added::Replaced { revision: 1 }));
            }
        }
        assert_eq!(draft.progress().have, 0, "change {change}");
    }
    draft.sign(&people[0], NOW).unwrap();
    assert_eq!(draft.add(draft.descriptors()[0].clone()), Ok(Added::Unchanged));
    assert!(!draft.remove(&keys(77).id()));
    assert!(draft.progress().is_enough());
}

#[test]
fn an_older_revision_does_not_come_back() {
    let mut draft = draft(&signers(1));
    let with = |revision, port| {
        let mut info = info(1);
        info.addresses[0].set_port(port);
        Descriptor::create(&keys(1), &info, Terms { revision, ..terms() }).unwrap()
    };
    draft.add(with(5, 1)).unwrap();
    for revision in [4, 5] {
        assert_eq!(
            draft.add(with(revision, 2)),
            Err(DocumentError::OldRevision { nickname: "relay1".into(), known: 5, found: revision })
        );
    }
    assert_eq!(draft.add(with(6, 2)), Ok(Added::Replaced { revision: 5 }));
}

#[test]
fn any_altered_byte_is_refused() {
    let good = signed(1).encode();
    for at in (0..good.len()).step_by(if cfg!(debug_assertions) { 7 } else { 1 }) {
        let mut bad = good.clone();
        bad[at] ^= 0x04;
        assert!(Document::decode(&bad).is_err(), "byte {at}");
    }
    for cut in (0..good.len()).step_by(11) {
        assert!(Document::decode(&good[..cut]).is_err(), "cut at {cut}");
    }
    let mut longer = good.clone();
    longer.push(0);
    assert!(matches!(
        Document::decode(&longer),
        Err(DocumentError::Malformed(codec::Error { kind: ErrorKind::Trailing, offset })) if offset == good.len()
    ));
}

#[test]
fn each_forgery_has_its_name() {
    let document = signed(1);
    let good = document.encode();
    let signer = document.signers()[0];
    // The name of the network: nothing but the signature over the document notices.
    let mut renamed = good.clone();
    renamed[3] = b'F';
    assert_eq!(Document::decode(&renamed), Err(DocumentError::ForgedSignature(signer)));
    let mut signature = good.clone();
    let last = signature.len() - 1;
    signature[last] ^= 0x01;
    assert_eq!(Document::decode(&signature), Err(DocumentError::ForgedSignature(signer)));
    // A relay inside.
    let name = document.name().len();
    let relays = 1 + 1 + 1 + name + 16 + 1 + 32 + 2;
    let mut relay = good.clone();
    relay[relays + 2 + 200] ^= 1;
    match Document::decode(&relay) {
        Err(DocumentError::Descriptor { index: 1, offset, error: DescriptorError::ForgedSignature }) => {
            assert_eq!(offset, relays);
        }
        other => panic!("{other:?}"),
    }
    // The same relay twice.
    let len = 2 + document.descriptors()[0].as_bytes().len();
    let mut twice = good.clone();
    let copy = good[relays..relays + len].to_vec();
    twice.splice(relays..relays, copy);
    twice[relays - 1] = 3;
    assert_eq!(Document::decode(&twice), Err(DocumentError::DuplicateRelay(document.descriptors()[0].id())));
    // Out of order.
    let mut unsorted = good.clone();
    let first = unsorted[relays..relays + len].to_vec();
    unsorted.drain(relays..relays + len);
    let second_end = unsorted.len() - 66;
    unsorted.splice(second_end..second_end, first);
    assert!(matches!(Document::decode(&unsorted), Err(DocumentError::Field { field: "list of relays", .. })));
    // Version and flags of the future.
    let mut version = good.clone();
    version[0] = 2;
    assert_eq!(
        Document::decode(&version),
        Err(DocumentError::Malformed(codec::Error { offset: 0, kind: ErrorKind::Version(2) }))
    );
    let mut flags = good;
    flags[1] = 2;
    assert_eq!(
        Document::decode(&flags),
        Err(DocumentError::Malformed(codec::Error { offset: 1, kind: ErrorKind::Invalid }))
    );
}

#[test]
fn signatures_come_once_each_and_in_order() {
    let good = signed(2).encode();
    let at = good.len() - 2 * 65 - 1;
    assert_eq!(good[at], 2);
    let one = good[at + 1..at + 66].to_vec();
    let two = good[at + 66..].to_vec();
    let with = |list: &[&[u8]]| {
        let mut bytes = good[..at].to_vec();
        bytes.push(u8::try_from(list.len()).unwrap());
        for signature in list {
            bytes.extend_from_slice(signature);
        }
        Document::decode(&bytes).map(|_| ())
    };
    assert_eq!(with(&[&one, &two]), Ok(()));
    assert_eq!(with(&[&one]), Err(DocumentError::TooFewSignatures { have: 1, need: 2 }));
    for bad in [&[&one[..], &one][..], &[&two, &one], &[&one, &two, &two]] {
        assert!(matches!(with(bad), Err(DocumentError::Malformed(_))));
    }
    let mut beyond = two;
    beyond[0] = 9;
    assert!(matches!(with(&[&one, &beyond]), Err(DocumentError::Malformed(_))));
}

#[test]
fn a_signature_for_another_purpose_does_not_count() {
    // A relay's identity that is also a signer: its descriptor's signature is none over a document.
    let keys = keys(1);
    let signer = keys.signer();
    let mut draft = draft(std::slice::from_ref(&signer));
    draft.sign(&signer, NOW).unwrap();
    let bytes = draft.encode();
    let body = &bytes[..bytes.len() - 66];
    let plain = signer.sign(body);
    let forged = [body, &[1, 0], &plain].concat();
    assert!(matches!(Document::decode(&forged), Err(DocumentError::ForgedSignature(_))));
}

#[test]
fn time_is_checked_and_named() {
    let text = signed(1).to_text();
    let at = |unix| Network::decode(text.as_bytes(), unix).map(|_| ());
    assert_eq!(at(NOW), Ok(()));
    assert_eq!(at(NOW - CLOCK_SKEW), Ok(()));
    assert_eq!(at(NOW - CLOCK_SKEW - 1), Err(DocumentError::NotYetValid { from: NOW }));
    assert_eq!(at(NOW + LIFETIME - 1), Ok(()));
    assert_eq!(at(NOW + LIFETIME), Err(DocumentError::Expired { since: NOW + LIFETIME }));
}

#[test]
fn what_a_signer_must_not_sign() {
    let people = signers(1);
    let mut empty = fixture::draft(&people, false);
    assert!(matches!(empty.sign(&people[0], NOW), Err(DocumentError::Field { .. })));
    let mut outlives = draft(&people);
    outlives.set_validity(NOW, NOW + LIFETIME + 1).unwrap();
    assert!(matches!(
        outlives.sign(&people[0], NOW),
        Err(DocumentError::OutlivesRelay { valid_until, .. }) if valid_until == NOW + LIFETIME + 1
    ));
    let mut late = draft(&people);
    assert!(matches!(late.sign(&people[0], NOW + LIFETIME), Err(DocumentError::Expired { .. })));
    let future = Terms { published: NOW + 40_000, expires: NOW + LIFETIME, revision: 9 };
    let future = Descriptor::create(&keys(1), &info(1), future).unwrap();
    let mut early = draft(&people);
    early.add(future).unwrap();
    assert!(matches!(
        early.sign(&people[0], NOW),
        Err(DocumentError::Descriptor { error: DescriptorError::NotYetValid { .. }, .. })
    ));
}

#[test]
fn private_addresses_are_for_test_networks() {
    for address in [
        "127.0.0.1:1",
        "10.1.2.3:1",
        "192.168.1.1:1",
        "172.20.0.1:1",
        "169.254.1.1:1",
        "100.64.0.1:1",
        "198.18.0.1:1",
        "192.0.2.1:1",
        "192.0.0.1:1",
        "0.1.2.3:1",
        "240.0.0.1:1",
        "[::1]:1",
        "[fe80::1]:1",
        "[fd00::1]:1",
        "[2001:db8::1]:1",
        "[2002:7f00:1::]:1",
        "[2001::1]:1",
        "[64:ff9b::7f00:1]:1",
    ] {
        let address: SocketAddr = address.parse().unwrap();
        let mut private = info(1);
        private.addresses.push(address);
        let descriptor = descriptor(1, &private);
        let people = signers(1);
        let mut public = fixture::draft(&people, false);
        assert_eq!(
            public.add(descriptor.clone()),
            Err(DocumentError::PrivateAddress { nickname: "relay1".into(), address })
        );
        let mut test = fixture::draft(&people, true);
        assert_eq!(test.add(descriptor), Ok(Added::New));
    }
}

#[test]
fn terms_of_a_network_have_rules() {
    let terms = |name: &str, until, signers: Vec<SignerId>| DraftTerms {
        name: name.into(),
        test_network: false,
        valid_after: NOW,
        valid_until: until,
        signers,
    };
    let one = SignerId(signers(1)[0].public());
    let new = |terms| Draft::new(terms).map(|_| ());
    assert_eq!(new(terms("ok", NOW + 1, vec![one])), Ok(()));
    for bad in [
        terms("", NOW + 1, vec![one]),
        terms(" x", NOW + 1, vec![one]),
        terms("a\u{1b}[2J", NOW + 1, vec![one]),
        terms(&"x".repeat(65), NOW + 1, vec![one]),
        terms("ok", NOW, vec![one]),
        terms("ok", NOW + LIFETIME_MAX + 1, vec![one]),
        terms("ok", NOW + 1, vec![]),
        terms("ok", NOW + 1, (0..65).map(|n| SignerId(signers(65)[n].public())).collect()),
    ] {
        assert!(matches!(new(bad.clone()), Err(DocumentError::Field { .. })), "{bad:?}");
    }
    assert_eq!(new(terms("ok", NOW + 1, vec![one, one])), Err(DocumentError::DuplicateSigner(one)));
    // The neutral element verifies anything under careless rules.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    for weak in [neutral, [0; 32]] {
        assert_eq!(new(terms("ok", NOW + 1, vec![SignerId(weak)])), Err(DocumentError::WeakSigner(SignerId(weak))));
    }
}

#[test]
fn the_id_pins_name_kind_and_signers() {
    let base = fixture::draft(&signers(2), false).network_id();
    assert_ne!(base, fixture::draft(&signers(2), true).network_id());
    assert_ne!(base, fixture::draft(&signers(3), false).network_id());
    let mut reversed = signers(2);
    reversed.reverse();
    assert_eq!(base, fixture::draft(&reversed, false).network_id());
    // Relays and validity come and go.
    let mut other = draft(&signers(2));
    other.set_validity(NOW, NOW + 5).unwrap();
    assert_eq!(base, other.network_id());
}

#[test]
fn signer_ids_are_read_back() {
    let id = SignerId(signers(1)[0].public());
    assert_eq!(SignerId::from_hex(&id.to_string()), Some(id));
    assert_eq!(SignerId::from_hex("beef"), None);
    assert_eq!(SignerId::from_hex("not hexadecimal"), None);
}

#[test]
fn other_files_are_told_apart() {
    let descriptor = descriptor(1, &info(1)).to_text();
    let error = Document::from_text(descriptor.as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "this is the descriptor of a relay, not a network document");
    assert!(matches!(Document::from_text(b"hello"), Err(DocumentError::Armour(ArmourError::Missing(_)))));
}

/// The wire format is fixed: whoever changes these bytes on purpose raises the version.
#[test]
fn the_bytes_are_pinned() {
    let document = signed(1);
    let hash = Sha256::digest(document.encode());
    assert_eq!(
        data_encoding::HEXLOWER.encode(&hash),
        "b3c430b7fdcee7794eff595ce77584c455af3c299b49c63a04aa222ab722164e"
    );
    assert_eq!(document.network_id().to_string(), "d66d0d282e9c2bf6c9996ac0d35a15ea81f6abb6eacec5421aa12fefda5b7bd0");
}

thread_local! {
    static GOOD: Vec<u8> = signed(1).encode();
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let _ = Document::decode(&bytes);
        let _ = Draft::decode(&bytes);
        let _ = Document::from_text(&bytes);
    }

    #[test]
    fn any_tail_behind_a_good_head_is_read_or_refused(
        cut: prop::sample::Index, tail in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let good = GOOD.with(Clone::clone);
        let bytes = [&good[..cut.index(good.len())], &tail].concat();
        if let Ok(document) = Document::decode(&bytes) {
            prop_assert_eq!(document.encode(), bytes);
        }
    }
}
