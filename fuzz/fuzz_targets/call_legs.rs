//! The legs of a call: what the two say about them, and any order of messages, deaths, asides and slots.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use zmesh_voice::call::MESSAGE_LEN;
use zmesh_voice::legs::{Agree, LEG_MESSAGE_LEN, LegId, Legs, Mode, Reach, Seed};

const SLOT: Duration = Duration::from_millis(20);

fuzz_target!(|bytes: &[u8]| {
    if let Some(said) = Agree::decode(bytes) {
        assert_eq!(said.encode(), bytes);
    }
    let mut sides = [Legs::caller(Mode::Standby), Legs::answerer(Mode::Standby, Seed::new([1; 32]))];
    let mut now = Duration::ZERO;
    let mut counter = 0u64;
    let mut wire: Vec<(usize, LegId, Vec<u8>)> = Vec::new();
    sides.iter_mut().for_each(|side| side.connected(now));
    for op in bytes.chunks(3) {
        let [what, number, value] = [0, 1, 2].map(|at| op.get(at).copied().unwrap_or_default());
        let (at, leg) = (usize::from(number & 1), LegId(number >> 1 & 7));
        match what % 8 {
            0 => {
                now += SLOT * u32::from(value);
                let mut message = [value; MESSAGE_LEN];
                message[0] = 3;
                message[1..9].copy_from_slice(&counter.to_be_bytes());
                counter += 1;
                let out: Vec<_> = sides[at].transmit(now, &message).collect();
                assert!(out.len() <= 2);
                wire.extend(out.into_iter().map(|(leg, bytes)| (1 - at, leg, bytes)));
            }
            1 if !wire.is_empty() => {
                let (to, leg, bytes) = wire.remove(usize::from(value) % wire.len());
                let _ = sides[to].handle_message(now, leg, &bytes);
            }
            2 => sides[at].lost(now, leg),
            3 => sides[at].failed(now, leg),
            4 => sides[at].opened(now, leg, [value; 16], [leg.0; 16], Reach::default()),
            5 => sides[at].handle_aside(now, op),
            6 => {
                while let Some(said) = sides[at].poll_aside() {
                    sides[1 - at].handle_aside(now, &said);
                }
            }
            _ => {
                let _ = sides[at].handle_message(now, leg, &[value; LEG_MESSAGE_LEN]);
            }
        }
        wire.truncate(64);
        for side in &mut sides {
            while side.poll_step().is_some() {}
            while side.poll_event().is_some() {}
        }
    }
});
