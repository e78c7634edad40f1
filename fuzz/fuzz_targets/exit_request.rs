//! The exit protocol: requests, responses and datagrams; a prefix never decodes to something else than the whole.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zmesh_proto::wire::request::{Request, Response, UdpDatagram};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some((request, used))) = Request::decode_prefix(bytes) {
        assert_eq!(Request::decode(&bytes[..used]).ok().as_ref(), Some(&request));
        for short in 0..used {
            assert!(matches!(Request::decode_prefix(&bytes[..short]), Ok(None)), "a prefix decoded");
        }
    }
    if let Ok(Some((response, used))) = Response::decode_prefix(bytes) {
        assert_eq!(Response::decode(&bytes[..used]).ok().as_ref(), Some(&response));
    }
    let _ = UdpDatagram::decode(bytes);
});
