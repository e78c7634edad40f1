//! How nodes are told to reach others, and be reached, where addresses are translated or UDP is blocked.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinHandle;
use zmesh_proto::nat::NatConfig;

use super::NodeError;
use crate::carrier::{self, Fallback, WebSocketServer, websocket};
use crate::portmap;
use crate::shard::Started;

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
            let (address, task) = websocket::serve(Arc::clone(&started.shard.hub), server)
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
            helpers.tasks.push(tokio::spawn(portmap::keep(shard, started.addresses.clone())));
        }
        Ok(helpers)
    }
}
