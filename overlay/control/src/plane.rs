//! The protocols of a node, put together.

use std::num::NonZeroUsize;
use std::time::Duration;

use libp2p::allow_block_list::{self, BlockedPeers};
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::identity::Keypair;
use libp2p::kad::store::{MemoryStore, MemoryStoreConfig};
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{PeerId, autonat, dcutr, identify, kad, memory_connection_limits, ping, relay};

use crate::framing::{self, Asking};
use crate::gate::Gate;
use crate::gossip::{self, Gossip};
use crate::names::{AGENT, Names};
use crate::{Limits, StartError};

/// What kind of node it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// A relay or directory node, with an identity that lasts: gossips, answers, is found. Others only look.
    pub(crate) lasting: bool,
    /// Carries connections of nodes behind NAT.
    pub(crate) relays: bool,
}

/// The order matters: what turns connections away stands first.
#[derive(NetworkBehaviour)]
pub(crate) struct Plane {
    pub(crate) gate: Gate,
    pub(crate) bans: allow_block_list::Behaviour<BlockedPeers>,
    limits: connection_limits::Behaviour,
    memory: Toggle<memory_connection_limits::Behaviour>,
    pub(crate) identify: identify::Behaviour,
    pub(crate) hello: Asking,
    pub(crate) ask: Toggle<Asking>,
    pub(crate) gossip: Toggle<Gossip>,
    pub(crate) kad: kad::Behaviour<MemoryStore>,
    ping: ping::Behaviour,
    pub(crate) reach: Toggle<autonat::v2::client::Behaviour>,
    reach_others: Toggle<autonat::v2::server::Behaviour>,
    relay: Toggle<relay::Behaviour>,
    pub(crate) relayed: relay::client::Behaviour,
    punch: dcutr::Behaviour,
}

impl Plane {
    pub(crate) fn new(
        key: &Keypair,
        names: &Names,
        kind: Kind,
        limits: &Limits,
        relayed: relay::client::Behaviour,
    ) -> Result<Self, StartError> {
        let peer = key.public().to_peer_id();
        let gossip = if kind.lasting { Some(gossip::behaviour(names, limits)?) } else { None };
        Ok(Self {
            gate: Gate::new(limits),
            bans: allow_block_list::Behaviour::default(),
            limits: connection_limits::Behaviour::new(connections(limits)),
            memory: limits.memory.map(memory_connection_limits::Behaviour::with_max_bytes).into(),
            identify: identify(key, names),
            hello: framing::hello(names),
            ask: kind.lasting.then(|| framing::ask(names)).into(),
            gossip: gossip.into(),
            kad: kademlia(peer, names, kind.lasting),
            ping: ping::Behaviour::new(ping::Config::new().with_interval(Duration::from_secs(30))),
            reach: kind.lasting.then(autonat::v2::client::Behaviour::default).into(),
            reach_others: kind.lasting.then(autonat::v2::server::Behaviour::default).into(),
            relay: (kind.lasting && kind.relays).then(|| relay::Behaviour::new(peer, relaying())).into(),
            relayed,
            punch: dcutr::Behaviour::new(peer),
        })
    }
}

fn connections(limits: &Limits) -> ConnectionLimits {
    ConnectionLimits::default()
        .with_max_pending_incoming(Some(limits.pending_inbound))
        .with_max_pending_outgoing(Some(limits.pending_outbound))
        .with_max_established_incoming(Some(limits.inbound))
        .with_max_established_per_peer(Some(limits.per_peer))
        .with_max_established(Some(limits.connections))
}

/// Tells only addresses that are known to be reachable from outside: never those of the network that the machine is in.
fn identify(key: &Keypair, names: &Names) -> identify::Behaviour {
    let config = identify::Config::new(names.family(), key.public())
        .with_agent_version(AGENT.to_owned())
        .with_hide_listen_addrs(true)
        .with_push_listen_addr_updates(true)
        .with_cache_size(0);
    identify::Behaviour::new(config)
}

/// Kademlia finds nodes and keeps nothing: what nodes have to say they gossip and sign.
fn kademlia(peer: PeerId, names: &Names, lasting: bool) -> kad::Behaviour<MemoryStore> {
    let nothing =
        MemoryStoreConfig { max_records: 0, max_value_bytes: 0, max_providers_per_key: 0, max_provided_keys: 0 };
    let mut config = kad::Config::new(names.protocol("kad"));
    config
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        .disjoint_query_paths(true)
        .set_parallelism(NonZeroUsize::new(3).expect("not zero"))
        .set_query_timeout(Duration::from_secs(30))
        .set_max_packet_size(16 << 10)
        .set_caching(kad::Caching::Disabled)
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_provider_publication_interval(None)
        .set_periodic_bootstrap_interval(Some(Duration::from_secs(120)));
    let mut kad = kad::Behaviour::with_config(peer, MemoryStore::with_config(peer, nothing), config);
    if !lasting {
        kad.set_mode(Some(kad::Mode::Client));
    }
    kad
}

/// Enough for two nodes to agree on a direct connection, and for nothing else.
fn relaying() -> relay::Config {
    relay::Config {
        max_reservations: 64,
        max_reservations_per_peer: 1,
        reservation_duration: Duration::from_secs(3_600),
        max_circuits: 32,
        max_circuits_per_peer: 2,
        max_circuit_duration: Duration::from_secs(120),
        max_circuit_bytes: 128 << 10,
        ..relay::Config::default()
    }
}
