//! What a cell costs at a forwarding relay: link open, table, one layer, queue, link seal. Nothing else is timed.
//!
//! `cargo bench -p zmesh-proto --bench relay`
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a benchmark reads the clock and prints")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};
use zmesh_proto::directory::Network;
use zmesh_proto::keys::{RelayKeys, SignerKey};
use zmesh_proto::link::{LinkConfig, LinkSecret, LocalIdentity};
use zmesh_proto::node::{CircuitId, Event, Node, NodeConfig, OnionKey, RelayConfig};
use zmesh_proto::wire::descriptor::{Descriptor, DescriptorInfo, Terms};
use zmesh_proto::wire::document::{Draft, DraftTerms, SignerId};

const UNIX: u64 = 1_800_000_000;
/// Relays 0 to 2, then the origin.
const ORIGIN: usize = 3;

struct Bench {
    nodes: Vec<Node>,
    now: Instant,
    spent: [Duration; 4],
    wire: Vec<(usize, usize, Vec<u8>)>,
    events: Vec<Event>,
}

fn main() {
    for (name, circuits, messages) in [("one bulk circuit", 1, 40), ("64 bulk circuits", 64, 1)] {
        let mut bench = Bench::new();
        let circuits: Vec<CircuitId> = (0..circuits).map(|_| bench.build()).collect();
        for _ in 0..1000 {
            bench.round(&circuits, messages);
        }
        bench.spent = Default::default();
        let before: Vec<_> = bench.nodes.iter().map(Node::metrics).collect();
        let rounds = 4000;
        for _ in 0..rounds {
            bench.round(&circuits, messages);
        }
        println!("{name}:");
        for (relay, before) in before.iter().enumerate().take(2) {
            let metrics = bench.nodes[relay].metrics();
            let cells = metrics.cells_forwarded - before.cells_forwarded;
            let long = metrics.links.sent_long - before.links.sent_long;
            let per_cell = bench.spent[relay].as_nanos() / u128::from(cells.max(1));
            println!("  relay {relay}: {cells} cells, {long} long datagrams, {per_cell} ns per cell");
        }
    }
}

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let keys: Vec<RelayKeys> = (0..3).map(|_| RelayKeys::generate(&mut rng, UNIX)).collect();
        let network = Arc::new(network(&keys, &mut rng));
        let nodes = (0..4)
            .map(|index| {
                let mut seed = [0; 32];
                rng.fill_bytes(&mut seed);
                let mut node = Node::new(config(keys.get(index), seed), now);
                node.set_network(Arc::clone(&network));
                node
            })
            .collect();
        Self { nodes, now, spent: Default::default(), wire: Vec::new(), events: Vec::new() }
    }

    fn build(&mut self) -> CircuitId {
        let ids: Vec<_> = (0..3).map(|index| self.relay_id(index)).collect();
        let circuit = self.nodes[ORIGIN].build(self.now, &ids).expect("a path");
        for _ in 0..1000 {
            self.step();
            let ready = |event: &Event| matches!(event, Event::CircuitReady { circuit: id, .. } if *id == circuit);
            if self.events.drain(..).any(|event| ready(&event)) {
                return circuit;
            }
        }
        panic!("the circuit was not built");
    }

    fn relay_id(&self, index: usize) -> zmesh_sphinx::RelayId {
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let keys: Vec<RelayKeys> = (0..3).map(|_| RelayKeys::generate(&mut rng, UNIX)).collect();
        keys[index].id()
    }

    fn round(&mut self, circuits: &[CircuitId], messages: usize) {
        for circuit in circuits {
            for _ in 0..messages {
                self.nodes[ORIGIN].send(self.now, *circuit, &[7; 1440]).expect("an open circuit");
            }
        }
        self.step();
        self.events.clear();
    }

    /// One millisecond: what is on the wire arrives, timers fire, all nodes flush.
    fn step(&mut self) {
        self.now += Duration::from_millis(1);
        let mut arriving: [Vec<(usize, Vec<u8>)>; 4] = Default::default();
        for (from, to, bytes) in self.wire.drain(..) {
            arriving[to].push((from, bytes));
        }
        for (index, mut datagrams) in arriving.into_iter().enumerate() {
            let node = &mut self.nodes[index];
            let begin = Instant::now();
            for batch in datagrams.chunks_mut(64) {
                for (from, bytes) in batch {
                    node.handle_datagram(self.now, address(*from), bytes);
                }
                node.flush(self.now);
            }
            if node.next_timeout().is_some_and(|at| at <= self.now) {
                node.handle_timeout(self.now);
            }
            node.flush(self.now);
            self.spent[index] += begin.elapsed();
            while let Some(event) = node.poll_event() {
                self.events.push(event);
            }
            while let Some(job) = node.poll_job() {
                node.handle_job(self.now, job.run());
            }
            node.flush(self.now);
            for transmit in node.transmits() {
                let SocketAddr::V4(to) = transmit.to else {
                    continue;
                };
                let to = usize::from(to.ip().octets()[3]);
                for datagram in transmit.data.chunks(transmit.segment) {
                    self.wire.push((index, to, datagram.to_vec()));
                }
            }
            node.clear_transmits();
        }
    }
}

fn address(index: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, u8::try_from(index).expect("few nodes")], 4000))
}

fn config(keys: Option<&RelayKeys>, seed: [u8; 32]) -> NodeConfig {
    let Some(keys) = keys else {
        return NodeConfig::new(LinkConfig::new(LocalIdentity::Anonymous), seed, UNIX * 1_000_000_000);
    };
    let local = LocalIdentity::Relay {
        identity: keys.identity_public(),
        link_secret: LinkSecret::from_bytes(*keys.link_secret()),
    };
    let mut config = NodeConfig::new(LinkConfig::new(local), seed, UNIX * 1_000_000_000);
    let mut relay = RelayConfig::new(keys.id(), OnionKey::around(keys.onion(), UNIX));
    relay.allow_local = true;
    config.relay = Some(relay);
    config
}

fn network(keys: &[RelayKeys], rng: &mut ChaCha12Rng) -> Network {
    let signer = SignerKey::generate(rng);
    let mut draft = Draft::new(DraftTerms {
        name: "bench".into(),
        test_network: true,
        valid_after: UNIX - 10,
        valid_until: UNIX + 1_000_000,
        signers: vec![SignerId(signer.public())],
    })
    .expect("sound terms");
    for (index, keys) in keys.iter().enumerate() {
        let info = DescriptorInfo {
            nickname: format!("relay{index}"),
            operator: format!("operator{index}"),
            family: None,
            country: None,
            addresses: vec![address(index)],
            exit: None,
            meeting: false,
            cache: false,
            mixer: false,
            directory: false,
            region: None,
            control: Vec::new(),
        };
        let descriptor = Descriptor::create(keys, &info, Terms::from_now(UNIX)).expect("a sound descriptor");
        draft.add(descriptor).expect("a new relay");
    }
    draft.sign(&signer, UNIX).expect("a listed signer");
    Network::from_document(draft.into_document().expect("enough signatures"), UNIX).expect("a sound document")
}
