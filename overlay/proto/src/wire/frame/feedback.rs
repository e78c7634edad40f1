//! The FEEDBACK frame: what a receiver tells the sender's congestion controller.

use super::FEEDBACK_LEN;

/// How many counters below the highest one a FEEDBACK reports one by one.
pub const FEEDBACK_BITS: u32 = 120;

/// What has been received on a link, as its receiver sees it.
///
/// ```text
/// type u8 = 3 ‖ highest u32 ‖ received u16 ‖ arrived u32 ‖ delay u16 ‖ bitmap 15     all big-endian
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Feedback {
    /// The highest datagram counter received, its low 32 bits.
    pub highest: u32,
    /// How many datagrams arrived in the link's life, modulo 2¹⁶; repeats do not count.
    pub received: u16,
    /// When the highest one arrived, in microseconds of the receiver's own clock, modulo 2³².
    pub arrived: u32,
    /// How long the report waited since then, in units of 8 µs; saturates.
    pub delay: u16,
    /// Bit `i` stands for `highest − 1 − i`; [`FEEDBACK_BITS`] bits are carried.
    pub bitmap: u128,
}

impl Feedback {
    pub(super) fn read(bytes: &[u8; FEEDBACK_LEN - 1]) -> Self {
        let number = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let mut bitmap = [0; 16];
        bitmap[1..].copy_from_slice(&bytes[12..]);
        Self {
            highest: number(0),
            received: u16::from_be_bytes([bytes[4], bytes[5]]),
            arrived: number(6),
            delay: u16::from_be_bytes([bytes[10], bytes[11]]),
            bitmap: u128::from_be_bytes(bitmap),
        }
    }

    pub(super) fn write(&self, out: &mut [u8; FEEDBACK_LEN - 1]) {
        out[..4].copy_from_slice(&self.highest.to_be_bytes());
        out[4..6].copy_from_slice(&self.received.to_be_bytes());
        out[6..10].copy_from_slice(&self.arrived.to_be_bytes());
        out[10..12].copy_from_slice(&self.delay.to_be_bytes());
        out[12..].copy_from_slice(&self.bitmap.to_be_bytes()[1..]);
    }
}
