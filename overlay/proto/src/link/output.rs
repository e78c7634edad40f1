//! The output buffer: sealed datagrams in runs of one length and destination, ready for segmentation offload.

use std::net::SocketAddr;

/// Segments in one run, at most.
pub const MAX_SEGMENTS: usize = 64;
/// Bytes in one run, at most.
pub const MAX_RUN_BYTES: usize = 64_000;

/// A run of datagrams of one length to one address. A driver may send it with one system call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transmit<'a> {
    /// Where to.
    pub to: SocketAddr,
    /// The length of every datagram in `data`.
    pub segment: usize,
    /// One datagram after the other; a whole multiple of `segment`.
    pub data: &'a [u8],
}

#[derive(Clone, Copy, Debug)]
struct Run {
    to: SocketAddr,
    segment: usize,
    start: usize,
    end: usize,
}

/// Collects datagrams between two calls of [`clear`](Output::clear). Its memory is reused.
#[derive(Debug, Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
    runs: Vec<Run>,
}

impl Output {
    /// Appends a datagram of `len` zero bytes for `to` and lends it to be written.
    pub(super) fn datagram(&mut self, to: SocketAddr, len: usize) -> &mut [u8] {
        let start = self.bytes.len();
        let end = start + len;
        self.bytes.resize(end, 0);
        match self.runs.last_mut() {
            Some(run)
                if run.to == to
                    && run.segment == len
                    && end - run.start <= MAX_RUN_BYTES
                    && end - run.start <= MAX_SEGMENTS * len =>
            {
                run.end = end;
            }
            _ => self.runs.push(Run { to, segment: len, start, end }),
        }
        &mut self.bytes[start..end]
    }

    /// The runs, in the order of sending.
    pub(super) fn transmits(&self) -> impl Iterator<Item = Transmit<'_>> {
        self.runs.iter().map(|run| Transmit { to: run.to, segment: run.segment, data: &self.bytes[run.start..run.end] })
    }

    /// Forgets what was sent and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.runs.clear();
    }
}
