//! Addresses, blinding, periods, revisions, key files.

use std::collections::BTreeSet;

use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::edwards::CompressedEdwardsY;
use proptest::prelude::*;

use super::super::address::{AddressError, NAME_LEN, ServiceAddress};
use super::super::key::{ServiceKey, blinded_key, subcredential};
use super::super::period::{OVERLAP_SECONDS, PERIOD_SECONDS, Period};
use super::super::revision::{STEP_SECONDS, revision};
use super::{NOON, address, key, rng};
use crate::keys::{Error, SignerKey};

#[test]
fn an_address_reads_back_whatever_its_case() {
    let address = address(1);
    let text = address.to_string();
    assert_eq!(text.len(), NAME_LEN + 6);
    for form in [text.clone(), text.to_uppercase(), format!("  {text}\n")] {
        assert_eq!(form.parse(), Ok(address));
    }
    assert_eq!(ServiceAddress::from_host(&format!("www.{text}.")), Some(Ok(address)));
    assert_eq!(format!("www.{text}").parse::<ServiceAddress>(), Err(AddressError::NotAnAddress));
    assert_eq!(ServiceAddress::from_host("example.org"), None);
    assert_eq!(ServiceAddress::from_host("short.zmesh"), Some(Err(AddressError::NotAnAddress)));
    assert_eq!(ServiceAddress::from_host("zmesh"), None);
    assert!(!format!("{address:?}").contains(&text[..8]));
}

#[test]
fn every_typing_error_of_one_letter_is_found_or_makes_no_key() {
    let (right, text) = (address(2), address(2).to_string());
    for at in 0..NAME_LEN {
        let mut bytes = text.clone().into_bytes();
        bytes[at] = if bytes[at] == b'a' { b'b' } else { b'a' };
        let wrong: Result<ServiceAddress, _> = String::from_utf8(bytes).unwrap().parse();
        assert_ne!(wrong.ok(), Some(right));
        assert!(wrong.is_err(), "a letter at {at}");
    }
}

#[test]
fn keys_that_no_service_has_are_refused() {
    let good = CompressedEdwardsY(*address(3).key()).decompress().unwrap();
    for torsion in EIGHT_TORSION {
        assert_eq!(ServiceAddress::from_key(torsion.compress().0), Err(AddressError::BadKey));
    }
    for torsion in &EIGHT_TORSION[1..] {
        assert_eq!(ServiceAddress::from_key((good + torsion).compress().0), Err(AddressError::BadKey));
    }
    // y = p + 1 is another form of y = 1.
    let mut other_form = [0xff; 32];
    (other_form[0], other_form[31]) = (0xee, 0x7f);
    assert_eq!(ServiceAddress::from_key(other_form), Err(AddressError::BadKey));
    assert!(ServiceAddress::from_key([2; 32]).is_err());
}

#[test]
fn both_sides_find_the_same_blinded_key_and_nothing_links_two() {
    let (key, period) = (key(4), Period(20_000));
    let secret = key.blinded(period);
    let address = key.address();
    assert_eq!(secret.public(), blinded_key(&address, period));
    assert_eq!(secret.subcredential(), subcredential(&address, &secret.public()));
    let mut seen = BTreeSet::from([*address.key()]);
    for number in 0..50 {
        assert!(seen.insert(blinded_key(&address, Period(number)).0));
        assert!(seen.insert(blinded_key(&super::address(5), Period(number)).0));
    }
}

#[test]
fn a_blinded_key_signs_and_only_what_it_signed() {
    let secret = key(6).blinded(Period(7));
    let signature = secret.sign(b"message");
    assert!(secret.public().verifies(b"message", &signature));
    assert!(!secret.public().verifies(b"massage", &signature));
    assert!(!key(6).blinded(Period(8)).public().verifies(b"message", &signature));
    for at in 0..64 {
        let mut wrong = signature;
        wrong[at] ^= 1;
        assert!(!secret.public().verifies(b"message", &wrong));
    }
    // The nonce depends on the period: two signatures over one message share no part from which the secret follows.
    assert_ne!(signature[..32], key(6).blinded(Period(8)).sign(b"message")[..32]);
}

#[test]
fn a_key_file_reads_back_and_no_other_kind_does() {
    let key = key(8);
    let text = key.to_text();
    assert_eq!(ServiceKey::from_text(text.as_bytes()).unwrap().address(), key.address());
    let signer = SignerKey::generate(&mut rng(1)).to_text();
    assert!(matches!(ServiceKey::from_text(signer.as_bytes()), Err(Error::Armour(_))));
    let other = ServiceKey::from_seed(&[1; 32]).to_text();
    let (a, b) = (text.lines().nth(1).unwrap(), other.lines().nth(1).unwrap());
    let mixed = format!("{}{}", &a[..20], &b[20..]);
    assert!(ServiceKey::from_text(text.replace(a, &mixed).as_bytes()).is_err());
    assert_eq!(format!("{key:?}"), "ServiceKey([redacted])");
}

#[test]
fn periods_overlap_around_their_change() {
    let now = Period::at(NOON + PERIOD_SECONDS / 2);
    let middle = now.begins() + PERIOD_SECONDS / 2;
    assert_eq!(Period::around(middle), [now]);
    assert_eq!(Period::around(now.ends() - OVERLAP_SECONDS), [now, Period(now.0 + 1)]);
    assert_eq!(Period::around(now.begins()), [now, Period(now.0 - 1)]);
    assert_eq!(Period::around(now.begins() + OVERLAP_SECONDS), [now]);
    assert_eq!(Period::at(0), Period(0));
    assert_eq!(Period::around(0), [Period(0)]);
    assert_eq!(Period::at(u64::MAX), Period(u32::MAX));
}

#[test]
fn revisions_rise_with_every_step_and_begin_anywhere() {
    let period = Period::at(NOON);
    let secret = key(9).blinded(period);
    let start = period.begins() - OVERLAP_SECONDS;
    let mut last = 0;
    for step in 0..300 {
        let now = revision(&secret, period, start + step * STEP_SECONDS);
        assert!(now > last && now - last <= 65_536);
        last = now;
    }
    assert_eq!(revision(&secret, period, 0), revision(&secret, period, start), "a clock far behind does no harm");
    let end = revision(&secret, period, period.ends() + OVERLAP_SECONDS);
    assert_eq!(revision(&secret, period, u64::MAX), end, "nor one far ahead");
    let other = key(10).blinded(period);
    assert_ne!(revision(&other, period, NOON), revision(&secret, period, NOON));
}

proptest! {
    #[test]
    fn any_text_is_an_address_or_an_error(text in ".{0,80}") {
        let _ = text.parse::<ServiceAddress>();
        let _ = ServiceAddress::from_host(&text);
    }

    #[test]
    fn any_key_has_one_address(seed in any::<[u8; 32]>()) {
        let address = ServiceKey::from_seed(&seed).address();
        prop_assert_eq!(address.to_string().parse(), Ok(address));
        prop_assert_eq!(ServiceAddress::from_key(*address.key()), Ok(address));
    }
}
