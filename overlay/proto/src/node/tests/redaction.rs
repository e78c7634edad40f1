//! What a log line could carry away.

use crate::link::{LinkConfig, LocalIdentity};
use crate::node::{CircuitId, Event, LocalId, NodeConfig, ReplayStart};

#[test]
fn nothing_secret_prints() {
    let config = NodeConfig::new(LinkConfig::new(LocalIdentity::Anonymous), [0xab; 32], 0);
    let text = format!("{config:?}");
    assert!(text.contains("seed: [redacted]") && !text.contains("171"), "{text}");
    assert_eq!(format!("{:?}", ReplayStart::Saved(vec![0xab; 40])), "Saved(40 bytes, [redacted])");
    let message = vec![0xab; 3];
    let events = [
        Event::Message { circuit: CircuitId(1), message: message.clone() },
        Event::LocalMessage { local: LocalId(1), message },
    ];
    for event in events {
        let text = format!("{event:?}");
        assert!(text.contains("3 bytes") && !text.contains("171"), "{text}");
    }
}
