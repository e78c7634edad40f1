//! What a client reads of its disk, and the changes of voters that a relay gives. Signatures keep what is made up out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zmesh_proto::directory::{Held, read_changes};
use zmesh_proto::wire::document::NetworkId;

fuzz_target!(|bytes: &[u8]| {
    if let Some((id, rest)) = bytes.split_first_chunk::<32>()
        && let Ok(held) = Held::decode(NetworkId(*id), rest)
    {
        assert_eq!(held.encode(), rest, "one encoding");
    }
    if let Ok(changes) = read_changes(bytes) {
        let mut again = Vec::new();
        for change in changes {
            let change = change.encode();
            again.extend_from_slice(&u32::try_from(change.len()).expect("short").to_be_bytes());
            again.extend_from_slice(&change);
        }
        assert_eq!(again, bytes, "one encoding");
    }
});
