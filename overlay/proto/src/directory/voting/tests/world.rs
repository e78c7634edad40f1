//! Voters in virtual time: messages are late, lost and out of order, clocks differ, and some voters are not honest.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use curve25519_dalek::scalar::clamp_integer;
use curve25519_dalek::{EdwardsPoint, Scalar};
use ed25519_dalek::SigningKey;
use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha512};
use zmesh_sphinx::RelayId;

use crate::directory::voting::value::Said;
use crate::directory::voting::{Event, Memory, Transmit, Voting};
use crate::directory::{Chain, Measure};
use crate::keys::SignerKey;
use crate::wire::control::vote::{Ballot, Sighting, Vote, VoteMessage};
use crate::wire::control::{
    EpochDocument, Genesis, GenesisTerms, HeaderHash, Parameters, RelayFlags, Topic, Verdict, Voter, VoterSet,
};
use crate::wire::document::SignerId;

/// How long an epoch of these tests lasts, in seconds: a step of the schedule is a second.
pub(super) const EPOCH: u32 = 8;
pub(super) const ZERO: u64 = 1_760_000_000;

pub(super) fn key(seed: u64) -> SignerKey {
    SignerKey::generate(&mut ChaCha12Rng::seed_from_u64(9_000 + seed))
}

pub(super) fn set(seeds: impl IntoIterator<Item = u64>) -> VoterSet {
    let voter = |seed| Voter { key: SignerId(key(seed).public()), operator: format!("operator {seed}") };
    VoterSet::new(seeds.into_iter().map(voter).collect(), 1).unwrap()
}

pub(super) fn genesis(voters: u64) -> Genesis {
    Genesis::new(GenesisTerms {
        name: "world".into(),
        test_network: true,
        epoch_length: EPOCH,
        epoch_zero: ZERO,
        voters_per_operator: 1,
        voters: set(0..voters),
        parameters: Parameters::new(),
    })
    .unwrap()
}

pub(super) fn relay(number: u64) -> RelayId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    id[8..].copy_from_slice(&number.to_be_bytes());
    RelayId(id)
}

/// What an honest voter says of these relays: figures differ a little from voter to voter.
pub(super) fn ballot(relays: impl IntoIterator<Item = u64>, noise: u64) -> Ballot {
    let mut sightings: Vec<Sighting> = relays
        .into_iter()
        .map(|number| Sighting {
            id: relay(number),
            descriptor: [u8::try_from(number % 251).unwrap(); 32],
            uptime: 990,
            measure: Measure { capacity: u32::try_from(1_000 + 10 * number + noise % 7).unwrap(), place: None },
            flags: RelayFlags::EXIT.when(number.is_multiple_of(3)),
        })
        .collect();
    sightings.sort_by_key(|sighting| sighting.id);
    Ballot { sightings, ..Ballot::default() }
}

/// The same ballot, perhaps with more fields, signed with a nonce of its own.
pub(super) fn ballot_again(seed: u64, ballot: &VoteMessage, extension: &[u8]) -> Vec<u8> {
    const CONTEXT: &[u8] = b"zmesh vote ballot v1\0";
    let key = SigningKey::generate(&mut ChaCha12Rng::seed_from_u64(9_000 + seed));
    let message = [ballot.signed_bytes(), extension].concat();
    let hash: [u8; 64] = Sha512::digest(key.as_bytes()).into();
    let secret = Scalar::from_bytes_mod_order(clamp_integer(hash[..32].try_into().unwrap()));
    let nonce = Scalar::from(77u64 + extension.len() as u64);
    let point = EdwardsPoint::mul_base(&nonce).compress();
    let parts = [point.as_bytes(), key.verifying_key().as_bytes(), &message[..]].concat();
    let challenge = Scalar::from_bytes_mod_order_wide(&Sha512::digest(parts).into());
    let response = nonce + challenge * secret;
    // The envelope: kind, body, signature.
    let body = &message[CONTEXT.len()..];
    let mut bytes = vec![8, 3, 0x12];
    let mut length = body.len();
    while length >= 128 {
        bytes.push(u8::try_from(length % 128).unwrap() | 128);
        length /= 128;
    }
    bytes.push(u8::try_from(length).unwrap());
    [&bytes, body, &[0x1a, 64], point.as_bytes(), response.as_bytes()].concat()
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Manner {
    Honest,
    /// Never says anything.
    Silent,
    /// Says two things of everything, one to each half.
    Double,
    /// Keeps the rules and lies about relays: sees relays that nobody else sees, and figures without bounds.
    Liar,
    /// Tells what it says to some only.
    Whisperer,
    /// Signs its one ballot in two ways, one for each half.
    Resigner,
    /// Adds to its ballot a field that nobody knows, for one half.
    Extender,
}

#[derive(Clone, Debug)]
pub(super) struct Conditions {
    /// Delay of a message, milliseconds.
    pub(super) delay: RangeInclusive<u64>,
    /// Messages lost of a thousand.
    pub(super) lost: u64,
    /// How far clocks are off at most, milliseconds.
    pub(super) skew: u64,
}

pub(super) struct World {
    pub(super) now: u64,
    pub(super) genesis: Genesis,
    pub(super) nodes: Vec<Voting>,
    pub(super) manners: Vec<Manner>,
    /// The documents that each node agreed on, in order.
    pub(super) documents: Vec<Vec<EpochDocument>>,
    pub(super) convicted: Vec<Vec<SignerId>>,
    pub(super) forks: usize,
    pub(super) rejected: usize,
    pub(super) down: Vec<bool>,
    offsets: Vec<u64>,
    conditions: Conditions,
    rng: ChaCha12Rng,
    queue: BTreeMap<(u64, u64), (usize, Transmit)>,
    sequence: u64,
    next_sync: u64,
}

impl World {
    pub(super) fn new(manners: &[Manner], conditions: Conditions, seed: u64) -> Self {
        let genesis = genesis(manners.len() as u64);
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        let now = ZERO * 1_000;
        let offsets =
            manners.iter().map(|_| if conditions.skew == 0 { 0 } else { rng.next_u64() % (2 * conditions.skew + 1) });
        let offsets: Vec<u64> = offsets.collect();
        let mut world = Self {
            now,
            nodes: Vec::new(),
            manners: manners.to_vec(),
            documents: vec![Vec::new(); manners.len()],
            convicted: vec![Vec::new(); manners.len()],
            forks: 0,
            rejected: 0,
            down: vec![false; manners.len()],
            offsets,
            conditions,
            rng,
            queue: BTreeMap::new(),
            sequence: 0,
            next_sync: now,
            genesis,
        };
        for (number, manner) in manners.iter().enumerate() {
            let chain = Chain::from_genesis(world.genesis.clone());
            let voting = Voting::new(chain, Some(key(number as u64)), Memory::Fresh, world.time_of(number)).unwrap();
            world.nodes.push(voting);
            let view = match manner {
                Manner::Liar => {
                    let mut lie = ballot(500..520, 0);
                    lie.sightings.extend(ballot(0..20, 0).sightings.into_iter().map(|sighting| Sighting {
                        measure: Measure { capacity: u32::MAX, place: None },
                        uptime: 0,
                        descriptor: [0xee; 32],
                        ..sighting
                    }));
                    lie.sightings.sort_by_key(|sighting| sighting.id);
                    lie.wanted = Some(set([777]));
                    lie.unwanted = vec![SignerId(key(0).public())];
                    lie
                }
                _ => ballot(0..20, number as u64),
            };
            world.nodes[number].set_ballot(view);
        }
        world
    }

    /// What a node's clock says.
    pub(super) fn time_of(&self, node: usize) -> u64 {
        self.now + self.offsets[node]
    }

    pub(super) fn honest(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|node| matches!(self.manners[*node], Manner::Honest)).collect()
    }

    /// Runs until this many epochs after the beginning.
    pub(super) fn run_until(&mut self, epochs: f64) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small positive numbers of a test")]
        let end = ZERO * 1_000 + (epochs * f64::from(EPOCH) * 1_000.0) as u64;
        loop {
            let message = self.queue.first_key_value().map(|((at, _), _)| *at);
            let timers = (0..self.nodes.len())
                .filter(|node| self.acts(*node))
                .filter_map(|node| self.nodes[node].next_timeout().map(|at| at.saturating_sub(self.offsets[node])));
            let next = timers.chain(message).chain([self.next_sync]).min().unwrap().max(self.now);
            if next > end {
                self.now = end;
                return;
            }
            self.now = next;
            while let Some(entry) = self.queue.first_entry()
                && entry.key().0 <= self.now
            {
                let (to, transmit) = entry.remove();
                if self.acts(to) {
                    let time = self.time_of(to);
                    let verdict = self.nodes[to].handle_message(transmit.topic, &transmit.bytes, time);
                    self.rejected += usize::from(matches!(verdict, Verdict::Reject(_)));
                    // As gossip does: to some others.
                    for _ in 0..usize::from(verdict == Verdict::Accept) * 2 {
                        let other = self.below(self.nodes.len());
                        if other != to && self.manners[to] != Manner::Whisperer {
                            self.send(other, transmit.clone());
                        }
                    }
                    self.drain(to);
                }
            }
            for node in 0..self.nodes.len() {
                let time = self.time_of(node);
                if self.acts(node) && self.nodes[node].next_timeout().is_some_and(|at| at <= time) {
                    self.nodes[node].handle_time(time);
                    self.drain(node);
                }
            }
            if self.next_sync <= self.now {
                self.next_sync = self.now + 200;
                self.sync();
            }
        }
    }

    fn acts(&self, node: usize) -> bool {
        !self.down[node] && self.manners[node] != Manner::Silent
    }

    /// Every node asks another what it missed.
    fn sync(&mut self) {
        for asker in 0..self.nodes.len() {
            let peer = self.below(self.nodes.len());
            if peer == asker || !self.acts(asker) || !self.acts(peer) || self.is_lost() {
                continue;
            }
            let have = self.nodes[asker].have();
            for transmit in self.nodes[peer].answer(&have).unwrap() {
                self.send(asker, transmit);
            }
        }
    }

    pub(super) fn drain(&mut self, from: usize) {
        while let Some(transmit) = self.nodes[from].poll_transmit() {
            let twin = match self.manners[from] {
                Manner::Double => self.twin(from, &transmit),
                manner @ (Manner::Resigner | Manner::Extender) => {
                    let ballot = VoteMessage::decode(&transmit.bytes).ok().filter(|m| m.ballot_id().is_some());
                    ballot.map(|ballot| {
                        let extension = if manner == Manner::Extender { b"\x82\x02\x01x".as_slice() } else { b"" };
                        Transmit { topic: Topic::Votes, bytes: ballot_again(from as u64, &ballot, extension) }
                    })
                }
                _ => None,
            };
            for to in 0..self.nodes.len() {
                let told = self.manners[from] != Manner::Whisperer || (to + from).is_multiple_of(2);
                if to == from || !told {
                    continue;
                }
                match &twin {
                    Some(twin) if to % 2 == 1 => self.send(to, twin.clone()),
                    _ => self.send(to, transmit.clone()),
                }
            }
        }
        while let Some(event) = self.nodes[from].poll_event() {
            match event {
                Event::Agreed(document) => self.documents[from].push(*document),
                Event::Wanted(hash) => self.fetch(from, hash),
                Event::Equivocation(evidence) => self.convicted[from].push(evidence.voter()),
                Event::Forked(_) => self.forks += 1,
                Event::Behind { .. } => self.catch_up(from),
            }
        }
    }

    /// A document that a node lacks, from whoever has it: this is another part's task.
    fn fetch(&mut self, node: usize, hash: HeaderHash) {
        let found = self.documents.iter().flatten().find(|document| document.hash() == hash).cloned();
        if let Some(document) = found {
            self.nodes[node].handle_document(&document.encode()).unwrap();
            self.drain(node);
        }
    }

    /// The headers that a node lacks.
    fn catch_up(&mut self, node: usize) {
        let mut all: Vec<EpochDocument> = self.documents.iter().flatten().cloned().collect();
        all.sort_by_key(|document| document.signed().header().epoch());
        for document in all {
            let time = self.time_of(node);
            let _ = self.nodes[node].handle_message(Topic::Snapshots, &document.signed().encode(), time);
        }
        self.drain(node);
    }

    fn send(&mut self, to: usize, transmit: Transmit) {
        if self.is_lost() {
            return;
        }
        let (low, high) = (*self.conditions.delay.start(), *self.conditions.delay.end());
        let at = self.now + low + self.rng.next_u64() % (high - low + 1);
        self.sequence += 1;
        self.queue.insert((at, self.sequence), (to, transmit));
    }

    fn is_lost(&mut self) -> bool {
        self.rng.next_u64() % 1_000 < self.conditions.lost
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.rng.next_u64() % bound as u64).unwrap()
    }

    /// Another vote of the same kind and round, as good as the first.
    fn twin(&self, from: usize, transmit: &Transmit) -> Option<Transmit> {
        if transmit.topic != Topic::Votes {
            return None;
        }
        let original = VoteMessage::decode(&transmit.bytes).unwrap();
        let instance = &self.nodes[from].instance;
        let other_than = |header: &Option<HeaderHash>| match header {
            Some(_) => None,
            None => instance
                .proposals
                .values()
                .flat_map(BTreeMap::values)
                .map(|ticket| ticket.proposal().header.hash())
                .next()
                .or(Some(HeaderHash([7; 32]))),
        };
        let vote = match original.vote() {
            Vote::Commitment(value) => Vote::Commitment(value.map(|byte| !byte)),
            Vote::Reveal(_) => return None,
            Vote::Ballot(ballot) => {
                let mut ballot = ballot.clone();
                ballot.sightings.pop();
                Vote::Ballot(ballot)
            }
            Vote::Prevote { round, header } => Vote::Prevote { round: *round, header: other_than(header) },
            Vote::Precommit { round, header } => Vote::Precommit { round: *round, header: other_than(header) },
            Vote::Proposal(proposal) => {
                let mut proposal = proposal.clone();
                if proposal.ballots.len() > instance.context.head.voters.quorum() {
                    proposal.ballots.remove(0);
                } else if proposal.secrets.len() > instance.context.head.voters.quorum() {
                    proposal.secrets.remove(0);
                } else {
                    return None;
                }
                let header = &proposal.header;
                let said = Said {
                    epoch: header.epoch(),
                    round: header.round(),
                    proposer: header.proposer(),
                    proof: *header.proof(),
                };
                let (ballots, secrets) = (&proposal.ballots, &proposal.secrets);
                proposal.header = instance.context.compose(said, ballots, secrets, &instance.gathered)?.0;
                Vote::Proposal(proposal)
            }
        };
        let twin = VoteMessage::sign(&key(from as u64), original.scope(), vote).unwrap();
        Some(Transmit { topic: Topic::Votes, bytes: twin.as_bytes().to_vec() })
    }

    /// Stops a node and starts it again from what it stored.
    pub(super) fn restart(&mut self, node: usize, memory: Memory<'_>) {
        let chain = self.nodes[node].chain().clone();
        let mut fresh = Voting::new(chain, Some(key(node as u64)), memory, self.time_of(node)).unwrap();
        fresh.set_ballot(ballot(0..20, node as u64));
        self.nodes[node] = fresh;
        self.down[node] = false;
    }

    /// That honest nodes agree: every document has one successor, and all that anybody agreed on are one chain. Returns its epochs.
    pub(super) fn check_agreement(&self) -> Vec<u64> {
        let mut successor: BTreeMap<HeaderHash, HeaderHash> = BTreeMap::new();
        let mut epochs = std::collections::BTreeSet::new();
        for node in self.honest() {
            for document in &self.documents[node] {
                let header = document.signed().header();
                let first = successor.entry(header.previous()).or_insert_with(|| header.hash());
                assert_eq!(*first, header.hash(), "two successors of {}", header.previous());
                epochs.insert(header.epoch());
            }
        }
        assert_eq!(self.forks, 0);
        epochs.into_iter().collect()
    }
}
