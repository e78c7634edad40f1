//! How a client begins: from the disk, or by an entry relay, verified by signatures alone.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::spawn_blocking;
use zmesh_proto::directory::{Chain, ChainError, Held, Split, Step, read_changes};
use zmesh_proto::link::LinkPeer;
use zmesh_proto::wire::bootstrap::Bootstrap;
use zmesh_proto::wire::control::{Genesis, SNAPSHOT_MAX, SignedHeader};
use zmesh_proto::wire::descriptor::Descriptor;
use zmesh_proto::wire::request::{DOCUMENT_MAX, DocumentAsk, Failure};

use super::disk::Disk;
use super::source::Source;
use super::{DirectoryError, DirectoryEvent, EntryFault, SourceError};
use crate::shard::Shard;
use crate::{Network, clock, entropy};

/// Relays of an older document that are tried when no entry relay does.
const KNOWN_ENTRIES: usize = 8;
/// The longest genesis, in bytes.
const GENESIS_MAX: usize = 16 << 10;

/// Where a client hears of its documents.
pub(crate) type Teller = Arc<dyn Fn(DirectoryEvent) + Send + Sync>;

/// How a client comes by documents.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) bootstrap: Bootstrap,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) tell: Teller,
}

/// What a client has, and where it keeps it.
pub(crate) struct Client {
    pub(super) settings: Settings,
    disk: Option<Disk>,
}

impl Client {
    pub(crate) fn new(settings: Settings) -> Result<Self, DirectoryError> {
        let network = settings.bootstrap.network();
        let disk = settings.directory.as_ref().map(|directory| Disk::open(directory, network)).transpose();
        Ok(Self { disk: disk.map_err(|error| DirectoryError::Storage(error.to_string()))?, settings })
    }

    pub(super) fn tell(&self, event: DirectoryEvent) {
        (self.settings.tell)(event);
    }

    /// The first document: from the disk if it holds, else by an entry relay. The shard's network is set.
    ///
    /// # Cancel safety
    /// Dropping the future gives everything up.
    pub(crate) async fn begin(&self, shard: &Arc<Shard>) -> Result<(Held, Arc<Network>), DirectoryError> {
        let stored = self.stored().await.filter(|held| self.agrees_with_line(held));
        let unix = clock::unix_seconds();
        let checkpoint = self.settings.bootstrap.checkpoint();
        if let Some(held) = &stored
            && checkpoint.is_none_or(|checkpoint| held.check_passes(checkpoint).is_ok())
            && let Ok(network) = held.network(unix)
        {
            let network = Arc::new(network);
            self.tell(DirectoryEvent::Ready { epoch: held.epoch(), relays: network.relays().len(), stored: true });
            if shard.set_network(Arc::clone(&network)).await.is_ok()
                && let Some(held) = stored
            {
                return Ok((held, network));
            }
            return Err(DirectoryError::NoEntry { faults: Vec::new() });
        }
        let base = stored.filter(|held| held.check_age(unix).is_ok());
        let (held, network) = self.enter(shard, base.as_ref()).await?;
        self.tell(DirectoryEvent::Ready { epoch: held.epoch(), relays: network.relays().len(), stored: false });
        Ok((held, network))
    }

    /// Whether what was kept leads through what the line names; the line is newer trust, given by a person.
    fn agrees_with_line(&self, held: &Held) -> bool {
        let Some(checkpoint) = self.settings.bootstrap.checkpoint() else { return true };
        // Whether one that ended before the checkpoint leads there shows when a relay has given what comes after it.
        if held.epoch() < checkpoint.epoch || held.check_passes(checkpoint).is_ok() {
            return true;
        }
        self.tell(DirectoryEvent::TwoHistories(Split { proof: None, epoch: checkpoint.epoch }));
        false
    }

    /// The newest document by way of an entry relay, or of a relay that was known before; with a `base`, one that follows it. The shard's
    /// network is set.
    pub(super) async fn enter(
        &self,
        shard: &Arc<Shard>,
        base: Option<&Held>,
    ) -> Result<(Held, Arc<Network>), DirectoryError> {
        let entries = self.entries(base);
        let mut faults = Vec::new();
        for (number, entry) in (1..).zip(&entries) {
            self.tell(DirectoryEvent::Entering { number, of: entries.len() });
            let relay = zmesh_proto::keys::relay_id(&entry.identity);
            match self.enter_by(shard, entry, base).await {
                Ok((held, network)) => {
                    self.keep_on_disk(&held).await;
                    return Ok((held, network));
                }
                Err(fault) => {
                    if let EntryFault::OtherHistory { epoch } = &fault {
                        self.tell(DirectoryEvent::TwoHistories(Split { proof: None, epoch: *epoch }));
                    }
                    self.tell(DirectoryEvent::EntryFailed { relay, fault: fault.clone() });
                    let over = matches!(fault, EntryFault::ShutDown);
                    faults.push((relay, fault));
                    if over {
                        break;
                    }
                }
            }
        }
        Err(DirectoryError::NoEntry { faults })
    }

    /// Whom to ask: the line's relays in random order, then some of those that were known before.
    fn entries(&self, base: Option<&Held>) -> Vec<LinkPeer> {
        let mut entries = self.settings.bootstrap.entries().to_vec();
        shuffle(&mut entries);
        let known = base.map(|held| held.snapshot().descriptors()).unwrap_or_default();
        let mut known: Vec<&Descriptor> = known.iter().filter(|known| known.info().directory).collect();
        shuffle(&mut known);
        for descriptor in known {
            if entries.len() >= self.settings.bootstrap.entries().len() + KNOWN_ENTRIES {
                break;
            }
            if entries.iter().all(|entry| entry.identity != descriptor.identity()) {
                entries.push(LinkPeer {
                    identity: descriptor.identity(),
                    link_key: descriptor.link_key(),
                    addresses: descriptor.info().addresses.clone(),
                });
            }
        }
        entries
    }

    async fn enter_by(
        &self,
        shard: &Arc<Shard>,
        entry: &LinkPeer,
        base: Option<&Held>,
    ) -> Result<(Held, Arc<Network>), EntryFault> {
        let pinned = self.settings.bootstrap.network();
        let bytes = shard.fetch_descriptor(entry.clone()).await?;
        let descriptor = blocking(move || Descriptor::decode(&bytes)).await??;
        descriptor.check_time(clock::unix_seconds())?;
        if descriptor.identity() != entry.identity || descriptor.link_key() != entry.link_key {
            return Err(EntryFault::OtherRelay);
        }
        let id = descriptor.id();
        let entries = Arc::new(Network::of_entries(pinned, [descriptor]));
        shard.replace_network(Arc::clone(&entries)).await.map_err(|_| EntryFault::ShutDown)?;
        let relay = entries.relay(&id).ok_or(EntryFault::OtherRelay)?;
        let source = Source::direct(shard, relay).await?;
        let genesis = match base {
            Some(base) => base.chain().genesis().clone(),
            None => {
                let bytes = source.fetch(DocumentAsk::Genesis, GENESIS_MAX, |_, _| ()).await?;
                Genesis::decode(&bytes).map_err(|error| EntryFault::Malformed(error.to_string()))?
            }
        };
        if genesis.network_id() != pinned {
            return Err(EntryFault::OtherGenesis);
        }
        let checkpoint = self.settings.bootstrap.checkpoint().copied();
        if base.is_none() {
            Chain::check_start(&genesis, checkpoint.as_ref(), clock::unix_seconds()).map_err(EntryFault::LineTooOld)?;
        }
        let changes = changes_since(&source, base.map_or(0, |base| base.epoch() + 1)).await?;
        let told = |done, total| self.tell(DirectoryEvent::Fetching { done, total });
        let snapshot = source.fetch(DocumentAsk::Snapshot, SNAPSHOT_MAX, told).await?;
        self.tell(DirectoryEvent::Verifying);
        let held = match base {
            None => blocking(move || Held::begin(pinned, genesis, changes, &snapshot)).await?,
            Some(base) => self.continued(&source, base, changes, snapshot).await?,
        };
        let held = held.map_err(EntryFault::Refused)?;
        if let Some(checkpoint) = checkpoint {
            held.check_passes(&checkpoint).map_err(EntryFault::Refused)?;
        }
        match held.network(clock::unix_seconds()) {
            Ok(network) => {
                let network = Arc::new(network);
                shard.replace_network(Arc::clone(&network)).await.map_err(|_| EntryFault::ShutDown)?;
                Ok((held, network))
            }
            Err(ChainError::Expired { .. }) => Err(EntryFault::Old { epoch: held.epoch() }),
            Err(error) => Err(EntryFault::Refused(error)),
        }
    }

    /// The relay's document, as one that follows what is held: never one that only the genesis leads to, as the keys of its voters may be
    /// anybody's by now. If there is such a one, it is another history, and that is told.
    async fn continued(
        &self,
        source: &Source,
        base: &Held,
        changes: Vec<SignedHeader>,
        snapshot: Vec<u8>,
    ) -> Result<Result<Held, ChainError>, EntryFault> {
        let (mut next, had) = (base.clone(), base.epoch());
        let (stepped, snapshot) = blocking(move || {
            let stepped = next.advance(&changes, Step::Snapshot(&snapshot)).map(|()| next);
            (stepped, snapshot)
        })
        .await?;
        let error = match stepped {
            Ok(held) => return Ok(Ok(held)),
            Err(ChainError::NotNewer { found, .. }) => return Err(EntryFault::Old { epoch: found }),
            Err(error) => error,
        };
        let (pinned, genesis) = (self.settings.bootstrap.network(), base.chain().genesis().clone());
        let Ok(changes) = changes_since(source, 0).await else { return Ok(Err(error)) };
        match blocking(move || Held::begin(pinned, genesis, changes, &snapshot)).await? {
            Ok(_) => Err(EntryFault::OtherHistory { epoch: had }),
            Err(_) => Ok(Err(error)),
        }
    }

    async fn stored(&self) -> Option<Held> {
        let (disk, network) = (self.disk.clone()?, self.settings.bootstrap.network());
        match blocking(move || disk.read(network)).await {
            Ok(Ok(held)) => held,
            Ok(Err(error)) => {
                self.tell(DirectoryEvent::Storage { reason: error.to_string() });
                None
            }
            Err(_) => None,
        }
    }

    /// Keeps a document for the next run. What cannot be written costs that run time, and this one nothing.
    pub(super) async fn keep_on_disk(&self, held: &Held) {
        let Some(disk) = self.disk.clone() else { return };
        let held = held.clone();
        if let Ok(Err(error)) = blocking(move || disk.write(&held)).await {
            self.tell(DirectoryEvent::Storage { reason: error.to_string() });
        }
    }
}

/// The headers at which voters changed from an epoch on; none if the relay has none.
pub(super) async fn changes_since(source: &Source, from: u64) -> Result<Vec<SignedHeader>, EntryFault> {
    match source.fetch(DocumentAsk::Chain { from }, DOCUMENT_MAX, |_, _| ()).await {
        Ok(bytes) => {
            let changes = blocking(move || read_changes(&bytes)).await?;
            changes.map_err(|error| EntryFault::Malformed(error.to_string()))
        }
        Err(SourceError::Refused(Failure::Absent)) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// Runs what takes long away from the threads that must not wait.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, EntryFault> {
    spawn_blocking(work).await.map_err(|_| EntryFault::ShutDown)
}

fn shuffle<T>(items: &mut [T]) {
    for at in (1..items.len()).rev() {
        let dice = u64::from(u32::from_be_bytes(entropy::bytes()));
        let other = (dice * (at as u64 + 1)) >> 32;
        items.swap(at, usize::try_from(other).unwrap_or(0));
    }
}
