//! Four voters of whom the input is one: it signs whatever it likes, loses, repeats and alters what the others send, and moves the time.
//! The other three are honest and reach each other late. They never agree on two documents with one past, and never panic.

use std::collections::BTreeMap;

use arbitrary::Arbitrary;
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;
use zmesh_proto::directory::Chain;
use zmesh_proto::directory::voting::{Event, Memory, Transmit, Voting};
use zmesh_proto::keys::SignerKey;
use zmesh_proto::wire::control::vote::{Scope, Vote, VoteMessage};
use zmesh_proto::wire::control::{Genesis, GenesisTerms, HeaderHash, Parameters, Voter, VoterSet};
use zmesh_proto::wire::document::SignerId;

const ZERO: u64 = 1_760_000_000;
const HONEST: usize = 3;
/// Longest run: each message costs a signature.
const STEPS_MAX: usize = 200;

/// What happens next.
#[derive(Arbitrary, Debug)]
pub enum Step {
    /// Time passes, milliseconds.
    Wait(u16),
    /// A message that waits is delivered, and perhaps delivered again later.
    Deliver { which: u8, keep: bool },
    /// A message that waits is lost.
    Lose(u8),
    /// A message that waits is delivered with a bit altered.
    Alter { which: u8, at: u16, bit: u8 },
    /// The fourth voter signs something.
    Sign { to: u8, kind: u8, round: u8, value: u8 },
    /// One honest voter asks another what it missed.
    Ask { from: u8, to: u8 },
    /// A question of any bytes.
    Have { to: u8, bytes: Vec<u8> },
    /// An honest voter starts again from what it stored.
    Restart(u8),
}

struct World {
    now: u64,
    genesis: Genesis,
    nodes: Vec<Voting>,
    waiting: Vec<(usize, Transmit)>,
    successors: BTreeMap<HeaderHash, HeaderHash>,
}

fn key(number: u64) -> SignerKey {
    SignerKey::generate(&mut ChaCha12Rng::seed_from_u64(number))
}

/// Plays an input.
///
/// # Panics
/// If two honest voters agreed on different documents with one past.
pub fn play(steps: &[Step]) {
    let voter = |number| Voter { key: SignerId(key(number).public()), operator: format!("operator {number}") };
    let genesis = Genesis::new(GenesisTerms {
        name: "fuzz".into(),
        test_network: true,
        epoch_length: 8,
        epoch_zero: ZERO,
        voters_per_operator: 1,
        voters: VoterSet::new((0..4).map(voter).collect(), 1).expect("four voters"),
        parameters: Parameters::new(),
    })
    .expect("a genesis");
    let now = ZERO * 1_000;
    let node = |number: usize| {
        Voting::new(Chain::from_genesis(genesis.clone()), Some(key(number as u64)), Memory::Fresh, now).expect("fresh")
    };
    let mut world = World {
        now,
        nodes: (0..HONEST).map(node).collect(),
        waiting: Vec::new(),
        successors: BTreeMap::new(),
        genesis: genesis.clone(),
    };
    for step in steps.iter().take(STEPS_MAX) {
        world.step(step);
    }
}

impl World {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Wait(millis) => {
                self.now += u64::from(*millis);
                for node in 0..HONEST {
                    self.nodes[node].handle_time(self.now);
                    self.drain(node);
                }
            }
            Step::Deliver { which, keep } => {
                if let Some((to, transmit)) = self.take(*which) {
                    if *keep {
                        self.waiting.push((to, transmit.clone()));
                    }
                    self.give(to, &transmit);
                }
            }
            Step::Lose(which) => {
                self.take(*which);
            }
            Step::Alter { which, at, bit } => {
                if let Some((to, mut transmit)) = self.take(*which) {
                    let at = usize::from(*at) % transmit.bytes.len();
                    transmit.bytes[at] ^= 1 << (bit % 8);
                    self.give(to, &transmit);
                }
            }
            Step::Sign { to, kind, round, value } => self.sign(usize::from(*to) % HONEST, *kind, *round, *value),
            Step::Ask { from, to } => {
                let (from, to) = (usize::from(*from) % HONEST, usize::from(*to) % HONEST);
                let have = self.nodes[from].have();
                for transmit in self.nodes[to].answer(&have).expect("a question of ours") {
                    self.give(from, &transmit);
                }
            }
            Step::Have { to, bytes } => {
                let _ = self.nodes[usize::from(*to) % HONEST].answer(bytes);
            }
            Step::Restart(which) => {
                let number = usize::from(*which) % HONEST;
                let (chain, memory) = (self.nodes[number].chain().clone(), self.nodes[number].memory());
                let key = Some(key(number as u64));
                self.nodes[number] = Voting::new(chain, key, Memory::Kept(&memory), self.now).expect("its own memory");
            }
        }
    }

    fn take(&mut self, which: u8) -> Option<(usize, Transmit)> {
        let count = self.waiting.len();
        (count > 0).then(|| self.waiting.swap_remove(usize::from(which) % count))
    }

    fn give(&mut self, to: usize, transmit: &Transmit) {
        self.nodes[to].handle_message(transmit.topic, &transmit.bytes, self.now);
        self.drain(to);
    }

    fn sign(&mut self, to: usize, kind: u8, round: u8, value: u8) {
        let head = self.nodes[to].chain().head();
        let scope = Scope { network: self.genesis.network_id(), previous_epoch: head.epoch, previous: head.hash };
        let seen: Vec<HeaderHash> = self.successors.values().copied().collect();
        let header = match usize::from(value) {
            0 => None,
            number => Some(seen.get(number - 1).copied().unwrap_or(HeaderHash([value; 32]))),
        };
        let round = u32::from(round);
        let vote = match kind % 5 {
            0 => Vote::Commitment([value; 32]),
            1 => Vote::Reveal([value; 80]),
            2 => Vote::Ballot(Default::default()),
            3 => Vote::Prevote { round, header },
            _ => Vote::Precommit { round, header },
        };
        let message = VoteMessage::sign(&key(3), scope, vote).expect("a vote that keeps its form");
        self.nodes[to].handle_message(zmesh_proto::wire::control::Topic::Votes, message.as_bytes(), self.now);
        self.drain(to);
    }

    fn drain(&mut self, node: usize) {
        while let Some(transmit) = self.nodes[node].poll_transmit() {
            for to in (0..HONEST).filter(|to| *to != node) {
                if self.waiting.len() < 512 {
                    self.waiting.push((to, transmit.clone()));
                }
            }
        }
        while let Some(event) = self.nodes[node].poll_event() {
            if let Event::Agreed(document) = event {
                let header = document.signed().header();
                let first = *self.successors.entry(header.previous()).or_insert_with(|| header.hash());
                assert_eq!(first, header.hash(), "two successors");
            }
        }
    }
}
