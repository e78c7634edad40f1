//! What a node of the control plane tells its owner.

use std::net::SocketAddr;

use libp2p::PeerId;
use libp2p::gossipsub::MessageId;
use zmesh_proto::wire::control::Topic;

use crate::hello::Claims;
use crate::{AskError, PeerIdentity};

/// What happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The node listens.
    Listening {
        /// Where.
        address: SocketAddr,
        /// QUIC; else TCP.
        quic: bool,
    },
    /// Others confirmed that this address reaches the node, or its operator said so.
    Reachable {
        /// The address.
        address: SocketAddr,
    },
    /// A peer has greeted. Its claims are not checked yet: whoever knows how calls [`crate::Control::punish_lie`] if they
    /// are false.
    PeerUp {
        /// Who.
        peer: PeerIdentity,
        /// What it says of itself.
        claims: Claims,
    },
    /// The last connection with a peer that had greeted is over.
    PeerDown {
        /// Who.
        peer: PeerIdentity,
    },
    /// A message came. It is forwarded when [`crate::Control::report`] says so, which should be within some seconds.
    Message {
        /// What to report the verdict on.
        tag: MessageTag,
        /// Its topic.
        topic: Topic,
        /// The message.
        bytes: Vec<u8>,
    },
    /// A peer asks; [`crate::Control::answer`] answers.
    Question {
        /// What to answer to.
        id: QuestionId,
        /// Who asks.
        peer: PeerIdentity,
        /// The question.
        bytes: Vec<u8>,
    },
    /// A question of this node's own has come to an end.
    Answer {
        /// Which question.
        id: AskId,
        /// Whom it was put to.
        peer: PeerIdentity,
        /// The answer.
        result: Result<Vec<u8>, AskError>,
    },
}

/// A message, and who brought it first.
#[derive(Clone, PartialEq, Eq)]
pub struct MessageTag {
    pub(crate) id: MessageId,
    pub(crate) source: PeerId,
    /// Bytes of the message.
    pub(crate) len: usize,
}

impl MessageTag {
    /// Who brought the message first: not who wrote it, which the message itself has to say.
    #[must_use]
    pub fn source(&self) -> Option<PeerIdentity> {
        PeerIdentity::of(&self.source)
    }
}

impl std::fmt::Debug for MessageTag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MessageTag([redacted])")
    }
}

/// A question of a peer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct QuestionId(pub(crate) u64);

/// A question of this node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AskId(pub(crate) u64);

/// Counters and states, without anything that names a peer.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Status {
    /// Peers that are connected and have greeted.
    pub peers: usize,
    /// Connections.
    pub connections: u32,
    /// Peers that are known with an address.
    pub known: usize,
    /// Connections that were turned away.
    pub turned_away: u64,
    /// Messages that were worth forwarding.
    pub accepted: u64,
    /// Messages that were not, without blame.
    pub ignored: u64,
    /// Messages that were held against who brought them.
    pub rejected: u64,
    /// Peers that were cut off, but may come again at once.
    pub cut: u64,
    /// Peers that were seen off to make room for others.
    pub seen_off: u64,
    /// Bans.
    pub banned: u64,
    /// Questions of peers that were not answered because too many were.
    pub refused: u64,
    /// Whether an address is known that reaches the node directly.
    pub reachable: bool,
    /// Whether it has a place at a relay where others can meet it.
    pub met_at_relay: bool,
    /// Connections that a relay carries now.
    pub relayed: usize,
    /// Direct connections that came of relayed ones, because both ends punched.
    pub punched: u64,
}
