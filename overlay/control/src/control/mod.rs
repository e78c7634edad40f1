//! A node of the control plane.

mod api;
mod crowd;
mod greet;
mod handle;
mod places;
mod start;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use libp2p::core::transport::ListenerId;
use libp2p::request_response::{InboundRequestId, OutboundRequestId, ResponseChannel};
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId, Swarm};
use tokio::time::Interval;
use zmesh_proto::wire::document::NetworkId;

use crate::address::Direct;
use crate::book::Book;
use crate::event::{AskId, Event, QuestionId, Status};
use crate::framing::Answered;
use crate::hello::Claims;
use crate::mapping::Mappings;
use crate::meter::{Left, Meter};
use crate::names::Names;
use crate::plane::{Kind, Plane};
use crate::reach::Reach;
use crate::settings::Builder;
use crate::{Contact, Limits, PeerIdentity, Store};
use places::Places;

/// A node of the control plane, and its driver at once: it makes progress while [`Control::next`] is called, and there is
/// no queue between the network and its owner that could fill. Connections are served by tasks of the runtime.
///
/// Call [`Control::next`] again and again; act on what it gives by [`Control::report`], [`Control::answer`] and the rest.
/// Dropping the node closes its connections; [`Control::flush`] before that keeps what it learnt of its peers, and
/// [`Control::give_ports_back`] waits until the router has its ports back.
pub struct Control {
    swarm: Swarm<Plane>,
    names: Names,
    network: NetworkId,
    kind: Kind,
    test_network: bool,
    listens: bool,
    limits: Limits,
    claims: Claims,
    bootstrap: Vec<(Contact, Retry)>,
    book: Book,
    store: Option<Arc<Store>>,
    peers: BTreeMap<PeerId, Peer>,
    questions: HashMap<QuestionId, ResponseChannel<Answered>>,
    question_requests: HashMap<QuestionId, InboundRequestId>,
    asks: HashMap<OutboundRequestId, AskId>,
    serial: u64,
    answers_in_flight: HashMap<InboundRequestId, Flight>,
    events: VecDeque<Event>,
    tick: Interval,
    ticks: u64,
    mappings: Mappings,
    /// Where the router forwards the ports of QUIC and TCP, as it said last.
    mapped: [Option<SocketAddr>; 2],
    reach: Reach,
    /// Addresses that the operator named.
    advertised: BTreeSet<Multiaddr>,
    places: Places<ListenerId>,
    /// What peers that left have sent.
    left: Left<Door>,
    status: Status,
    started: Instant,
}

/// A connected peer.
struct Peer {
    since: Instant,
    connections: HashMap<ConnectionId, Seen>,
    /// Addresses at which this node reached it, or at which it says it is reached and that lie where it is.
    addresses: Vec<Direct>,
    /// What it said of itself, once it has greeted.
    claims: Option<Claims>,
    /// It speaks Kademlia as one that answers.
    routes: bool,
    /// It carries connections for others.
    relays: bool,
    /// The relays at which it says that it can be met, or was.
    met_at: Vec<PeerIdentity>,
    meter: Meter,
    /// Where it came by.
    doors: BTreeSet<Door>,
    /// Greetings that it sent.
    greetings: u32,
}

/// A connection with a peer.
#[derive(Clone, Copy)]
struct Seen {
    /// Where the peer is, if the connection is direct.
    ip: Option<IpAddr>,
    /// The peer began it.
    inbound: bool,
    /// A relay carries it.
    relayed: bool,
}

/// By what a peer that comes again is known: its address, as arrivals are counted, or itself where it has none to be known by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Door {
    Area(IpAddr),
    Peer(PeerId),
}

/// An answer on its way.
#[derive(Clone, Copy)]
enum Flight {
    /// It has so many bytes for itself.
    Own(usize),
    /// Many share its bytes.
    Shared,
}

/// When a contact is called again.
#[derive(Clone, Copy)]
struct Retry {
    at: Instant,
    pause: Duration,
}

impl Control {
    /// Settings of a node in the network with this id.
    #[must_use]
    pub fn builder(network: NetworkId) -> Builder {
        Builder::new(network)
    }

    /// Lets the node work until there is something to tell.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is lost.
    pub async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            tokio::select! {
                event = self.swarm.select_next_some() => self.handle(event),
                _ = self.tick.tick() => self.upkeep(),
                mapped = self.mappings.next() => self.port_mapped(mapped),
            }
        }
    }

    /// Who this node is.
    #[must_use]
    pub fn identity(&self) -> PeerIdentity {
        PeerIdentity::of(self.swarm.local_peer_id()).expect("this crate makes Ed25519 keys only")
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("status", &self.status).finish_non_exhaustive()
    }
}
