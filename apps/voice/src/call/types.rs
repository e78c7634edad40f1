//! What a call is told and what it tells.

use super::words::Words;
use crate::media::codec::CodecError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How patient a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long after the splice to wait for the other side to prove that it holds the invite.
    pub handshake: Duration,
    /// How long the other side may be silent before the call ends. As long may pass between a caller's first handshake message and the
    /// first frame that follows from the answer.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { handshake: Duration::from_secs(20), silence: Duration::from_secs(5) }
    }
}

/// Which end of the call this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The side that was given the invite.
    Caller,
    /// The side that made the invite.
    Answerer,
}

/// Why a call is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EndReason {
    /// This side hung up.
    HungUp,
    /// The other side hung up.
    PeerHungUp,
    /// Nothing valid came from the other side for too long.
    PeerSilent,
    /// The other side never proved that it holds the invite, or never finished the handshake.
    NoHandshake,
    /// The invite's time was over before a caller came.
    InviteExpired,
    /// The caller revealed another nonce than the one that it was committed to. No words were shown.
    WrongNonce,
    /// Every circuit under the call broke.
    CircuitLost,
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HungUp => "you hung up",
            Self::PeerHungUp => "the other side hung up",
            Self::PeerSilent => "nothing was heard from the other side any more",
            Self::NoHandshake => "the other side did not answer with this invite",
            Self::InviteExpired => "the invite expired before anybody called",
            Self::WrongNonce => {
                "the other side broke its commitment to the words: somebody may sit between you, use a new invite over another channel"
            }
            Self::CircuitLost => "every path to the other side was lost",
        })
    }
}

/// What a call has to tell.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallEvent {
    /// The caller's first message went out.
    Ringing,
    /// Both sides hold the same keys; sound flows. Both people should see the same words. Nobody could choose them any more.
    Connected(Words),
    /// The other side's program says something to this side's: 1 to 64 bytes, each aside once and in order.
    Aside(Arc<[u8]>),
    /// The call is over.
    Ended(EndReason),
}

impl fmt::Debug for CallEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ringing => f.write_str("Ringing"),
            Self::Connected(words) => write!(f, "Connected({words:?})"),
            // It may hold keys.
            Self::Aside(_) => f.write_str("Aside([redacted])"),
            Self::Ended(reason) => write!(f, "Ended({reason:?})"),
        }
    }
}

/// A call could not be set up on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// Opus could not be set up.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The system gave no random bytes.
    #[error("the system gives no random bytes")]
    Randomness,
    /// The key in the invite is not usable.
    #[error("the key in the invite is not usable")]
    Key,
}
