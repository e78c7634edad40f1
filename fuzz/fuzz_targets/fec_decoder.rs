//! The decoder of link repair, fed by a hostile neighbour: any vectors, ids and symbols, at any times.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zmesh_fec::{Decoder, SYMBOL_LEN, Vector, WindowUpdate};

fuzz_target!(|data: &[u8]| {
    let mut decoder = Decoder::new(260_000_000);
    let mut now = 0u64;
    // Each step: what, how much later, then a source's id or a repair's vector; the symbol is made of the rest's first bytes.
    let mut rest = data;
    while let [kind, wait, tail @ ..] = rest {
        now += u64::from(*wait) << (kind >> 3);
        let fill = [tail.first().copied().unwrap_or(1); SYMBOL_LEN];
        let before = decoder.work();
        match kind % 4 {
            0 | 1 => {
                let Some((id, tail)) = tail.split_first_chunk::<2>() else { return };
                let _ = decoder.source(now, u16::from_be_bytes(*id), &fill);
                rest = tail;
            }
            2 => {
                let Some((vector, tail)) = tail.split_first_chunk::<{ Vector::LEN }>() else { return };
                if let Ok(vector) = Vector::decode(vector) {
                    assert!(decoder.repair(now, &vector, &fill) <= 64);
                }
                rest = tail;
            }
            _ => {
                while decoder.poll().is_some() {}
                decoder.expire(now);
                if let Some(update) = decoder.window_update() {
                    assert_eq!(WindowUpdate::decode(&update.encode()), update);
                }
                rest = tail;
            }
        }
        assert!(decoder.memory() <= 200_000 && decoder.work() - before <= 300);
    }
});
