//! A cell at a relay and at the origin of a real circuit: any bytes are noise, never a panic, and never a forgery.
#![no_main]

use std::sync::OnceLock;
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;
use zmesh_sphinx::{BODY_LEN, Forwarded, Next, OnionSecret, PathHop, RelayId, create};

static START: OnceLock<Instant> = OnceLock::new();

fuzz_target!(|input: (u32, bool, Vec<u8>)| {
    let now = *START.get_or_init(Instant::now);
    let mut rng = ChaCha12Rng::from_seed([1; 32]);
    let secret = OnionSecret::generate(&mut rng);
    let id = RelayId([7; 16]);
    let (packet, pending) = create(&[PathHop { id, onion: secret.public() }], 10, &mut rng).expect("one hop");
    let peeled = packet.peel_header(&id, &secret, 10).expect("made for this relay");
    let unwrapped = peeled.finish(&mut rng, now).expect("not altered");
    assert!(matches!(unwrapped.next, Next::Last));
    let mut hop = unwrapped.circuit;
    let mut origin = pending.finish(&unwrapped.reply.last(), now).expect("not altered");

    let (number, forward, bytes) = input;
    let mut body = [0; BODY_LEN];
    let len = bytes.len().min(BODY_LEN);
    body[..len].copy_from_slice(&bytes[..len]);
    if forward {
        assert!(!matches!(hop.forward(now, number, &mut body), Ok(Forwarded::Mine(_))), "a forged cell");
    } else {
        assert!(origin.open(now, number, &mut body).is_err(), "a forged cell");
    }
});
