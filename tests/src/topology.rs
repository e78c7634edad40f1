//! Networks for the simulator: relays with keys and a signed network document, all from one seed, and a world to run them in.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};
use zmesh_netem::{Profile, Timeline};
use zmesh_proto::directory::Network;
use zmesh_proto::keys::{RelayKeys, SignerKey};
use zmesh_proto::link::{LinkConfig, LinkSecret, LocalIdentity};
use zmesh_proto::node::{Node, NodeConfig, OnionKey, RelayConfig};
use zmesh_proto::wire::descriptor::{Descriptor, DescriptorInfo, ExitSummary, PortSet, Terms};
use zmesh_proto::wire::document::{Draft, DraftTerms, SignerId};
use zmesh_sphinx::RelayId;

use crate::sim::node::{App, NodeHost};
use crate::sim::{HostId, Sim};

/// The wall clock at the start of every simulation, in unix seconds: an hour into an epoch of onion keys.
pub const UNIX_START: u64 = 43_200 * 40_000 + 3_600;

/// What a relay's socket buffers hold, in bytes; the driver asks for as much.
pub const RECEIVE_BUFFER: usize = 4 << 20;

/// One relay of a topology.
pub struct RelaySpec {
    keys: RelayKeys,
    address: SocketAddr,
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
    network: Arc<Network>,
    specs: Vec<RelaySpec>,
    rng: ChaCha12Rng,
    origins: u16,
}

/// What differs between the relays of a [`World`] and the defaults.
pub type Tune = fn(usize, &mut NodeConfig);

impl World {
    /// A world of `relays` relays, each with the app that `app` makes for it, joined by `path`.
    ///
    /// # Panics
    /// When `relays` is 0 or more than 200, or the document refuses the relays, which would be a defect of this function.
    #[must_use]
    pub fn new(
        seed: u64,
        relays: usize,
        path: impl Into<Timeline>,
        tune: Tune,
        mut app: impl FnMut(usize) -> Box<dyn App>,
    ) -> World {
        assert!((1..=200).contains(&relays), "1 to 200 relays");
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        let specs: Vec<RelaySpec> = (0..relays)
            .map(|number| RelaySpec { keys: RelayKeys::generate(&mut rng, UNIX_START), address: relay_address(number) })
            .collect();
        let network = Arc::new(document(&specs, &mut rng));
        let mut sim = Sim::new(rng.next_u64(), path);
        let mut hosts = Vec::new();
        for (number, spec) in specs.iter().enumerate() {
            let mut config = relay_config(spec, &mut rng);
            tune(number, &mut config);
            let mut node = Node::new(config, sim.now());
            node.set_network(Arc::clone(&network));
            hosts.push(sim.add(spec.address, RECEIVE_BUFFER, NodeHost::new(node, app(number))));
        }
        World { sim, relays: hosts, network, specs, rng, origins: 0 }
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
        let mut node = Node::new(config, self.sim.now());
        node.set_network(Arc::clone(&self.network));
        let address = self.free_address();
        self.sim.add(address, RECEIVE_BUFFER, NodeHost::new(node, Box::new(app)))
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

    /// The verified network document.
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

    /// Runs for this much longer.
    pub fn run_for(&mut self, time: Duration) {
        let until = self.sim.elapsed() + time;
        self.sim.run_until(until);
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
    let specs: Vec<RelaySpec> = (0..relays)
        .map(|number| RelaySpec { keys: RelayKeys::generate(&mut rng, UNIX_START), address: relay_address(number) })
        .collect();
    let network = Arc::new(document(&specs, &mut rng));
    let now = Instant::now();
    let mut nodes: Vec<(SocketAddr, Node)> =
        specs.iter().map(|spec| (spec.address, Node::new(relay_config(spec, &mut rng), now))).collect();
    let origin =
        NodeConfig::new(LinkConfig::new(LocalIdentity::Anonymous), seed_of(&mut rng), UNIX_START * 1_000_000_000);
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

fn relay_config(spec: &RelaySpec, rng: &mut ChaCha12Rng) -> NodeConfig {
    let local = LocalIdentity::Relay {
        identity: spec.keys.identity_public(),
        link_secret: LinkSecret::from_bytes(*spec.keys.link_secret()),
    };
    let mut relay = RelayConfig::new(spec.keys.id(), OnionKey::around(spec.keys.onion(), UNIX_START));
    relay.allow_local = true;
    relay.allow_meeting = true;
    let mut config = NodeConfig::new(LinkConfig::new(local), seed_of(rng), UNIX_START * 1_000_000_000);
    config.relay = Some(relay);
    config
}

fn document(specs: &[RelaySpec], rng: &mut ChaCha12Rng) -> Network {
    let signer = SignerKey::generate(rng);
    let mut draft = Draft::new(DraftTerms {
        name: "simulated".to_owned(),
        test_network: true,
        valid_after: UNIX_START,
        valid_until: UNIX_START + 30 * 86_400,
        signers: vec![SignerId(signer.public())],
    })
    .expect("an empty network");
    for (number, spec) in specs.iter().enumerate() {
        let info = DescriptorInfo {
            nickname: format!("relay{number}"),
            operator: format!("operator{number}"),
            family: None,
            country: None,
            addresses: vec![spec.address],
            exit: Some(ExitSummary { v4: true, v6: true, ports: PortSet::all() }),
            meeting: true,
            cache: false,
            mixer: false,
            directory: false,
            region: None,
            control: Vec::new(),
        };
        let descriptor = Descriptor::create(&spec.keys, &info, Terms::from_now(UNIX_START))
            .expect("a descriptor that keeps the rules");
        draft.add(descriptor).expect("relays differ");
    }
    draft.sign(&signer, UNIX_START).expect("the listed signer");
    let document = draft.into_document().expect("enough signatures");
    Network::from_document(document, UNIX_START).expect("a document that is valid now")
}
