//! A set-up packet at a relay: any bytes are refused, and an altered packet never builds a circuit.
#![no_main]

use std::sync::OnceLock;
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;
use zmesh_sphinx::{OnionSecret, PACKET_LEN, Packet, PathHop, RelayId, create};

static START: OnceLock<Instant> = OnceLock::new();

fuzz_target!(|input: (u16, &[u8])| {
    let now = *START.get_or_init(Instant::now);
    let mut rng = ChaCha12Rng::from_seed([2; 32]);
    let secret = OnionSecret::generate(&mut rng);
    let id = RelayId([7; 16]);
    let path = [PathHop { id, onion: secret.public() }];
    let (packet, _) = create(&path, 10, &mut rng).expect("one hop");

    // The input is laid over a right packet, so that what lies behind the first check is reached too.
    let (at, bytes) = input;
    let mut altered = *packet.as_bytes();
    for (place, byte) in altered.iter_mut().skip(usize::from(at) % PACKET_LEN).zip(bytes) {
        *place ^= byte;
    }
    let same = altered == *packet.as_bytes();
    let Ok(packet) = Packet::from_bytes(&altered) else { return };
    let Ok(peeled) = packet.peel_header(&id, &secret, 10) else { return };
    if peeled.finish(&mut rng, now).is_ok() {
        assert!(same, "an altered packet was taken");
    }
});
