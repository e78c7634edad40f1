//! A genesis: what decodes is encoded the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zmesh_proto::wire::control::Genesis;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(genesis) = Genesis::decode(bytes) {
        let again = Genesis::new(genesis.terms().clone()).expect("what was read keeps the rules");
        assert_eq!(again.as_bytes(), bytes);
    }
    let _ = Genesis::from_text(bytes);
});
