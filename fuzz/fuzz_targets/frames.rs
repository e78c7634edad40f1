//! The frames inside a link datagram: any bytes give frames or one error, and the walk ends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zmesh_proto::wire::frame::Frames;

fuzz_target!(|plaintext: &[u8]| {
    let mut count = 0;
    for frame in Frames::new(plaintext) {
        count += 1;
        assert!(count <= plaintext.len(), "each frame takes a byte at least");
        if frame.is_err() {
            break;
        }
    }
});
