//! The bootstrap line: as text, and as the bytes inside.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zmesh_proto::wire::bootstrap::Bootstrap;

fuzz_target!(|bytes: &[u8]| {
    for line in [Bootstrap::decode(bytes), Bootstrap::decode_with_checkpoint(bytes)].into_iter().flatten() {
        assert_eq!(line.encode(), bytes, "one encoding");
        assert_eq!(line.to_string().parse(), Ok(line));
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = text.parse::<Bootstrap>();
    }
});
