//! Settings of a node, and how it starts.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};

use zmesh_proto::link::{LinkConfig, LocalIdentity};
use zmesh_proto::node::NodeConfig;
use zmesh_proto::path::Preference;
use zmesh_proto::wire::bootstrap::Bootstrap;

use super::node::{Inner, Node};
use super::traversal::Traversal;
use super::{NodeError, NodeEvent, PathSpec};
use crate::carrier::Fallback;
use crate::chunks::Liars;
use crate::directory::{Client, DirectoryEvent, Outlook, Settings, Teller, keep};
use crate::guard_file::GuardFile;
use crate::origin::{Choosing, Origin};
use crate::service::Dialled;
use crate::shard;
use crate::{Network, clock, entropy};

/// Spare circuits that a node keeps unless told otherwise.
const SPARES: usize = 1;

/// Told of what happens to the network's documents.
type DirectoryHook = Arc<dyn Fn(&DirectoryEvent) + Send + Sync>;

/// In which networks guards are kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Always,
    /// In all but test networks.
    IfReal,
}

/// How paths are chosen in this network, with the guards of earlier runs if they are kept.
fn choosing(
    preference: Preference,
    guards: Option<(PathBuf, Wanted)>,
    network: &Network,
) -> Result<Choosing, NodeError> {
    let kept = guards.filter(|(_, wanted)| *wanted == Wanted::Always || !network.is_test_network());
    let guards = kept.map(|(path, _)| GuardFile::open(path)).transpose().map_err(NodeError::Guards)?;
    Ok(Choosing { preference, guards })
}

/// Settings of a [`Node`]; made by [`Node::builder`].
pub struct NodeBuilder {
    network: Option<Arc<Network>>,
    bootstrap: Option<Bootstrap>,
    directory: Option<PathBuf>,
    hook: Option<DirectoryHook>,
    bind: Vec<SocketAddr>,
    path: PathSpec,
    spares: usize,
    standby: bool,
    traversal: Traversal,
    preference: Preference,
    guards: Option<(PathBuf, Wanted)>,
}

impl Default for NodeBuilder {
    fn default() -> Self {
        Self {
            network: None,
            bootstrap: None,
            directory: None,
            hook: None,
            bind: Vec::new(),
            path: PathSpec::exit(),
            spares: SPARES,
            standby: true,
            preference: Preference::DEFAULT,
            guards: None,
            traversal: Traversal::default(),
        }
    }
}

impl NodeBuilder {
    /// The network to use. This or [`NodeBuilder::bootstrap`] is required.
    #[must_use]
    pub fn network(mut self, network: Arc<Network>) -> Self {
        self.network = Some(network);
        self
    }

    /// The line by which the node enters a network whose voters agree on documents: it fetches the newest one, verifies it by
    /// signatures alone, and stays up to date. Without effect when a network is given.
    #[must_use]
    pub fn bootstrap(mut self, line: Bootstrap) -> Self {
        self.bootstrap = Some(line);
        self
    }

    /// Where the newest document is kept between runs, so that the next one needs no entry relay. Nothing there tells of this
    /// node. Without it nothing is kept.
    #[must_use]
    pub fn directory(mut self, directory: PathBuf) -> Self {
        self.directory = Some(directory);
        self
    }

    /// Called with whatever happens to the network's documents, also during [`NodeBuilder::start`], when nobody can listen to
    /// [`Node::events`] yet. It must not wait.
    #[must_use]
    pub fn on_directory(mut self, hook: impl Fn(&DirectoryEvent) + Send + Sync + 'static) -> Self {
        self.hook = Some(Arc::new(hook));
        self
    }

    /// A local address for UDP; may be given twice, for IPv4 and IPv6. Without it: any port, both families.
    #[must_use]
    pub fn bind(mut self, address: SocketAddr) -> Self {
        self.bind.push(address);
        self
    }

    /// The path that sessions use unless they ask for another, and that spare circuits have.
    #[must_use]
    pub fn path(mut self, path: PathSpec) -> Self {
        self.path = path;
        self
    }

    /// How many circuits are built ahead of need, QUIC included. One unless set.
    #[must_use]
    pub fn spares(mut self, spares: usize) -> Self {
        self.spares = spares;
        self
    }

    /// Whether a second circuit stands by under each session, so that a relay that dies costs a moment instead of seconds.
    /// So it is unless set otherwise; it doubles the circuits.
    #[must_use]
    pub fn standby(mut self, standby: bool) -> Self {
        self.standby = standby;
        self
    }

    /// Has the node reach relays behind translators of addresses, by probes and through other relays.
    #[must_use]
    pub fn traversal(mut self, enabled: bool) -> Self {
        self.traversal.enabled = enabled;
        self
    }

    /// Relays that the node links to over WebSocket while UDP leads nowhere.
    #[must_use]
    pub fn fallbacks(mut self, fallbacks: Vec<Fallback>) -> Self {
        self.traversal.fallbacks = fallbacks;
        self
    }

    /// What the choice of paths prefers, within its anonymity floor. In proportion to capacity and mildly for quick paths
    /// unless set.
    #[must_use]
    pub fn preference(mut self, preference: Preference) -> Self {
        self.preference = preference;
        self
    }

    /// A file in which the guards are kept from one run to the next, readable by its owner only; it holds relay ids and
    /// days. Its directory must exist. Without it the guards are those of this run alone: nothing is left behind, and the
    /// more runs, the more first relays are met.
    #[must_use]
    pub fn guard_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.guards = Some((path.into(), Wanted::Always));
        self
    }

    /// The same, but not in a test network, which is thrown away, and its guards with it. A bootstrap line does not say of what kind its
    /// network is; the genesis does, and nothing is read or written before it is there.
    #[must_use]
    pub fn guard_file_if_real(mut self, path: impl Into<PathBuf>) -> Self {
        self.guards = Some((path.into(), Wanted::IfReal));
        self
    }

    /// Opens the sockets and starts the node's thread, which builds the spare circuits. With a bootstrap line it returns when
    /// the node has a verified document, and keeps comparing and fetching newer ones.
    ///
    /// # Errors
    /// [`NodeError::NoNetwork`], [`NodeError::Directory`], [`NodeError::Guards`], or what the operating system refused.
    ///
    /// # Cancel safety
    /// Dropping the future stops whatever was started.
    pub async fn start(self) -> Result<Node, NodeError> {
        let Self { network, bootstrap, directory, hook, bind, path, spares, standby, preference, guards, traversal } =
            self;
        if network.is_none() && bootstrap.is_none() {
            return Err(NodeError::NoNetwork);
        }
        // With a document a bad file is told before anything starts.
        let known = network.as_deref().map(|network| choosing(preference, guards.clone(), network)).transpose()?;
        let link = LinkConfig::new(LocalIdentity::Anonymous);
        let mut config = NodeConfig::new(link, entropy::seed(), clock::unix_nanos());
        config.nat = traversal.config(false);
        let started = shard::start("zmesh-node", bind, config, network.clone(), || Ok(()), |_| {}).await?;
        let helpers = traversal.start(&started).await?;
        let shard = Arc::clone(&started.shard);
        let (liars, outlook) = (Arc::<Liars>::default(), Arc::<Outlook>::default());
        let origin = match (network.zip(known), bootstrap) {
            (Some((network, choosing)), _) => Origin::start(shard, network, path, spares, standby, choosing),
            (None, None) => return Err(NodeError::NoNetwork),
            (None, Some(bootstrap)) => {
                let listener = Arc::<OnceLock<Weak<Origin>>>::default();
                let settings = Settings { bootstrap, directory, tell: teller(hook, Arc::clone(&listener)) };
                let client = Client::new(settings)?;
                let (held, network) = client.begin(&shard).await?;
                let choosing = choosing(preference, guards, &network)?;
                let origin = Origin::start(Arc::clone(&shard), network, path, spares, standby, choosing);
                let _ = listener.set(Arc::downgrade(&origin));
                let (of, from) = (Arc::downgrade(&origin), Arc::downgrade(&liars));
                shard.runtime.spawn(keep(client, of, from, held, Arc::clone(&outlook)));
                origin
            }
        };
        let dialled = Dialled::start(&origin);
        Ok(Node::of(Inner { _helpers: helpers, origin, dialled, started, liars, outlook }))
    }
}

/// Tells of documents: the hook, and once there is an origin whoever listens to the node's events.
fn teller(hook: Option<DirectoryHook>, listener: Arc<OnceLock<Weak<Origin>>>) -> Teller {
    Arc::new(move |event| {
        if let Some(hook) = &hook {
            hook(&event);
        }
        if let Some(origin) = listener.get().and_then(Weak::upgrade) {
            origin.tell(NodeEvent::Directory(event));
        }
    })
}

impl fmt::Debug for NodeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeBuilder")
    }
}
