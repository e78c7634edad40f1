//! How a node of the control plane is set up.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use ed25519_dalek::SigningKey;
use libp2p::identity::Keypair;
use zmesh_proto::wire::document::NetworkId;

use crate::hello::Claims;
use crate::{Contact, Control, Limits, StartError, Store, identity};

/// Settings of a node; made by [`Control::builder`].
///
/// Without [`Builder::identity`] the node takes a fresh identity that ends with it, listens nowhere, publishes nothing and
/// is not found by others: that is what somebody takes who needs the control plane for a moment.
pub struct Builder {
    pub(crate) network: NetworkId,
    pub(crate) key: Option<Keypair>,
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) advertise: Vec<SocketAddr>,
    pub(crate) bootstrap: Vec<Contact>,
    pub(crate) store: Option<Arc<Store>>,
    pub(crate) limits: Limits,
    pub(crate) claims: Claims,
    pub(crate) test_network: bool,
    pub(crate) relays: bool,
    pub(crate) maps_ports: bool,
}

impl Builder {
    pub(crate) fn new(network: NetworkId) -> Self {
        Self {
            network,
            key: None,
            listen: Vec::new(),
            advertise: Vec::new(),
            bootstrap: Vec::new(),
            store: None,
            limits: Limits::default(),
            claims: Claims::default(),
            test_network: false,
            relays: true,
            maps_ports: false,
        }
    }

    /// The lasting identity of a relay or directory node.
    #[must_use]
    pub fn identity(mut self, key: &SigningKey) -> Self {
        self.key = Some(identity::lasting(key));
        self
    }

    /// A local address for QUIC and TCP; may be given several times. Port 0 takes any, and then another for each of the two.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen.push(address);
        self
    }

    /// An address at which others reach this node, known from its operator.
    #[must_use]
    pub fn advertise(mut self, address: SocketAddr) -> Self {
        self.advertise.push(address);
        self
    }

    /// Whom to ask first. One is enough; with a store not even that one is needed later.
    #[must_use]
    pub fn bootstrap(mut self, contact: Contact) -> Self {
        self.bootstrap.push(contact);
        self
    }

    /// Where peers are kept over restarts.
    #[must_use]
    pub fn store(mut self, store: Arc<Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// How much of everything the node takes.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What the node says of itself to peers; [`Control::set_claims`] changes it.
    #[must_use]
    pub fn claims(mut self, claims: Claims) -> Self {
        self.claims = claims;
        self
    }

    /// Allows private addresses, and all nodes at one address: for networks on one machine.
    #[must_use]
    pub fn test_network(mut self, test: bool) -> Self {
        self.test_network = test;
        self
    }

    /// Whether it carries connections for nodes behind NAT, within tight bounds. On by default.
    #[must_use]
    pub fn relays(mut self, relays: bool) -> Self {
        self.relays = relays;
        self
    }

    /// Whether it asks the router for a port by PCP, NAT-PMP and UPnP. Off by default.
    #[must_use]
    pub fn maps_ports(mut self, maps: bool) -> Self {
        self.maps_ports = maps;
        self
    }

    /// Starts the node. It lives while [`Control::next`] is called, in a tokio runtime.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(self) -> Result<Control, StartError> {
        Control::start(self)
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Builder([redacted])")
    }
}
