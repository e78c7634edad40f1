//! Block codes over a link: k cells, then r repairs of them.

use std::collections::HashMap;
use std::time::Duration;

use raptorq::{
    EncodingPacket, ObjectTransmissionInformation, PayloadId, SourceBlockDecoder, SourceBlockEncoder,
    SourceBlockEncodingPlan,
};
use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};
use zmesh_fec::{SYMBOL_LEN, Symbol};

use super::path::Link;
use super::stats::{Meter, Run, Work};
use super::tetrys::content;

/// How cells are put into blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// Cells in a block.
    pub(super) cells: usize,
    /// Repairs of a block.
    pub(super) repairs: usize,
    /// After the block's last cell its repairs are spread over this time, nanoseconds.
    pub(super) spread: u64,
}

/// A block code.
pub(super) trait Code {
    /// Makes the repairs of a block.
    fn encode(&mut self, cells: &[Symbol]) -> Vec<Vec<u8>>;
    /// Recovers all cells of a block from some of them and some repairs, each with its index; nothing if these do not suffice.
    fn decode(&mut self, cells: &[(usize, &Symbol)], repairs: &[(usize, &[u8])]) -> Option<HashMap<usize, Vec<u8>>>;
}

/// Any k of k + r suffice, and nothing is computed: to find the best shape.
#[derive(Debug)]
pub(super) struct Ideal(pub(super) Shape);

impl Code for Ideal {
    fn encode(&mut self, _: &[Symbol]) -> Vec<Vec<u8>> {
        vec![Vec::new(); self.0.repairs]
    }

    fn decode(&mut self, cells: &[(usize, &Symbol)], repairs: &[(usize, &[u8])]) -> Option<HashMap<usize, Vec<u8>>> {
        (cells.len() + repairs.len() >= self.0.cells).then(HashMap::new)
    }
}

/// `reed-solomon-simd`.
pub(super) struct ReedSolomon {
    encoder: ReedSolomonEncoder,
    decoder: ReedSolomonDecoder,
}

impl ReedSolomon {
    pub(super) fn new(shape: Shape) -> Option<ReedSolomon> {
        Some(ReedSolomon {
            encoder: ReedSolomonEncoder::new(shape.cells, shape.repairs, SYMBOL_LEN).ok()?,
            decoder: ReedSolomonDecoder::new(shape.cells, shape.repairs, SYMBOL_LEN).ok()?,
        })
    }
}

impl Code for ReedSolomon {
    fn encode(&mut self, cells: &[Symbol]) -> Vec<Vec<u8>> {
        for cell in cells {
            self.encoder.add_original_shard(cell).expect("as many as the shape says");
        }
        self.encoder.encode().expect("all shards are there").recovery_iter().map(<[u8]>::to_vec).collect()
    }

    fn decode(&mut self, cells: &[(usize, &Symbol)], repairs: &[(usize, &[u8])]) -> Option<HashMap<usize, Vec<u8>>> {
        for (index, cell) in cells {
            self.decoder.add_original_shard(*index, cell).ok()?;
        }
        for (index, repair) in repairs {
            self.decoder.add_recovery_shard(*index, repair).ok()?;
        }
        let result = self.decoder.decode().ok()?;
        Some(result.restored_original_iter().map(|(index, shard)| (index, shard.to_vec())).collect())
    }
}

/// `raptorq`.
pub(super) struct RaptorQ {
    shape: Shape,
    config: ObjectTransmissionInformation,
    plan: SourceBlockEncodingPlan,
    /// The number of a block's first repair symbol.
    first: u32,
}

impl RaptorQ {
    pub(super) fn new(shape: Shape) -> Option<RaptorQ> {
        let length = (shape.cells * SYMBOL_LEN) as u64;
        let config = ObjectTransmissionInformation::new(length, u16::try_from(SYMBOL_LEN).ok()?, 1, 1, 8);
        let plan = SourceBlockEncodingPlan::generate(u16::try_from(shape.cells).ok()?);
        let probe = SourceBlockEncoder::with_encoding_plan(0, &config, &vec![0; shape.cells * SYMBOL_LEN], &plan);
        let first = probe.repair_packets(0, 1).first()?.payload_id().encoding_symbol_id();
        Some(RaptorQ { shape, config, plan, first })
    }
}

impl Code for RaptorQ {
    fn encode(&mut self, cells: &[Symbol]) -> Vec<Vec<u8>> {
        let encoder = SourceBlockEncoder::with_encoding_plan(0, &self.config, &cells.concat(), &self.plan);
        let repairs = encoder.repair_packets(0, u32::try_from(self.shape.repairs).unwrap_or(0));
        repairs.into_iter().map(|packet| packet.split().1).collect()
    }

    fn decode(&mut self, cells: &[(usize, &Symbol)], repairs: &[(usize, &[u8])]) -> Option<HashMap<usize, Vec<u8>>> {
        let packet = |number: u32, data: &[u8]| EncodingPacket::new(PayloadId::new(0, number), data.to_vec());
        let sources = cells.iter().map(|(index, cell)| packet(u32::try_from(*index).unwrap_or(0), *cell));
        let repairs = repairs.iter().map(|(index, data)| packet(self.first + u32::try_from(*index).unwrap_or(0), data));
        let mut decoder = SourceBlockDecoder::new(0, &self.config, (self.shape.cells * SYMBOL_LEN) as u64);
        let block = decoder.decode(sources.chain(repairs).collect::<Vec<_>>())?;
        Some(block.chunks(SYMBOL_LEN).map(<[u8]>::to_vec).enumerate().collect())
    }
}

/// A block in flight: what of it arrives, and when.
#[derive(Debug, Default)]
struct Block {
    cells: Vec<usize>,
    /// Time, index, and the repair's content; none for a cell.
    arrivals: Vec<(u64, usize, Option<Vec<u8>>)>,
}

/// Sends `cells` (time and number, in order of time) of `count` in all.
///
/// # Panics
/// When the code brings a wrong cell.
pub(super) fn run(link: &mut Link<'_>, cells: &[(u64, usize)], count: usize, shape: Shape, code: &mut dyn Code) -> Run {
    let mut run = Run { delivered: vec![None; count], sources: cells.len() as u64, repairs: 0, busy: Duration::ZERO };
    let mut meter = Meter::default();
    // A block that is not full at the end goes without repairs.
    let mut sends = Vec::new();
    let mut blocks = Vec::new();
    for (number, chunk) in cells.chunks(shape.cells).enumerate() {
        let mut block = Block::default();
        for (index, (at, cell)) in chunk.iter().enumerate() {
            block.cells.push(*cell);
            sends.push((*at, number, index, None));
        }
        if chunk.len() == shape.cells {
            let symbols: Vec<Symbol> = block.cells.iter().map(|cell| content(*cell)).collect();
            let last = chunk.last().map_or(0, |(at, _)| *at);
            for (index, repair) in meter.time(Work::MakeRepair, || code.encode(&symbols)).into_iter().enumerate() {
                let wait = shape.spread * (index as u64 + 1) / (shape.repairs as u64 + 1);
                run.repairs += 1;
                sends.push((last + wait, number, index, Some(repair)));
            }
        }
        blocks.push(block);
    }
    sends.sort_by_key(|(at, ..)| *at);
    for (at, number, index, repair) in sends {
        if let Some(arrival) = link.send(at) {
            blocks[number].arrivals.push((arrival, index, repair));
        }
    }
    for block in &mut blocks {
        receive(&mut run, block, shape, code, &mut meter);
    }
    run.busy = meter.total();
    run
}

fn receive(run: &mut Run, block: &mut Block, shape: Shape, code: &mut dyn Code, meter: &mut Meter) {
    block.arrivals.sort_by_key(|(at, ..)| *at);
    let contents: Vec<Symbol> = block.cells.iter().map(|cell| content(*cell)).collect();
    let mut here: Vec<(usize, &Symbol)> = Vec::new();
    let mut repairs: Vec<(usize, &[u8])> = Vec::new();
    for (at, index, repair) in &block.arrivals {
        match repair {
            None => {
                here.push((*index, &contents[*index]));
                run.delivered[block.cells[*index]].get_or_insert(*at);
            }
            Some(repair) => repairs.push((*index, repair)),
        }
        if here.len() == block.cells.len() {
            return;
        }
        if here.len() + repairs.len() < shape.cells {
            continue;
        }
        let Some(restored) = meter.time(Work::TakeRepair, || code.decode(&here, &repairs)) else { continue };
        for (index, cell) in block.cells.iter().enumerate() {
            if let Some(symbol) = restored.get(&index) {
                assert_eq!(symbol.as_slice(), contents[index], "a wrong cell");
            }
            run.delivered[*cell].get_or_insert(*at);
        }
        return;
    }
}
