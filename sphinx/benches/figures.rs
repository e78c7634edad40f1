//! Figures of this crate beside its peers': `cargo bench -p zmesh-sphinx [filter]`.
//!
//! A harness of its own: every case runs in short rounds, the cases take turns, and the least time of all rounds is shown, because the
//! machine is shared and noise only ever adds.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark may panic, and prints its figures")]
#![allow(clippy::disallowed_methods, reason = "it measures time")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng};
use sphinx_packet::{
    SphinxPacket,
    constants::{DESTINATION_ADDRESS_LENGTH, IDENTIFIER_LENGTH, NODE_ADDRESS_LENGTH},
    header::delays,
    route::{Destination, DestinationAddressBytes, Node, NodeAddressBytes},
};
use x25519_dalek::{PublicKey, StaticSecret};
use zmesh_sphinx::{
    BODY_LEN, Forwarded, Next, OnionSecret, PAYLOAD_MAX, Packet, PathHop, REPLY_LEN, RelayId, create, hazmat::WideBlock,
};

/// Rounds of every case; the least counts.
const ROUNDS: usize = 300;
/// Aim for the length of one round.
const ROUND: Duration = Duration::from_micros(500);

struct Case<'a> {
    name: &'a str,
    run: Box<dyn FnMut() + 'a>,
}

fn measure(cases: &mut [Case<'_>]) {
    let calls: Vec<u32> = cases
        .iter_mut()
        .map(|case| {
            let begin = Instant::now();
            let mut calls = 0;
            while begin.elapsed() < ROUND {
                (case.run)();
                calls += 1;
            }
            calls
        })
        .collect();
    let mut least = vec![f64::INFINITY; cases.len()];
    for _ in 0..ROUNDS {
        for ((case, calls), least) in cases.iter_mut().zip(&calls).zip(&mut least) {
            let begin = Instant::now();
            for _ in 0..*calls {
                (case.run)();
            }
            *least = least.min(begin.elapsed().as_nanos() as f64 / f64::from(*calls));
        }
    }
    for (case, least) in cases.iter().zip(least) {
        println!("{:46} {:>10.1} ns", case.name, least);
    }
}

fn wide_block() {
    let key = [7; 32];
    let ours = WideBlock::new(&key);
    let peer = hctr2_rs::hctr2::Hctr2_256::new(&key);
    let tweak = [3; 16];
    let (mut a, mut b, c, mut d) = ([0; BODY_LEN], [0; BODY_LEN], [0; BODY_LEN], [0; BODY_LEN]);
    measure(&mut [
        Case { name: "cell layer on (encrypt 504)", run: Box::new(|| ours.encrypt(&tweak, black_box(&mut a))) },
        Case { name: "cell layer off (decrypt 504)", run: Box::new(|| ours.decrypt(&tweak, black_box(&mut b))) },
        Case {
            name: "hctr2-rs 0.10 encrypt 504",
            run: Box::new(|| peer.encrypt(black_box(&c), &tweak, black_box(&mut d)).unwrap()),
        },
        Case { name: "key expansion", run: Box::new(|| drop(black_box(WideBlock::new(black_box(&key))))) },
    ]);
}

fn set_up() {
    let mut rng = ChaCha12Rng::seed_from_u64(1);
    let now = Instant::now();
    let relays: Vec<_> = (1..=3).map(|number| (RelayId([number; 16]), OnionSecret::generate(&mut rng))).collect();
    let path: Vec<_> = relays.iter().map(|(id, onion)| PathHop { id: *id, onion: onion.public() }).collect();
    let (packet, _) = create(&path, 9, &mut rng).unwrap();
    let bytes = *packet.as_bytes();
    let peel = || Packet::from_bytes(black_box(&bytes)).unwrap().peel_header(&relays[0].0, &relays[0].1, 9).unwrap();
    let (mut create_rng, mut whole_rng) = (ChaCha12Rng::seed_from_u64(2), ChaCha12Rng::seed_from_u64(3));

    let peer_keys: Vec<_> = (0..3).map(|_| StaticSecret::random()).collect();
    let route: Vec<_> = peer_keys
        .iter()
        .map(|key| Node::new(NodeAddressBytes::from_bytes([5; NODE_ADDRESS_LENGTH]), PublicKey::from(key)))
        .collect();
    let delays = delays::generate_from_average_duration(route.len(), Duration::from_millis(10));
    let address = DestinationAddressBytes::from_bytes([3; DESTINATION_ADDRESS_LENGTH]);
    let destination = Destination::new(address, [4; IDENTIFIER_LENGTH]);
    let peer_create = || SphinxPacket::new(vec![13, 16], black_box(&route), &destination, &delays).unwrap();
    let peer_bytes = peer_create().to_bytes();

    measure(&mut [
        Case {
            name: "Sphinx create, 3 hops",
            run: Box::new(|| drop(black_box(create(&path, 9, &mut create_rng).unwrap()))),
        },
        Case { name: "sphinx-packet 0.8 create, 3 hops", run: Box::new(|| drop(black_box(peer_create()))) },
        Case { name: "Sphinx step 1: element, header, slot", run: Box::new(|| drop(black_box(peel()))) },
        Case {
            name: "Sphinx unwrap (steps 1 and 2, no circuit)",
            run: Box::new(|| {
                black_box(peel().next().unwrap());
            }),
        },
        Case {
            name: "sphinx-packet 0.8 unwrap",
            run: Box::new(|| {
                let packet = SphinxPacket::from_bytes(black_box(&peer_bytes)).unwrap();
                drop(black_box(packet.process(&peer_keys[0]).unwrap()));
            }),
        },
        Case {
            name: "set-up at a relay, circuit and reply included",
            run: Box::new(|| {
                let unwrapped = peel().finish(&mut whole_rng, now).unwrap();
                black_box(unwrapped.reply.forward(&[1; REPLY_LEN]));
            }),
        },
    ]);
}

fn finish() {
    // A pending set-up is used up by its reply, so each call is timed alone.
    let mut rng = ChaCha12Rng::seed_from_u64(4);
    let now = Instant::now();
    let relays: Vec<_> = (1..=3).map(|number| (RelayId([number; 16]), OnionSecret::generate(&mut rng))).collect();
    let path: Vec<_> = relays.iter().map(|(id, onion)| PathHop { id: *id, onion: onion.public() }).collect();
    let mut least = Duration::MAX;
    for _ in 0..ROUNDS {
        let (mut packet, pending) = create(&path, 9, &mut rng).unwrap();
        let mut seals = Vec::new();
        for (id, onion) in &relays {
            let unwrapped = packet.peel_header(id, onion, 9).unwrap().finish(&mut rng, now).unwrap();
            seals.push(unwrapped.reply);
            match unwrapped.next {
                Next::Forward { packet: next, .. } => packet = next,
                Next::Last => break,
            }
        }
        let mut reply = seals.pop().unwrap().last();
        while let Some(seal) = seals.pop() {
            reply = seal.forward(&reply);
        }
        let begin = Instant::now();
        black_box(pending.finish(&reply, now).unwrap());
        least = least.min(begin.elapsed());
    }
    println!("{:46} {:>10.1} ns", "origin takes the reply, 3 hops", least.as_nanos());
}

fn cells() {
    let mut rng = ChaCha12Rng::seed_from_u64(5);
    let now = Instant::now();
    let relays: Vec<_> = (1..=3).map(|number| (RelayId([number; 16]), OnionSecret::generate(&mut rng))).collect();
    let path: Vec<_> = relays.iter().map(|(id, onion)| PathHop { id: *id, onion: onion.public() }).collect();
    let (mut packet, pending) = create(&path, 9, &mut rng).unwrap();
    let (mut hops, mut seals) = (Vec::new(), Vec::new());
    for (id, onion) in &relays {
        let unwrapped = packet.peel_header(id, onion, 9).unwrap().finish(&mut rng, now).unwrap();
        hops.push(unwrapped.circuit);
        seals.push(unwrapped.reply);
        match unwrapped.next {
            Next::Forward { packet: next, .. } => packet = next,
            Next::Last => break,
        }
    }
    let mut reply = seals.pop().unwrap().last();
    while let Some(seal) = seals.pop() {
        reply = seal.forward(&reply);
    }
    let mut origin = pending.finish(&reply, now).unwrap();
    let payload = [1; PAYLOAD_MAX];
    let (mut sealed, mut passing, mut back) = ([0; BODY_LEN], [0; BODY_LEN], [0; BODY_LEN]);
    let mut number = origin.seal(now, 2, 1, &payload, &mut sealed).unwrap();
    let mut back_number = hops[2].originate(now, 1, &payload, &mut back).unwrap();
    let [first, middle, last] = hops.as_mut_slice() else { unreachable!("three relays") };
    let Forwarded::Onward { number: _ } = first.forward(now, number, &mut sealed).unwrap() else {
        unreachable!("for the third")
    };
    // Bodies that are noise behave like cells that go on.
    let next = |number: u32| number & 0xc000_0000 | number.wrapping_add(1) & 0x3fff_ffff;
    measure(&mut [
        Case {
            name: "relay passes a cell forward",
            run: Box::new(|| {
                number = next(number);
                black_box(first.forward(now, number, &mut passing)).unwrap();
            }),
        },
        Case {
            name: "relay passes a cell backward",
            run: Box::new(|| {
                back_number = next(back_number);
                black_box(middle.backward(now, back_number, &mut back)).unwrap();
            }),
        },
        Case {
            name: "relay makes a cell",
            run: Box::new(|| {
                black_box(last.originate(now, 1, &payload, &mut back_body())).unwrap();
            }),
        },
        Case {
            name: "origin makes a cell for 3 hops",
            run: Box::new(|| {
                black_box(origin.seal(now, 2, 1, &payload, &mut sealed)).unwrap();
            }),
        },
    ]);
}

fn back_body() -> [u8; BODY_LEN] {
    [0; BODY_LEN]
}

fn main() {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    for (name, run) in [("wide-block", wide_block as fn()), ("cells", cells), ("set-up", set_up), ("finish", finish)] {
        if name.contains(&filter) {
            run();
        }
    }
}
