//! The lab's network: a public segment, relays on it, and a node behind each kind of router.
//!
//! Its addresses look public, since a router that forwards ports refuses to do so at others. They are nowhere but in the lab's
//! own network namespaces, which have no way out.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;
use zmesh_netns::{Forwarder, Namespaces, PREFIX, Speaks, address, forward, gateway, rules, run, wire};
use zmesh_overlay::RelayId;
use zmesh_proto::keys::{RelayKeys, SignerKey};
use zmesh_proto::wire::descriptor::{Descriptor, DescriptorInfo, Terms};
use zmesh_proto::wire::document::{Draft, DraftTerms, SignerId};

use crate::kinds::{FIREWALL, Kind, provider};
use crate::node::Setting;

/// Relays that everybody can reach.
pub(crate) const RELAYS: u8 = 8;
const PORT: u16 = 9000;

/// A node, and where it runs.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) kind: Option<Kind>,
    pub(crate) id: String,
    keys: RelayKeys,
    pub(crate) namespace: String,
    listen: Vec<SocketAddr>,
    advertise: SocketAddr,
}

/// The whole lab. Dropping it removes everything.
pub(crate) struct World {
    pub(crate) places: Vec<Place>,
    daemons: Vec<Forwarder>,
    dir: tempfile::TempDir,
    // Dropped last: processes inside keep a namespace alive.
    namespaces: Namespaces,
}

fn unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl World {
    /// Builds the network for two nodes of each kind.
    pub(crate) fn build(kinds: &[Kind]) -> Result<Self, String> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| error.to_string())?;
        let mut rng = ChaCha12Rng::from_seed(seed);
        let dir = tempfile::Builder::new().prefix(&format!("{PREFIX}{}-", std::process::id())).tempdir();
        let dir = dir.map_err(|error| error.to_string())?;
        let mut world = Self { places: Vec::new(), daemons: Vec::new(), dir, namespaces: Namespaces::new(PREFIX) };
        let core = world.namespaces.make("net")?;
        run("ip", &["-n", &core, "link", "add", "name", "br0", "type", "bridge"])?;
        run("ip", &["-n", &core, "link", "set", "br0", "up"])?;
        for number in 1..=RELAYS {
            let namespace = world.public(&core, &format!("r{number}"), number, "wan", true)?;
            let v4 = SocketAddr::from(([5, 44, 0, number], PORT));
            let v6 = format!("[2001:db8::{number}]:{PORT}").parse().map_err(|_| "an address")?;
            world.add(&mut rng, format!("relay{number}"), None, namespace, vec![v4, v6], v4);
        }
        let mut number = 20;
        for (at, kind) in kinds.iter().enumerate() {
            let lan = u8::try_from(at).unwrap_or(0) * 2;
            let mut homes = Vec::new();
            for (side, offset) in [("a", 0), ("b", 1)] {
                number += 1;
                let name = format!("{}-{side}", kind.name());
                let port = PORT + 100 + u16::from(number);
                match kind {
                    Kind::Open => {
                        let namespace = world.public(&core, &name, number, "wan", false)?;
                        let at = SocketAddr::from(([5, 44, 0, number], port));
                        world.add(&mut rng, name, Some(*kind), namespace, vec![at], at);
                    }
                    Kind::Ipv6Only => {
                        let namespace = world.namespaces.make(&name)?;
                        world.plug(&core, &namespace, &format!("p{number}"), "wan")?;
                        address(&namespace, "wan", &format!("2001:db8::{number}/64"))?;
                        let at = format!("[2001:db8::{number}]:{port}").parse().map_err(|_| "an address")?;
                        world.add(&mut rng, name, Some(*kind), namespace, vec![at], at);
                    }
                    _ => {
                        let (router, namespace, inside) = world.home(&name, lan + offset)?;
                        rules(&router, &kind.rules(&inside))?;
                        match kind {
                            Kind::Double => {
                                let isp = world.namespaces.make(&format!("{name}-isp"))?;
                                wire(&isp, "lan", &router, "wan")?;
                                address(&isp, "lan", "10.9.0.1/24")?;
                                address(&router, "wan", "10.9.0.2/24")?;
                                gateway(&router, "10.9.0.1")?;
                                forward(&isp)?;
                                world.plug(&core, &isp, &format!("p{number}"), "wan")?;
                                address(&isp, "wan", &format!("5.44.0.{number}/24"))?;
                                rules(&isp, &kind.rules("10.9.0.2"))?;
                            }
                            Kind::Cgnat => homes.push((router.clone(), port)),
                            _ => {
                                world.plug(&core, &router, &format!("p{number}"), "wan")?;
                                address(&router, "wan", &format!("5.44.0.{number}/24"))?;
                            }
                        }
                        if *kind == Kind::Upnp {
                            world.forwarder(&router, &inside)?;
                        }
                        let mut listen = vec![SocketAddr::from(([0, 0, 0, 0], port))];
                        if *kind == Kind::Dual {
                            let at = with_v6(&router, &namespace, number)?;
                            listen.push(format!("[{at}]:{port}").parse().map_err(|_| "an address")?);
                        }
                        let advertise = format!("{inside}:{port}").parse().map_err(|_| "an address")?;
                        world.add(&mut rng, name, Some(*kind), namespace, listen, advertise);
                    }
                }
            }
            if *kind == Kind::Cgnat {
                world.provider(&core, number, &homes)?;
            }
        }
        world.write_network(&mut rng)?;
        Ok(world)
    }

    fn plug(&self, core: &str, namespace: &str, at_core: &str, interface: &str) -> Result<(), String> {
        wire(core, at_core, namespace, interface)?;
        run("ip", &["-n", core, "link", "set", at_core, "master", "br0"])
    }

    fn public(&mut self, core: &str, name: &str, number: u8, interface: &str, v6: bool) -> Result<String, String> {
        let namespace = self.namespaces.make(name)?;
        self.plug(core, &namespace, &format!("p{number}"), interface)?;
        address(&namespace, interface, &format!("5.44.0.{number}/24"))?;
        if v6 {
            address(&namespace, interface, &format!("2001:db8::{number}/64"))?;
        }
        Ok(namespace)
    }

    /// A router and a host behind it: the router's namespace, the host's, and the host's address.
    fn home(&mut self, name: &str, lan: u8) -> Result<(String, String, String), String> {
        let router = self.namespaces.make(&format!("{name}-router"))?;
        let host = self.namespaces.make(name)?;
        wire(&router, "lan", &host, "eth")?;
        address(&router, "lan", &format!("192.168.{lan}.1/24"))?;
        let inside = format!("192.168.{lan}.2");
        address(&host, "eth", &format!("{inside}/24"))?;
        gateway(&host, &format!("192.168.{lan}.1"))?;
        forward(&router)?;
        Ok((router, host, inside))
    }

    /// The provider's router in front of these homes.
    fn provider(&mut self, core: &str, number: u8, homes: &[(String, u16)]) -> Result<(), String> {
        let isp = self.namespaces.make("cgnat-isp")?;
        run("ip", &["-n", &isp, "link", "add", "name", "lan", "type", "bridge"])?;
        run("ip", &["-n", &isp, "link", "set", "lan", "up"])?;
        address(&isp, "lan", "100.64.0.1/24")?;
        let mut behind = Vec::new();
        for (at, (router, port)) in (2..).zip(homes) {
            let port_name = format!("home{at}");
            wire(&isp, &port_name, router, "wan")?;
            run("ip", &["-n", &isp, "link", "set", &port_name, "master", "lan"])?;
            address(router, "wan", &format!("100.64.0.{at}/24"))?;
            gateway(router, "100.64.0.1")?;
            behind.push((format!("100.64.0.{at}"), *port));
        }
        forward(&isp)?;
        self.plug(core, &isp, &format!("p{number}"), "wan")?;
        let own = format!("5.44.0.{number}");
        address(&isp, "wan", &format!("{own}/24"))?;
        rules(&isp, &provider(&behind, &own))
    }

    /// A router's service that forwards ports at request.
    fn forwarder(&mut self, router: &str, inside: &str) -> Result<(), String> {
        self.daemons.push(Forwarder::start(router, inside, Speaks::default(), self.dir.path())?);
        Ok(())
    }

    fn add(
        &mut self,
        rng: &mut ChaCha12Rng,
        name: String,
        kind: Option<Kind>,
        namespace: String,
        listen: Vec<SocketAddr>,
        advertise: SocketAddr,
    ) {
        let keys = RelayKeys::generate(rng, unix());
        let id = keys.id().to_string();
        self.places.push(Place { name, kind, id, keys, namespace, listen, advertise });
    }

    /// Where the network document lies.
    pub(crate) fn network_file(&self) -> PathBuf {
        self.dir.path().join("network")
    }

    /// The same network with the relays alone that everybody can reach: a call's paths, guards first, are of those.
    pub(crate) fn relays_file(&self) -> PathBuf {
        self.dir.path().join("relays")
    }

    fn write_network(&self, rng: &mut ChaCha12Rng) -> Result<(), String> {
        let signer = SignerKey::generate(rng);
        let mut relays = self.places.iter().filter(|place| place.kind.is_none());
        Self::write_places(&signer, &mut relays, &self.relays_file())?;
        Self::write_places(&signer, &mut self.places.iter(), &self.network_file())
    }

    fn write_places(signer: &SignerKey, places: &mut dyn Iterator<Item = &Place>, file: &Path) -> Result<(), String> {
        let (now, life) = (unix(), 86_400);
        let mut draft = Draft::new(DraftTerms {
            name: "lab".into(),
            test_network: true,
            valid_after: now,
            valid_until: now + life,
            signers: vec![SignerId(signer.public())],
        })
        .map_err(|error| error.to_string())?;
        for place in places {
            let mut addresses = vec![place.advertise];
            if place.kind.is_none() {
                addresses.clone_from(&place.listen);
            }
            let info = DescriptorInfo {
                nickname: place.name.replace('-', ""),
                operator: "lab".into(),
                family: None,
                country: None,
                addresses,
                exit: None,
                meeting: place.kind.is_none(),
                cache: false,
                mixer: false,
                directory: false,
                region: None,
                control: Vec::new(),
            };
            let terms = Terms { published: now, expires: now + life + 1, revision: 1 };
            let descriptor = Descriptor::create(&place.keys, &info, terms).map_err(|error| error.to_string())?;
            draft.add(descriptor).map_err(|error| error.to_string())?;
        }
        draft.sign(signer, now).map_err(|error| error.to_string())?;
        std::fs::write(file, draft.to_text()).map_err(|error| error.to_string())
    }

    /// Where relays take links over WebSocket.
    pub(crate) fn fallbacks(&self) -> Vec<String> {
        let relays = self.places.iter().filter(|place| place.kind.is_none());
        relays.map(|relay| format!("{}@wss://{}/", relay.id, relay.websocket())).collect()
    }

    /// The command that runs one side of a call in a place's namespace.
    pub(crate) fn call_command(&self, place: &Place, side: &str) -> Result<tokio::process::Command, String> {
        let file = self.dir.path().join(format!("{}-call.json", place.name));
        std::fs::write(&file, side).map_err(|error| error.to_string())?;
        inside(&place.namespace, "--call", &file)
    }

    /// The command that runs a place's node in its namespace.
    pub(crate) fn command(&self, place: &Place) -> Result<tokio::process::Command, String> {
        let setting = Setting {
            keys: place.keys.to_text().to_string(),
            network: self.network_file(),
            listen: place.listen.clone(),
            meeting: place.kind.is_none(),
            websocket: place.kind.is_none().then(|| place.websocket()),
            fallbacks: if place.kind.is_some() { self.fallbacks() } else { Vec::new() },
            port_mapping: place.kind == Some(Kind::Upnp),
        };
        let file: &Path = &self.dir.path().join(format!("{}.json", place.name));
        let text = serde_json::to_string(&setting).map_err(|error| error.to_string())?;
        std::fs::write(file, text).map_err(|error| error.to_string())?;
        inside(&place.namespace, "--node", file)
    }
}

/// Gives a host behind a router an address of the public segment's IPv6 network, for which the router answers there, behind its firewall.
fn with_v6(router: &str, host: &str, number: u8) -> Result<String, String> {
    let at = format!("2001:db8::2:{number}");
    address(router, "wan", &format!("2001:db8::1:{number}/64"))?;
    address(router, "lan", &format!("fd00:{number}::1/64"))?;
    address(host, "eth", &format!("fd00:{number}::2/64"))?;
    address(host, "eth", &format!("{at}/128"))?;
    let on = ["net.ipv6.conf.all.forwarding=1", "net.ipv6.conf.wan.proxy_ndp=1"];
    for setting in on {
        run("ip", &["netns", "exec", router, "sysctl", "-qw", setting])?;
    }
    run(
        "ip",
        &["-n", router, "route", "add", &format!("{at}/128"), "via", &format!("fd00:{number}::2"), "dev", "lan"],
    )?;
    run("ip", &["-n", router, "neigh", "add", "proxy", &at, "dev", "wan"])?;
    // Towards others it speaks as what it is reached at.
    let via = format!("fd00:{number}::1");
    run("ip", &["-n", host, "-6", "route", "add", "default", "via", &via, "dev", "eth", "src", &at])?;
    rules(router, FIREWALL)?;
    Ok(at)
}

/// This program in a namespace.
fn inside(namespace: &str, flag: &str, file: &Path) -> Result<tokio::process::Command, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = tokio::process::Command::new("ip");
    command.args(["netns", "exec", namespace]).arg(program).arg(flag).arg(file);
    Ok(command)
}

impl Place {
    /// Its id as the API has it.
    pub(crate) fn relay_id(&self) -> RelayId {
        self.keys.id()
    }

    fn websocket(&self) -> SocketAddr {
        SocketAddr::new(self.advertise.ip(), 443)
    }
}
