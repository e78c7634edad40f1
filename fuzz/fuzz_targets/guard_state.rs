//! Stored guards: any bytes give a state or an error, and a state is written as it was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zmesh_proto::path::{GuardSet, GuardState};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(state) = GuardState::decode(bytes) {
        assert_eq!(state.encode(), bytes);
        let mut set = GuardSet::restore(3, state);
        assert_eq!(set.take_changed(), None);
        set.advance(u32::MAX);
    }
});
