//! Messages of a circuit in order: whatever ids come when, each is handed on once, memory is bounded, and nothing waits for ever.
#![no_main]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use zmesh_proto::relay::in_order::InOrder;

fuzz_target!(|steps: Vec<(u16, u8, u8)>| {
    let mut order = InOrder::default();
    let (mut now, mut id) = (Instant::now(), 0u16);
    let mut waiting: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    for (number, (jump, wait, kind)) in steps.into_iter().enumerate() {
        now += Duration::from_micros(u64::from(wait) * 200);
        if order.next_timeout().is_some_and(|due| due <= now) && kind & 1 == 0 {
            order.handle_timeout(now);
        }
        // Mostly the next one, or one nearby.
        id = match kind % 8 {
            0 => jump,
            1..=3 => id.wrapping_add(jump % 64).wrapping_sub(32),
            _ => id.wrapping_add(1),
        };
        let message = number.to_be_bytes().to_vec();
        *waiting.entry(message.clone()).or_default() += 1;
        order.accept(now, id, message, kind & 0x40 == 0);
        while let Some(message) = order.poll() {
            assert_eq!(waiting.remove(&message), Some(1), "handed on once");
        }
        assert!(order.held() <= 2048 && order.held() <= waiting.len());
        assert_eq!(order.held() > 0, order.next_timeout().is_some());
    }
    while let Some(due) = order.next_timeout() {
        order.handle_timeout(due);
    }
    while let Some(message) = order.poll() {
        assert_eq!(waiting.remove(&message), Some(1));
    }
    assert_eq!(order.held(), 0);
});
