//! What is revealed later does not decipher what was recorded before.

use std::time::Duration;

use crate::{
    BODY_LEN, Next, PACKET_LEN, create,
    group::{self, ELEMENT_LEN},
    header::SphinxKeys,
    kdf,
    number::LANES,
    phase::{KEEP_PREVIOUS, PhaseKeys},
    reply::{self, ReplyKeys},
    secret::Secret,
    setup::CircuitKeys,
    wide_block::WideBlock,
};

fn all(keys: &CircuitKeys) -> Vec<[u8; 32]> {
    let mut all = vec![*keys.authentication.expose(), *keys.forward.expose()];
    all.extend(keys.backward.iter().map(|key| *key.expose()));
    all
}

/// A patient listener recorded every link of a set-up and every cell, and later obtains every onion key. It can follow the route and
/// open the replies, but each K also needs αʸ, of which it has only both public halves.
#[test]
fn onion_keys_do_not_give_circuit_keys() {
    let mut rng = super::rng(11);
    let now = super::start();
    let (relays, path) = super::relays(3, &mut rng);
    let (packet, pending) = create(&path, 9, &mut rng).unwrap();

    let mut recorded: Vec<[u8; PACKET_LEN]> = Vec::new();
    let (mut circuits, mut seals) = (Vec::new(), Vec::new());
    let mut current = packet;
    for (id, onion) in &relays {
        recorded.push(*current.as_bytes());
        let unwrapped = current.peel_header(id, onion, 9).unwrap().finish(&mut rng, now).unwrap();
        circuits.push(unwrapped.circuit);
        seals.push(unwrapped.reply);
        match unwrapped.next {
            Next::Forward { packet, .. } => current = packet,
            Next::Last => break,
        }
    }
    let real: Vec<_> = seals.iter().map(|seal| *seal.authentication.expose()).collect();
    let mut seals = seals.into_iter().rev();
    let mut reply_on_wire = seals.next().unwrap().last();
    for seal in seals {
        reply_on_wire = seal.forward(&reply_on_wire);
    }
    let mut origin = pending.finish(&reply_on_wire, now).unwrap();
    let mut cell = [0; BODY_LEN];
    origin.seal(now, 0, 1, b"a secret", &mut cell).unwrap();

    let mut layers = reply::slots(&reply_on_wire);
    for (number, (id, onion)) in relays.iter().enumerate() {
        // What the onion key gives away.
        let mut alpha = [0; ELEMENT_LEN];
        alpha.copy_from_slice(&recorded[number][..ELEMENT_LEN]);
        let element = group::decode(&alpha).unwrap();
        let shared = onion.agree(&element);
        let sphinx = SphinxKeys::new(&shared, id, &onion.public(), &alpha);
        let keys = ReplyKeys { slots: sphinx.reply(), filler: sphinx.reply_filler() };
        let own = keys.open(&mut layers);
        let mut share = [0; ELEMENT_LEN];
        share.copy_from_slice(&own[..ELEMENT_LEN]);
        let share_element = group::decode(&share).expect("the listener does learn Y");

        // Everything it can put in the place of αʸ.
        let packet_hash = kdf::hash(&[&recorded[number]]);
        let mut guesses = vec![shared.clone(), onion.agree(&share_element), Secret::zero()];
        for bytes in [alpha, share, onion.public().to_bytes()] {
            let mut guess = Secret::zero();
            guess.expose_mut().copy_from_slice(&bytes);
            guesses.push(guess);
        }
        for guess in guesses {
            let guessed = CircuitKeys::derive(&guess, &shared, id, &onion.public(), &alpha, &share, &packet_hash);
            assert_ne!(*guessed.authentication.expose(), real[number]);
            for key in all(&guessed) {
                let mut key_secret = Secret::zero();
                key_secret.expose_mut().copy_from_slice(&key);
                let mut opened = cell;
                let tweak = crate::chain::tweak(crate::chain::Direction::Forward, 0, 0);
                PhaseKeys::new(&key_secret).cipher(0).unwrap().decrypt(&tweak, &mut opened);
                assert_ne!(opened[..16], [0; 16]);
                WideBlock::new(&key).decrypt(&tweak, &mut opened);
                assert_ne!(opened[..16], [0; 16]);
            }
        }
    }
}

#[test]
fn every_input_of_the_circuit_keys_counts() {
    let mut rng = super::rng(12);
    let (relays, path) = super::relays(2, &mut rng);
    let (fresh, shared) = (Secret::random(&mut rng), Secret::random(&mut rng));
    let (alpha, share, hash) = ([1; 32], [2; 32], [3; 32]);
    let (id, onion) = (relays[0].0, path[0].onion);
    let keys = |fresh, shared, id, onion, alpha: &[u8; 32], share: &[u8; 32], hash: &[u8; 32]| {
        all(&CircuitKeys::derive(fresh, shared, id, onion, alpha, share, hash))
    };
    let mut seen = [
        keys(&fresh, &shared, &id, &onion, &alpha, &share, &hash),
        keys(&shared, &fresh, &id, &onion, &alpha, &share, &hash),
        keys(&fresh, &shared, &relays[1].0, &onion, &alpha, &share, &hash),
        keys(&fresh, &shared, &id, &path[1].onion, &alpha, &share, &hash),
        keys(&fresh, &shared, &id, &onion, &[9; 32], &share, &hash),
        keys(&fresh, &shared, &id, &onion, &alpha, &[9; 32], &hash),
        keys(&fresh, &shared, &id, &onion, &alpha, &share, &[9; 32]),
    ]
    .concat();
    let total = seen.len();
    assert_eq!(total, 7 * (2 + LANES));
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), total);
}

/// Recorded cells of earlier phases stay closed to whoever takes the relay's state later.
#[test]
fn a_later_state_does_not_open_earlier_phases() {
    let now = super::start();
    let root = Secret::random(&mut super::rng(13));
    let tweak = [0; 16];
    let mut sender = PhaseKeys::new(&root);
    let mut recorded = Vec::new();
    for phase in 0..5 {
        sender.advance(now, phase);
        let mut cell = [0; BODY_LEN];
        sender.cipher(phase).unwrap().encrypt(&tweak, &mut cell);
        recorded.push(cell);
    }

    let mut taken = PhaseKeys::new(&root);
    for phase in 1..4 {
        taken.advance(now, phase);
    }
    // The phase before is kept for late cells, but only for its time.
    assert!(taken.check(now, 2).is_ok());
    assert!(taken.check(now + KEEP_PREVIOUS, 2).is_err());
    taken.expire(now + KEEP_PREVIOUS - Duration::from_millis(1), 0);
    assert!(taken.cipher(2).is_ok());
    taken.expire(now + KEEP_PREVIOUS, 0);
    for phase in 0..3 {
        assert!(taken.check(now, phase).is_err());
        assert!(taken.cipher(phase).is_err());
    }
    assert!(taken.check(now, 5).is_err(), "at most one phase ahead");
    // Whatever the state leads to, now and later, opens none of the old cells.
    for phase in 3..20 {
        taken.advance(now, phase);
        for (number, cell) in recorded.iter().enumerate() {
            let mut opened = *cell;
            taken.cipher(phase).unwrap().decrypt(&tweak, &mut opened);
            assert_eq!(opened[..16] == [0; 16], number as u64 == phase, "phase {phase}, cell {number}");
        }
    }
}

#[test]
fn the_window_leaving_a_phase_erases_its_key() {
    let now = super::start();
    let mut keys = PhaseKeys::new(&Secret::random(&mut super::rng(14)));
    keys.advance(now, 1);
    keys.expire(now, 65_535);
    assert!(keys.cipher(0).is_ok());
    keys.expire(now, 65_536);
    assert!(keys.cipher(0).is_err());
}
