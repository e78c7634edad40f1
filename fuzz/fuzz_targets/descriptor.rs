//! A relay's descriptor: what decodes is encoded the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zmesh_proto::wire::descriptor::Descriptor;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(descriptor) = Descriptor::decode(bytes) {
        assert_eq!(descriptor.as_bytes(), bytes);
    }
    let _ = Descriptor::from_text(bytes);
});
