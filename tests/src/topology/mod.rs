//! Networks for the simulator: relays with keys and documents on which voters among them agree, all from one seed, and a world to run
//! them in.
//!
//! What a node knows of its network comes by the real directory's own code: a genesis that is pinned, descriptors that the relays sign,
//! votes, signatures, and the checks that every client makes. [`Offline`](Knowledge::Offline) worlds read a network file.

mod agreed;
mod file;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};
use zmesh_netem::{Profile, Timeline};
use zmesh_proto::directory::Network;
use zmesh_proto::keys::RelayKeys;
use zmesh_proto::link::{LinkConfig, LinkSecret, LocalIdentity};
use zmesh_proto::node::{Node, NodeConfig, OnionKey, RelayConfig};
use zmesh_proto::wire::descriptor::{DescriptorInfo, ExitSummary, PortSet};
use zmesh_sphinx::RelayId;

use crate::sim::node::{App, NodeHost};
use crate::sim::{HostId, Sim};
use agreed::{Directory, Reader};

/// The wall clock at the start of every simulation, in unix seconds: an hour into an epoch of onion keys.
pub const UNIX_START: u64 = 43_200 * 40_000 + 3_600;

/// What a relay's socket buffers hold, in bytes; the driver asks for as much.
pub const RECEIVE_BUFFER: usize = 4 << 20;

/// How long an epoch is unless a world says otherwise, in seconds: as long as in a real network.
pub const EPOCH: u32 = 3_600;

/// By what the nodes of a world know their network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knowledge {
    /// By documents on which voters among the relays agree, in epochs of so many seconds, 4 at least.
    Agreed(u32),
    /// By a network file, which stays what it is.
    Offline,
}

/// One relay of a topology.
pub struct RelaySpec {
    keys: RelayKeys,
    address: SocketAddr,
    info: DescriptorInfo,
}

/// Where documents come from.
enum Source {
    Agreed(Box<Directory>),
    Offline(Arc<Network>),
}

impl std::fmt::Debug for RelaySpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RelaySpec").field("address", &self.address).finish_non_exhaustive()
    }
}

/// A simulated network: its relays run, and origins can be added.
#[derive(Debug)]
pub struct World {
    /// The engine.
    pub sim: Sim,
    /// Where each relay of the document lives.
    pub relays: Vec<HostId>,
    source: Source,
    network: Arc<Network>,
    /// How each node goes from document to document, in the order in which they came.
    readers: Vec<(HostId, Reader)>,
    specs: Vec<RelaySpec>,
    tune: Tune,
    rng: ChaCha12Rng,
    /// When clients ask for documents.
    moments: ChaCha12Rng,
    origins: u16,
}

/// What differs between the relays of a [`World`] and the defaults.
pub type Tune = fn(usize, &mut NodeConfig);

impl World {
    /// A world of `relays` relays, each with the app that `app` makes for it, joined by `path`. They agree on documents every hour.
    ///
    /// # Panics
    /// When `relays` is 0 or more than 200, or the document refuses the relays, which would be a defect of this function.
    #[must_use]
    pub fn new(
        seed: u64,
        relays: usize,
        path: impl Into<Timeline>,
        tune: Tune,
        app: impl FnMut(usize) -> Box<dyn App>,
    ) -> World {
        World::knowing(Knowledge::Agreed(EPOCH), seed, relays, path, tune, app)
    }

    /// A world whose nodes know their network by something else.
    ///
    /// # Panics
    /// As [`World::new`].
    #[must_use]
    pub fn knowing(
        knowledge: Knowledge,
        seed: u64,
        relays: usize,
        path: impl Into<Timeline>,
        tune: Tune,
        mut app: impl FnMut(usize) -> Box<dyn App>,
    ) -> World {
        assert!((1..=200).contains(&relays), "1 to 200 relays");
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        let specs: Vec<RelaySpec> = (0..relays).map(|number| RelaySpec::generate(number, &mut rng)).collect();
        let moments = ChaCha12Rng::from_seed(seed_of(&mut rng));
        let (source, network) = source(knowledge, &specs);
        let mut world = World {
            sim: Sim::new(rng.next_u64(), path),
            relays: Vec::new(),
            source,
            network,
            readers: Vec::new(),
            specs: Vec::new(),
            tune,
            rng,
            moments,
            origins: 0,
        };
        for (number, spec) in specs.into_iter().enumerate() {
            world.start(spec, app(number));
        }
        world
    }

    /// Adds a relay that nobody knows of: the voters see it, and the document says so that they next vote on. Gives its number.
    ///
    /// # Panics
    /// In a world without agreement.
    pub fn add_relay(&mut self, app: Box<dyn App>) -> usize {
        let number = self.specs.len();
        let spec = RelaySpec::generate(number, &mut self.rng);
        let elapsed = self.sim.elapsed();
        self.source.directory().see(&spec, true, elapsed);
        self.start(spec, app);
        number
    }

    /// The voters no longer see a relay, which runs on.
    ///
    /// # Panics
    /// In a world without agreement.
    pub fn lose_sight_of(&mut self, number: usize) {
        let elapsed = self.sim.elapsed();
        self.source.directory().see(&self.specs[number], false, elapsed);
    }

    fn start(&mut self, spec: RelaySpec, app: Box<dyn App>) {
        let mut config = relay_config(&spec, unix_nanos(&self.sim), &mut self.rng);
        (self.tune)(self.specs.len(), &mut config);
        let host = self.enter(config, spec.address, app, false);
        self.relays.push(host);
        self.specs.push(spec);
    }

    /// A node enters: it takes the newest document, as a newcomer does.
    fn enter(&mut self, config: NodeConfig, address: SocketAddr, app: Box<dyn App>, client: bool) -> HostId {
        let mut node = Node::new(config, self.sim.now());
        let elapsed = self.sim.elapsed();
        let reader = match &mut self.source {
            Source::Agreed(directory) => {
                let (held, network) = directory.enter(UNIX_START + elapsed.as_secs());
                node.set_network(network);
                Some(Reader::new(held, client, elapsed, seed_of(&mut self.moments)))
            }
            Source::Offline(network) => {
                node.set_network(Arc::clone(network));
                None
            }
        };
        let host = self.sim.add(address, RECEIVE_BUFFER, NodeHost::new(node, app));
        self.readers.extend(reader.map(|reader| (host, reader)));
        host
    }

    /// Adds an origin with this app.
    pub fn add_origin(&mut self, app: impl App) -> HostId {
        self.add_origin_with(app, |_| {})
    }

    /// Adds an origin with this app and a changed configuration.
    pub fn add_origin_with(&mut self, app: impl App, tune: impl FnOnce(&mut NodeConfig)) -> HostId {
        let mut config =
            NodeConfig::new(LinkConfig::new(LocalIdentity::Anonymous), seed_of(&mut self.rng), unix_nanos(&self.sim));
        tune(&mut config);
        let address = self.free_address();
        self.enter(config, address, Box::new(app), true)
    }

    /// Puts a profile on this world: on the access of both people, and on that of every relay if the profile says so.
    pub fn impair(&mut self, profile: &Profile, caller: HostId, answerer: HostId) {
        self.sim.set_access(caller, &profile.caller);
        self.sim.set_access(answerer, &profile.answerer);
        if !profile.relays.is_clear() {
            for relay in self.relays.clone() {
                self.sim.set_access(relay, &profile.relays);
            }
        }
    }

    /// An address that nobody has yet.
    pub fn free_address(&mut self) -> SocketAddr {
        self.origins += 1;
        let [high, low] = self.origins.to_be_bytes();
        SocketAddr::from((Ipv4Addr::new(100, high, low, 1), 40_000))
    }

    /// The newest network, as its relays have it.
    #[must_use]
    pub fn network(&self) -> &Arc<Network> {
        &self.network
    }

    /// The name of the relay with this number.
    #[must_use]
    pub fn id(&self, number: usize) -> RelayId {
        self.specs[number].keys.id()
    }

    /// The names of a path.
    #[must_use]
    pub fn path(&self, numbers: &[usize]) -> Vec<RelayId> {
        numbers.iter().map(|number| self.id(*number)).collect()
    }

    /// Where the relay with this number listens.
    #[must_use]
    pub fn address(&self, number: usize) -> SocketAddr {
        self.specs[number].address
    }

    /// The relay's host.
    pub fn relay(&mut self, number: usize) -> &mut NodeHost {
        self.sim.host(self.relays[number])
    }

    /// The app of a relay or an origin.
    ///
    /// # Panics
    /// When the app is of another type.
    pub fn app<A: App>(&mut self, host: HostId) -> &mut A {
        self.sim.host::<NodeHost>(host).app()
    }

    /// The epoch of a node's document; nothing in a world without agreement.
    #[must_use]
    pub fn epoch_of(&self, host: HostId) -> Option<u64> {
        self.readers.iter().find(|(of, _)| *of == host).map(|(_, reader)| reader.epoch())
    }

    /// Runs for this much longer. Whatever happens to documents meanwhile happens.
    pub fn run_for(&mut self, time: Duration) {
        let until = self.sim.elapsed() + time;
        while let Some(at) = self.next_document().filter(|at| *at <= until) {
            self.sim.run_until(at);
            self.read_documents();
        }
        self.sim.run_until(until);
    }

    /// When the voters or a client do something about documents.
    fn next_document(&self) -> Option<Duration> {
        let Source::Agreed(directory) = &self.source else { return None };
        let asks = self.readers.iter().filter_map(|(_, reader)| reader.asks());
        asks.chain([directory.next()]).min()
    }

    /// Voters vote, relays take what was agreed on, and clients whose moment has come ask for it.
    fn read_documents(&mut self) {
        let Source::Agreed(directory) = &mut self.source else { return };
        let elapsed = self.sim.elapsed();
        let fresh = directory.next() <= elapsed && directory.run_until(elapsed, &self.specs);
        for (host, reader) in &mut self.readers {
            let reads = match reader.asks() {
                Some(at) => at <= elapsed,
                None => fresh,
            };
            if let Some(network) = reads.then(|| reader.read(directory, elapsed)).flatten() {
                if reader.asks().is_none() {
                    self.network = Arc::clone(&network);
                }
                self.sim.host::<NodeHost>(*host).command().set_network(network);
                self.sim.poke(*host);
            }
        }
    }

    /// Bytes for the seed of something else in this world.
    pub fn draw_seed(&mut self) -> [u8; 32] {
        seed_of(&mut self.rng)
    }
}

/// Relays and, last, an origin, without a simulation around them: their names, and each with its address.
///
/// # Panics
/// As [`World::new`].
#[must_use]
pub fn bare_nodes(seed: u64, relays: usize) -> (Vec<RelayId>, Vec<(SocketAddr, Node)>) {
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    let specs: Vec<RelaySpec> = (0..relays).map(|number| RelaySpec::generate(number, &mut rng)).collect();
    let (_, network) = source(Knowledge::Agreed(EPOCH), &specs);
    let now = Instant::now();
    let unix = UNIX_START * 1_000_000_000;
    let mut nodes: Vec<(SocketAddr, Node)> =
        specs.iter().map(|spec| (spec.address, Node::new(relay_config(spec, unix, &mut rng), now))).collect();
    let origin = NodeConfig::new(LinkConfig::new(LocalIdentity::Anonymous), seed_of(&mut rng), unix);
    nodes.push((SocketAddr::from((Ipv4Addr::new(100, 0, 0, 1), 40_000)), Node::new(origin, now)));
    for (_, node) in &mut nodes {
        node.set_network(Arc::clone(&network));
    }
    (specs.iter().map(|spec| spec.keys.id()).collect(), nodes)
}

fn relay_address(number: usize) -> SocketAddr {
    let number = u8::try_from(number).expect("at most 200 relays");
    SocketAddr::from((Ipv4Addr::new(10, number + 1, 0, 1), 9_000))
}

fn seed_of(rng: &mut ChaCha12Rng) -> [u8; 32] {
    let mut seed = [0; 32];
    rng.fill_bytes(&mut seed);
    seed
}

fn unix_nanos(sim: &Sim) -> u64 {
    let elapsed = u64::try_from(sim.elapsed().as_nanos()).expect("less than 500 years");
    UNIX_START * 1_000_000_000 + elapsed
}

fn relay_config(spec: &RelaySpec, unix_nanos: u64, rng: &mut ChaCha12Rng) -> NodeConfig {
    let local = LocalIdentity::Relay {
        identity: spec.keys.identity_public(),
        link_secret: LinkSecret::from_bytes(*spec.keys.link_secret()),
    };
    let mut relay = RelayConfig::new(spec.keys.id(), OnionKey::around(spec.keys.onion(), UNIX_START));
    relay.allow_local = true;
    relay.allow_meeting = true;
    let mut config = NodeConfig::new(LinkConfig::new(local), seed_of(rng), unix_nanos);
    config.relay = Some(relay);
    config
}

fn source(knowledge: Knowledge, specs: &[RelaySpec]) -> (Source, Arc<Network>) {
    match knowledge {
        Knowledge::Agreed(epoch) => {
            let mut directory = Directory::begin(specs, epoch);
            let (_, network) = directory.enter(UNIX_START);
            (Source::Agreed(Box::new(directory)), network)
        }
        Knowledge::Offline => {
            let network = Arc::new(file::network(specs));
            (Source::Offline(Arc::clone(&network)), network)
        }
    }
}

impl RelaySpec {
    fn generate(number: usize, rng: &mut ChaCha12Rng) -> RelaySpec {
        let keys = RelayKeys::generate(rng, UNIX_START);
        let address = relay_address(number);
        let info = DescriptorInfo {
            nickname: format!("relay{number}"),
            operator: format!("operator{number}"),
            family: None,
            country: None,
            addresses: vec![address],
            exit: Some(ExitSummary { v4: true, v6: true, ports: PortSet::all() }),
            meeting: true,
            cache: false,
            mixer: false,
            directory: false,
            region: None,
            control: Vec::new(),
        };
        RelaySpec { keys, address, info }
    }
}

impl Source {
    fn directory(&mut self) -> &mut Directory {
        match self {
            Source::Agreed(directory) => directory,
            Source::Offline(_) => panic!("nobody votes on a network file"),
        }
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Source::Agreed(_) => "agreed",
            Source::Offline(_) => "offline",
        })
    }
}
