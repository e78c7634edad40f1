//! Encoder, decoder and adaptation of one link as a sequence of operations: losses, copies, any order, false updates and reports. What is
//! delivered is what was sent, nothing twice, and no report buys more than the cap.
#![no_main]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use zmesh_fec::{Adapt, AdaptConfig, Decoder, Encoder, SYMBOL_LEN, Symbol, Vector, WindowUpdate};

#[derive(Debug, Arbitrary)]
enum Step {
    /// A symbol is sent.
    Send,
    /// A repair is made although none may be due.
    Repair,
    /// The datagram at this place of those under way arrives; a copy stays under way.
    Arrive(u8, bool),
    /// It is lost.
    Lose(u8),
    /// The receiver's window reaches the sender.
    Update,
    /// A false window reaches the sender.
    FalseUpdate(u16, u64),
    /// A report, true or false.
    Report(u64, bool),
    /// A queueing delay is measured.
    Queue(u32),
    /// Time passes, nanoseconds.
    Wait(u32),
}

#[derive(Clone)]
enum Datagram {
    Source(u16, Symbol),
    Repair(Vector, Symbol),
}

fuzz_target!(|input: (u16, Vec<Step>)| {
    let (start, steps) = input;
    let mut encoder = Encoder::starting_at(60_000_000, start);
    let mut decoder = Decoder::new(260_000_000);
    let mut adapt = Adapt::new(AdaptConfig::default());
    let mut flying: VecDeque<Datagram> = VecDeque::new();
    let (mut sent, mut delivered) = (BTreeMap::new(), BTreeSet::new());
    let (mut now, mut symbols, mut due) = (0u64, 0u64, 0u64);
    for (number, step) in steps.iter().enumerate().take(2_000) {
        match step {
            Step::Send => {
                let mut symbol = [0x5a; SYMBOL_LEN];
                symbol[..8].copy_from_slice(&number.to_le_bytes());
                let id = encoder.push(now, &symbol);
                adapt.handle_source(now);
                symbols += 1;
                sent.insert(id, symbol);
                flying.push_back(Datagram::Source(id, symbol));
            }
            Step::Repair => {
                let mut symbol = [0; SYMBOL_LEN];
                if let Some(vector) = encoder.repair(now, &mut symbol) {
                    flying.push_back(Datagram::Repair(vector, symbol));
                }
            }
            Step::Arrive(place, copy) => {
                let Some(place) = usize::from(*place).checked_rem(flying.len()) else { continue };
                let datagram = if *copy { flying.get(place).cloned() } else { flying.remove(place) };
                match datagram {
                    Some(Datagram::Source(id, symbol)) => {
                        let is_new = decoder.source(now, id, &symbol);
                        assert!(!is_new || delivered.insert(id), "twice");
                    }
                    Some(Datagram::Repair(vector, symbol)) => {
                        decoder.repair(now, &vector, &symbol);
                    }
                    None => {}
                }
            }
            Step::Lose(place) => {
                let place = usize::from(*place).checked_rem(flying.len());
                place.and_then(|place| flying.remove(place));
            }
            Step::Update => {
                if let Some(update) = decoder.window_update() {
                    encoder.update(&update);
                }
            }
            Step::FalseUpdate(first, held) => encoder.update(&WindowUpdate { first: *first, held: *held }),
            Step::Report(counter, arrived) => {
                (0..20).for_each(|i| adapt.handle_outcome(now, counter.saturating_add(i), *arrived))
            }
            Step::Queue(delay) => adapt.handle_queue(u64::from(*delay)),
            Step::Wait(time) => now += u64::from(*time) / 16,
        }
        while let Some((id, symbol)) = decoder.poll() {
            assert!(delivered.insert(id), "twice");
            assert_eq!(sent.get(&id), Some(&symbol), "never sent");
        }
        while adapt.poll_repair(now) {
            due += 1;
        }
        assert!(due <= 2 * symbols, "{due} repairs for {symbols} symbols");
        assert!(encoder.unacknowledged() <= 64);
    }
    assert_eq!(decoder.counters().inconsistent, 0);
});
