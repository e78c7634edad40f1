//! Our code over a link: with its own adaptation, or with a fixed redundancy.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use zmesh_fec::{Adapt, AdaptConfig, Decoder, Encoder, SYMBOL_LEN, Symbol, Vector};

use super::path::{Link, MILLISECOND};
use super::stats::{Meter, Run, Work};

/// The encoder's deadline, and how long the receiver keeps symbols.
const DEADLINE: u64 = 60 * MILLISECOND;
const KEEP: u64 = 260 * MILLISECOND;

/// How many repairs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Redundancy {
    /// What [`Adapt`] says, from the fates that feedback reports.
    Adaptive,
    /// So many for each cell, evenly spread over this time between two cells.
    Fixed(f64, u64),
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Cell(usize),
    Repair,
    Arrived(Packet),
    Reported { counter: u64, id: Option<u16>, arrived: bool },
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Packet {
    Source { id: u16, cell: usize },
    Repair { vector: [u8; Vector::LEN], symbol: Box<Symbol> },
}

/// The content of a cell: every one differs, and names itself.
pub(super) fn content(cell: usize) -> Symbol {
    let mut symbol = [cell.to_le_bytes()[1] ^ 0x5a; SYMBOL_LEN];
    symbol[..8].copy_from_slice(&cell.to_le_bytes());
    symbol
}

struct Sim<'a, 'b> {
    link: &'a mut Link<'b>,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    order: u64,
    counter: u64,
}

impl Sim<'_, '_> {
    fn at(&mut self, time: u64, event: Event) {
        self.order += 1;
        self.events.push(Reverse((time, self.order, event)));
    }

    fn send(&mut self, now: u64, id: Option<u16>, packet: Packet) {
        let arrival = self.link.send(now);
        let report = Event::Reported { counter: self.counter, id, arrived: arrival.is_some() };
        self.counter += 1;
        self.at(self.link.reported(now), report);
        if let Some(arrival) = arrival {
            self.at(arrival, Event::Arrived(packet));
        }
    }
}

/// Sends `cells` (time and number, in order of time) of `count` in all.
///
/// # Panics
/// When the decoder brings a cell that is wrong, or one twice.
pub(super) fn run(link: &mut Link<'_>, cells: &[(u64, usize)], count: usize, redundancy: Redundancy) -> Run {
    let mut run = Run { delivered: vec![None; count], sources: 0, repairs: 0, busy: std::time::Duration::ZERO };
    let (mut encoder, mut decoder) = (Encoder::new(DEADLINE), Decoder::new(KEEP));
    let mut adapt = Adapt::new(AdaptConfig::default());
    let mut meter = Meter::default();
    let mut sim = Sim { link, events: BinaryHeap::new(), order: 0, counter: 0 };
    let mut credit = 0.0;
    if let Some((at, _)) = cells.first() {
        sim.at(*at, Event::Cell(0));
    }
    while let Some(Reverse((now, _, event))) = sim.events.pop() {
        match event {
            Event::Cell(index) => {
                let cell = cells[index].1;
                run.sources += 1;
                let id = meter.time(Work::Push, || {
                    let id = encoder.push(now, &content(cell));
                    if redundancy == Redundancy::Adaptive {
                        adapt.handle_source(now);
                    }
                    id
                });
                sim.send(now, Some(id), Packet::Source { id, cell });
                if let Redundancy::Fixed(share, interval) = redundancy {
                    credit += share;
                    let mut due = 0;
                    while credit >= 1.0 {
                        credit -= 1.0;
                        due += 1;
                    }
                    (1..=due).for_each(|i| sim.at(now + interval * i / (due + 1), Event::Repair));
                } else if let Some(due) = adapt.next_repair() {
                    sim.at(due.max(now), Event::Repair);
                }
                if let Some((at, _)) = cells.get(index + 1) {
                    sim.at(*at, Event::Cell(index + 1));
                }
            }
            Event::Repair => {
                if redundancy == Redundancy::Adaptive {
                    if !adapt.poll_repair(now) {
                        continue;
                    }
                    if let Some(due) = adapt.next_repair() {
                        sim.at(due.max(now), Event::Repair);
                    }
                }
                let mut symbol = Box::new([0; SYMBOL_LEN]);
                if let Some(vector) = meter.time(Work::MakeRepair, || encoder.repair(now, &mut symbol)) {
                    run.repairs += 1;
                    sim.send(now, None, Packet::Repair { vector: vector.encode(), symbol });
                }
            }
            Event::Arrived(Packet::Source { id, cell }) => {
                if meter.time(Work::TakeSource, || decoder.source(now, id, &content(cell))) {
                    assert!(run.delivered[cell].replace(now).is_none(), "cell {cell} twice");
                }
            }
            Event::Arrived(Packet::Repair { vector, symbol }) => {
                meter.time(Work::TakeRepair, || {
                    Vector::decode(&vector).map(|vector| decoder.repair(now, &vector, &symbol)).ok()
                });
            }
            Event::Reported { counter, id, arrived } => meter.time(Work::Report, || {
                if redundancy == Redundancy::Adaptive {
                    adapt.handle_outcome(now, counter, arrived);
                }
                if let Some(id) = id.filter(|_| arrived) {
                    encoder.acknowledge(id);
                }
            }),
        }
        while let Some((_, symbol)) = decoder.poll() {
            let mut cell = [0; 8];
            cell.copy_from_slice(&symbol[..8]);
            let cell = usize::from_le_bytes(cell);
            assert_eq!(symbol, content(cell), "a cell that was never sent");
            assert!(run.delivered[cell].replace(now).is_none(), "cell {cell} twice");
        }
    }
    run.busy = meter.total();
    run
}
