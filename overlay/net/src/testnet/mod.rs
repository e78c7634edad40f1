//! A whole network inside one process, on loopback: for tests, examples and measurements.

mod agreed;
mod loopback;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use zmesh_proto::directory::{ChainError, DocumentError};
use zmesh_proto::keys::SignerKey;
use zmesh_proto::random::Generator;
use zmesh_proto::wire::control::{FormError, Genesis};
use zmesh_proto::wire::descriptor::{Descriptor, DescriptorError, DescriptorInfo, ExitSummary, PortSet, Terms};
use zmesh_proto::wire::document::{Draft, DraftTerms, SignerId};

pub use self::agreed::{AgreedConfig, AgreedTestnet};
pub use self::loopback::Loopback;
use crate::egress::Egress;
use crate::{ChunkStore, Network, NodeError, PublishError, Relay, RelayHandle, RelayId, RelayKeys, clock, entropy};

/// How long the document of a test network holds, in seconds.
const VALID: u64 = 24 * 3600;

/// How long after a chunk came its relay passes it on.
const RESEED: Duration = Duration::from_millis(500);

/// Makes the egress of one exit.
pub type EgressFactory = Box<dyn Fn() -> Arc<dyn Egress> + Send + Sync>;

/// What a [`Testnet`] is made of.
pub struct TestnetConfig {
    /// How many relays, exits included. Every one of them splices meetings.
    pub relays: usize,
    /// How many of them are exits.
    pub exits: usize,
    /// The loopback address that they listen on.
    pub address: IpAddr,
    /// Makes the exits' egresses.
    pub egress: EgressFactory,
    /// Makes every exit prove another key than the one in the network document, to see that origins refuse it.
    pub forge_exit_keys: bool,
    /// Where relays keep chunks, each in a directory of its own; without it they keep none.
    pub chunks: Option<PathBuf>,
    /// Relays, by their place, that give wrong symbols of every chunk.
    pub poison: Vec<usize>,
    /// What a relay sends at most, by its place, in bytes per second.
    pub rate_limits: Vec<(usize, u64)>,
}

impl Default for TestnetConfig {
    /// Five relays on 127.0.0.1, two of them exits to loopback only.
    fn default() -> Self {
        Self {
            relays: 5,
            exits: 2,
            address: Ipv4Addr::LOCALHOST.into(),
            egress: Box::new(|| Arc::new(Loopback::default())),
            forge_exit_keys: false,
            chunks: None,
            poison: Vec::new(),
            rate_limits: Vec::new(),
        }
    }
}

/// Why a test network did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestnetError {
    /// A relay did not start.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A relay could not be described.
    #[error(transparent)]
    Descriptor(#[from] DescriptorError),
    /// The network document could not be made.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The genesis or an epoch document could not be made.
    #[error(transparent)]
    Form(#[from] FormError),
    /// An epoch document does not follow the one before.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// Documents cannot be given.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

/// A running network. Dropping it ends the relays without waiting.
pub struct Testnet {
    network: Arc<Network>,
    relays: Vec<(RelayId, Option<RelayHandle>)>,
}

impl Testnet {
    /// Starts the relays and signs a document that lists them.
    ///
    /// # Errors
    /// A relay does not start, or the configuration makes no network.
    ///
    /// # Cancel safety
    /// Dropping the future stops whatever was started.
    pub async fn start(config: TestnetConfig) -> Result<Self, TestnetError> {
        let unix = clock::unix_seconds();
        let mut rng = entropy::rng();
        let signer = SignerKey::generate(&mut rng);
        let mut draft = Draft::new(DraftTerms {
            name: "testnet".into(),
            test_network: true,
            valid_after: unix,
            valid_until: unix + VALID,
            signers: vec![SignerId(signer.public())],
        })?;
        let mut relays = Vec::new();
        for index in 0..config.relays {
            let (handle, descriptor) = start_relay(&config, index, None, &mut rng, unix).await?;
            relays.push((descriptor.id(), Some(handle)));
            draft.add(descriptor)?;
        }
        draft.sign(&signer, unix)?;
        let network = Arc::new(Network::from_document(draft.into_document()?, unix)?);
        for (_, handle) in &relays {
            if let Some(handle) = handle {
                handle.set_network(Arc::clone(&network)).await?;
            }
        }
        Ok(Self { network, relays })
    }

    /// The network document.
    #[must_use]
    pub fn network(&self) -> Arc<Network> {
        Arc::clone(&self.network)
    }

    /// The relays that run, in the order in which they started; the exits are the last ones.
    pub fn relays(&self) -> impl Iterator<Item = (RelayId, &RelayHandle)> {
        self.relays.iter().filter_map(|(id, handle)| Some((*id, handle.as_ref()?)))
    }

    /// Ends one relay without farewell, as if its process was killed; false if it was not running.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the end.
    pub async fn kill(&mut self, relay: RelayId) -> bool {
        let handle = self.relays.iter_mut().find(|(id, _)| *id == relay).and_then(|(_, handle)| handle.take());
        match handle {
            Some(handle) => {
                handle.kill().await;
                true
            }
            None => false,
        }
    }

    /// Ends every relay and waits for their threads.
    ///
    /// # Cancel safety
    /// Dropping the future leaves some relays running until their handles are gone.
    pub async fn shutdown(mut self) {
        for (_, handle) in &mut self.relays {
            if let Some(handle) = handle.take() {
                handle.shutdown().await;
            }
        }
    }
}

/// Starts a relay; it gives documents if there is a genesis.
async fn start_relay(
    config: &TestnetConfig,
    index: usize,
    genesis: Option<&Genesis>,
    rng: &mut Generator,
    unix: u64,
) -> Result<(RelayHandle, Descriptor), TestnetError> {
    let keys = RelayKeys::generate(rng, unix);
    // The exits come last.
    let exit = index + config.exits >= config.relays;
    let text = keys.to_text();
    let mut builder = Relay::builder().keys(keys).bind(SocketAddr::new(config.address, 0)).meeting(true);
    if let Some(directory) = &config.chunks {
        let mut store = ChunkStore::new(directory.join(format!("relay{index}")));
        store.put_rate = 64 << 20;
        store.reseed_after = RESEED;
        builder = builder.chunks(store).poison(config.poison.contains(&index));
    }
    if let Some(genesis) = genesis {
        builder = builder.documents(genesis.as_bytes().to_vec());
    }
    let limit = config.rate_limits.iter().find(|(relay, _)| *relay == index);
    builder = builder.rate_limit(limit.map(|(_, rate)| *rate));
    if exit {
        builder = builder.egress((config.egress)());
        if config.forge_exit_keys {
            builder = builder.exit_keys(RelayKeys::generate(rng, unix));
        }
    }
    let handle = builder.start().await?;
    let ports = ExitSummary { v4: true, v6: true, ports: PortSet::all() };
    let info = DescriptorInfo {
        nickname: format!("relay{index}"),
        operator: format!("operator {index}"),
        family: None,
        country: None,
        addresses: handle.local_addresses(),
        exit: exit.then_some(ports),
        meeting: true,
        cache: config.chunks.is_some(),
        mixer: false,
        directory: genesis.is_some(),
        region: None,
        control: Vec::new(),
    };
    let terms = Terms { published: unix, expires: unix + VALID + 1, revision: 1 };
    let keys = RelayKeys::from_text(text.as_bytes()).expect("keys read back what they wrote");
    Ok((handle, Descriptor::create(&keys, &info, terms)?))
}
