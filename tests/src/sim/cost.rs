//! What work costs on one core, as measured on a 2-core 2.5 GHz x86-64 machine with AES and carry-less multiplication
//! (`make bench`, release build). The simulator charges these figures; change them here and nowhere else.

use std::time::Duration;

/// Receiving one datagram: its share of a `recvmmsg` with GRO, and opening it.
pub const DATAGRAM_IN: Duration = Duration::from_nanos(1_500);

/// Sending one datagram: sealing it, and its share of a `sendmsg` with GSO.
pub const DATAGRAM_OUT: Duration = Duration::from_nanos(1_500);

/// One cell through a relay: look-up, one layer, queue.
pub const CELL: Duration = Duration::from_nanos(700);

/// A datagram that is thrown away after a look at its header.
pub const JUNK: Duration = Duration::from_nanos(600);

/// A turn without any datagram: timers.
pub const TURN: Duration = Duration::from_nanos(1_000);

/// What work costs on one kind of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Costs {
    /// As [`DATAGRAM_IN`].
    pub datagram_in: Duration,
    /// As [`DATAGRAM_OUT`].
    pub datagram_out: Duration,
    /// As [`CELL`].
    pub cell: Duration,
    /// As [`JUNK`].
    pub junk: Duration,
    /// As [`TURN`].
    pub turn: Duration,
}

impl Costs {
    /// The machine of the figures above.
    pub const NATIVE: Costs =
        Costs { datagram_in: DATAGRAM_IN, datagram_out: DATAGRAM_OUT, cell: CELL, junk: JUNK, turn: TURN };

    /// The same machine with cryptography that takes longer: by so much for each layer of a cell, and for sealing or opening a datagram.
    #[must_use]
    pub fn slower(self, layer: Duration, cipher: Duration) -> Costs {
        Costs {
            datagram_in: self.datagram_in + cipher,
            datagram_out: self.datagram_out + cipher,
            cell: self.cell + layer,
            ..self
        }
    }
}

impl Default for Costs {
    fn default() -> Costs {
        Costs::NATIVE
    }
}
