//! The header of a SOCKS5 UDP datagram.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zmesh_proxy::socks5::Datagram;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(datagram) = Datagram::decode(bytes) {
        assert!(bytes.ends_with(datagram.payload));
    }
});
