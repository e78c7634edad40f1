//! The errors of this crate.

use thiserror::Error as ThisError;

/// Why a set-up packet, a key or a reply was refused.
///
/// Failures of cryptographic checks are opaque on purpose: the other side learns nothing from which check failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum Error {
    /// A path needs 1 to [`MAX_HOPS`](crate::MAX_HOPS) hops.
    #[error("a path of {0} hops: 1 to 4 are possible")]
    PathLength(usize),
    /// The same relay or the same onion key occurs twice in a path.
    #[error("the same relay occurs twice in the path")]
    RepeatedRelay,
    /// Not the canonical encoding of a group element other than the identity.
    #[error("not a canonical group element, or the identity")]
    InvalidElement,
    /// Not the canonical encoding of a scalar other than zero.
    #[error("not a canonical scalar, or zero")]
    InvalidSecret,
    /// The header was not made for this relay and onion key, or was altered.
    #[error("the set-up header does not authenticate")]
    HeaderRefused,
    /// The packet belongs to another time.
    #[error("the set-up packet belongs to another slot")]
    SlotOutOfRange,
    /// An authentic header holds values that this version does not know.
    #[error("the set-up header holds unknown values")]
    UnknownRouting,
    /// The body was altered on the way to the last hop.
    #[error("the set-up body does not authenticate")]
    BodyRefused,
    /// Some hop's answer is missing or wrong; the whole circuit fails.
    #[error("the set-up reply does not authenticate")]
    ReplyRefused,
    /// Not the stored form of a replay filter, or a damaged one.
    #[error("damaged or unknown replay filter state")]
    FilterState,
}

/// Why the replay filter refused a set-up packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum ReplayError {
    /// The packet was here before.
    #[error("the set-up packet was seen before")]
    Replayed,
    /// The slot's share of the filter is used up; nothing is evicted to make room.
    #[error("the replay filter is full for this slot")]
    Full,
    /// The filter does not remember this slot (any more).
    #[error("the set-up packet's slot is outside the replay filter")]
    OutOfSlot,
}

/// Why a cell was refused. [`CellError::ends_circuit`] tells which of them do more than drop the one cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum CellError {
    /// The cell number was seen before.
    #[error("the cell number was seen before")]
    Replayed,
    /// The cell number lies before the window, or its phase key has been erased.
    #[error("the cell is too old")]
    TooOld,
    /// The cell number lies more than one key phase ahead, or further than the time since the last cell explains.
    #[error("the cell number is too far ahead")]
    TooFarAhead,
    /// The lane cannot be in use in this direction at this hop. (At the origin, which knows all lanes, such a cell is forged.)
    #[error("no such lane here")]
    UnknownLane,
    /// The authenticator failed at the last place that could accept the cell: end the circuit.
    #[error("the cell does not authenticate")]
    Forged,
    /// The circuit has carried 2⁴⁸ cells that way: end it and build another.
    #[error("the circuit's cell numbers are used up")]
    Exhausted,
    /// A cell for an earlier hop would open a key phase; send one to the last hop first. Nothing was sent.
    #[error("a key phase begins with a cell for the last hop")]
    PhaseNotOpen,
    /// More than [`PAYLOAD_MAX`](crate::PAYLOAD_MAX) bytes of payload.
    #[error("the payload is longer than a cell")]
    PayloadTooLong,
    /// The circuit has fewer hops.
    #[error("the circuit has no such hop")]
    NoSuchHop,
}

impl CellError {
    /// Whether the circuit must be torn down because of this error.
    #[must_use]
    pub fn ends_circuit(self) -> bool {
        matches!(self, Self::Forged | Self::Exhausted)
    }
}
