//! The network document and its draft, binary and as text: total and canonical.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zmesh_proto::directory::Network;
use zmesh_proto::wire::document::{Document, Draft};

fuzz_target!(|bytes: &[u8]| {
    let _ = Document::decode(bytes);
    let _ = Document::from_text(bytes);
    let _ = Network::decode(bytes, 1_800_000_000);
    let _ = Draft::from_text(bytes);
    if let Ok(draft) = Draft::decode(bytes) {
        assert_eq!(draft.encode(), bytes);
    }
});
