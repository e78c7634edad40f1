//! The header of a link datagram: what reads is written back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zmesh_proto::wire::datagram::{HEADER_LEN, Header};

fuzz_target!(|datagram: &[u8]| {
    if let Ok(header) = Header::read(datagram) {
        assert_eq!(header.to_bytes(), datagram[..HEADER_LEN]);
    }
});
