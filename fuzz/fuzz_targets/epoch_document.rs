//! Epoch documents, their headers, snapshots, differences and forks: what decodes is encoded the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zmesh_proto::directory::Fork;
use zmesh_proto::wire::control::{Difference, EpochDocument, Header, SignedHeader, Snapshot};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(header) = Header::decode(bytes) {
        assert_eq!(header.as_bytes(), bytes);
    }
    if let Ok(signed) = SignedHeader::decode(bytes) {
        assert_eq!(signed.encode(), bytes);
    }
    if let Ok(document) = EpochDocument::decode(bytes) {
        assert_eq!(document.encode(), bytes);
    }
    if let Ok(snapshot) = Snapshot::decode(bytes) {
        assert_eq!(snapshot.encode(), bytes);
    }
    if let Ok(difference) = Difference::decode(bytes) {
        assert_eq!(difference.encode(), bytes);
    }
    if let Ok(fork) = Fork::decode(bytes) {
        assert_eq!(fork.encode(), bytes);
    }
});
