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
