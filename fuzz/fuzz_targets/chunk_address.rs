//! The line that names a file, and the root that it leads to.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zmesh_proto::seeding::address::Address;
use zmesh_proto::seeding::root::Root;
use zmesh_proto::seeding::seal::{capacity, class_for};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(address) = Address::parse(text)
    {
        assert!(Address::parse(&address.to_line()).is_ok_and(|again| again == address));
    }
    if let Ok(root) = Root::decode(bytes) {
        let mut again = root.encode();
        again.resize(capacity(class_for(again.len()).expect("a root fits a chunk")), 0);
        assert_eq!(again, bytes, "a root has one form");
    }
});
