//! What the store of the control plane keeps of a peer is read or passed over, and comes back as it was written.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = zmesh_control::fuzz_record(data);
});
