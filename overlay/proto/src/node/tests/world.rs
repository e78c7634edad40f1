//! Several nodes in memory, in virtual time, always jumping to the earliest thing that is due.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};
use zmesh_sphinx::RelayId;

use crate::directory::Network;
use crate::keys::{RelayKeys, SignerKey};
use crate::link::{Control, LinkConfig, LinkSecret, LocalIdentity};
use crate::node::{CircuitId, Event, LocalId, Node, NodeConfig, OnionKey, RelayConfig};
use crate::timer::any_instant;
use crate::wire::descriptor::{Descriptor, DescriptorInfo, Terms};
use crate::wire::document::{Draft, DraftTerms, SignerId};

pub(super) const UNIX: u64 = 1_800_000_000;

/// What travels between two nodes.
struct Packet {
    from: usize,
    to: usize,
    bytes: Vec<u8>,
}

pub(super) struct Member {
    pub(super) node: Node,
    pub(super) events: VecDeque<Event>,
    /// A dead member neither hears nor speaks.
    pub(super) dead: bool,
}

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) start: Instant,
    pub(super) members: Vec<Member>,
    pub(super) ids: Vec<RelayId>,
    pub(super) keys: Vec<RelayKeys>,
    pub(super) network: Arc<Network>,
    /// One-way delay of every wire.
    pub(super) delay: Duration,
    /// Share of datagrams lost, in percent.
    pub(super) loss: u32,
    /// Lengths of all datagrams that were sent.
    pub(super) lengths: BTreeMap<usize, u64>,
    /// Called with a node after its input and before its flush.
    pub(super) before_flush: Option<BeforeFlush>,
    /// Pairs of members between whom nothing passes, lower number first.
    pub(super) cut: BTreeSet<(usize, usize)>,
    /// Members that hear only those to whom they have sent something.
    pub(super) closed: BTreeSet<usize>,
    /// Who has sent to whom.
    met: BTreeSet<(usize, usize)>,
    packets: BTreeMap<(Instant, u64), Packet>,
    sent: u64,
    rng: ChaCha12Rng,
}

pub(super) type BeforeFlush = Box<dyn FnMut(usize, &mut Node)>;

/// How a world is made.
pub(super) struct Plan {
    pub(super) relays: usize,
    pub(super) origins: usize,
    pub(super) delay: Duration,
    pub(super) seed: u64,
    pub(super) tune: fn(usize, &mut NodeConfig),
}

impl Default for Plan {
    fn default() -> Self {
        Self { relays: 4, origins: 1, delay: Duration::from_millis(10), seed: 1, tune: |_, _| {} }
    }
}

impl World {
    /// `relays` relays (members 0…), every one an exit and a meeting place, then `origins` origins.
    pub(super) fn new(plan: &Plan) -> Self {
        let start = any_instant();
        let mut rng = ChaCha12Rng::seed_from_u64(plan.seed);
        let keys: Vec<RelayKeys> = (0..plan.relays).map(|_| RelayKeys::generate(&mut rng, UNIX)).collect();
        let network = Arc::new(network(&keys, &mut rng, true, address));
        let mut world = Self {
            now: start,
            start,
            members: Vec::new(),
            ids: keys.iter().map(RelayKeys::id).collect(),
            keys,
            network,
            delay: plan.delay,
            loss: 0,
            lengths: BTreeMap::new(),
            before_flush: None,
            cut: BTreeSet::new(),
            closed: BTreeSet::new(),
            met: BTreeSet::new(),
            packets: BTreeMap::new(),
            sent: 0,
            rng,
        };
        for index in 0..plan.relays + plan.origins {
            let mut config = world.config(index);
            (plan.tune)(index, &mut config);
            let member = world.member(config);
            world.members.push(member);
        }
        world
    }

    /// The configuration of member `index`.
    pub(super) fn config(&mut self, index: usize) -> NodeConfig {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let unix = UNIX + self.elapsed().as_secs();
        let nanos = UNIX * 1_000_000_000 + u64::try_from(self.elapsed().as_nanos()).unwrap();
        match self.keys.get(index) {
            Some(keys) => {
                let local = LocalIdentity::Relay {
                    identity: keys.identity_public(),
                    link_secret: LinkSecret::from_bytes(*keys.link_secret()),
                };
                let mut config = NodeConfig::new(LinkConfig::new(local), seed, nanos);
                let mut relay = RelayConfig::new(keys.id(), OnionKey::around(keys.onion(), unix));
                relay.allow_local = true;
                relay.allow_meeting = true;
                config.relay = Some(relay);
                config
            }
            None => NodeConfig::new(LinkConfig::new(LocalIdentity::Anonymous), seed, nanos),
        }
    }

    pub(super) fn member(&self, config: NodeConfig) -> Member {
        let mut node = Node::new(config, self.now);
        node.set_network(Arc::clone(&self.network));
        Member { node, events: VecDeque::new(), dead: false }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    pub(super) fn node(&mut self, index: usize) -> &mut Node {
        &mut self.members[index].node
    }

    /// Lets time pass until `done` says so; panics when it does not within `limit`.
    pub(super) fn run_until(&mut self, limit: Duration, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let end = self.now + limit;
        self.settle();
        while !done(self) {
            assert!(self.step(end), "not within {limit:?}: {what}");
        }
    }

    /// Lets time pass.
    pub(super) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        self.settle();
        while self.step(end) {}
        self.now = end;
    }

    /// Builds a circuit and waits until it is ready.
    pub(super) fn build(&mut self, origin: usize, path: &[usize]) -> CircuitId {
        let (now, path) = (self.now, self.path(path));
        let circuit = self.node(origin).build(now, &path).unwrap();
        let mut ready = false;
        self.run_until(Duration::from_secs(20), "circuit ready", |world| {
            while let Some(event) = world.members[origin].events.pop_front() {
                match event {
                    Event::CircuitReady { circuit: id, .. } if id == circuit => ready = true,
                    Event::CircuitFailed { circuit: id, reason } if id == circuit => {
                        panic!("{reason:?}")
                    }
                    _ => {}
                }
            }
            ready
        });
        circuit
    }

    pub(super) fn path(&self, path: &[usize]) -> Vec<RelayId> {
        path.iter().map(|index| self.ids[*index]).collect()
    }

    /// Waits for an event that `pick` takes; others are thrown away.
    pub(super) fn wait<T>(
        &mut self,
        member: usize,
        limit: Duration,
        what: &str,
        mut pick: impl FnMut(&Event) -> Option<T>,
    ) -> T {
        let mut found = None;
        self.run_until(limit, what, |world| {
            while let (None, Some(event)) = (&found, world.members[member].events.pop_front()) {
                found = pick(&event);
            }
            found.is_some()
        });
        found.unwrap()
    }

    /// Sends a message and waits for it at the exit.
    pub(super) fn deliver(&mut self, origin: usize, circuit: CircuitId, exit: usize, message: &[u8]) -> LocalId {
        let now = self.now;
        self.node(origin).send(now, circuit, message).unwrap();
        self.wait(exit, Duration::from_secs(5), "message at the exit", |event| match event {
            Event::LocalMessage { local, message: got } if got == message => Some(*local),
            _ => None,
        })
    }

    /// Sends a message back and waits for it at the origin.
    pub(super) fn deliver_back(&mut self, exit: usize, local: LocalId, origin: usize, message: &[u8]) -> CircuitId {
        let now = self.now;
        self.node(exit).reply(now, local, message).unwrap();
        self.wait(origin, Duration::from_secs(5), "message at the origin", |event| match event {
            Event::Message { circuit, message: got } if got == message => Some(*circuit),
            _ => None,
        })
    }

    /// Whether nothing of any circuit is left on any relay that lives.
    pub(super) fn no_circuits(&self) -> bool {
        self.members.iter().filter(|member| !member.dead).all(|member| {
            let metrics = member.node.metrics();
            metrics.circuits.open == 0 && metrics.own.open == 0 && member.node.core.entries() == 0
        })
    }

    /// After commands: all nodes give what they have.
    pub(super) fn settle(&mut self) {
        for index in 0..self.members.len() {
            self.drive(index);
        }
    }

    /// Jumps to the earliest thing that is due, but not beyond `end`.
    fn step(&mut self, end: Instant) -> bool {
        let packet = self.packets.keys().next().map(|(at, _)| *at);
        let timers = self.members.iter().filter(|member| !member.dead).filter_map(|member| member.node.next_timeout());
        let Some(at) = timers.chain(packet).min() else {
            return false;
        };
        if at > end {
            return false;
        }
        assert!(at + Duration::from_millis(200) > self.now, "a timeout far in the past: livelock");
        self.now = self.now.max(at);
        let now = self.now;
        let mut touched = BTreeSet::new();
        while let Some(entry) = self.packets.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let Packet { from, to, mut bytes } = entry.remove();
            let heard = !self.closed.contains(&to) || self.met.contains(&(to, from));
            if !self.members[to].dead && heard && !self.cut.contains(&(from.min(to), from.max(to))) {
                self.members[to].node.handle_datagram(now, address(from), &mut bytes);
                touched.insert(to);
            }
        }
        for (index, member) in self.members.iter_mut().enumerate() {
            if !member.dead && member.node.next_timeout().is_some_and(|at| at <= now) {
                member.node.handle_timeout(now);
                touched.insert(index);
            }
        }
        for index in touched {
            self.drive(index);
        }
        true
    }

    fn drive(&mut self, index: usize) {
        let now = self.now;
        let member = &mut self.members[index];
        if member.dead {
            return;
        }
        while let Some(job) = member.node.poll_job() {
            member.node.handle_job(now, job.run());
        }
        if let Some(hook) = &mut self.before_flush {
            hook(index, &mut member.node);
        }
        member.node.flush(now);
        while let Some(event) = member.node.poll_event() {
            member.events.push_back(event);
        }
        let mut out = Vec::new();
        for transmit in member.node.transmits() {
            for datagram in transmit.data.chunks(transmit.segment) {
                out.push((transmit.to, datagram.to_vec()));
            }
        }
        member.node.clear_transmits();
        for (to, bytes) in out {
            *self.lengths.entry(bytes.len()).or_default() += 1;
            let lost = self.rng.next_u32() % 100 < self.loss;
            let Some(to) = member_at(to).filter(|to| !lost && *to < self.members.len()) else {
                continue;
            };
            self.met.insert((index, to));
            self.sent += 1;
            self.packets.insert((now + self.delay, self.sent), Packet { from: index, to, bytes });
        }
    }
}

pub(super) fn address(index: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, u8::try_from(index + 1).unwrap()], 4000))
}

fn member_at(address: SocketAddr) -> Option<usize> {
    match address {
        SocketAddr::V4(address) => usize::from(address.ip().octets()[3]).checked_sub(1),
        SocketAddr::V6(_) => None,
    }
}

/// A document of these relays.
pub(super) fn network(
    keys: &[RelayKeys],
    rng: &mut ChaCha12Rng,
    test_network: bool,
    address: fn(usize) -> SocketAddr,
) -> Network {
    let signer = SignerKey::generate(rng);
    let mut draft = Draft::new(DraftTerms {
        name: "test".into(),
        test_network,
        valid_after: UNIX - 10,
        valid_until: UNIX + 1_000_000,
        signers: vec![SignerId(signer.public())],
    })
    .unwrap();
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
        draft.add(Descriptor::create(keys, &info, Terms::from_now(UNIX)).unwrap()).unwrap();
    }
    draft.sign(&signer, UNIX).unwrap();
    Network::from_document(draft.into_document().unwrap(), UNIX).unwrap()
}

impl Node {
    /// Sends any set-up packet over the link of an open circuit, as an attacker would.
    pub(super) fn send_setup(&mut self, now: Instant, packet: [u8; zmesh_sphinx::PACKET_LEN]) {
        let link = self.origin.any_link().expect("an open circuit");
        let number = self.core.neighbours.next_number(link).expect("a link that is up");
        // A full queue is what a flood meets.
        let _ = self.core.links.send_control(now, link, Control::Setup { circuit: number, packet });
    }
}
