use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};
use zmesh_sphinx::{OnionSecret, SLOT_SECONDS};

use super::*;

const NOON: u64 = 20_000 * 86_400 + 43_200 + 3_600;

fn rng(seed: u64) -> ChaCha12Rng {
    ChaCha12Rng::seed_from_u64(seed)
}

fn publics(secrets: &[OnionSecret]) -> Vec<[u8; 32]> {
    secrets.iter().map(|s| s.public().to_bytes()).collect()
}

#[test]
fn a_key_file_round_trips() {
    let keys = RelayKeys::generate(&mut rng(1), NOON);
    let text = keys.to_text();
    let read = RelayKeys::from_text(text.as_bytes()).unwrap();
    assert_eq!(read.id(), keys.id());
    assert_eq!(read.link_public(), keys.link_public());
    assert_eq!(read.exit_public(), keys.exit_public());
    assert_eq!(publics(&read.onion_secrets_at(NOON)), publics(&keys.onion_secrets_at(NOON)));
    assert_eq!(*read.to_text(), *text);
}

#[test]
fn a_key_file_says_whether_the_keys_were_used() {
    let mut keys = RelayKeys::generate(&mut rng(1), NOON);
    assert!(keys.are_unused() && !keys.are_stored());
    let read = |keys: &RelayKeys| RelayKeys::from_text(keys.to_text().as_bytes()).unwrap();
    assert!(read(&keys).are_unused() && read(&keys).are_stored());
    assert!(keys.mark_used() && !keys.mark_used());
    assert!(!keys.are_unused() && !read(&keys).are_unused());
}

#[test]
fn a_damaged_key_file_is_refused() {
    let keys = RelayKeys::generate(&mut rng(1), NOON);
    let bytes = armour::decode(Label::RelayKeys, keys.to_text().as_bytes(), TEXT_MAX).unwrap();
    let read = |bytes: &[u8]| RelayKeys::from_text(armour::encode(Label::RelayKeys, bytes).as_bytes());
    for at in 0..bytes.len() {
        let mut bad = bytes.to_vec();
        bad[at] ^= 1;
        assert!(read(&bad).is_err(), "byte {at}");
        assert!(read(&bytes[..at]).is_err(), "cut at {at}");
    }
    let mut longer = bytes.to_vec();
    longer.push(0);
    assert!(matches!(read(&longer), Err(Error::Malformed(codec::Error { kind: ErrorKind::Trailing, .. }))));
    let signer = SignerKey::generate(&mut rng(2)).to_text();
    assert!(matches!(RelayKeys::from_text(signer.as_bytes()), Err(Error::Armour(ArmourError::Kind { .. }))));
}

#[test]
fn a_signer_file_round_trips_and_damage_is_refused() {
    let key = SignerKey::generate(&mut rng(3));
    let text = key.to_text();
    assert_eq!(SignerKey::from_text(text.as_bytes()).unwrap().public(), key.public());
    let bytes = armour::decode(Label::SignerKey, text.as_bytes(), TEXT_MAX).unwrap();
    let mut bad = bytes.to_vec();
    bad[5] ^= 4;
    let bad = armour::encode(Label::SignerKey, &bad);
    assert!(matches!(SignerKey::from_text(bad.as_bytes()), Err(Error::Checksum)));
}

#[test]
fn secrets_do_not_print() {
    let keys = RelayKeys::generate(&mut rng(1), NOON);
    assert_eq!(format!("{keys:?}"), "RelayKeys([redacted])");
    assert_eq!(format!("{:?}", keys.onion()), "OnionKeys([redacted])");
    assert_eq!(format!("{:?}", keys.signer()), "SignerKey([redacted])");
}

#[test]
fn relay_ids_depend_on_every_bit_of_the_identity() {
    let a = relay_id(&[0; 32]);
    let mut identity = [0; 32];
    identity[31] = 1;
    assert_ne!(a, relay_id(&identity));
}

#[test]
fn neighbouring_keys_open_set_ups_near_a_border_only() {
    let keys = OnionKeys::generate(&mut rng(4), NOON - EPOCH_SECONDS);
    let border = u64::from(epoch_at(NOON)) * EPOCH_SECONDS;
    let of = |epoch: u32| keys.secret(epoch).unwrap().public().to_bytes();
    let epoch = epoch_at(NOON);
    let at = |unix: u64| publics(&keys.secrets_at(unix));
    assert_eq!(at(border), [of(epoch), of(epoch - 1)]);
    assert_eq!(at(border - 1), [of(epoch - 1), of(epoch)]);
    assert_eq!(at(border + OVERLAP_SECONDS), [of(epoch)]);
    assert_eq!(at(border + OVERLAP_SECONDS - 1), [of(epoch), of(epoch - 1)]);
    assert_eq!(at(border - OVERLAP_SECONDS), [of(epoch - 1), of(epoch)]);
    assert_eq!(at(border - OVERLAP_SECONDS - 1), [of(epoch - 1)]);
    // `next_change` visits exactly these moments.
    assert_eq!(keys.next_change(border), border + OVERLAP_SECONDS);
    let end = border + EPOCH_SECONDS;
    assert_eq!(keys.next_change(border + OVERLAP_SECONDS), end - OVERLAP_SECONDS);
    assert_eq!(keys.next_change(end - OVERLAP_SECONDS), end);
}

#[test]
fn every_set_up_that_its_slot_allows_finds_its_key() {
    let keys = OnionKeys::generate(&mut rng(4), NOON);
    let border = (u64::from(epoch_at(NOON)) + 1) * EPOCH_SECONDS;
    let slot = |unix: u64| u32::try_from(unix / SLOT_SECONDS).unwrap();
    for origin in (border - 1_200..border + 1_200).step_by(50) {
        let used = keys.secret(epoch_at(origin)).unwrap().public();
        for relay in (border - 1_200..border + 1_200).step_by(50) {
            if zmesh_sphinx::slot_is_current(slot(origin), slot(relay)) {
                let held = keys.secrets_at(relay);
                assert!(held.iter().any(|s| s.public() == used), "{origin} {relay}");
            }
        }
    }
}

#[test]
fn erased_keys_cannot_be_had_again() {
    let mut keys = RelayKeys::generate(&mut rng(5), NOON);
    let old = epoch_at(NOON);
    let later = keys.onion().secret(old + 3).unwrap().public();
    assert!(!keys.erase_before(NOON).unwrap());
    let border = u64::from(old + 1) * EPOCH_SECONDS;
    assert!(!keys.erase_before(border + OVERLAP_SECONDS - 1).unwrap());
    assert!(keys.onion().secret(old).is_ok());
    assert!(keys.erase_before(border + OVERLAP_SECONDS).unwrap());
    assert_eq!(keys.onion().secret(old).unwrap_err(), Error::Erased);
    assert!(keys.onion_secrets_at(NOON).is_empty());
    assert_eq!(keys.onion().secret(old + 3).unwrap().public(), later);
    // The stored form has nothing of it either: reading it back gives a chain that starts later.
    let stored = RelayKeys::from_text(keys.to_text().as_bytes()).unwrap();
    assert_eq!(stored.onion().secret(old).unwrap_err(), Error::Erased);
    assert_eq!(stored.onion().first_epoch(), old + 1);
}

/// What a recorded set-up says about its route is gone within a day.
#[test]
fn no_key_outlives_its_first_use_by_a_day() {
    let longest = EPOCH_SECONDS + 2 * OVERLAP_SECONDS;
    assert!(longest <= 86_400, "{longest}");
}

#[test]
fn a_broken_clock_erases_nothing() {
    let mut keys = RelayKeys::generate(&mut rng(6), NOON);
    let before = keys.to_text();
    assert_eq!(keys.erase_before(u64::MAX), Err(Error::Clock));
    assert_eq!(keys.erase_before(NOON + 20 * 365 * 86_400), Err(Error::Clock));
    assert!(!keys.erase_before(0).unwrap());
    assert!(keys.onion_secrets_at(u64::MAX).is_empty());
    assert!(keys.onion_secrets_at(0).is_empty());
    assert_eq!(*keys.to_text(), *before);
}

#[test]
fn link_proofs_hold_for_their_key_and_identity_only() {
    for seed in 0..16 {
        let keys = RelayKeys::generate(&mut rng(seed), NOON);
        let other = RelayKeys::generate(&mut rng(seed + 100), NOON);
        let (identity, link) = (keys.identity_public(), keys.link_public());
        let good = proof::prove_link(&identity, &keys.link_secret());
        assert!(proof::link_proof_holds(&identity, &link, &good));
        assert!(!proof::link_proof_holds(&other.identity_public(), &link, &good));
        assert!(!proof::link_proof_holds(&identity, &other.link_public(), &good));
        let stolen = proof::prove_link(&identity, &other.link_secret());
        assert!(!proof::link_proof_holds(&identity, &link, &stolen));
        for at in [0, 31, 32, 63] {
            let mut bad = good;
            bad[at] ^= 1;
            assert!(!proof::link_proof_holds(&identity, &link, &bad));
        }
    }
}

#[test]
fn link_keys_of_small_order_or_with_a_second_form_are_refused() {
    let keys = RelayKeys::generate(&mut rng(1), NOON);
    let identity = keys.identity_public();
    let good = proof::prove_link(&identity, &keys.link_secret());
    let mut top_bit = keys.link_public();
    top_bit[31] |= 0x80;
    assert!(!proof::link_proof_holds(&identity, &top_bit, &good));
    // u = 0 has order 2, u = 1 order 4; 2 lies on the twist. A proof of zeros verifies for points that vanish.
    for u in [0u8, 1, 2, 9] {
        let mut key = [0; 32];
        key[0] = u;
        assert!(!proof::link_proof_holds(&identity, &key, &good));
        let mut zero = [0; 64];
        zero[0] = 1; // the neutral element, response 0
        assert!(!proof::link_proof_holds(&identity, &key, &zero), "{u}");
    }
}

#[test]
fn onion_proofs_hold_for_their_whole_schedule_only() {
    let keys = RelayKeys::generate(&mut rng(1), NOON);
    let other = RelayKeys::generate(&mut rng(2), NOON);
    let identity = keys.identity_public();
    let first = keys.onion().first_epoch();
    let secrets = keys.onion().schedule(first, 7).unwrap();
    let announced = publics(&secrets);
    let good = proof::prove_onion(&identity, first, &secrets);
    let holds = |identity: &[u8; 32], first, keys: &[[u8; 32]], proof: &[u8; 64]| {
        proof::onion_proof_holds(identity, first, keys, proof)
    };
    assert!(holds(&identity, first, &announced, &good));
    assert!(!holds(&identity, first + 1, &announced, &good));
    assert!(!holds(&other.identity_public(), first, &announced, &good));
    assert!(!holds(&identity, first, &announced[..6], &good));
    for at in 0..announced.len() {
        // Somebody else's key in place of one of them, proven with the secrets that one has.
        let mut with_stolen = announced.clone();
        with_stolen[at] = other.onion().secret(first).unwrap().public().to_bytes();
        assert!(!holds(&identity, first, &with_stolen, &good));
    }
    let mut swapped = announced.clone();
    swapped.swap(1, 2);
    assert!(!holds(&identity, first, &swapped, &good));
    for at in 0..64 {
        let mut bad = good;
        bad[at] ^= 1;
        assert!(!holds(&identity, first, &announced, &bad), "byte {at}");
    }
    let mut neutral = announced.clone();
    neutral[3] = [0; 32];
    assert!(!holds(&identity, first, &neutral, &good));
    let mut not_canonical = announced;
    not_canonical[3] = [0xff; 32];
    assert!(!holds(&identity, first, &not_canonical, &good));
}

/// A relay that knows all secrets but one cannot choose its own keys to cancel the one it lacks.
#[test]
fn rogue_keys_do_not_cancel() {
    use curve25519_dalek::{RistrettoPoint, Scalar, ristretto::CompressedRistretto};
    let victim = RelayKeys::generate(&mut rng(7), NOON);
    let identity = [9; 32];
    let stolen = victim.onion().secret(epoch_at(NOON)).unwrap().public().to_bytes();
    let point = CompressedRistretto(stolen).decompress().unwrap();
    // X₂ = x·G − X₁: the sum is known, its parts are not.
    let known = Scalar::from(5u64);
    let rogue = (RistrettoPoint::mul_base(&known) - point).compress().to_bytes();
    let secret = OnionSecret::from_bytes(&known.to_bytes()).unwrap();
    let attempt = proof::prove_onion(&identity, 1, &[secret]);
    assert!(!proof::onion_proof_holds(&identity, 1, &[stolen, rogue], &attempt));
}

#[test]
fn exit_proofs_hold_for_their_identity_only() {
    let keys = RelayKeys::generate(&mut rng(1), NOON);
    let other = RelayKeys::generate(&mut rng(2), NOON);
    let proof = keys.prove_exit();
    assert!(exit_proof_holds(&keys.identity_public(), &keys.exit_public(), &proof));
    assert!(!exit_proof_holds(&other.identity_public(), &keys.exit_public(), &proof));
    assert!(!exit_proof_holds(&keys.identity_public(), &other.exit_public(), &proof));
}

#[test]
fn the_exit_key_is_loadable_pkcs8() {
    use ed25519_dalek::pkcs8::DecodePrivateKey;
    let keys = RelayKeys::generate(&mut rng(1), NOON);
    let read = SigningKey::from_pkcs8_der(&keys.exit_pkcs8()).unwrap();
    assert_eq!(read.verifying_key().to_bytes(), keys.exit_public());
}

#[test]
fn x25519_agrees_with_the_proven_key() {
    let mut link = [0; 32];
    rng(8).fill_bytes(&mut link);
    let public = PublicKey::from(&StaticSecret::from(link)).to_bytes();
    let good = proof::prove_link(&[1; 32], &link);
    assert!(proof::link_proof_holds(&[1; 32], &public, &good));
}
