//! Secrets are gone when their holder is. Safe Rust cannot look at freed memory; every [`Secret`] reports its own erasure instead.

use std::time::{Duration, Instant};

use crate::{
    BODY_LEN, HopCircuit, OriginCircuit, create,
    secret::{Secret, observed::erased},
};

fn erased_by(run: impl FnOnce()) -> usize {
    let before = erased();
    run();
    erased() - before
}

fn circuit() -> (OriginCircuit, HopCircuit, Instant) {
    let mut rng = super::rng(21);
    let now = super::start();
    let (relays, path) = super::relays(1, &mut rng);
    let (packet, pending) = create(&path, 9, &mut rng).unwrap();
    let unwrapped = packet.peel_header(&relays[0].0, &relays[0].1, 9).unwrap().finish(&mut rng, now).unwrap();
    let origin = pending.finish(&unwrapped.reply.last(), now).unwrap();
    (origin, unwrapped.circuit, now)
}

#[test]
fn a_secret_is_zero_when_it_goes() {
    let secret = Secret::<64>::random(&mut super::rng(1));
    assert_ne!(*secret.expose(), [0; 64]);
    assert_eq!(format!("{secret:?}"), "[redacted]");
    // The drop itself asserts that the bytes are zero.
    assert_eq!(erased_by(|| drop(secret)), 64);
}

#[test]
fn a_circuit_takes_its_keys_with_it() {
    let (origin, hop, _) = circuit();
    // Two secrets of the forward chain, four roots of backward chains.
    assert_eq!(erased_by(|| drop(hop)), 6 * 32);
    // Two secrets each of the forward chain and the one backward chain.
    assert_eq!(erased_by(|| drop(origin)), 4 * 32);
}

#[test]
fn a_used_circuit_takes_its_keys_with_it() {
    let (mut origin, mut hop, now) = circuit();
    let mut body = [0; BODY_LEN];
    let number = origin.seal(now, 0, 1, b"x", &mut body).unwrap();
    hop.forward(now, number, &mut body).unwrap();
    // Opening the own lane erases its root (and what deriving left behind).
    assert!(erased_by(|| assert!(hop.originate(now, 1, b"y", &mut body).is_ok())) >= 32);
    // Forward: two secrets and the whitening of the expanded key; own lane: the same; three roots.
    assert_eq!(erased_by(|| drop(hop)), 2 * (2 * 32 + 16) + 3 * 32);
}

#[test]
fn a_finished_set_up_leaves_nothing() {
    let mut rng = super::rng(22);
    let now = super::start();
    let (relays, path) = super::relays(1, &mut rng);
    let (packet, pending) = create(&path, 9, &mut rng).unwrap();
    let unwrapped = packet.peel_header(&relays[0].0, &relays[0].1, 9).unwrap().finish(&mut rng, now).unwrap();
    let reply = unwrapped.reply.last();
    // The shared secret, the reply keys, the fresh secret, the authenticator's key and the roots of all chains at least.
    let mut origin = None;
    assert!(erased_by(|| origin = pending.finish(&reply, now).ok()) >= 32 + (32 + 32 + 144) + 32 + 6 * 32);
    assert!(origin.is_some());
}

#[test]
fn rest_folds_keys_and_windows_and_work_goes_on() {
    let (mut origin, mut hop, now) = circuit();
    let mut body = [0; BODY_LEN];
    let number = origin.seal(now, 0, 1, b"x", &mut body).unwrap();
    let first = body;
    hop.forward(now, number, &mut body).unwrap();
    let later = now + Duration::from_secs(31);
    // The expanded key's whitening.
    assert_eq!(erased_by(|| hop.expire(later)), 16);
    assert_eq!(erased_by(|| origin.expire(later)), 16);
    body = first;
    assert!(hop.forward(later, number, &mut body).is_err(), "a replay after the rest");
    let number = origin.seal(later, 0, 1, b"z", &mut body).unwrap();
    assert!(hop.forward(later, number, &mut body).is_ok());
    let number = hop.originate(later, 1, b"y", &mut body).unwrap();
    assert!(origin.open(later, number, &mut body).is_ok());
}

#[test]
fn nothing_secret_prints() {
    let mut rng = super::rng(23);
    let (relays, path) = super::relays(1, &mut rng);
    let (packet, pending) = create(&path, 9, &mut rng).unwrap();
    let text = format!("{:?} {:?} {:?}", relays[0].1, packet, pending);
    let unwrapped =
        packet.peel_header(&relays[0].0, &relays[0].1, 9).unwrap().finish(&mut rng, super::start()).unwrap();
    let text = format!("{text} {unwrapped:?}");
    assert!(text.contains("[redacted]"));
    assert!(!text.contains("Scalar") && !text.contains(", 1"), "{text}");
}
