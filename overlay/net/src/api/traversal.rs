//! How nodes are told to reach others, and be reached, where addresses are translated or UDP is blocked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use zmesh_portmap::{Forwarding, Outside, Transport};
use zmesh_proto::nat::{NatConfig, NatReport, Way};

use super::{NodeError, RelayBuilder, RelayHandle};
use crate::RelayId;
use crate::carrier::{self, Fallback, WebSocketServer, websocket};
use crate::shard::{Command, Shard, Started};

/// What was set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traversal {
    pub(crate) enabled: bool,
    pub(crate) port_mapping: bool,
    pub(crate) fallbacks: Vec<Fallback>,
    pub(crate) websocket: Option<WebSocketServer>,
}

/// What runs beside a node for that. Dropping it ends it.
#[derive(Debug, Default)]
pub(crate) struct Helpers {
    /// Where links are taken over WebSocket.
    pub(crate) websocket: Option<SocketAddr>,
    tasks: Vec<JoinHandle<()>>,
    /// The router's port. Dropping it gives it back as well, if the runtime lives long enough.
    forwarding: Mutex<Option<Forwarding>>,
}

impl Helpers {
    /// Gives the router's port back.
    pub(crate) async fn give_back(&self) {
        let forwarding = self.forwarding.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(forwarding) = forwarding {
            forwarding.give_back().await;
        }
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Traversal {
    /// The node's part. Relays keep introducers.
    pub(crate) fn config(&self, keep_introducers: bool) -> Option<NatConfig> {
        let wanted = self.enabled || !self.fallbacks.is_empty();
        wanted.then(|| NatConfig { keep_introducers: keep_introducers && self.enabled, ..NatConfig::default() })
    }

    /// Starts what runs beside the node.
    ///
    /// # Errors
    /// The WebSocket server cannot listen or use its certificate.
    pub(crate) async fn start(self, started: &Started) -> Result<Helpers, NodeError> {
        let mut helpers = Helpers::default();
        let shard = Arc::downgrade(&started.shard);
        if let Some(server) = self.websocket {
            let listen = server.listen;
            let (address, task) = websocket::serve(&started.shard, server)
                .await
                .map_err(|source| NodeError::Bind { address: listen, source })?;
            helpers.websocket = Some(address);
            helpers.tasks.push(task);
        }
        if !self.fallbacks.is_empty() {
            let hub = Arc::clone(&started.shard.hub);
            helpers.tasks.push(tokio::spawn(carrier::watch(shard.clone(), hub, self.fallbacks)));
        }
        if self.port_mapping {
            let forwarding = started.addresses.iter().find_map(|bound| Forwarding::keep(*bound, Transport::Udp));
            helpers.tasks.extend(forwarding.as_ref().map(|kept| tokio::spawn(tell_mapped(shard, kept.outside()))));
            helpers.forwarding = Mutex::new(forwarding);
        }
        Ok(helpers)
    }
}

/// Tells the node where the router forwards its port.
async fn tell_mapped(shard: Weak<Shard>, mut outside: Outside) {
    while let (Some(mapped), Some(shard)) = (outside.next().await, shard.upgrade()) {
        if !shard.command(Command::SetMapped(mapped.into_iter().collect())).await {
            return;
        }
    }
}

impl RelayBuilder {
    /// Has the relay find out how it is seen, and be reachable also behind translators of addresses: it keeps links to a
    /// few relays that pass on who asks for it. It then also passes on for others.
    #[must_use]
    pub fn traversal(mut self, enabled: bool) -> Self {
        self.traversal.enabled = enabled;
        self
    }

    /// Asks the router to forward the relay's port, by PCP, NAT-PMP or UPnP.
    #[must_use]
    pub fn port_mapping(mut self, enabled: bool) -> Self {
        self.traversal.port_mapping = enabled;
        self
    }

    /// Takes links over WebSocket as well, from those who cannot use UDP.
    #[must_use]
    pub fn websocket(mut self, server: WebSocketServer) -> Self {
        self.traversal.websocket = Some(server);
        self
    }

    /// Relays that the relay links to over WebSocket while UDP leads nowhere.
    #[must_use]
    pub fn fallbacks(mut self, fallbacks: Vec<Fallback>) -> Self {
        self.traversal.fallbacks = fallbacks;
        self
    }
}

impl RelayHandle {
    /// Where the relay takes links over WebSocket.
    #[must_use]
    pub fn websocket_address(&self) -> Option<SocketAddr> {
        self.helpers.websocket
    }

    /// Follows what the relay knows of how it is seen.
    #[must_use]
    pub fn nat(&self) -> watch::Receiver<NatReport> {
        self.started.shard.nat()
    }

    /// Opens a link to a relay of the network document before a circuit needs it. How it goes, [`way_to`](Self::way_to) says.
    ///
    /// # Errors
    /// [`NodeError::Link`] when it cannot be tried.
    ///
    /// # Cancel safety
    /// Dropping the future may leave the link being opened.
    pub async fn open_link(&self, relay: RelayId) -> Result<(), NodeError> {
        self.started.shard.open_link(relay).await.map_err(NodeError::Link)
    }

    /// How the link to a relay goes; `None` when there is none.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn way_to(&self, relay: RelayId) -> Option<Way> {
        self.started.shard.way_to(relay).await
    }
}
