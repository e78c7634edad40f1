//! A whole network with epoch documents inside one process. All voters' keys are in one hand, so their documents are signed by
//! hand; relays and clients treat them as any others.

use std::sync::Arc;

use zmesh_proto::directory::{ByHand, Chain, Held, Step};
use zmesh_proto::keys::SignerKey;
use zmesh_proto::link::LinkPeer;
use zmesh_proto::wire::bootstrap::Bootstrap;
use zmesh_proto::wire::control::{Genesis, GenesisTerms, Parameters, Snapshot, Voter, VoterSet};
use zmesh_proto::wire::descriptor::Descriptor;
use zmesh_proto::wire::document::SignerId;

use super::{Testnet, TestnetConfig, TestnetError, start_relay};
use crate::{Publication, RelayHandle, RelayId, clock, entropy};

/// So many epochs a document holds: with the short epochs of a test long enough for it.
const LIFETIME: u32 = 168;

/// What an [`AgreedTestnet`] is made of.
pub struct AgreedConfig {
    /// Its relays; each gives documents.
    pub net: TestnetConfig,
    /// How long an epoch lasts, in seconds, at least 2.
    pub epoch_length: u32,
    /// How many voters there are.
    pub voters: usize,
    /// Relays, by their places, that are not told of the first document.
    pub untold: Vec<usize>,
    /// How many epochs ago the network began, at least 10.
    pub age: u64,
}

impl Default for AgreedConfig {
    /// Seven relays, two of them exits; epochs of two seconds and four voters.
    fn default() -> Self {
        Self {
            net: TestnetConfig { relays: 7, ..TestnetConfig::default() },
            epoch_length: 2,
            voters: 4,
            untold: Vec::new(),
            age: 10,
        }
    }
}

/// A running network whose documents are those of epochs. Dropping it ends the relays without waiting.
pub struct AgreedTestnet {
    testnet: Testnet,
    voters: Vec<SignerKey>,
    /// The first voters, once they were replaced.
    left: Vec<SignerKey>,
    descriptors: Vec<Descriptor>,
    held: Held,
    earlier: Vec<Snapshot>,
}

impl AgreedTestnet {
    /// Starts the relays and signs a document of the present epoch that lists them.
    ///
    /// # Errors
    /// A relay does not start, or the configuration makes no network.
    ///
    /// # Cancel safety
    /// Dropping the future stops whatever was started.
    pub async fn start(config: AgreedConfig) -> Result<Self, TestnetError> {
        let unix = clock::unix_seconds();
        let mut rng = entropy::rng();
        let voters: Vec<SignerKey> = (0..config.voters).map(|_| SignerKey::generate(&mut rng)).collect();
        let genesis = Genesis::new(GenesisTerms {
            name: "testnet".into(),
            test_network: true,
            epoch_length: config.epoch_length,
            epoch_zero: unix - config.age.max(10) * u64::from(config.epoch_length),
            voters_per_operator: 1,
            voters: set(&voters)?,
            parameters: Parameters::new().with("lifetime", LIFETIME)?,
        })?;
        let (mut relays, mut descriptors) = (Vec::new(), Vec::new());
        for index in 0..config.net.relays {
            let (handle, descriptor) = start_relay(&config.net, index, Some(&genesis), &mut rng, unix).await?;
            handle.set_descriptor(&descriptor).await?;
            relays.push((descriptor.id(), Some(handle)));
            descriptors.push(descriptor);
        }
        let chain = Chain::from_genesis(genesis.clone());
        let epoch = genesis.epoch_at(clock::unix_seconds());
        let snapshot = ByHand::new(&chain, epoch, descriptors.clone()).sign(&chain, &voters)?;
        let held = Held::begin(genesis.network_id(), genesis, Vec::new(), &snapshot.encode())?;
        let network = Arc::new(held.network(unix)?);
        let testnet = Testnet { network, relays };
        let network = Self { testnet, voters, left: Vec::new(), descriptors, held, earlier: Vec::new() };
        network.publish(&network.held, |index| !config.untold.contains(&index)).await?;
        Ok(network)
    }

    /// The relays.
    #[must_use]
    pub fn testnet(&self) -> &Testnet {
        &self.testnet
    }

    /// The relay at a place, with its id; `None` when it was killed.
    #[must_use]
    pub fn relay(&self, index: usize) -> Option<(RelayId, &RelayHandle)> {
        let (id, handle) = self.testnet.relays.get(index)?;
        Some((*id, handle.as_ref()?))
    }

    /// The newest document.
    #[must_use]
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// The bootstrap line by way of these relays.
    ///
    /// # Panics
    /// If there are none, or more than fit a line.
    #[must_use]
    pub fn bootstrap(&self, relays: &[usize]) -> Bootstrap {
        let entries = relays.iter().map(|index| peer(&self.descriptors[*index])).collect();
        Bootstrap::new(self.held.chain().genesis().network_id(), entries).expect("some relays")
    }

    /// A document that could follow the newest one, signed by its voters, of the present epoch or the next one that is free. `change`
    /// may change what it says.
    ///
    /// # Errors
    /// What it says breaks a rule.
    pub fn make(&self, change: impl FnOnce(&mut ByHand)) -> Result<Held, TestnetError> {
        let chain = self.held.chain();
        let epoch = chain.genesis().epoch_at(clock::unix_seconds()).max(self.held.epoch() + 1);
        let mut by_hand = ByHand::new(chain, epoch, self.descriptors.clone());
        by_hand.randomness = entropy::bytes();
        change(&mut by_hand);
        let snapshot = by_hand.sign(chain, &self.voters)?;
        let mut next = self.held.clone();
        next.advance(&[], Step::Snapshot(&snapshot.encode()))?;
        Ok(next)
    }

    /// A document of the first epoch that held for two epochs only, eight or more ago.
    ///
    /// # Errors
    /// Never for what a test network may be.
    pub fn expired(&self) -> Result<Held, TestnetError> {
        let genesis = self.held.chain().genesis();
        let chain = Chain::from_genesis(genesis.clone());
        let mut by_hand = ByHand::new(&chain, 1, self.descriptors.clone());
        by_hand.parameters = Parameters::new().with("lifetime", 2)?;
        let snapshot = by_hand.sign(&chain, &self.voters)?;
        Ok(Held::begin(genesis.network_id(), genesis.clone(), Vec::new(), &snapshot.encode())?)
    }

    /// Another history, which the voters of the genesis sign now: with other voters from its first epoch on, and a document of this epoch.
    ///
    /// # Errors
    /// Never for what a test network may be.
    pub fn forged(&self) -> Result<Held, TestnetError> {
        let genesis = self.held.chain().genesis();
        let mut rng = entropy::rng();
        let fresh: Vec<SignerKey> = (0..self.voters.len()).map(|_| SignerKey::generate(&mut rng)).collect();
        let mut chain = Chain::from_genesis(genesis.clone());
        let mut by_hand = ByHand::new(&chain, 1, self.descriptors.clone());
        by_hand.voters = Some(set(&fresh)?);
        let change = by_hand
            .sign(&chain, if self.left.is_empty() { &self.voters } else { &self.left })?
            .document()
            .signed()
            .clone();
        chain.advance(&change)?;
        let epoch = genesis.epoch_at(clock::unix_seconds()).max(self.held.epoch() + 1);
        let snapshot = ByHand::new(&chain, epoch, self.descriptors.clone()).sign(&chain, &fresh)?;
        Ok(Held::begin(genesis.network_id(), genesis.clone(), vec![change], &snapshot.encode())?)
    }

    /// What relays give of a document.
    #[must_use]
    pub fn publication(&self, held: &Held) -> Publication {
        Publication::of(held, self.earlier.iter().rev())
    }

    /// Has relays, by their places, give a document, and use it.
    ///
    /// # Errors
    /// A relay refuses it.
    ///
    /// # Cancel safety
    /// Dropping the future leaves some relays without it.
    pub async fn publish(&self, held: &Held, to: impl Fn(usize) -> bool) -> Result<(), TestnetError> {
        let publication = self.publication(held);
        let network = Arc::new(held.network(clock::unix_seconds())?);
        for (index, (_, handle)) in self.testnet.relays.iter().enumerate() {
            if let Some(handle) = handle.as_ref().filter(|_| to(index)) {
                handle.set_network(Arc::clone(&network)).await?;
                handle.publish(publication.clone()).await?;
            }
        }
        Ok(())
    }

    /// Makes the next document the newest one, and has relays, by their places, give it.
    ///
    /// # Errors
    /// As [`AgreedTestnet::make`] and [`AgreedTestnet::publish`].
    ///
    /// # Cancel safety
    /// As [`AgreedTestnet::publish`].
    pub async fn advance(&mut self, to: impl Fn(usize) -> bool) -> Result<u64, TestnetError> {
        let next = self.make(|_| ())?;
        self.follow(next, to).await
    }

    /// The same with other voters, who sign what comes after it.
    ///
    /// # Errors
    /// As [`AgreedTestnet::advance`].
    ///
    /// # Cancel safety
    /// As [`AgreedTestnet::publish`].
    pub async fn change_voters(&mut self, to: impl Fn(usize) -> bool) -> Result<u64, TestnetError> {
        let mut rng = entropy::rng();
        let fresh: Vec<SignerKey> = (0..self.voters.len()).map(|_| SignerKey::generate(&mut rng)).collect();
        let voters = set(&fresh)?;
        let next = self.make(|by_hand| by_hand.voters = Some(voters))?;
        let left = std::mem::replace(&mut self.voters, fresh);
        if self.left.is_empty() {
            self.left = left;
        }
        self.follow(next, to).await
    }

    async fn follow(&mut self, next: Held, to: impl Fn(usize) -> bool) -> Result<u64, TestnetError> {
        self.earlier.push(self.held.snapshot().clone());
        self.held = next;
        self.publish(&self.held, to).await?;
        Ok(self.held.epoch())
    }

    /// Ends one relay without farewell, as if its process was killed; false if it was not running.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the end.
    pub async fn kill(&mut self, index: usize) -> bool {
        match self.testnet.relays.get(index).map(|(id, _)| *id) {
            Some(id) => self.testnet.kill(id).await,
            None => false,
        }
    }

    /// Ends every relay and waits for their threads.
    ///
    /// # Cancel safety
    /// Dropping the future leaves some relays running until their handles are gone.
    pub async fn shutdown(self) {
        self.testnet.shutdown().await;
    }
}

fn set(voters: &[SignerKey]) -> Result<VoterSet, TestnetError> {
    let voters = voters.iter().enumerate();
    let voters =
        voters.map(|(at, key)| Voter { key: SignerId(key.public()), operator: format!("operator {at}") }).collect();
    Ok(VoterSet::new(voters, 1)?)
}

fn peer(descriptor: &Descriptor) -> LinkPeer {
    LinkPeer {
        identity: descriptor.identity(),
        link_key: descriptor.link_key(),
        addresses: descriptor.info().addresses.clone(),
    }
}
