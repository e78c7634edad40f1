//! An origin and three relays joined by wires that an attacker holds.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;
use zmesh_proto::directory::Network;
use zmesh_proto::keys::{RelayKeys, SignerKey};
use zmesh_proto::link::{LinkConfig, LinkSecret, LocalIdentity};
use zmesh_proto::node::{CircuitId, Event, LocalId, Meet, Node, NodeConfig, OnionKey, RelayConfig};
use zmesh_proto::wire::descriptor::{Descriptor, DescriptorInfo, Terms};
use zmesh_proto::wire::document::{Draft, DraftTerms, SignerId};

const UNIX: u64 = 1_800_000_000;
const RELAYS: usize = 3;
/// Datagrams under way at once; the rest is lost.
const WIRE_MAX: usize = 256;

/// One thing that happens.
#[derive(Arbitrary, Debug)]
pub enum Step {
    /// The origin builds a circuit over these relays.
    Build(u8, u8, u8),
    /// The origin sends a message of that length.
    Send(u8, u16),
    /// An exit answers.
    Reply(u8, u16),
    /// The origin probes a hop.
    Ping(u8, u8),
    /// The origin waits or joins under one of four cookies.
    Meet(u8, u8, bool),
    /// The origin closes a circuit.
    Close(u8),
    /// An exit closes a circuit.
    CloseLocal(u8),
    /// Everything under way arrives, and so on for so many rounds.
    Run(u8),
    /// One datagram under way is lost.
    Lose(u8),
    /// One datagram under way is altered in one bit.
    Flip(u8, u16),
    /// One datagram under way arrives and stays.
    Repeat(u8),
    /// Milliseconds pass.
    Wait(u16),
}

struct Fixture {
    start: Instant,
    keys: Vec<RelayKeys>,
    network: Arc<Network>,
}

static FIXTURE: OnceLock<Fixture> = OnceLock::new();

fn address(index: usize) -> SocketAddr {
    let last = u8::try_from(index + 1).expect("few nodes");
    ([10, last, 0, 1], 9000).into()
}

fn fixture() -> Fixture {
    let mut rng = ChaCha12Rng::from_seed([6; 32]);
    let keys: Vec<_> = (0..RELAYS).map(|_| RelayKeys::generate(&mut rng, UNIX)).collect();
    let signer = SignerKey::generate(&mut rng);
    let terms = DraftTerms {
        name: "fuzz".into(),
        test_network: true,
        valid_after: UNIX - 60,
        valid_until: UNIX + 86_400,
        signers: vec![SignerId(signer.public())],
    };
    let mut draft = Draft::new(terms).expect("right terms");
    for (index, keys) in keys.iter().enumerate() {
        let info = DescriptorInfo {
            nickname: format!("relay{index}"),
            operator: format!("operator{index}"),
            family: None,
            country: None,
            addresses: vec![address(index)],
            exit: None,
            meeting: true,
            cache: false,
            mixer: false,
            directory: false,
            region: None,
            control: Vec::new(),
        };
        draft.add(Descriptor::create(keys, &info, Terms::from_now(UNIX)).expect("right descriptor")).expect("new");
    }
    draft.sign(&signer, UNIX).expect("a signer");
    let text = draft.into_document().expect("signed").to_text();
    let network = Arc::new(Network::decode(text.as_bytes(), UNIX).expect("right document"));
    Fixture { start: Instant::now(), keys, network }
}

struct Packet {
    from: usize,
    to: usize,
    bytes: Vec<u8>,
}

struct World {
    now: Instant,
    nodes: Vec<Node>,
    wire: Vec<Packet>,
    circuits: Vec<CircuitId>,
    locals: Vec<(usize, LocalId)>,
    sent: u64,
    arrived: u64,
}

impl World {
    fn new(fixture: &Fixture) -> Self {
        let relay = |(index, keys): (usize, &RelayKeys)| {
            let local = LocalIdentity::Relay {
                identity: keys.identity_public(),
                link_secret: LinkSecret::from_bytes(*keys.link_secret()),
            };
            let seed = [u8::try_from(index).expect("few nodes"); 32];
            let mut config = NodeConfig::new(LinkConfig::new(local), seed, UNIX * 1_000_000_000);
            let mut relay = RelayConfig::new(keys.id(), OnionKey::around(keys.onion(), UNIX));
            relay.allow_local = true;
            relay.allow_meeting = true;
            config.relay = Some(relay);
            config
        };
        let mut configs: Vec<_> = fixture.keys.iter().enumerate().map(relay).collect();
        configs.push(NodeConfig::new(LinkConfig::new(LocalIdentity::Anonymous), [99; 32], UNIX * 1_000_000_000));
        let node = |config| {
            let mut node = Node::new(config, fixture.start);
            node.set_network(Arc::clone(&fixture.network));
            node
        };
        Self {
            now: fixture.start,
            nodes: configs.into_iter().map(node).collect(),
            wire: Vec::new(),
            circuits: Vec::new(),
            locals: Vec::new(),
            sent: 0,
            arrived: 0,
        }
    }

    fn origin(&mut self) -> &mut Node {
        &mut self.nodes[RELAYS]
    }

    fn circuit(&self, index: u8) -> Option<CircuitId> {
        let count = self.circuits.len();
        (count > 0).then(|| self.circuits[usize::from(index) % count])
    }

    fn settle(&mut self) {
        let now = self.now;
        for (from, node) in self.nodes.iter_mut().enumerate() {
            while let Some(job) = node.poll_job() {
                let done = job.run();
                node.handle_job(now, done);
            }
            while let Some(event) = node.poll_event() {
                match event {
                    Event::LocalMessage { local, .. } => {
                        self.arrived += 1;
                        if !self.locals.contains(&(from, local)) {
                            self.locals.push((from, local));
                        }
                    }
                    Event::Message { .. } => self.arrived += 1,
                    _ => {}
                }
            }
            node.flush(now);
            for transmit in node.transmits() {
                let to = (0..=RELAYS).find(|index| address(*index) == transmit.to).expect("only known addresses");
                for datagram in transmit.data.chunks(transmit.segment) {
                    if self.wire.len() < WIRE_MAX {
                        self.wire.push(Packet { from, to, bytes: datagram.to_vec() });
                    }
                }
            }
            node.clear_transmits();
        }
    }

    fn deliver(&mut self, mut packet: Packet) {
        let now = self.now;
        self.nodes[packet.to].handle_datagram(now, address(packet.from), &mut packet.bytes);
    }

    fn step(&mut self, fixture: &Fixture, step: &Step) {
        let now = self.now;
        match step {
            Step::Build(a, b, c) if self.circuits.len() < 8 => {
                let mut path = Vec::new();
                for hop in [a, b, c] {
                    let id = fixture.keys[usize::from(*hop) % RELAYS].id();
                    if !path.contains(&id) {
                        path.push(id);
                    }
                }
                if let Ok(circuit) = self.origin().build(now, &path) {
                    self.circuits.push(circuit);
                }
            }
            Step::Send(circuit, len) => {
                if let Some(circuit) = self.circuit(*circuit) {
                    let message = vec![1; usize::from(*len) % 1600];
                    if self.origin().send(now, circuit, &message).is_ok() {
                        self.sent += 1;
                    }
                }
            }
            Step::Reply(local, len) if !self.locals.is_empty() => {
                let (node, local) = self.locals[usize::from(*local) % self.locals.len()];
                if self.nodes[node].reply(now, local, &vec![2; usize::from(*len) % 1600]).is_ok() {
                    self.sent += 1;
                }
            }
            Step::Ping(circuit, hop) => {
                if let Some(circuit) = self.circuit(*circuit) {
                    let _ = self.origin().ping(now, circuit, usize::from(*hop % 4));
                }
            }
            Step::Meet(circuit, cookie, wait) => {
                if let Some(circuit) = self.circuit(*circuit) {
                    let cookie = [cookie % 4; 16];
                    let meet = if *wait { Meet::Wait(cookie) } else { Meet::Join(cookie) };
                    let _ = self.origin().meet(now, circuit, meet);
                }
            }
            Step::Close(circuit) => {
                if let Some(circuit) = self.circuit(*circuit) {
                    self.origin().close(now, circuit);
                    self.circuits.retain(|known| *known != circuit);
                }
            }
            Step::CloseLocal(local) if !self.locals.is_empty() => {
                let (node, local) = self.locals.swap_remove(usize::from(*local) % self.locals.len());
                self.nodes[node].close_local(now, local);
            }
            Step::Run(rounds) => {
                for _ in 0..rounds % 16 {
                    for packet in std::mem::take(&mut self.wire) {
                        self.deliver(packet);
                    }
                    self.now += Duration::from_millis(1);
                    self.settle();
                }
            }
            Step::Lose(index) if !self.wire.is_empty() => {
                let index = usize::from(*index) % self.wire.len();
                self.wire.swap_remove(index);
            }
            Step::Flip(index, bit) if !self.wire.is_empty() => {
                let index = usize::from(*index) % self.wire.len();
                let bytes = &mut self.wire[index].bytes;
                let bit = usize::from(*bit) % (bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            Step::Repeat(index) if !self.wire.is_empty() => {
                let packet = &self.wire[usize::from(*index) % self.wire.len()];
                let copy = Packet { from: packet.from, to: packet.to, bytes: packet.bytes.clone() };
                self.deliver(copy);
            }
            Step::Wait(millis) => {
                self.now += Duration::from_millis(u64::from(*millis));
                for node in &mut self.nodes {
                    if node.next_timeout().is_some_and(|at| at <= self.now) {
                        node.handle_timeout(self.now);
                    }
                }
            }
            _ => {}
        }
        self.settle();
        assert!(self.arrived <= self.sent, "a message arrived that nobody sent, or twice");
    }
}

/// Plays a sequence and checks that nothing arrives twice or out of nothing.
pub fn play(steps: &[Step]) {
    let fixture = FIXTURE.get_or_init(fixture);
    let mut world = World::new(fixture);
    // A circuit that works, so that the sequence begins where it becomes interesting.
    let prelude = [Step::Build(0, 1, 2), Step::Run(15), Step::Run(15), Step::Send(0, 10), Step::Run(15)];
    for step in &prelude {
        world.step(fixture, step);
    }
    assert_eq!(world.arrived, 1, "the first circuit works");
    for step in steps {
        world.step(fixture, step);
    }
}
