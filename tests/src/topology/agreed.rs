//! The directory of a world: voters among its relays agree on documents, and every node takes them as clients do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;
use zmesh_proto::directory::{Chain, Held, Measure, Network, Step, next_refresh, retry_after};
use zmesh_proto::wire::control::vote::Ballot;
use zmesh_proto::wire::control::{
    Difference, EpochDocument, Genesis, GenesisTerms, Parameters, Snapshot, Voter, VoterSet,
};
use zmesh_proto::wire::descriptor::{Descriptor, Terms};
use zmesh_proto::wire::document::SignerId;
use zmesh_sphinx::RelayId;

use super::{RelaySpec, UNIX_START};
use crate::agreement::{Council, sighting};

/// How many relays vote, if there are as many: with four, one may fail.
const VOTERS: usize = 4;
/// How long documents hold in worlds with short epochs, in epochs, as in test networks.
const LIFETIME: u32 = 100;
/// In epochs of less than this, in seconds, the default lifetime would be over before somebody who missed one came back.
const SHORT: u32 = 60;
/// An uptime that makes a relay a stable one, in thousandths.
const UPTIME: u16 = 1_000;

/// What the voters of a world agree on.
///
/// The world begins with epoch 1, whose document they agreed on in the epoch before. They vote in the time of the world, but beside
/// it: their messages take no time of the relays and no place on the links, as the control plane of a real relay has its own thread.
pub(super) struct Directory {
    genesis: Genesis,
    council: Council,
    /// Every relay that there ever was.
    descriptors: BTreeMap<RelayId, Descriptor>,
    /// Those that the voters see now.
    seen: BTreeSet<RelayId>,
    /// The newest document, as a relay has it that gives it to others.
    newest: Held,
    /// The newest document as newcomers get it, and the network that it is to them.
    entry: (Held, Arc<Network>),
}

/// A node's own way from document to document.
#[derive(Debug)]
pub(super) struct Reader {
    held: Held,
    /// When it asks for the next one, since the start of the world. Relays hear of it.
    asks: Option<Duration>,
    tries: u32,
    rng: ChaCha12Rng,
}

impl Directory {
    /// The directory of these relays, with the document of epoch 1.
    pub(super) fn begin(specs: &[RelaySpec], epoch: u32) -> Directory {
        let zero = UNIX_START - u64::from(epoch);
        let voters = &specs[..specs.len().min(VOTERS)];
        let voter = |spec: &RelaySpec| Voter {
            key: SignerId(spec.keys.identity_public()),
            operator: spec.info.operator.clone(),
        };
        let parameters =
            if epoch < SHORT { Parameters::new().with("lifetime", LIFETIME) } else { Ok(Parameters::new()) };
        let genesis = Genesis::new(GenesisTerms {
            name: "simulated".to_owned(),
            test_network: true,
            epoch_length: epoch,
            epoch_zero: zero,
            voters_per_operator: 1,
            voters: VoterSet::new(voters.iter().map(voter).collect(), 1).expect("voters that differ"),
            parameters: parameters.expect("a good name"),
        })
        .expect("a genesis that keeps the rules");
        let mut council = Council::new(&genesis, voters.iter().map(|spec| spec.keys.signer()).collect());
        let descriptors: BTreeMap<_, _> = specs.iter().map(|spec| (spec.keys.id(), spec.describe(zero))).collect();
        council.set_ballot(&ballot(descriptors.values()));
        let document = council.run_until(UNIX_START * 1_000).expect("the first document in time");
        let snapshot = snapshot(document, &descriptors);
        // By what everybody has who was handed the genesis's hash and nothing else.
        let held = newcomer(&genesis, &snapshot.encode());
        let network = held.network(UNIX_START).expect("it holds");
        let seen = descriptors.keys().copied().collect();
        Directory { genesis, council, descriptors, seen, newest: held.clone(), entry: (held, Arc::new(network)) }
    }

    /// What a node has that enters now: the newest document, verified from the pinned genesis on. Everybody who enters between two
    /// documents computes the same from the same bytes, so it is computed once.
    pub(super) fn enter(&mut self, unix: u64) -> (Held, Arc<Network>) {
        if self.entry.0.hash() != self.newest.hash() {
            let held = newcomer(&self.genesis, &self.newest.snapshot().encode());
            let network = held.network(unix).expect("the newest document holds");
            self.entry = (held, Arc::new(network));
        }
        self.entry.clone()
    }

    /// When something happens to the documents at the earliest, since the start of the world.
    pub(super) fn next(&self) -> Duration {
        Duration::from_millis(self.council.quiet_until().saturating_sub(UNIX_START * 1_000))
    }

    /// Lets the voters vote until then. True if there is a new document.
    pub(super) fn run_until(&mut self, elapsed: Duration, relays: &[RelaySpec]) -> bool {
        let Some(document) = self.council.run_until(unix_millis(elapsed)) else { return false };
        let snapshot = snapshot(document, &self.descriptors);
        self.newest.advance(&[], Step::Snapshot(&snapshot.encode())).expect("what the voters signed");
        // Relays say anew what they are, as they do before the last descriptor ends.
        let unix = unix_millis(elapsed) / 1_000;
        for spec in relays {
            self.descriptors.insert(spec.keys.id(), spec.describe(unix));
        }
        self.look();
        true
    }

    /// The voters see a relay from now on, or no longer. The document says so that they next vote on.
    pub(super) fn see(&mut self, spec: &RelaySpec, there: bool, elapsed: Duration) {
        let early = self.council.run_until(unix_millis(elapsed));
        assert!(early.is_none(), "documents are taken up when they are due");
        let id = spec.keys.id();
        if there {
            self.descriptors.entry(id).or_insert_with(|| spec.describe(unix_millis(elapsed) / 1_000));
            self.seen.insert(id);
        } else {
            self.seen.remove(&id);
        }
        self.look();
    }

    fn look(&mut self) {
        let seen = self.descriptors.iter().filter(|(id, _)| self.seen.contains(id)).map(|(_, descriptor)| descriptor);
        self.council.set_ballot(&ballot(seen));
    }
}

impl Reader {
    /// A node that begins with a document. A client asks for the next one at a moment of its own; a relay is told.
    pub(super) fn new(held: Held, client: bool, elapsed: Duration, seed: [u8; 32]) -> Reader {
        let mut reader = Reader { held, asks: None, tries: 0, rng: ChaCha12Rng::from_seed(seed) };
        if client {
            reader.plan(elapsed);
        }
        reader
    }

    /// When it asks next.
    pub(super) fn asks(&self) -> Option<Duration> {
        self.asks
    }

    /// The epoch of its document.
    pub(super) fn epoch(&self) -> u64 {
        self.held.epoch()
    }

    /// Goes on to the newest document by what changed since its own, and gives the network; nothing if it has that already.
    pub(super) fn read(&mut self, directory: &Directory, elapsed: Duration) -> Option<Arc<Network>> {
        let newest = &directory.newest;
        let fresh = self.held.hash() != newest.hash();
        let network = fresh.then(|| {
            let difference = Difference::between(self.held.snapshot(), newest.snapshot()).encode();
            let difference = Difference::decode(&difference).expect("as it was encoded");
            self.held.advance(newest.changes(), Step::Difference(&difference)).expect("what the voters signed");
            Arc::new(self.held.network(unix_millis(elapsed) / 1_000).expect("the newest document holds"))
        });
        self.tries = if fresh { 0 } else { self.tries + 1 };
        if self.asks.is_some() {
            self.plan(elapsed);
        }
        network
    }

    fn plan(&mut self, elapsed: Duration) {
        let (chain, unix) = (self.held.chain(), unix_millis(elapsed) / 1_000);
        self.asks = Some(
            elapsed
                + match self.tries {
                    0 => next_refresh(chain, unix, &mut self.rng),
                    tries => retry_after(chain, tries, &mut self.rng),
                },
        );
    }
}

fn newcomer(genesis: &Genesis, snapshot: &[u8]) -> Held {
    Chain::check_start(genesis, None, UNIX_START).expect("a young genesis");
    Held::begin(genesis.network_id(), genesis.clone(), Vec::new(), snapshot).expect("what the voters signed")
}

fn snapshot(document: EpochDocument, descriptors: &BTreeMap<RelayId, Descriptor>) -> Snapshot {
    Snapshot::new(document, |entry| descriptors.get(&entry.id).cloned()).expect("the descriptors that voters saw")
}

/// What a voter says who sees every relay and measured none.
fn ballot<'a>(seen: impl Iterator<Item = &'a Descriptor>) -> Ballot {
    let sightings = seen.map(|seen| sighting(seen, UPTIME, Measure::default())).collect();
    Ballot { sightings, ..Ballot::default() }
}

fn unix_millis(elapsed: Duration) -> u64 {
    UNIX_START * 1_000 + u64::try_from(elapsed.as_millis()).expect("less than 500 million years")
}

impl RelaySpec {
    /// What the relay says of itself, for a network that agrees.
    fn describe(&self, unix: u64) -> Descriptor {
        Descriptor::create(&self.keys, &self.info, Terms::agreed(unix)).expect("a descriptor that keeps the rules")
    }
}
