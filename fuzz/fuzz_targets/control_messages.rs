//! Votes, evidence and heartbeats: any bytes are read or refused, and verdicts never accept what is not signed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zmesh_proto::wire::control::Heartbeat;
use zmesh_proto::wire::control::vote::{Evidence, VoteMessage};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = VoteMessage::decode(bytes) {
        assert_eq!(message.as_bytes(), bytes);
    }
    if let Ok(evidence) = Evidence::decode(bytes) {
        assert_eq!(evidence.encode(), bytes);
    }
    let _ = Heartbeat::decode(bytes);
});
