//! What is altered, cut, replayed or meant for somebody else does not pass.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use crate::common::{Body, SLOT, TestCircuit, TestRelay, path, reply_all, rng, start, unwrap_all};
use proptest::prelude::*;
use zmesh_sphinx::{
    BODY_LEN, CellError, Error, Next, OnionPublic, OnionSecret, PACKET_LEN, Packet, PendingSetup, REPLY_LEN, RelayId,
    create,
};

/// The least encodings of what must be refused: the identity, bytes at or above the field's prime, odd ("negative") bytes, and an even
/// value below the prime that is no square root of anything.
fn bad_elements() -> Vec<[u8; 32]> {
    let mut prime = [0xff; 32];
    prime[0] = 0xed;
    prime[31] = 0x7f;
    let mut one = [0; 32];
    one[0] = 1;
    let mut high_bit = [0; 32];
    high_bit[31] = 0x80;
    let mut minus_one = prime;
    minus_one[0] = 0xec;
    let mut bad = vec![[0; 32], prime, one, high_bit, minus_one, [0xff; 32]];
    // Low-order and twisted points as X25519 and Edwards code writes them: small even numbers that decode to nothing.
    bad.extend((2_u8..250).step_by(2).map(|first| {
        let mut bytes = [0; 32];
        bytes[0] = first;
        bytes
    }));
    bad.retain(|bytes| OnionPublic::from_bytes(bytes).is_err());
    assert!(bad.len() > 60, "about half of the small even numbers are no elements");
    bad
}

#[test]
fn elements_that_are_none_are_refused_everywhere() {
    let mut rng = rng(1);
    let relays = TestRelay::many(2, &mut rng);
    let (packet, _) = create(&path(&relays), SLOT, &mut rng).unwrap();
    for bad in bad_elements() {
        assert_eq!(OnionPublic::from_bytes(&bad).err(), Some(Error::InvalidElement));
        let mut bytes = *packet.as_bytes();
        bytes[..32].copy_from_slice(&bad);
        assert_eq!(Packet::from_bytes(&bytes).err(), Some(Error::InvalidElement));
    }
    let good = relays[0].onion.public();
    // Bit 255 and the sign are part of the encoding.
    for bit in [255, 0] {
        let mut other = good.to_bytes();
        other[bit / 8] ^= 1 << (bit % 8);
        assert_ne!(OnionPublic::from_bytes(&other).ok(), Some(good));
    }
}

#[test]
fn stored_secrets_are_checked() {
    let secret = OnionSecret::generate(&mut rng(2));
    let stored = secret.to_bytes();
    assert_eq!(OnionSecret::from_bytes(&stored).unwrap().public(), secret.public());
    assert_eq!(OnionSecret::from_bytes(&[0; 32]).err(), Some(Error::InvalidSecret));
    assert_eq!(OnionSecret::from_bytes(&[0xff; 32]).err(), Some(Error::InvalidSecret));
}

#[test]
fn wrong_relay_key_or_time() {
    let mut rng = rng(3);
    let relays = TestRelay::many(3, &mut rng);
    let (packet, _) = create(&path(&relays), SLOT, &mut rng).unwrap();
    let peel = |id: &RelayId, onion: &OnionSecret, now| packet.clone().peel_header(id, onion, now).err();
    assert_eq!(peel(&relays[0].id, &relays[1].onion, SLOT), Some(Error::HeaderRefused));
    assert_eq!(peel(&relays[1].id, &relays[0].onion, SLOT), Some(Error::HeaderRefused));
    for (now, expected) in [
        (SLOT - 2, Some(Error::SlotOutOfRange)),
        (SLOT - 1, None),
        (SLOT, None),
        (SLOT + 1, None),
        (SLOT + 2, Some(Error::SlotOutOfRange)),
    ] {
        assert_eq!(peel(&relays[0].id, &relays[0].onion, now), expected);
    }
}

#[test]
fn one_bit_anywhere_in_a_set_up_packet() {
    for hops in 1..=4 {
        let mut rng = rng(4);
        let relays = TestRelay::many(hops, &mut rng);
        let (packet, _) = create(&path(&relays), SLOT, &mut rng).unwrap();
        let first = &relays[0];
        // The header: refused where it is altered. Every byte, one bit each.
        for at in 0..PACKET_LEN - 240 {
            let mut bytes = *packet.as_bytes();
            bytes[at] ^= 1 << (at % 8);
            let refused =
                Packet::from_bytes(&bytes).and_then(|packet| packet.peel_header(&first.id, &first.onion, SLOT)).err();
            assert!(matches!(refused, Some(Error::InvalidElement | Error::HeaderRefused)), "byte {at}: {refused:?}");
        }
        // The body: refused by the last hop, wherever it was altered.
        for at in PACKET_LEN - 240..PACKET_LEN {
            let mut bytes = *packet.as_bytes();
            bytes[at] ^= 1 << (at % 8);
            let mut current = Packet::from_bytes(&bytes).unwrap();
            for (number, relay) in relays.iter().enumerate() {
                let done = current.peel_header(&relay.id, &relay.onion, SLOT).unwrap().finish(&mut rng, start());
                if number + 1 == relays.len() {
                    assert_eq!(done.err(), Some(Error::BodyRefused));
                    break;
                }
                match done.unwrap().next {
                    Next::Forward { to, packet } => {
                        assert_eq!(to, relays[number + 1].id);
                        current = packet;
                    }
                    Next::Last => panic!("too early"),
                }
            }
        }
    }
}

fn pending(hops: u8, seed: u64) -> (PendingSetup, Vec<zmesh_sphinx::ReplySeal>) {
    let mut rng = rng(seed);
    let relays = TestRelay::many(hops, &mut rng);
    let (packet, pending) = create(&path(&relays), SLOT, &mut rng).unwrap();
    let (_, seals, _) = unwrap_all(&relays, packet, &mut rng, start());
    (pending, seals)
}

#[test]
fn one_bit_anywhere_in_a_reply_on_any_link() {
    for hops in 1..=4 {
        for link in 0..usize::from(hops) {
            for at in (0..REPLY_LEN).step_by(5).chain([0, 31, 32, 47, 48, 191]) {
                let (pending, seals) = pending(hops, 5);
                let mut reply = None;
                for (number, seal) in seals.into_iter().enumerate().rev() {
                    let mut made = match reply {
                        None => seal.last(),
                        Some(inner) => seal.forward(&inner),
                    };
                    if number == link {
                        made[at] ^= 1 << (at % 8);
                    }
                    reply = Some(made);
                }
                assert_eq!(
                    pending.finish(&reply.unwrap(), start()).err(),
                    Some(Error::ReplyRefused),
                    "{hops} {link} {at}"
                );
            }
        }
    }
}

#[test]
fn a_reply_of_another_set_up_or_with_a_hop_missing() {
    let (first, first_seals) = pending(3, 6);
    let (_, second_seals) = pending(3, 7);
    let (third, third_seals) = pending(3, 8);
    assert_eq!(first.finish(&reply_all(second_seals)[0], start()).err(), Some(Error::ReplyRefused));
    drop(first_seals);
    let mut seals = third_seals;
    seals.remove(1);
    assert_eq!(third.finish(&reply_all(seals)[0], start()).err(), Some(Error::ReplyRefused));
    let (fourth, seals) = pending(1, 9);
    assert_eq!(fourth.finish(&[0; REPLY_LEN], start()).err(), Some(Error::ReplyRefused));
    drop(seals);
}

/// A relay that runs the set-up twice over answers with other shares each time, and only the answer that the origin took works.
#[test]
fn each_answer_makes_other_keys() {
    let mut rng = rng(10);
    let relays = TestRelay::many(1, &mut rng);
    let (packet, pending) = create(&path(&relays), SLOT, &mut rng).unwrap();
    let (mut first, _, _) = unwrap_all(&relays, packet.clone(), &mut rng, start());
    let (mut second, seals, _) = unwrap_all(&relays, packet, &mut rng, start());
    let mut origin = pending.finish(&reply_all(seals)[0], start()).unwrap();
    let mut body = [0; BODY_LEN];
    let number = origin.seal(start(), 0, 1, b"for the second", &mut body).unwrap();
    let mut copy = body;
    assert_eq!(first[0].forward(start(), number, &mut copy).err(), Some(CellError::Forged));
    assert!(second[0].forward(start(), number, &mut body).is_ok());
}

fn looks_random(body: &Body) {
    let ones: u32 = body.iter().map(|byte| byte.count_ones()).sum();
    assert!((1650..2380).contains(&ones), "{ones} bits set");
}

#[test]
fn one_bit_flipped_in_a_forward_cell_at_any_link() {
    for hops in 1..=4_u8 {
        for link in 0..usize::from(hops) {
            for target in 0..usize::from(hops) {
                for bit in [0, 7, 128, 2000, BODY_LEN * 8 - 1] {
                    let mut circuit = TestCircuit::build(hops, 20);
                    let (mut number, mut body) = circuit.seal(target, b"some text in a cell").unwrap();
                    let mut result = None;
                    for hop in 0..usize::from(hops) {
                        if hop == link {
                            body[bit / 8] ^= 1 << (bit % 8);
                        }
                        match circuit.hops[hop].forward(circuit.now, number, &mut body) {
                            Ok(zmesh_sphinx::Forwarded::Onward { number: next }) => {
                                looks_random(&body);
                                number = next;
                            }
                            other => {
                                result = Some((hop, other));
                                break;
                            }
                        }
                    }
                    let (hop, result) = result.unwrap();
                    if target < link {
                        // It had arrived before the flip.
                        assert_eq!((hop, result.is_ok()), (target, true));
                    } else {
                        assert_eq!((hop, result.err()), (usize::from(hops) - 1, Some(CellError::Forged)));
                        assert_eq!(body, [0; BODY_LEN], "a forged cell leaves nothing behind");
                    }
                }
            }
        }
    }
}

#[test]
fn one_bit_flipped_in_a_backward_cell_at_any_link() {
    for hops in 1..=4_u8 {
        for sender in 0..usize::from(hops) {
            for link in 0..=sender {
                for bit in [0, 7, 128, 2000, BODY_LEN * 8 - 1] {
                    let mut circuit = TestCircuit::build(hops, 21);
                    let (mut number, mut body) = circuit.originate(sender, b"an answer");
                    for hop in (0..=sender).rev() {
                        if hop < sender {
                            number = circuit.hops[hop].backward(circuit.now, number, &mut body).unwrap();
                        }
                        if hop == link {
                            body[bit / 8] ^= 1 << (bit % 8);
                        }
                    }
                    assert_eq!(circuit.origin.open(circuit.now, number, &mut body).err(), Some(CellError::Forged));
                    assert_eq!(body, [0; BODY_LEN]);
                }
            }
        }
    }
}

#[test]
fn a_cell_under_another_number_is_noise() {
    let mut circuit = TestCircuit::build(2, 22);
    let (number, mut body) = circuit.seal(1, b"text").unwrap();
    let moved = number & 0xc000_0000 | number.wrapping_add(1) & 0x3fff_ffff;
    assert_eq!(circuit.forward(0, moved, &mut body).err(), Some((1, CellError::Forged)));
    let (number, mut body) = circuit.originate(1, b"text");
    let moved = number & 0xc000_0000 | number.wrapping_add(1) & 0x3fff_ffff;
    let moved = circuit.backward(1, moved, &mut body).unwrap();
    assert_eq!(circuit.origin.open(circuit.now, moved, &mut body).err(), Some(CellError::Forged));
}

#[test]
fn lanes_that_are_not_in_use() {
    let mut circuit = TestCircuit::build(3, 23);
    let (number, mut body) = circuit.seal(2, b"text").unwrap();
    for lane in 1..4_u32 {
        assert_eq!(circuit.forward(0, number | lane << 30, &mut body).err(), Some((0, CellError::UnknownLane)));
    }
    // The last hop passes nothing back, and nobody behind a hop may use that hop's own lane.
    assert_eq!(circuit.hops[2].backward(circuit.now, 0, &mut body).err(), Some(CellError::UnknownLane));
    let refused = (0..4_u32)
        .filter(|lane| circuit.hops[0].backward(circuit.now, lane << 30, &mut body) == Err(CellError::UnknownLane));
    assert_eq!(refused.count(), 1);
}

/// Of four lanes on the first link, three hops use three. Relays cannot know which and pass the fourth; the origin ends the circuit.
#[test]
fn a_cell_on_a_lane_of_nobody_ends_the_circuit() {
    for hops in 2..=3 {
        let mut circuit = TestCircuit::build(hops, 26);
        let last = usize::from(hops) - 1;
        let (number, _) = circuit.originate(last, b"text");
        let (mut forged, mut passed) = (0, 0);
        for other in 1..4_u32 {
            let (mut number, mut body) = (number ^ other << 30, [0xaa; BODY_LEN]);
            let refused = (0..last).rev().any(|hop| match circuit.hops[hop].backward(circuit.now, number, &mut body) {
                Ok(next) => {
                    number = next;
                    false
                }
                Err(error) => {
                    assert_eq!(error, CellError::UnknownLane);
                    true
                }
            });
            if !refused {
                passed += 1;
                let error = circuit.origin.open(circuit.now, number, &mut body).expect_err("nobody made this cell");
                forged += usize::from(error.ends_circuit());
                assert_eq!(body, [0; BODY_LEN], "nothing is left of it");
            }
        }
        // The last hop's own lane, and one for each inner hop: all others pass the relays, and none of them the origin.
        assert_eq!((passed, forged), (3 - last, 3 - last), "{hops} hops");
    }
}

#[test]
fn payloads_that_do_not_fit_and_hops_that_are_not_there() {
    let mut circuit = TestCircuit::build(2, 24);
    assert_eq!(circuit.seal(0, &[0; 486]).err(), Some(CellError::PayloadTooLong));
    assert_eq!(circuit.seal(0, &[0; 70_000]).err(), Some(CellError::PayloadTooLong));
    assert_eq!(circuit.seal(2, b"").err(), Some(CellError::NoSuchHop));
    circuit.deliver(1, b"still fine");
}

proptest! {
    #[test]
    fn any_bytes_are_an_error_or_a_packet(bytes in proptest::collection::vec(any::<u8>(), PACKET_LEN), onion in any::<u64>()) {
        let bytes: [u8; PACKET_LEN] = bytes.try_into().unwrap();
        if let Ok(packet) = Packet::from_bytes(&bytes) {
            let onion = OnionSecret::generate(&mut rng(onion));
            prop_assert_eq!(packet.peel_header(&RelayId([1; 16]), &onion, SLOT).err(), Some(Error::HeaderRefused));
        }
    }

    #[test]
    fn any_cell_is_an_error_or_goes_on(number: u32, byte: u8) {
        let mut circuit = TestCircuit::build(2, 25);
        let mut body = [byte; BODY_LEN];
        let _ = circuit.hops[0].forward(circuit.now, number, &mut body);
        let _ = circuit.hops[1].forward(circuit.now, number, &mut body);
        let _ = circuit.hops[0].backward(circuit.now, number, &mut body);
        prop_assert!(circuit.origin.open(circuit.now, number, &mut body).is_err());
        // Whatever happened, nothing authentic came of it, and the circuit's own cells still work unless they were pushed out.
        let (number, mut body) = circuit.seal(0, b"x").unwrap();
        let _ = circuit.forward(0, number, &mut body);
    }
}
