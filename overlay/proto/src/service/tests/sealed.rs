//! Descriptors and introductions: wrong key, tampering, truncation, replay; and the small decoders.

use proptest::prelude::*;
use zmesh_sphinx::RelayId;

use super::super::descriptor::{self, Contents, DESCRIPTOR_LEN, DescriptorError, INTROS_MAX, Outer};
use super::super::introduce::{self, INTRODUCE_LEN, IntroKey, IntroKeySecret, IntroSecret, Introduction, OpenError};
use super::super::key::BlindedKey;
use super::super::period::Period;
use super::super::pow::Solution;
use super::super::seen::Seen;
use super::super::stream::{Answer, Want};
use super::super::tls::{MeetingSecret, Side};
use super::{NOON, address, contents, key, rng};
use crate::wire::request::{Failure, Request, Response};

fn sealed(seed: u64, contents: &Contents) -> (Vec<u8>, Period) {
    let period = Period::at(NOON);
    let key = key(seed);
    (descriptor::seal(&key.blinded(period), &key.address(), period, 7, contents, &mut rng(5)), period)
}

#[test]
fn a_descriptor_opens_for_its_address_and_says_nothing_else() {
    let contents = contents(3, NOON + 3_600);
    let (bytes, period) = sealed(1, &contents);
    assert_eq!(bytes.len(), DESCRIPTOR_LEN);
    assert_eq!(descriptor::open(&bytes, &address(1), period, NOON), Ok(contents.clone()));
    let outer = Outer::decode(&bytes).unwrap();
    assert!(outer.is_signed());
    assert_eq!((outer.period, outer.revision), (period, 7));
    // Neither the address nor what is inside can be seen.
    for hidden in
        [address(1).key().as_slice(), &contents.puzzle.seed, &contents.intros[0].name.0, &contents.intros[0].key.0]
    {
        assert!(!bytes.windows(8).any(|window| window == &hidden[..8]));
    }
    // The number of points does not show in the length.
    let one = super::contents(1, NOON + 3_600);
    let most = super::contents(u8::try_from(INTROS_MAX).unwrap(), NOON + 3_600);
    assert_eq!(sealed(1, &one).0.len(), sealed(1, &most).0.len());
    assert_eq!(descriptor::open(&sealed(1, &most).0, &address(1), period, NOON), Ok(most));
}

#[test]
fn a_descriptor_of_another_or_of_another_time_is_refused() {
    let (bytes, period) = sealed(1, &contents(2, NOON + 3_600));
    assert_eq!(descriptor::open(&bytes, &address(2), period, NOON), Err(DescriptorError::Another));
    assert_eq!(descriptor::open(&bytes, &address(1), Period(period.0 + 1), NOON), Err(DescriptorError::Another));
    assert_eq!(descriptor::open(&bytes, &address(1), period, NOON + 3_601), Err(DescriptorError::Expired));
    let (long, _) = sealed(1, &contents(2, NOON + 86_400));
    assert_eq!(descriptor::open(&long, &address(1), period, NOON), Err(DescriptorError::TooLong));
}

#[test]
fn no_byte_of_a_descriptor_can_change() {
    let (bytes, period) = sealed(1, &contents(2, NOON + 3_600));
    for at in (0..bytes.len()).step_by(7).chain([0, 4, 36, 44, 60, 61, DESCRIPTOR_LEN - 65, DESCRIPTOR_LEN - 1]) {
        let mut wrong = bytes.clone();
        wrong[at] ^= 1;
        assert!(descriptor::open(&wrong, &address(1), period, NOON).is_err(), "byte {at}");
        assert!(Outer::decode(&wrong).is_ok_and(|outer| !outer.is_signed()) || at == 0, "byte {at}");
    }
    for len in 0..bytes.len() {
        assert!(Outer::decode(&bytes[..len]).is_err());
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(Outer::decode(&longer).is_err());
}

/// Whoever signs with a blinded key of their own cannot make a client of another address read it.
#[test]
fn a_store_that_forges_is_found_out() {
    let period = Period::at(NOON);
    let forger = key(2).blinded(period);
    let mut bytes = descriptor::seal(&forger, &address(1), period, 9, &contents(1, NOON + 60), &mut rng(6));
    assert_eq!(descriptor::open(&bytes, &address(1), period, NOON), Err(DescriptorError::Another));
    let right = key(1).blinded(period).public();
    bytes[5..37].copy_from_slice(&right.0);
    assert_eq!(descriptor::open(&bytes, &address(1), period, NOON), Err(DescriptorError::Forged));
}

fn introduction() -> Introduction {
    let solution = Solution { seed_head: [1, 2, 3, 4], effort: 99, nonce: [5; 16] };
    Introduction { relay: RelayId([3; 16]), cookie: [4; 16], solution, meeting: MeetingSecret::from_bytes(&[6; 32]) }
}

#[test]
fn an_introduction_opens_with_its_key_name_and_address_only() {
    let mut rng = rng(11);
    let (secret, other) = (IntroKeySecret::generate(&mut rng), IntroKeySecret::generate(&mut rng));
    let (name, wrong_name) = (IntroSecret::generate(&mut rng).name(), IntroSecret::generate(&mut rng).name());
    let period = Period::at(NOON);
    let sub = |seed: u64, period| key(seed).blinded(period).subcredential();
    let right = sub(1, period);
    let sealed = introduce::seal(&introduction(), &name, &secret.public(), &right, &mut rng).unwrap();
    assert_eq!(sealed.len(), INTRODUCE_LEN);
    let others = [sub(1, Period(period.0 + 1)), right.clone()];
    let own = std::slice::from_ref(&right);
    assert_eq!(introduce::open(&sealed, &name, &secret, &others), Ok((introduction(), 1)));
    let refused = Err(OpenError::DoesNotOpen);
    assert_eq!(introduce::open(&sealed, &name, &other, own), refused);
    assert_eq!(introduce::open(&sealed, &wrong_name, &secret, own), refused);
    assert_eq!(
        introduce::open(&sealed, &name, &secret, &[sub(2, period)]),
        refused,
        "who lacks the address cannot write"
    );
    for at in 1..INTRODUCE_LEN {
        let mut wrong = sealed;
        wrong[at] ^= 0x80;
        // X25519 ignores the top bit of X; the header is authenticated all the same.
        assert_eq!(introduce::open(&wrong, &name, &secret, own), refused, "byte {at}");
    }
    for len in [0, 1, 33, INTRODUCE_LEN - 1] {
        assert_eq!(introduce::open(&sealed[..len], &name, &secret, own), Err(OpenError::Malformed));
    }
    assert!(
        introduce::seal(&introduction(), &name, &IntroKey([0; 32]), &right, &mut rng).is_none(),
        "a key of low order"
    );
    let mut low_order = sealed;
    low_order[1..33].fill(0);
    assert_eq!(introduce::open(&low_order, &name, &secret, own), refused);
    let again = introduce::seal(&introduction(), &name, &secret.public(), &right, &mut rng).unwrap();
    assert!(sealed.iter().zip(&again).skip(1).filter(|(a, b)| a == b).count() < 16, "no two look alike");
}

#[test]
fn a_replayed_introduction_is_seen_until_the_filter_is_full() {
    let mut seen = Seen::new(3, zeroize::Zeroizing::new([1; 32]));
    assert!(seen.is_empty());
    for cookie in 0..3u8 {
        assert!(seen.insert(&[cookie; 16]));
        assert!(!seen.insert(&[cookie; 16]), "twice");
    }
    assert!(seen.is_full() && seen.len() == 3);
    assert!(!seen.insert(&[9; 16]), "a full filter lets nothing in");
    assert!(seen.contains(&[2; 16]) && !seen.contains(&[9; 16]));
    assert_eq!(format!("{seen:?}"), "Seen(3 of 3)", "its secret does not print");
}

#[test]
fn each_meeting_and_each_side_of_it_has_keys_of_its_own() {
    let (one, other) = (MeetingSecret::generate(&mut rng(1)), MeetingSecret::generate(&mut rng(2)));
    let keys = [&one, &other].map(|secret| [Side::Client, Side::Service].map(|side| secret.key(side).public()));
    let distinct: std::collections::BTreeSet<_> = keys.iter().flatten().collect();
    assert_eq!(distinct.len(), 4);
    assert_eq!(one.key(Side::Client).public(), one.clone().key(Side::Client).public());
    assert!(one != other && one == one.clone());
    assert!(!format!("{one:?}{:?}", one.key(Side::Service)).contains(char::is_numeric), "nothing secret prints");
}

/// Subcredentials and introduction secrets come from what nobody else has, so they neither print nor tell by their time where they differ.
#[test]
fn secrets_of_services_do_not_print() {
    let sub = key(1).blinded(Period::at(NOON)).subcredential();
    let printed = format!("{sub:?} {:?} {:?}", IntroSecret::from_bytes(&[1; 32]), key(1));
    assert!(!printed.contains(char::is_numeric), "{printed}");
    assert!(sub == sub.clone() && sub != key(2).blinded(Period::at(NOON)).subcredential());
    assert!(IntroSecret::from_bytes(&[1; 32]) != IntroSecret::from_bytes(&[2; 32]));
}

/// A version without a secret of the meeting would leave the meeting relay a key that it can compute.
#[test]
fn an_introduction_without_a_secret_of_the_meeting_is_refused() {
    let mut old = vec![0; 96];
    old[0] = 1;
    assert!(Introduction::decode(&old).is_err());
    old[0] = 2;
    old[57] = 1;
    assert!(Introduction::decode(&old).is_ok());
    old[95] = 1;
    assert!(Introduction::decode(&old).is_err(), "padding");
}

#[test]
fn heads_of_streams_read_back() {
    assert_eq!(Want::decode(&Want(443).encode()), Ok(Want(443)));
    assert!(Want::decode(&[1, 0, 0]).is_err());
    assert!(Want::decode(&[2, 0, 1]).is_err());
    assert!(Want::decode(&[1, 0, 1, 0]).is_err());
    for answer in [Answer::Accepted, Answer::NoSuchPort, Answer::Busy] {
        assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
    }
    assert!(Answer::decode(&[1, 3]).is_err());
    assert!(Answer::decode(&[1]).is_err());
}

#[test]
fn requests_about_services_read_back_and_are_pinned() {
    let requests = [
        (Request::FindService(BlindedKey([1; 32])), format!("0110{}", "01".repeat(32))),
        (Request::PlaceService, "0111".into()),
        (Request::Establish(IntroSecret::from_bytes(&[2; 32])), format!("0112{}", "02".repeat(32))),
        (Request::Introduce(IntroSecret::from_bytes(&[2; 32]).name()), String::new()),
    ];
    for (request, bytes) in requests {
        let encoded = request.encode();
        assert_eq!(Request::decode(&encoded), Ok(request.clone()));
        assert!(bytes.is_empty() || data_encoding::HEXLOWER.encode(&encoded) == bytes);
        for len in 0..encoded.len() {
            assert_eq!(Request::decode_prefix(&encoded[..len]), Ok(None));
        }
        assert!(!format!("{request:?}").contains("01, 01"));
    }
    for response in [Response::Found, Response::Established, Response::Introduced, Response::Failed(Failure::Stale)] {
        assert_eq!(Response::decode(&response.encode()), Ok(response));
    }
}

proptest! {
    #[test]
    fn any_bytes_are_contents_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..1_200)) {
        let _ = Contents::decode(&bytes);
        let _ = Introduction::decode(&bytes);
        let _ = Outer::decode(&bytes).map(|outer| outer.is_signed());
        let _ = Want::decode(&bytes);
        let _ = Answer::decode(&bytes);
    }

    #[test]
    fn any_sealed_bytes_open_or_not(bytes in prop::collection::vec(any::<u8>(), INTRODUCE_LEN)) {
        let secret = IntroKeySecret::generate(&mut rng(1));
        let name = IntroSecret::from_bytes(&[1; 32]).name();
        let sub = key(1).blinded(Period(1)).subcredential();
        prop_assert!(introduce::open(&bytes, &name, &secret, &[sub]).is_err());
    }

    #[test]
    fn contents_read_back(points in 1u8..=8, not_after in NOON..NOON + 20_000, effort: u32, seed: [u8; 32]) {
        let mut contents = contents(points, not_after);
        contents.puzzle.effort = effort;
        contents.puzzle.seed = seed;
        let (bytes, period) = sealed(3, &contents);
        prop_assert_eq!(descriptor::open(&bytes, &address(3), period, NOON), Ok(contents));
    }
}
