//! Key files: any bytes give keys or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zmesh_proto::keys::{RelayKeys, SignerKey};

fuzz_target!(|bytes: &[u8]| {
    let _ = RelayKeys::from_text(bytes);
    let _ = SignerKey::from_text(bytes);
});
