//! Symbols of chunks: any few more than `k` of them, from whomever, give back the chunk (RaptorQ, RFC 6330).
//!
//! A chunk is one source block of `k` source symbols of [`SYMBOL_LEN`] bytes. Only repair symbols travel, numbered from 0
//! to [`REPAIRS`] less one: holders that begin at numbers far apart give symbols that never coincide, without having to
//! agree on who gives what. Whether a set of symbols is enough depends on their numbers alone, never on their bytes, so
//! wrong bytes give a wrong chunk and not a failure: whoever decodes compares a hash.

#[cfg(test)]
mod tests;

use std::fmt;

use raptorq::{EncodingPacket, ObjectTransmissionInformation, PayloadId, SourceBlockDecoder, SourceBlockEncoder};

/// Length of a symbol, in bytes.
pub const SYMBOL_LEN: usize = 1024;

/// Most source symbols of a chunk.
pub const SOURCES_MAX: u16 = 256;

/// How many repair symbols a chunk has. Their numbers go round: the last is followed by the first.
pub const REPAIRS: u32 = (1 << 24) - 1024;

/// With this many symbols more than `k`, decoding fails about once in a million times; with none, once in a hundred.
pub const MARGIN: u16 = 2;

/// Why something is no chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not a whole number of symbols, none at all, or more than [`SOURCES_MAX`].
    #[error("{len} bytes are not 1 to {SOURCES_MAX} symbols of {SYMBOL_LEN} bytes")]
    Length {
        /// Bytes given.
        len: usize,
    },
}

/// Makes symbols of one chunk. Holds about twice the chunk's length.
pub struct Encoder(SourceBlockEncoder);

impl Encoder {
    /// Prepares a chunk: the costly part.
    ///
    /// # Errors
    /// [`Error::Length`].
    pub fn new(chunk: &[u8]) -> Result<Self, Error> {
        let wrong = || Error::Length { len: chunk.len() };
        if !chunk.len().is_multiple_of(SYMBOL_LEN) {
            return Err(wrong());
        }
        let sources = u16::try_from(chunk.len() / SYMBOL_LEN).map_err(|_| wrong())?;
        if !(1..=SOURCES_MAX).contains(&sources) {
            return Err(wrong());
        }
        Ok(Self(SourceBlockEncoder::new(0, &block(sources), chunk)))
    }

    /// Appends `count` symbols from number `first` on to `out`. Numbers are taken modulo [`REPAIRS`].
    pub fn symbols(&self, first: u32, count: u16, out: &mut Vec<u8>) {
        let first = first % REPAIRS;
        let until_end = (REPAIRS - first).min(count.into());
        let packets = self.0.repair_packets(first, until_end);
        let around = self.0.repair_packets(0, u32::from(count) - until_end);
        for packet in packets.iter().chain(&around) {
            out.extend_from_slice(packet.data());
        }
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Encoder")
    }
}

/// Gives back a chunk of `sources` source symbols, if these symbols are enough. A number that comes twice counts once,
/// with the bytes that came first; symbols of another length and numbers of [`REPAIRS`] and above are left out.
///
/// The result is what the symbols say. If one of them is wrong, so is the result.
#[must_use]
pub fn decode<'a>(sources: u16, symbols: impl IntoIterator<Item = (u32, &'a [u8])>) -> Option<Vec<u8>> {
    if !(1..=SOURCES_MAX).contains(&sources) {
        return None;
    }
    let packets: Vec<_> = symbols
        .into_iter()
        .filter(|(number, data)| *number < REPAIRS && data.len() == SYMBOL_LEN)
        .map(|(number, data)| EncodingPacket::new(PayloadId::new(0, u32::from(sources) + number), data.to_vec()))
        .collect();
    SourceBlockDecoder::new(0, &block(sources), len(sources)).decode(packets)
}

fn len(sources: u16) -> u64 {
    u64::from(sources) * SYMBOL_LEN as u64
}

/// One block, not split further; symbols aligned to 8 bytes.
fn block(sources: u16) -> ObjectTransmissionInformation {
    const LEN: u16 = 1024;
    const { assert!(LEN as usize == SYMBOL_LEN) };
    ObjectTransmissionInformation::new(len(sources), LEN, 1, 1, 8)
}
