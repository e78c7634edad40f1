//! Publishing a file.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::OnceCell;
use tokio::task::JoinSet;
use zmesh_proto::seeding::address::Address;
use zmesh_proto::seeding::placement::ranking;
use zmesh_proto::seeding::root::{FILE_MAX, PART_LEN, Root, WHOLE_MAX};
use zmesh_proto::seeding::seal::{FileKey, Place, SHELF_PARTS, seal};
use zmesh_proto::seeding::{ChunkId, ChunkRef, Shelf};

use super::seeder::{KeepError, Kept, SeederCircuit, Way};
use super::{ChunkError, ChunkOptions, ChunkProgress, Published};
use crate::api::CircuitError;
use crate::origin::Origin;
use crate::{RelayId, entropy};

/// Chunks on their way at once.
const WINDOW: usize = 6;

/// How long a relay that is busy is left alone, doubled each time, and how often.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSES: u32 = 6;

/// Publishes what `source` holds under a new key.
///
/// # Cancel safety
/// Dropping the future ends the publication; chunks that were taken stay, and nobody can read them.
pub(crate) async fn publish(
    origin: &Arc<Origin>,
    source: &mut (impl AsyncRead + Unpin),
    options: ChunkOptions,
    mut progress: impl FnMut(ChunkProgress),
) -> Result<Published, ChunkError> {
    let key = FileKey::generate(&mut entropy::rng());
    let givers = Arc::new(Givers::new(Arc::clone(origin), Way { hops: options.hops, me: None }));
    let mut under_way = JoinSet::new();
    let mut told = ChunkProgress::default();
    let mut fewest = usize::MAX;
    let mut ids: Vec<ChunkId> = Vec::new();
    let mut len = 0u64;
    let mut piece = fill(source).await?;
    let whole = piece.len() <= WHOLE_MAX;
    let mut more = !whole;
    while more {
        more = piece.len() == PART_LEN;
        len += piece.len() as u64;
        if len > FILE_MAX {
            return Err(ChunkError::TooLong);
        }
        if !piece.is_empty() {
            let number = u32::try_from(ids.len()).map_err(|_| ChunkError::TooLong)?;
            let (class, bytes) = seal(&key, Place::Part(number), &piece).map_err(|_| ChunkError::TooLong)?;
            let chunk = ChunkRef { id: ChunkId::of(&bytes), shelf: key.shelf(number), class };
            ids.push(chunk.id);
            if under_way.len() >= WINDOW {
                fewest = fewest.min(landed(&mut under_way, &mut told, &givers, &mut progress).await?);
            }
            under_way.spawn(give(Arc::clone(&givers), options.copies, ids.len(), piece.len(), chunk, bytes.into()));
            if number % SHELF_PARTS == 0 {
                givers.forget_but(&[chunk.shelf, key.shelf(number.saturating_sub(1))]);
            }
        }
        if more {
            piece = fill(source).await?;
        }
    }
    while !under_way.is_empty() {
        fewest = fewest.min(landed(&mut under_way, &mut told, &givers, &mut progress).await?);
    }
    // The root comes last: who has the address finds everything.
    let root = if whole {
        len = piece.len() as u64;
        Root::Whole(piece)
    } else {
        Root::Parts { len, ids: ids.clone() }
    };
    let (class, bytes) = seal(&key, Place::Root, &root.encode()).map_err(|_| ChunkError::TooLong)?;
    let id = ChunkId::of(&bytes);
    let address = Address::new(id, class, key);
    let of_root = if whole { usize::try_from(len).unwrap_or(0) } else { 0 };
    under_way.spawn(give(Arc::clone(&givers), options.copies, ids.len() + 1, of_root, address.root(), bytes.into()));
    told.total = Some(len);
    fewest = fewest.min(landed(&mut under_way, &mut told, &givers, &mut progress).await?);
    Ok(Published { address, len, chunks: ids.len() + 1, copies: fewest })
}

/// Reads a part, shorter only at the end.
async fn fill(source: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, ChunkError> {
    let mut piece = Vec::with_capacity(PART_LEN);
    source.take(PART_LEN as u64).read_to_end(&mut piece).await?;
    Ok(piece)
}

type Landing = Result<(usize, usize), ChunkError>;

/// Waits for one chunk to have landed; gives how many relays hold it.
async fn landed(
    under_way: &mut JoinSet<Landing>,
    told: &mut ChunkProgress,
    givers: &Givers,
    progress: &mut impl FnMut(ChunkProgress),
) -> Result<usize, ChunkError> {
    match under_way.join_next().await {
        None => Ok(usize::MAX),
        Some(Err(_)) => Err(ChunkError::ShutDown),
        Some(Ok(landing)) => {
            let (len, copies) = landing?;
            told.done += len as u64;
            told.seeders = givers.len();
            progress(*told);
            Ok(copies)
        }
    }
}

/// Gives a chunk to as many of its relays as are wanted, the next ones in place of those that do not take it.
async fn give(givers: Arc<Givers>, wanted: usize, number: usize, len: usize, chunk: ChunkRef, bytes: Bytes) -> Landing {
    let ranked = ranking(&givers.origin.network(), &chunk.shelf);
    if ranked.is_empty() {
        return Err(ChunkError::NoSeeders);
    }
    let mut next = ranked.iter().copied();
    let mut tasks = JoinSet::new();
    let (mut copies, mut reason) = (0, String::new());
    loop {
        while copies + tasks.len() < wanted {
            let Some(relay) = next.next() else { break };
            tasks.spawn(give_one(Arc::clone(&givers), relay, chunk, bytes.clone()));
        }
        match tasks.join_next().await {
            None if copies > 0 => return Ok((len, copies)),
            None => return Err(ChunkError::NotTaken { chunk: number, tried: ranked.len(), reason }),
            Some(Ok(Ok(_))) => copies += 1,
            Some(Ok(Err(error))) => reason = error.to_string(),
            Some(Err(error)) => reason = error.to_string(),
        }
    }
}

async fn give_one(givers: Arc<Givers>, relay: RelayId, chunk: ChunkRef, bytes: Bytes) -> Result<Kept, KeepError> {
    let mut pauses = 0;
    loop {
        let circuit = givers.circuit(chunk.shelf, relay).await.map_err(KeepError::NoCircuit)?;
        match circuit.keep(chunk, &bytes).await {
            Err(KeepError::Busy) if pauses < PAUSES => {
                tokio::time::sleep(PAUSE * (1 << pauses.min(3))).await;
                pauses += 1;
            }
            Err(KeepError::Lost) => {
                givers.forget(chunk.shelf, relay);
                return Err(KeepError::Lost);
            }
            other => return other,
        }
    }
}

type Cell = Arc<OnceCell<Arc<SeederCircuit>>>;

/// The circuits of one publication: one for each relay and shelf, so that no relay sees two shelves on one circuit.
pub(super) struct Givers {
    origin: Arc<Origin>,
    way: Way,
    circuits: Mutex<HashMap<(Shelf, RelayId), Cell>>,
}

impl Givers {
    pub(super) fn new(origin: Arc<Origin>, way: Way) -> Self {
        Self { origin, way, circuits: Mutex::default() }
    }

    fn len(&self) -> usize {
        self.circuits.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The circuit to a relay for a shelf, built at the first call.
    pub(super) async fn circuit(&self, shelf: Shelf, relay: RelayId) -> Result<Arc<SeederCircuit>, CircuitError> {
        let (cell, others) = {
            let mut circuits = self.circuits.lock().unwrap_or_else(PoisonError::into_inner);
            let guards = circuits.values().filter_map(|cell| cell.get()?.guard()).collect::<Vec<_>>();
            (Arc::clone(circuits.entry((shelf, relay)).or_default()), guards)
        };
        let open = || SeederCircuit::open(&self.origin, relay, self.way, &others);
        cell.get_or_try_init(open).await.map(Arc::clone)
    }

    pub(super) fn forget(&self, shelf: Shelf, relay: RelayId) {
        self.circuits.lock().unwrap_or_else(PoisonError::into_inner).remove(&(shelf, relay));
    }

    fn forget_but(&self, shelves: &[Shelf]) {
        let mut circuits = self.circuits.lock().unwrap_or_else(PoisonError::into_inner);
        circuits.retain(|(shelf, _), _| shelves.contains(shelf));
    }
}
