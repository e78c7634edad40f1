//! What a [`Node`](super::Node) says to its driver: handles, events and typed errors.

use std::time::Duration;

use crate::link;

/// The longest message of a circuit socket in bytes: three cells of [`crate::relay::message::PART_MAX`].
pub const MESSAGE_MAX: usize = crate::relay::message::MESSAGE_MAX;

/// A circuit that this node built as its origin. Never reused within one run of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CircuitId(pub(crate) u64);

/// A circuit of somebody else that ends at this relay. Never reused within one run of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LocalId(pub(crate) u64);

/// A descriptor that this node fetches over a link. Never reused within one run of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FetchId(pub(crate) u64);

impl CircuitId {
    /// The handle as a number, for logs and tables of a driver.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The handle that [`Self::as_u64`] gave. A number that no node gave out names no circuit.
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }
}

impl LocalId {
    /// The handle as a number, for logs and tables of a driver.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The handle that [`Self::as_u64`] gave. A number that no node gave out names no circuit.
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }
}

/// What happened in a node, drained by [`Node::poll_event`](super::Node::poll_event).
///
/// Its `Debug` shows of a message no more than its length.
#[derive(PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A circuit that [`Node::build`](super::Node::build) began can be used.
    CircuitReady {
        /// The circuit.
        circuit: CircuitId,
        /// From the call of `build` to now.
        took: Duration,
    },
    /// A circuit could not be built. The handle is dead.
    CircuitFailed {
        /// The circuit.
        circuit: CircuitId,
        /// What went wrong.
        reason: BuildFailure,
    },
    /// A circuit that was ready has ended, not by [`Node::close`](super::Node::close). The handle is dead.
    CircuitClosed {
        /// The circuit.
        circuit: CircuitId,
        /// Why.
        reason: CloseReason,
    },
    /// A circuit that is [watched](super::Node::watch) is silent for longer than it should: it may be dead. Probes go out, and
    /// another of these comes after the next silence only.
    CircuitSuspect {
        /// The circuit.
        circuit: CircuitId,
    },
    /// A message from the far end of an own circuit (the last hop, or the other side of a meeting).
    Message {
        /// The circuit.
        circuit: CircuitId,
        /// At most [`MESSAGE_MAX`] bytes.
        message: Vec<u8>,
    },
    /// The answer to [`Node::ping`](super::Node::ping).
    Pong {
        /// The circuit.
        circuit: CircuitId,
        /// The hop that answered, 0 = first relay.
        hop: usize,
        /// Round trip between this node and that hop, queues of both ways included.
        rtt: Duration,
    },
    /// The answer to [`Node::meet`](super::Node::meet). A waiting side first gets `Waiting`, later `Joined`.
    Meeting {
        /// The circuit.
        circuit: CircuitId,
        /// What the meeting relay said.
        outcome: MeetingOutcome,
    },
    /// A message arrived on a circuit that ends here (at an exit).
    LocalMessage {
        /// The circuit.
        local: LocalId,
        /// At most [`MESSAGE_MAX`] bytes.
        message: Vec<u8>,
    },
    /// A circuit that ended here, and that had carried a message, is gone, not by
    /// [`Node::close_local`](super::Node::close_local).
    LocalClosed {
        /// The circuit.
        local: LocalId,
    },
    /// A relay gave its descriptor over a link; see [`Node::fetch_descriptor`](super::Node::fetch_descriptor).
    Descriptor {
        /// Which fetch this ends.
        fetch: FetchId,
        /// The descriptor, not verified; as long as the longest at most.
        descriptor: Vec<u8>,
    },
    /// A descriptor could not be fetched.
    DescriptorFailed {
        /// Which fetch this ends.
        fetch: FetchId,
        /// Why.
        reason: DescriptorFailure,
    },
    /// What [`Node::nat_report`](super::Node::nat_report) says may have changed.
    NatChanged,
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::CircuitReady { circuit, took } => write!(f, "CircuitReady({circuit:?}, {took:?})"),
            Self::CircuitFailed { circuit, reason } => write!(f, "CircuitFailed({circuit:?}, {reason:?})"),
            Self::CircuitClosed { circuit, reason } => write!(f, "CircuitClosed({circuit:?}, {reason:?})"),
            Self::CircuitSuspect { circuit } => write!(f, "CircuitSuspect({circuit:?})"),
            Self::Message { circuit, message } => write!(f, "Message({circuit:?}, {} bytes)", message.len()),
            Self::Pong { circuit, hop, rtt } => write!(f, "Pong({circuit:?}, hop {hop}, {rtt:?})"),
            Self::Meeting { circuit, outcome } => write!(f, "Meeting({circuit:?}, {outcome:?})"),
            Self::LocalMessage { local, message } => write!(f, "LocalMessage({local:?}, {} bytes)", message.len()),
            Self::LocalClosed { local } => write!(f, "LocalClosed({local:?})"),
            Self::Descriptor { fetch, descriptor } => write!(f, "Descriptor({fetch:?}, {} bytes)", descriptor.len()),
            Self::DescriptorFailed { fetch, reason } => write!(f, "DescriptorFailed({fetch:?}, {reason:?})"),
            Self::NatChanged => f.write_str("NatChanged"),
        }
    }
}

/// How to take part in a meeting at the last relay of a circuit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Meet {
    /// Wait under this cookie until another circuit joins.
    Wait([u8; 16]),
    /// Join the circuit that waits under this cookie. A cookie works once.
    Join([u8; 16]),
}

impl std::fmt::Debug for Meet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Wait(_) => f.write_str("Wait([redacted])"),
            Self::Join(_) => f.write_str("Join([redacted])"),
        }
    }
}

/// How a meeting went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MeetingOutcome {
    /// The relay keeps the cookie; the other side has not come yet.
    Waiting,
    /// Both circuits are spliced: messages of one arrive at the other.
    Joined,
    /// Nobody waits under this cookie (any more).
    UnknownCookie,
    /// The relay takes no (more) meetings, the cookie is in use, or this circuit has met already.
    Refused,
    /// The relay did not answer in time.
    NoAnswer,
}

/// Why a circuit could not be built. Kinds only: which relay lied is not knowable from one failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildFailure {
    /// No link to the first relay.
    #[error("the first relay cannot be reached")]
    GuardUnreachable,
    /// No answer within the time limit.
    #[error("the circuit was not built in time")]
    Timeout,
    /// A relay on the path could not reach the next one.
    #[error("a relay on the path could not reach the next one")]
    Unreachable,
    /// A relay on the path refused for lack of resources.
    #[error("a relay on the path is overloaded")]
    Busy,
    /// A relay on the path refused the set-up packet (clock, key or replay).
    #[error("a relay on the path refused the set-up packet")]
    Refused,
    /// The answer of the path did not verify.
    #[error("the answer of the path did not verify")]
    BadReply,
    /// A public key of the path cannot be used.
    #[error("a public key on the path cannot be used")]
    BadKey,
}

/// Why a circuit that was ready has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The link to the first relay went down.
    #[error("the link to the first relay went down")]
    GuardLost,
    /// A link further along the path went down.
    #[error("a link along the path went down")]
    PathLost,
    /// The far end closed it, or the other side of a meeting is gone.
    #[error("the far end closed the circuit")]
    Remote,
    /// A relay closed it for lack of resources or because it was idle.
    #[error("a relay closed the circuit to save resources")]
    Resources,
    /// A cell failed its authenticator here or at the far end.
    #[error("a cell was damaged on the way")]
    Damaged,
    /// Nothing came back for too long although probes were sent.
    #[error("the circuit stopped answering")]
    Unresponsive,
    /// The cell numbers of a direction are used up.
    #[error("the circuit's cell numbers are used up")]
    Exhausted,
    /// A relay gave another reason.
    #[error("a relay closed the circuit")]
    Other,
}

/// Why [`Node::build`](super::Node::build) refused at once.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// No network document was set.
    #[error("no network document is known yet")]
    NoNetwork,
    /// The path has no hops or more than [`zmesh_sphinx::MAX_HOPS`].
    #[error("a path has 1 to {max} hops, not {0}", max = zmesh_sphinx::MAX_HOPS)]
    PathLength(usize),
    /// A relay stands twice on the path, or this node stands on it. Two hops that end at this node are no path but a loop, and allowed.
    #[error("a relay stands twice on the path, or this node stands on it")]
    PathRepeats,
    /// The hop with this index is not in the network document.
    #[error("hop {0} is not in the network document")]
    UnknownRelay(usize),
    /// The hop with this index has no onion key for the present time.
    #[error("hop {0} has no onion key for the present time")]
    NoOnionKey(usize),
    /// As many circuits as the configuration allows are open or being built.
    #[error("too many circuits")]
    TooManyCircuits,
    /// The link to the first relay cannot be opened.
    #[error("the link to the first relay cannot be opened")]
    Link(#[source] link::Error),
}

/// Why a relay's descriptor did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DescriptorFailure {
    /// No link to the relay.
    #[error("the relay cannot be reached")]
    Unreachable,
    /// There is a link, and no answer.
    #[error("the relay did not give its descriptor in time")]
    NoAnswer,
    /// The relay has none to give.
    #[error("the relay has no descriptor to give yet")]
    None,
    /// The parts do not make one descriptor.
    #[error("the relay gave parts that make no descriptor")]
    Unreadable,
}

/// Why [`Node::fetch_descriptor`](super::Node::fetch_descriptor) refused at once.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// As many are under way as a node has at once.
    #[error("too many descriptors are being fetched")]
    TooMany,
    /// The link cannot be opened.
    #[error("the link to the relay cannot be opened")]
    Link(#[source] link::Error),
}

/// Why a message or a control cell could not be sent. Being dropped by a full queue is no error:
/// the circuit socket is unreliable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The handle names no circuit, or one that has ended.
    #[error("no such circuit")]
    NoCircuit,
    /// The circuit is still being built.
    #[error("the circuit is not ready yet")]
    NotReady,
    /// The message is longer than [`MESSAGE_MAX`].
    #[error("a message has at most {MESSAGE_MAX} bytes, not {0}")]
    TooLong(usize),
    /// An empty message says nothing.
    #[error("an empty message cannot be sent")]
    Empty,
    /// The circuit has no hop with this index.
    #[error("the circuit has no hop {0}")]
    NoHop(usize),
    /// More probes are under way than a node remembers.
    #[error("too many unanswered probes")]
    TooManyProbes,
    /// This circuit takes part in a meeting already.
    #[error("the circuit takes part in a meeting already")]
    AlreadyMeeting,
    /// The cell numbers are used up: build another circuit.
    #[error("the circuit's cell numbers are used up")]
    Exhausted,
}
