//! Names and words about legs.

use serde::Serialize;
use std::fmt;

/// How many legs a call has and what they carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// One leg; when it dies, so does the call.
    Single,
    /// A second one stands by.
    #[default]
    Standby,
    /// Every message goes by both.
    Doubled,
}

/// A leg's number. The first is 0; a new one at the same place of the two has a number higher by 2.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
pub struct LegId(pub u8);

impl LegId {
    /// Which of the two places it takes, 0 or 1.
    #[must_use]
    pub fn place(self) -> usize {
        usize::from(self.0 % 2)
    }
}

/// What the network had for a leg.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Reach {
    /// Relays that this side's half of the leg shares with the other leg, because the network has too few.
    pub shared: usize,
}

/// What the driver has to do.
#[derive(Clone, PartialEq, Eq)]
pub enum Step {
    /// Choose a meeting relay, build a circuit there and wait under a fresh cookie; report by [`opened`](super::Legs::opened).
    Offer(LegId),
    /// Build a circuit to this meeting relay and join what waits there.
    Join {
        /// The leg.
        leg: LegId,
        /// The meeting relay's identifier.
        relay: [u8; 16],
        /// What the meeting relay knows the waiting circuit by.
        cookie: [u8; 16],
    },
    /// Close the circuit of this leg, or give up building it.
    Close(LegId),
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offer(leg) => write!(f, "Offer({leg:?})"),
            Self::Join { leg, .. } => write!(f, "Join({leg:?}, [redacted])"),
            Self::Close(leg) => write!(f, "Close({leg:?})"),
        }
    }
}

/// Why a leg was left or given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// Nothing came by it any more while the other leg went on.
    Silent,
    /// It lost or delayed more than the other.
    Worse,
    /// Its circuit ended, here or at the other side.
    Ended,
    /// Its circuit could not be built.
    NotBuilt,
    /// The other side never came to it.
    NobodyCame,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silent => "it stopped answering",
            Self::Worse => "it got worse than the other",
            Self::Ended => "its circuit ended",
            Self::NotBuilt => "it could not be built",
            Self::NobodyCame => "the other side did not come to it",
        })
    }
}

/// What happened to a call's legs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "leg_event")]
#[non_exhaustive]
pub enum LegEvent {
    /// A second leg is up and heard.
    Ready {
        /// Which.
        leg: LegId,
        /// What the network had for it.
        reach: Reach,
    },
    /// This side sends by another leg from now on.
    Moved {
        /// The one it left.
        from: LegId,
        /// The one it went to.
        to: LegId,
        /// Why.
        cause: Cause,
    },
    /// A leg was given up or has ended.
    Gone {
        /// Which.
        leg: LegId,
        /// Why.
        cause: Cause,
    },
    /// No new leg for now: too many were lost in a short time.
    BudgetSpent,
}
