//! The reply to a set-up at the origin: nothing but what the path sent is taken.
#![no_main]

use std::sync::OnceLock;
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;
use zmesh_sphinx::{OnionSecret, PathHop, REPLY_LEN, RelayId, create};

static START: OnceLock<Instant> = OnceLock::new();

fuzz_target!(|input: (u16, &[u8])| {
    let now = *START.get_or_init(Instant::now);
    let mut rng = ChaCha12Rng::from_seed([3; 32]);
    let secret = OnionSecret::generate(&mut rng);
    let id = RelayId([7; 16]);
    let (packet, pending) = create(&[PathHop { id, onion: secret.public() }], 10, &mut rng).expect("one hop");
    let peeled = packet.peel_header(&id, &secret, 10).expect("made for this relay");
    let reply = peeled.finish(&mut rng, now).expect("not altered").reply.last();

    let (at, bytes) = input;
    let mut altered = reply;
    for (place, byte) in altered.iter_mut().skip(usize::from(at) % REPLY_LEN).zip(bytes) {
        *place ^= byte;
    }
    assert_eq!(pending.finish(&altered, now).is_ok(), altered == reply);
});
