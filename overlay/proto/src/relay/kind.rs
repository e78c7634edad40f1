//! Kinds of cells, answers of a meeting relay and reasons of DESTROY: the numbers on the wire.

/// Kinds of cells, the byte after the authenticator.
pub mod cell {
    /// Nothing. Ignored by whoever it is for.
    pub const PAD: u8 = 0;
    /// A part of a message; see [`crate::relay::message`].
    pub const MSG: u8 = 1;
    /// A probe: 8 bytes that the hop sends back.
    pub const PING: u8 = 2;
    /// The answer to a probe, with its 8 bytes.
    pub const PONG: u8 = 3;
    /// Wait at this relay: a cookie of 16 bytes.
    pub const MEET_WAIT: u8 = 4;
    /// Join the circuit that waits here: a cookie of 16 bytes.
    pub const MEET_JOIN: u8 = 5;
    /// The relay's answer: one byte of [`super::meet`].
    pub const MEET_ANSWER: u8 = 6;
}

/// The byte of a MEET_ANSWER cell.
pub mod meet {
    /// The cookie is kept; nobody has joined yet.
    pub const WAITING: u8 = 1;
    /// Both circuits are spliced.
    pub const JOINED: u8 = 2;
    /// Nobody waits under the cookie.
    pub const UNKNOWN: u8 = 3;
    /// No meetings here, no room, the cookie is in use, or this circuit has met already.
    pub const REFUSED: u8 = 4;
}

/// The reason byte of a DESTROY frame.
///
/// It is told towards the origin only; away from the origin it is always [`NONE`](reason::NONE), so that a relay does
/// not learn what happened behind it.
pub mod reason {
    /// The origin closed the circuit, or no reason is given.
    pub const NONE: u8 = 0;
    /// The neighbour broke the protocol.
    pub const PROTOCOL: u8 = 1;
    /// No room for another circuit.
    pub const RESOURCES: u8 = 2;
    /// Too much public-key work is waiting.
    pub const BUSY: u8 = 3;
    /// The set-up packet was refused: wrong key, slot, MAC, or a replay.
    pub const REFUSED: u8 = 4;
    /// The next relay is unknown or cannot be reached.
    pub const UNREACHABLE: u8 = 5;
    /// A link that the circuit used went down.
    pub const LINK_DOWN: u8 = 6;
    /// A cell failed its authenticator.
    pub const DAMAGED: u8 = 7;
    /// Nothing moved for too long.
    pub const IDLE: u8 = 8;
    /// The far end closed the circuit, or the other side of a meeting is gone.
    pub const REMOTE: u8 = 9;
    /// The cell numbers are used up.
    pub const EXHAUSTED: u8 = 10;
    /// The rest of the path did not answer in time.
    pub const TIMEOUT: u8 = 11;
    /// The sender knows no such circuit.
    pub const UNKNOWN: u8 = 12;
}

/// Bytes of a probe.
pub const PING_LEN: usize = 8;
/// Bytes of a meeting's cookie.
pub const COOKIE_LEN: usize = 16;
