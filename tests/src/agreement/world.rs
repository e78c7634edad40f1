//! The nodes, the mesh between them, and time.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};
use zmesh_proto::directory::Chain;
use zmesh_proto::directory::voting::{Event, Memory, Transmit, Voting};
use zmesh_proto::keys::SignerKey;
use zmesh_proto::wire::control::{
    EpochDocument, Genesis, GenesisTerms, HeaderHash, Parameters, Verdict, Voter, VoterSet,
};
use zmesh_proto::wire::document::SignerId;

use super::{Relays, Report};

/// When everything begins, unix seconds: the beginning of epoch 0.
const ZERO: u64 = 1_760_000_000;
/// An epoch, in seconds: as long as in a real network.
const EPOCH: u32 = 3_600;
/// How often a node asks a neighbour what it missed, in milliseconds.
const ASK_EVERY: u64 = 20_000;
/// How many neighbours a node has in the mesh, about.
const DEGREE: usize = 8;

/// What the network is like.
#[derive(Clone, Copy, Debug)]
pub struct Conditions {
    /// Nodes that vote.
    pub voters: usize,
    /// Nodes that follow.
    pub followers: usize,
    /// Relays.
    pub relays: usize,
    /// Thousandths of messages that a hop loses.
    pub lost: u64,
    /// Thousandths of the relays that are replaced in an hour.
    pub churn: u64,
    /// How far clocks are off at most, in milliseconds.
    pub skew: u64,
}

/// What some voters do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    /// How many say nothing.
    pub silent: usize,
    /// How many name relays that are not there, and absurd figures.
    pub lying: usize,
}

/// A network that agrees.
pub struct World {
    now: u64,
    rng: ChaCha12Rng,
    genesis: Genesis,
    conditions: Conditions,
    faults: Faults,
    nodes: Vec<Voting>,
    offsets: Vec<u64>,
    neighbours: Vec<Vec<usize>>,
    /// What each node has seen, by hash, as a gossip layer remembers it.
    seen: Vec<BTreeSet<u64>>,
    queue: BTreeMap<(u64, u64), Delivery>,
    sequence: u64,
    relays: Relays,
    next_churn: u64,
    /// Relays to be replaced, in thirty-thousandths.
    owed: u64,
    next_ask: Vec<u64>,
    sent: Vec<(u64, u64)>,
    documents: BTreeMap<HeaderHash, EpochDocument>,
    successors: BTreeMap<HeaderHash, HeaderHash>,
    /// By epoch: when each node had its document.
    had: BTreeMap<u64, Vec<u64>>,
    gone: u64,
    rounds: u32,
}

struct Delivery {
    to: usize,
    from: usize,
    transmit: Rc<Transmit>,
    id: u64,
    gossiped: bool,
}

impl World {
    /// A network at the beginning of epoch 0, with its genesis voters and all relays up.
    pub fn new(conditions: Conditions, faults: Faults, seed: u64) -> Self {
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        let keys: Vec<SignerKey> = (0..conditions.voters).map(|_| SignerKey::generate(&mut rng)).collect();
        let voter = |(number, key): (usize, &SignerKey)| Voter {
            key: SignerId(key.public()),
            operator: format!("operator {number}"),
        };
        let genesis = Genesis::new(GenesisTerms {
            name: "agreement".into(),
            test_network: false,
            epoch_length: EPOCH,
            epoch_zero: ZERO,
            voters_per_operator: 1,
            voters: VoterSet::new(keys.iter().enumerate().map(voter).collect(), 1).expect("voters that differ"),
            parameters: Parameters::new(),
        })
        .expect("a genesis that keeps the rules");
        let count = conditions.voters + conditions.followers;
        let now = ZERO * 1_000;
        let offsets: Vec<u64> = (0..count).map(|_| rng.next_u64() % (2 * conditions.skew + 1)).collect();
        let mut keys = keys.into_iter();
        let nodes = (0..count)
            .map(|node| {
                let chain = Chain::from_genesis(genesis.clone());
                Voting::new(chain, keys.next(), Memory::Fresh, now + offsets[node]).expect("nothing is remembered")
            })
            .collect();
        let relays = Relays::new(conditions.relays, ZERO, &mut rng);
        let neighbours = mesh(count, &mut rng);
        let next_ask = (0..count).map(|_| now + rng.next_u64() % ASK_EVERY).collect();
        let mut world = Self {
            now,
            genesis,
            conditions,
            faults,
            nodes,
            offsets,
            neighbours,
            seen: vec![BTreeSet::new(); count],
            queue: BTreeMap::new(),
            sequence: 0,
            relays,
            next_churn: now,
            owed: 0,
            next_ask,
            sent: vec![(0, 0); count],
            documents: BTreeMap::new(),
            successors: BTreeMap::new(),
            had: BTreeMap::new(),
            gone: 0,
            rounds: 0,
            rng,
        };
        world.look();
        world
    }

    /// Runs for so many epochs and says what happened.
    ///
    /// # Panics
    /// If a document gets two successors: voters did not agree.
    pub fn run(&mut self, epochs: u64) -> Report {
        let end = (ZERO + epochs * u64::from(EPOCH)) * 1_000;
        loop {
            let timers = (0..self.nodes.len())
                .filter(|node| self.acts(*node))
                .filter_map(|node| self.nodes[node].next_timeout().map(|at| at.saturating_sub(self.offsets[node])));
            let delivery = self.queue.first_key_value().map(|((at, _), _)| *at);
            let ask = self.next_ask.iter().copied();
            let next = timers.chain(delivery).chain(ask).chain([self.next_churn]).min().expect("something is next");
            self.now = next.max(self.now);
            if self.now >= end {
                return self.report(epochs);
            }
            self.deliver();
            for node in 0..self.nodes.len() {
                let time = self.now + self.offsets[node];
                if self.acts(node) && self.nodes[node].next_timeout().is_some_and(|at| at <= time) {
                    self.nodes[node].handle_time(time);
                    self.drain(node);
                }
                if self.next_ask[node] <= self.now {
                    self.next_ask[node] = self.now + ASK_EVERY;
                    self.ask(node);
                }
            }
            if self.next_churn <= self.now {
                self.churn();
            }
        }
    }

    fn acts(&self, node: usize) -> bool {
        node >= self.faults.silent
    }

    fn deliver(&mut self) {
        while let Some(entry) = self.queue.first_entry()
            && entry.key().0 <= self.now
        {
            let delivery = entry.remove();
            let to = delivery.to;
            if !self.acts(to) || (delivery.gossiped && !self.seen[to].insert(delivery.id)) {
                continue;
            }
            let time = self.now + self.offsets[to];
            let transmit = &delivery.transmit;
            let verdict = self.nodes[to].handle_message(transmit.topic, &transmit.bytes, time);
            if verdict == Verdict::Accept && delivery.gossiped {
                self.pass_on(to, Some(delivery.from), &delivery.transmit, delivery.id);
            }
            self.drain(to);
        }
    }

    fn pass_on(&mut self, node: usize, from: Option<usize>, transmit: &Rc<Transmit>, id: u64) {
        for to in self.neighbours[node].clone() {
            if Some(to) != from {
                self.send(node, to, Rc::clone(transmit), id, true);
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, transmit: Rc<Transmit>, id: u64, gossiped: bool) {
        let bytes = transmit.bytes.len() as u64;
        if gossiped {
            self.sent[from].0 += bytes
        } else {
            self.sent[from].1 += bytes
        }
        if self.rng.next_u64() % 1_000 < self.conditions.lost {
            return;
        }
        // 10 to 150 ms on the way, and 10 Mbit/s.
        let at = self.now + 10 + self.rng.next_u64() % 140 + bytes / 1_250;
        self.sequence += 1;
        self.queue.insert((at, self.sequence), Delivery { to, from, transmit, id, gossiped });
    }

    /// A node asks a neighbour for what it missed.
    fn ask(&mut self, node: usize) {
        let neighbours = &self.neighbours[node];
        let peer = neighbours[usize::try_from(self.rng.next_u64() % neighbours.len() as u64).expect("an index")];
        if !self.acts(node) || !self.acts(peer) {
            return;
        }
        let have = self.nodes[node].have();
        self.sent[node].1 += have.len() as u64;
        for transmit in self.nodes[peer].answer(&have).expect("a question of ours") {
            self.send(peer, node, Rc::new(transmit), 0, false);
        }
    }

    fn drain(&mut self, node: usize) {
        while let Some(transmit) = self.nodes[node].poll_transmit() {
            let hash = ring::digest::digest(&ring::digest::SHA256, &transmit.bytes);
            let id = u64::from_be_bytes(hash.as_ref()[..8].try_into().expect("eight bytes"));
            if self.seen[node].insert(id) {
                self.pass_on(node, None, &Rc::new(transmit), id);
            }
        }
        while let Some(event) = self.nodes[node].poll_event() {
            match event {
                Event::Agreed(document) => self.agreed(*document),
                Event::Wanted(hash) => {
                    // From whoever has it: the transport of documents is not what is looked at here.
                    if let Some(document) = self.documents.get(&hash) {
                        let bytes = document.encode();
                        self.nodes[node].handle_document(&bytes).expect("the document that it wants");
                    }
                }
                Event::Forked(_) => panic!("two histories"),
                _ => {}
            }
        }
    }

    fn agreed(&mut self, document: EpochDocument) {
        let header = document.signed().header();
        let successor = *self.successors.entry(header.previous()).or_insert_with(|| header.hash());
        assert_eq!(successor, header.hash(), "two successors of {}", header.previous());
        self.rounds = self.rounds.max(document.signed().certificate().round);
        self.had.entry(header.epoch()).or_default().push(self.now);
        self.documents.insert(document.hash(), document);
    }

    /// Relays come and go, and voters look at them, every two minutes.
    fn churn(&mut self) {
        self.next_churn = self.now + 120_000;
        // A thirtieth of an hour's; what is less than a relay waits.
        self.owed += self.conditions.churn * self.conditions.relays as u64;
        let replaced = self.owed / 30_000;
        self.owed %= 30_000;
        let unix = self.now / 1_000;
        for _ in 0..replaced {
            self.relays.replace_one(unix, &mut self.rng);
        }
        self.look();
        let current = self.genesis.epoch_at(unix);
        // At the end of an epoch: how many of its document's relays are gone.
        if self.genesis.epoch_at(unix + 120) != current
            && let Some(document) =
                self.documents.values().find(|document| document.signed().header().epoch() == current)
        {
            let gone = document.relays().iter().filter(|entry| !self.relays.has(&entry.id)).count();
            self.gone = self.gone.max(1_000 * gone as u64 / document.relays().len().max(1) as u64);
        }
    }

    fn look(&mut self) {
        let liars = self.faults.silent..self.faults.silent + self.faults.lying;
        for node in 0..self.conditions.voters {
            let mut ballot = self.relays.ballot(&mut self.rng);
            if liars.contains(&node) {
                for (number, sighting) in ballot.sightings.iter_mut().enumerate() {
                    sighting.measure.capacity = u32::MAX;
                    if number % 2 == 0 {
                        sighting.descriptor = [0xee; 32];
                    }
                }
            }
            self.nodes[node].set_ballot(ballot);
        }
    }

    fn report(&self, epochs: u64) -> Report {
        let step = u64::from(EPOCH) * 1_000 / 8;
        let (mut first, mut spread) = (Vec::new(), Vec::new());
        for (epoch, times) in &self.had {
            let begun = self.genesis.epoch_start(epoch - 1) * 1_000 + 3 * step;
            let (earliest, latest) = (times.iter().min().expect("had by one"), times.iter().max().expect("had by one"));
            first.push(earliest.saturating_sub(begun));
            spread.push(latest - earliest);
        }
        let per_hour = |bytes: u64| bytes / epochs;
        let acting = self.nodes.len() - self.faults.silent;
        let sum = |part: fn(&(u64, u64)) -> u64| self.sent.iter().map(part).sum::<u64>() / acting as u64;
        let (gossip, repair) = (per_hour(sum(|sent| sent.0)), per_hour(sum(|sent| sent.1)));
        let newest = self.had.keys().max().copied().unwrap_or(0);
        // The document in use is replaced when its successor's epoch begins, or when that is there if that is later.
        let oldest =
            self.had.keys().zip(self.had.keys().skip(1)).map(|(a, b)| (b - a) * u64::from(EPOCH)).max().unwrap_or(0);
        let all = acting;
        assert!(
            self.had.iter().all(|(epoch, times)| *epoch == newest || times.len() == all),
            "every node had every document but perhaps the newest"
        );
        Report {
            nodes: (self.conditions.voters, self.conditions.followers),
            relays: self.relays.len(),
            epochs: self.had.len(),
            passed: usize::try_from(epochs).expect("few"),
            first,
            spread,
            rounds: self.rounds,
            sent: (gossip + repair, per_hour(self.sent.iter().map(|(a, b)| a + b).max().unwrap_or(0))),
            parts: (gossip, repair),
            oldest,
            gone: self.gone,
            document: self.documents.values().map(|document| document.encode().len()).max().unwrap_or(0),
        }
    }

    /// The documents that were agreed on.
    pub fn documents(&self) -> impl Iterator<Item = &EpochDocument> {
        self.documents.values()
    }
}

/// A ring, so that everybody is connected, and random chords.
fn mesh(count: usize, rng: &mut ChaCha12Rng) -> Vec<Vec<usize>> {
    let mut neighbours = vec![BTreeSet::new(); count];
    let mut connect = |a: usize, b: usize| {
        if a != b {
            neighbours[a].insert(b);
            neighbours[b].insert(a);
        }
    };
    for node in 0..count {
        connect(node, (node + 1) % count);
        for _ in 0..(DEGREE - 2) / 2 {
            connect(node, usize::try_from(rng.next_u64() % count as u64).expect("an index"));
        }
    }
    neighbours.into_iter().map(|set| set.into_iter().collect()).collect()
}
