//! The window update (RFC 9407 §5.3): what the receiver has, so that the sender stops coding it.

/// Tells the sender which symbols need no repair any more.
///
/// On the wire: `first u16 ‖ held u64`, big-endian, [`WindowUpdate::LEN`] bytes. Every value means something, so decoding cannot fail; the
/// loss rate that RFC 9407 adds here is not repeated, since a link's FEEDBACK tells it for all datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WindowUpdate {
    /// Every symbol before this one is held or given up; this one is missing.
    pub first: u16,
    /// Bit i: the symbol `first + 1 + i` is held.
    pub held: u64,
}

impl WindowUpdate {
    /// Bytes on the wire.
    pub const LEN: usize = 10;

    /// Reads an update.
    #[must_use]
    pub const fn decode(bytes: &[u8; WindowUpdate::LEN]) -> WindowUpdate {
        let [a, b, held @ ..] = *bytes;
        WindowUpdate { first: u16::from_be_bytes([a, b]), held: u64::from_be_bytes(held) }
    }

    /// The update as it stands on the wire.
    #[must_use]
    pub fn encode(&self) -> [u8; WindowUpdate::LEN] {
        let mut bytes = [0; WindowUpdate::LEN];
        bytes[..2].copy_from_slice(&self.first.to_be_bytes());
        bytes[2..].copy_from_slice(&self.held.to_be_bytes());
        bytes
    }

    /// Whether the receiver needs nothing more for the symbol `id`. Ids more than half the circle ahead count as before.
    #[must_use]
    pub const fn is_done(&self, id: u16) -> bool {
        match id.wrapping_sub(self.first) {
            0 => false,
            ahead @ 1..=64 => self.held >> (ahead - 1) & 1 == 1,
            ahead => ahead >= 1 << 15,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_value_has_one_form(bytes: [u8; WindowUpdate::LEN]) {
            prop_assert_eq!(WindowUpdate::decode(&bytes).encode(), bytes);
        }
    }

    #[test]
    fn ids_wrap() {
        let update = WindowUpdate { first: 65_535, held: 0b10 };
        assert!(update.is_done(65_534), "before");
        assert!(!update.is_done(65_535), "the missing one");
        assert!(!update.is_done(0));
        assert!(update.is_done(1));
        assert!(!update.is_done(100), "ahead of all that is known");
    }
}
