//! A greeting of the control plane is read or refused, and comes back as it was written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zmesh_control::hello;
use zmesh_proto::wire::document::NetworkId;

const NETWORK: NetworkId = NetworkId([7; 32]);

fuzz_target!(|data: &[u8]| {
    let _ = hello::decode(&NETWORK, data);
    // The same behind a head that is right, so that the rest is reached.
    let head = hello::encode(&NETWORK, &hello::Claims::default());
    if let Ok(claims) = hello::decode(&NETWORK, &[&head, data].concat()) {
        assert_eq!(hello::decode(&NETWORK, &hello::encode(&NETWORK, &claims)), Ok(claims));
    }
});
