//! Cryptography, operation by operation, beside crates that do the same job.

use std::hint::black_box;
use std::time::{Duration, Instant};

use hctr2_rs::Hctr2_256;
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use sphinx_packet::constants::{DESTINATION_ADDRESS_LENGTH, IDENTIFIER_LENGTH, NODE_ADDRESS_LENGTH};
use sphinx_packet::header::delays::Delay;
use sphinx_packet::packet::builder::SphinxPacketBuilder;
use sphinx_packet::route::{Destination, DestinationAddressBytes, Node, NodeAddressBytes};
use x25519_dalek::{PublicKey, StaticSecret};
use zmesh_sphinx::hazmat::WideBlock;
use zmesh_sphinx::{BODY_LEN, HopCircuit, Next, OnionSecret, Packet, PathHop, RelayId, create};
use zmesh_tests::micro::{Timing, interleave};
use zmesh_tests::table::{Row, Target, Unit};

const SPHINX: &str = "sphinx-packet 0.8";
/// Any slot: nothing here looks at a clock.
const SLOT: u32 = 5_000_000;

/// Length of the body of our set-up packet; the peer gets the same.
const SETUP_BODY: usize = 240;

/// How often everything is done; rounds are shorter than a scheduler's slice, so that most are undisturbed. Rounds, and calls in a round for cheap (about 1 µs) and dear (about 100 µs) operations.
#[derive(Debug, Clone, Copy)]
struct Effort {
    rounds: usize,
    cheap: u32,
    dear: u32,
}

/// Measures and gives the rows.
pub(crate) fn rows(quick: bool) -> Vec<Row> {
    let effort =
        if quick { Effort { rounds: 21, cheap: 200, dear: 5 } } else { Effort { rounds: 401, cheap: 500, dear: 5 } };
    let mut rows = sphinx(effort);
    rows.extend(layer(effort));
    rows.extend(crate::links::rows(effort.rounds));
    rows
}

/// One row: medians as figures, the fastest rounds in the note.
pub(crate) fn row(what: &str, peer: &str, unit: Unit, target: Target, theirs: Timing, ours: Timing) -> Row {
    let scale = if unit == Unit::Microseconds { 1e3 } else { 1.0 };
    Row::new(what, peer, unit, target)
        .figures(Some(theirs.median_nanos() / scale), Some(ours.median_nanos() / scale))
        .note(format!("fastest rounds {:.2} against {:.2}", theirs.min_nanos() / scale, ours.min_nanos() / scale))
}

fn sphinx(effort: Effort) -> Vec<Row> {
    let mut rng = ChaCha12Rng::seed_from_u64(1);

    let secrets: Vec<OnionSecret> = (0..3).map(|_| OnionSecret::generate(&mut rng)).collect();
    let path: Vec<PathHop> = secrets
        .iter()
        .zip(1..)
        .map(|(secret, number)| PathHop { id: RelayId([number; 16]), onion: secret.public() })
        .collect();
    let (packet, _) = create(&path, SLOT, &mut rng).expect("three distinct hops");
    let bytes = *packet.as_bytes();

    let their_secrets: Vec<StaticSecret> = (0..3).map(|_| StaticSecret::random()).collect();
    let route: Vec<Node> = their_secrets
        .iter()
        .zip(1..)
        .map(|(secret, number)| {
            Node::new(NodeAddressBytes::from_bytes([number; NODE_ADDRESS_LENGTH]), PublicKey::from(secret))
        })
        .collect();
    let delays = [Delay::new_from_millis(1); 3];
    let destination =
        Destination::new(DestinationAddressBytes::from_bytes([9; DESTINATION_ADDRESS_LENGTH]), [9; IDENTIFIER_LENGTH]);
    let message = [13_u8; 16];
    let their_create = || {
        SphinxPacketBuilder::new()
            .with_payload_size(SETUP_BODY)
            .build_packet(message, &route, &destination, &delays)
            .expect("a packet for three hops")
    };
    let their_bytes = their_create().to_bytes();

    let creates = interleave(
        &mut [&mut || drop(black_box(their_create())), &mut || {
            black_box(create(&path, SLOT, &mut rng).expect("three distinct hops"));
        }],
        effort.rounds,
        effort.dear,
    );

    let now = Instant::now();
    let mut rng = ChaCha12Rng::seed_from_u64(2);
    let peel = || {
        Packet::from_bytes(black_box(&bytes))
            .and_then(|packet| packet.peel_header(&path[0].id, &secrets[0], SLOT))
            .expect("a packet for this relay")
    };
    let unwraps = interleave(
        &mut [
            &mut || {
                let packet =
                    sphinx_packet::SphinxPacket::from_bytes(black_box(&their_bytes)).expect("a packet of their own");
                black_box(packet.process(&their_secrets[0]).expect("a packet for this node"));
            },
            &mut || {
                black_box(peel().next().expect("a packet for this relay"));
            },
            &mut || {
                black_box(peel().finish(&mut rng, now).expect("a packet for this relay"));
            },
        ],
        effort.rounds,
        effort.dear,
    );
    let us = Unit::Microseconds;
    vec![
        row("Sphinx create, 3 hops", SPHINX, us, Target::AtMostTimesPeer(0.5), creates[0], creates[1]),
        row("Sphinx unwrap, one hop", SPHINX, us, Target::AtMostTimesPeer(0.7), unwraps[0], unwraps[1]),
        row("set-up at a relay", SPHINX, us, Target::None, unwraps[0], unwraps[2])
            .note("ours with the ephemeral share and the circuit's keys, which the peer has none of"),
    ]
}

fn layer(effort: Effort) -> Vec<Row> {
    let key = [0x42; 32];
    let theirs = Hctr2_256::new(&key);
    let ours = WideBlock::new(&key);
    let gcm = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).expect("a key of 32 bytes"));
    let tweak = [7_u8; 16];
    let mut body = [0x55_u8; BODY_LEN];
    let theirs_in = [0x55_u8; BODY_LEN];
    let mut theirs_out = [0_u8; BODY_LEN];
    let mut sealed = [0x55_u8; BODY_LEN];

    let now = Instant::now();
    let (mut hop, start) = middle_hop(now);
    let mut cell = [0x33_u8; BODY_LEN];
    let mut number = start;

    let mut nonce = 0_u64;
    let timings = interleave(
        &mut [
            &mut || {
                theirs.decrypt(black_box(&theirs_in), &tweak, &mut theirs_out).expect("a body longer than a block");
            },
            &mut || {
                nonce += 1;
                let mut bytes = [0; 12];
                bytes[..8].copy_from_slice(&nonce.to_le_bytes());
                let _ = black_box(
                    gcm.seal_in_place_separate_tag(Nonce::assume_unique_for_key(bytes), Aad::empty(), &mut sealed)
                        .expect("a short message"),
                );
            },
            &mut || ours.decrypt(&tweak, black_box(&mut body)),
            &mut || {
                black_box(hop.forward(now, number, &mut cell).expect("a fresh cell number"));
                number = number.wrapping_add(1) & 0x3fff_ffff;
            },
        ],
        effort.rounds,
        effort.cheap,
    );
    let ns = Unit::Nanoseconds;
    vec![
        row("wide block, 504 bytes", "hctr2-rs 0.10", ns, Target::AtMostTimesPeer(0.3), timings[0], timings[2]),
        row("cell layer at a relay", "hctr2-rs 0.10", ns, Target::AtMostTimesPeer(0.3), timings[0], timings[3])
            .note("ours with the number window, the tweak and the key phase"),
        row("cell layer at a relay", "AES-256-GCM (ring)", ns, Target::None, timings[1], timings[3])
            .note("GCM is no wide block: an altered cell would stay readable to a colluder"),
    ]
}

/// A middle hop of a circuit, and the number of the first cell that it takes.
fn middle_hop(now: Instant) -> (HopCircuit, u32) {
    let mut rng = ChaCha12Rng::seed_from_u64(3);
    let secrets: Vec<OnionSecret> = (0..2).map(|_| OnionSecret::generate(&mut rng)).collect();
    let path: Vec<PathHop> = secrets
        .iter()
        .zip(1..)
        .map(|(secret, number)| PathHop { id: RelayId([number; 16]), onion: secret.public() })
        .collect();
    let (packet, pending) = create(&path, SLOT, &mut rng).expect("two distinct hops");
    let mut unwrap = |packet: Packet, hop: usize| {
        packet
            .peel_header(&path[hop].id, &secrets[hop], SLOT)
            .and_then(|peeled| peeled.finish(&mut rng, now))
            .expect("a packet for this relay")
    };
    let first = unwrap(packet, 0);
    let Next::Forward { packet, .. } = first.next else {
        unreachable!("the path has a second hop");
    };
    let second = unwrap(packet, 1);
    let reply = first.reply.forward(&second.reply.last());
    let mut origin = pending.finish(&reply, now).expect("the path's own reply");
    let mut body = [0; BODY_LEN];
    let number = origin.seal(now + Duration::from_millis(1), 1, 0, &[], &mut body).expect("a first cell");
    (first.circuit, number)
}
