//! Everything about services that comes from the network or a file: addresses, descriptors and their contents, introductions, heads of streams, sets of
//! second relays. What decodes is encoded the same, where there is an encoder.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zmesh_proto::path::SecondLayer;
use zmesh_proto::service::address::ServiceAddress;
use zmesh_proto::service::descriptor::{Contents, Outer, open};
use zmesh_proto::service::introduce::Introduction;
use zmesh_proto::service::key::ServiceKey;
use zmesh_proto::service::period::Period;
use zmesh_proto::service::stream::{Answer, Want};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(address) = text.parse::<ServiceAddress>() {
            assert_eq!(address.to_string().parse(), Ok(address));
        }
        if let Some(Ok(address)) = ServiceAddress::from_host(text) {
            assert!(text.to_ascii_lowercase().contains(&address.to_string()));
        }
    }
    let _ = ServiceKey::from_text(bytes);
    let _ = Contents::decode(bytes);
    let _ = Introduction::decode(bytes);
    if let Ok(outer) = Outer::decode(bytes) {
        let _ = outer.is_signed();
        let address = ServiceKey::from_seed(&[1; 32]).address();
        let _ = open(bytes, &address, Period(1), 0);
    }
    if let Ok(want) = Want::decode(bytes) {
        assert_eq!(want.encode(), bytes);
    }
    if let Ok(answer) = Answer::decode(bytes) {
        assert_eq!(answer.encode(), bytes);
    }
    if let Ok(layer) = SecondLayer::decode(bytes) {
        assert_eq!(layer.encode(), bytes);
    }
});
