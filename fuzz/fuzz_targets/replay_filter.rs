//! The replay filter's form on disk, and the filter as a sequence of operations: nothing passes twice.
#![no_main]

use std::collections::BTreeSet;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;
use zmesh_sphinx::{OnionSecret, PathHop, RelayId, ReplayFilter, ReplayTag, create};

/// Tags can only be had from authentic packets.
static TAGS: OnceLock<Vec<ReplayTag>> = OnceLock::new();

fn tags() -> Vec<ReplayTag> {
    let mut rng = ChaCha12Rng::from_seed([4; 32]);
    let secret = OnionSecret::generate(&mut rng);
    let id = RelayId([7; 16]);
    let path = [PathHop { id, onion: secret.public() }];
    let mut tag = || {
        let (packet, _) = create(&path, 10, &mut rng).expect("one hop");
        packet.peel_header(&id, &secret, 10).expect("made for this relay").replay_tag()
    };
    (0..16).map(|_| tag()).collect()
}

fuzz_target!(|input: (&[u8], Vec<(u8, u8, u8)>)| {
    let (stored, operations) = input;
    if let Ok(filter) = ReplayFilter::from_bytes(stored) {
        assert_eq!(filter.to_bytes(), stored);
    }
    let tags = TAGS.get_or_init(tags);
    let mut filter = ReplayFilter::new(8);
    let mut seen = BTreeSet::new();
    let mut clock = 10u32;
    for (slot, tag, step) in operations {
        clock += u32::from(step % 2);
        let slot = clock + u32::from(slot % 5) - 2;
        let tag = usize::from(tag % 16);
        if filter.check_and_insert(slot, tags[tag], clock).is_ok() {
            assert!(seen.insert((slot, tag)), "taken twice");
        }
        if step > 250 {
            filter = ReplayFilter::from_bytes(&filter.to_bytes()).expect("its own form");
        }
    }
});
