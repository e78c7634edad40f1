//! The fetch machine against seeders that answer anything in any order: it never panics, and gives no wrong chunk.
#![no_main]

use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use zmesh_fec::chunk::Encoder;
use zmesh_proto::seeding::fetch::{Ask, Event, Fetch, Refusal};
use zmesh_proto::seeding::{ChunkId, ChunkRef, Class, Shelf};
use zmesh_sphinx::RelayId;

#[derive(Arbitrary, Debug)]
enum Step {
    Want { index: u8, chunk: u8, seeders: u8 },
    Connected(u8),
    Lost(u8),
    Answer { which: u8, lie: Option<u16>, cut: bool },
    Refuse { which: u8, how: u8 },
    Wait(u16),
    Shun(u8),
}

fn relay(number: u8) -> RelayId {
    RelayId([number % 8; 16])
}

fuzz_target!(|steps: Vec<Step>| {
    let chunks: Vec<(ChunkRef, Vec<u8>, Encoder)> = [Class::Note, Class::Page]
        .into_iter()
        .enumerate()
        .map(|(seed, class)| {
            let bytes: Vec<u8> = (0..class.len()).map(|at| (at * 7 + seed) as u8).collect();
            let encoder = Encoder::new(&bytes).expect("whole symbols");
            (ChunkRef { id: ChunkId::of(&bytes), shelf: Shelf([0; 16]), class }, bytes, encoder)
        })
        .collect();
    let mut wanted = std::collections::BTreeMap::new();
    let mut fetch = Fetch::new();
    let mut asks: Vec<Ask> = Vec::new();
    let mut now = Instant::now();
    for step in steps.into_iter().take(200) {
        match step {
            Step::Want { index, chunk, seeders } => {
                let (of, bytes, _) = &chunks[usize::from(chunk) % chunks.len()];
                let index = usize::from(index % 4);
                wanted.entry(index).or_insert(bytes);
                if wanted[&index].len() == bytes.len() {
                    fetch.want(index, *of, (0..seeders % 8).map(relay).collect());
                }
            }
            Step::Connected(number) => fetch.handle_connected(relay(number)),
            Step::Lost(number) => fetch.handle_lost(relay(number)),
            Step::Shun(number) => fetch.shun(relay(number)),
            Step::Answer { which, lie, cut } => {
                if let Some(ask) = asks.get(usize::from(which)).copied() {
                    let (_, _, encoder) = chunks.iter().find(|chunk| chunk.0 == ask.run.chunk).expect("known");
                    let mut symbols = Vec::new();
                    encoder.symbols(ask.run.first, ask.run.count, &mut symbols);
                    if let Some(at) = lie {
                        let len = symbols.len();
                        symbols[usize::from(at) % len] ^= 0x11;
                    }
                    if cut {
                        symbols.pop();
                    }
                    fetch.handle_answer(now, ask.number, symbols);
                }
            }
            Step::Refuse { which, how } => {
                if let Some(ask) = asks.get(usize::from(which)) {
                    let refusal = [Refusal::Absent, Refusal::Busy, Refusal::Lost][usize::from(how) % 3];
                    fetch.handle_refusal(now, ask.number, refusal);
                }
            }
            Step::Wait(millis) => {
                now += Duration::from_millis(millis.into());
                fetch.handle_timeout(now);
            }
        }
        loop {
            let mut idle = true;
            while fetch.poll_connect().is_some() {}
            while let Some(ask) = fetch.poll_ask(now) {
                asks.push(ask);
            }
            while let Some(attempt) = fetch.poll_attempt() {
                fetch.handle_judgement(attempt.run());
                idle = false;
            }
            while let Some(event) = fetch.poll_event() {
                match event {
                    Event::Done { index, chunk } => {
                        assert!(chunk == *wanted[&index], "a wrong chunk got out");
                        wanted.remove(&index);
                    }
                    Event::Failed { index, .. } => {
                        wanted.remove(&index);
                    }
                    Event::Cancel { number } => asks.retain(|ask| ask.number != number),
                    _ => {}
                }
            }
            if idle {
                break;
            }
        }
    }
});
