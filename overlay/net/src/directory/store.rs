//! What a relay gives of the network's documents. It gives bytes: whoever asks verifies them. How fast is in [`lanes`](super::lanes).

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};
use zmesh_proto::directory::Held;
use zmesh_proto::wire::control::{Difference, Snapshot};
use zmesh_proto::wire::request::{DOCUMENT_MAX, DocumentAsk, DocumentHash, Failure, Head, SnapshotRef};

use super::lanes::Lane;

/// Bytes of documents that a relay gives in a second, and at once.
const BYTES_PER_SECOND: u64 = 4 << 20;
const BYTES_BURST: u64 = 64 << 20;
/// Answers up to this length, so headers, the genesis and most differences, have a rate of their own: who asks for
/// snapshots takes nothing from who keeps up.
const SMALL: usize = 64 << 10;
const SMALL_PER_SECOND: u64 = 1 << 20;
const SMALL_BURST: u64 = 16 << 20;

/// Pieces that wait to leave, of large documents and of small answers. One document has one piece in line.
const WAITING: usize = 64;
const SMALL_WAITING: usize = 256;

/// Documents that one session is given at a time: large ones, and answers of up to [`SMALL`].
const AT_ONCE: usize = 1;
const SMALL_AT_ONCE: usize = 4;

/// Differences that are kept: the asker's document may be so many epochs old.
const DIFFERENCES: usize = 64;

/// A new document, with all that a relay gives of it.
#[derive(Clone, Debug)]
pub struct Publication {
    /// Its epoch.
    pub epoch: u64,
    /// Its hash.
    pub hash: [u8; 32],
    /// Its header, signed.
    pub header: Vec<u8>,
    /// The document with every descriptor, as newcomers take it.
    pub snapshot: Vec<u8>,
    /// What changed since earlier documents, by their hashes, the latest first; 64 at most.
    pub differences: Vec<([u8; 32], Vec<u8>)>,
    /// Every header since the genesis at which voters changed, with its epoch, the earliest first.
    pub chain: Vec<(u64, Vec<u8>)>,
}

impl Publication {
    /// All that a relay gives of the document that it holds, to newcomers and to those who have one of `earlier`.
    #[must_use]
    pub fn of<'a>(held: &Held, earlier: impl IntoIterator<Item = &'a Snapshot>) -> Self {
        let newest = held.snapshot();
        let difference = |old: &Snapshot| (old.document().hash().0, Difference::between(old, newest).encode());
        Self {
            epoch: held.epoch(),
            hash: held.hash().0,
            header: newest.document().signed().encode(),
            snapshot: newest.encode(),
            differences: earlier.into_iter().take(DIFFERENCES).map(difference).collect(),
            chain: held.changes().iter().map(|change| (change.header().epoch(), change.encode())).collect(),
        }
    }
}

/// Why a publication is not given to anybody.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The relay was started without a genesis.
    #[error("this relay gives no documents: it was started without a genesis")]
    NoGenesis,
    /// It is older than what is given already.
    #[error("a document of epoch {given} cannot follow one of epoch {known}")]
    Older {
        /// The epoch of the publication.
        given: u64,
        /// The epoch of what is given.
        known: u64,
    },
    /// A part is empty or longer than any document.
    #[error("the {what} is empty or over {DOCUMENT_MAX} bytes long")]
    Length {
        /// Which part.
        what: &'static str,
    },
}

/// What a relay gave of documents so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, serde::Serialize)]
#[non_exhaustive]
pub struct DocumentMetrics {
    /// Requests that were answered.
    pub documents_given: u64,
    /// Bytes of documents in these answers.
    pub document_bytes: u64,
    /// Requests that were not: over the relay's rate, or for what it does not have.
    pub document_refusals: u64,
}

/// The newest document, ready to be given.
struct Served {
    head: Head,
    header: Bytes,
    snapshot: Bytes,
    differences: HashMap<[u8; 32], Bytes>,
    chain: Vec<(u64, Bytes)>,
}

/// The documents that one relay gives.
pub(crate) struct DocumentStore {
    genesis: Bytes,
    served: RwLock<Option<Arc<Served>>>,
    large: Arc<Lane>,
    small: Arc<Lane>,
    given: AtomicU64,
    bytes: AtomicU64,
    refused: AtomicU64,
    /// Stops in the middle of every document, to see that clients find out.
    #[cfg(feature = "testnet")]
    cut: std::sync::atomic::AtomicBool,
}

/// What the answer to a request is.
pub(crate) enum Answer {
    Head(Head),
    /// Parts that follow each other.
    Bytes(Vec<Bytes>),
}

/// What one session reads of documents.
pub(crate) struct Reader {
    large: Semaphore,
    small: Semaphore,
}

impl Reader {
    pub(crate) fn new() -> Self {
        Self { large: Semaphore::new(AT_ONCE), small: Semaphore::new(SMALL_AT_ONCE) }
    }

    /// Room for a document of this length beside those that the session is being given.
    pub(crate) fn begin(&self, len: usize) -> Option<SemaphorePermit<'_>> {
        let room = if len <= SMALL { &self.small } else { &self.large };
        room.try_acquire().ok()
    }
}

impl DocumentStore {
    /// Gives this genesis, and documents once they are published.
    pub(crate) fn new(genesis: Vec<u8>) -> Result<Self, PublishError> {
        check("genesis", &genesis)?;
        Ok(Self {
            genesis: genesis.into(),
            served: RwLock::default(),
            large: Lane::new(BYTES_PER_SECOND, BYTES_BURST, WAITING),
            small: Lane::new(SMALL_PER_SECOND, SMALL_BURST, SMALL_WAITING),
            given: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            #[cfg(feature = "testnet")]
            cut: false.into(),
        })
    }

    /// Stops in the middle of every document from now on.
    #[cfg(feature = "testnet")]
    pub(crate) fn cut_short(&self) {
        self.cut.store(true, std::sync::atomic::Ordering::Relaxed);
    }

    /// How much of a document of this length is given.
    pub(crate) fn given(&self, len: usize) -> usize {
        #[cfg(feature = "testnet")]
        if self.cut.load(std::sync::atomic::Ordering::Relaxed) {
            return len / 2;
        }
        len
    }

    /// Gives a newer document from now on.
    pub(crate) fn publish(&self, new: Publication, cut: Option<SnapshotRef>) -> Result<(), PublishError> {
        check("header", &new.header)?;
        check("snapshot", &new.snapshot)?;
        new.differences.iter().try_for_each(|(_, bytes)| check("difference", bytes))?;
        new.chain.iter().try_for_each(|(_, bytes)| check("chain", bytes))?;
        let head = Head {
            epoch: new.epoch,
            hash: DocumentHash(new.hash),
            snapshot_len: u32::try_from(new.snapshot.len()).map_err(|_| PublishError::Length { what: "snapshot" })?,
            snapshot: cut,
        };
        let differences = new.differences.into_iter().take(DIFFERENCES);
        let served = Served {
            head,
            header: new.header.into(),
            snapshot: new.snapshot.into(),
            differences: differences.map(|(from, bytes)| (from, bytes.into())).collect(),
            chain: new.chain.into_iter().map(|(epoch, bytes)| (epoch, bytes.into())).collect(),
        };
        let mut current = self.served.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = current.as_ref().map(|served| served.head.epoch)
            && known > new.epoch
        {
            return Err(PublishError::Older { given: new.epoch, known });
        }
        *current = Some(Arc::new(served));
        Ok(())
    }

    /// What the relay gave so far.
    pub(crate) fn metrics(&self) -> DocumentMetrics {
        DocumentMetrics {
            documents_given: self.given.load(Ordering::Relaxed),
            document_bytes: self.bytes.load(Ordering::Relaxed),
            document_refusals: self.refused.load(Ordering::Relaxed),
        }
    }

    /// Answers a request. What is given leaves piece by piece, see [`DocumentStore::leave`].
    pub(crate) fn answer(&self, ask: DocumentAsk) -> Result<Answer, Failure> {
        let answer = self.find(ask);
        match &answer {
            Ok(_) => self.given.fetch_add(1, Ordering::Relaxed),
            Err(_) => self.refused.fetch_add(1, Ordering::Relaxed),
        };
        answer
    }

    /// Waits until a piece of a document of `len` bytes may leave over a link; false if too many wait over it.
    ///
    /// # Cancel safety
    /// Dropping the future costs others one piece at most.
    pub(crate) async fn leave(&self, link: u64, len: usize, piece: usize) -> bool {
        let lane = if len <= SMALL { &self.small } else { &self.large };
        let may = lane.turn(link, piece).await;
        if may {
            self.bytes.fetch_add(piece as u64, Ordering::Relaxed);
        } else {
            self.refuse();
        }
        may
    }

    /// A request was refused that could have been answered.
    pub(crate) fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    fn find(&self, ask: DocumentAsk) -> Result<Answer, Failure> {
        let served = self.served.read().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Answer::Bytes(match ask {
            DocumentAsk::Genesis => vec![self.genesis.clone()],
            DocumentAsk::Head => return Ok(Answer::Head(served.ok_or(Failure::Absent)?.head)),
            DocumentAsk::Header => vec![served.ok_or(Failure::Absent)?.header.clone()],
            DocumentAsk::Snapshot => vec![served.ok_or(Failure::Absent)?.snapshot.clone()],
            DocumentAsk::Difference(from) => {
                vec![served.ok_or(Failure::Absent)?.differences.get(&from.0).ok_or(Failure::Absent)?.clone()]
            }
            DocumentAsk::Chain { from } => chain(&served.ok_or(Failure::Absent)?.chain, from)?,
        }))
    }
}

/// The links of the chain from an epoch on, each behind its length, as many as fit one answer.
fn chain(links: &[(u64, Bytes)], from: u64) -> Result<Vec<Bytes>, Failure> {
    let (mut parts, mut len) = (Vec::new(), 0);
    for (_, link) in links.iter().filter(|(epoch, _)| *epoch >= from) {
        len += 4 + link.len();
        if len > DOCUMENT_MAX {
            break;
        }
        let prefix = u32::try_from(link.len()).map_err(|_| Failure::Internal)?;
        parts.push(Bytes::copy_from_slice(&prefix.to_be_bytes()));
        parts.push(link.clone());
    }
    if parts.is_empty() { Err(Failure::Absent) } else { Ok(parts) }
}

fn check(what: &'static str, bytes: &[u8]) -> Result<(), PublishError> {
    let fits = !bytes.is_empty() && bytes.len() <= DOCUMENT_MAX;
    if fits { Ok(()) } else { Err(PublishError::Length { what }) }
}

impl fmt::Debug for DocumentStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DocumentStore")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publication(epoch: u64) -> Publication {
        Publication {
            epoch,
            hash: [u8::try_from(epoch).unwrap(); 32],
            header: vec![8; 30],
            snapshot: vec![1; 1_000],
            differences: vec![([9; 32], vec![2; 10])],
            chain: vec![(1, vec![3; 5]), (4, vec![4; 6])],
        }
    }

    fn bytes(store: &DocumentStore, ask: DocumentAsk) -> Result<Vec<u8>, Failure> {
        match store.answer(ask)? {
            Answer::Bytes(parts) => Ok(parts.concat()),
            Answer::Head(_) => panic!("a head"),
        }
    }

    #[test]
    fn it_gives_what_was_published_and_nothing_before() {
        let store = DocumentStore::new(vec![7; 20]).unwrap();
        assert_eq!(bytes(&store, DocumentAsk::Genesis), Ok(vec![7; 20]));
        for ask in [DocumentAsk::Head, DocumentAsk::Snapshot, DocumentAsk::Header, DocumentAsk::Chain { from: 0 }] {
            assert!(matches!(store.answer(ask), Err(Failure::Absent)));
        }
        store.publish(publication(5), None).unwrap();
        let Ok(Answer::Head(head)) = store.answer(DocumentAsk::Head) else { panic!("a head") };
        assert_eq!((head.epoch, head.hash, head.snapshot_len), (5, DocumentHash([5; 32]), 1_000));
        assert_eq!(bytes(&store, DocumentAsk::Header), Ok(vec![8; 30]));
        assert_eq!(bytes(&store, DocumentAsk::Snapshot), Ok(vec![1; 1_000]));
        assert_eq!(bytes(&store, DocumentAsk::Difference(DocumentHash([9; 32]))), Ok(vec![2; 10]));
        assert_eq!(bytes(&store, DocumentAsk::Difference(DocumentHash([8; 32]))), Err(Failure::Absent));
        let link = |len: u8, fill: u8| [&[0, 0, 0, len][..], &vec![fill; usize::from(len)]].concat();
        assert_eq!(bytes(&store, DocumentAsk::Chain { from: 0 }), Ok([link(5, 3), link(6, 4)].concat()));
        assert_eq!(bytes(&store, DocumentAsk::Chain { from: 2 }), Ok(link(6, 4)));
        assert_eq!(bytes(&store, DocumentAsk::Chain { from: 5 }), Err(Failure::Absent));
    }

    #[test]
    fn an_older_document_and_empty_parts_are_refused() {
        let store = DocumentStore::new(vec![7]).unwrap();
        store.publish(publication(5), None).unwrap();
        assert_eq!(store.publish(publication(4), None), Err(PublishError::Older { given: 4, known: 5 }));
        let empty = Publication { snapshot: Vec::new(), ..publication(6) };
        assert_eq!(store.publish(empty, None), Err(PublishError::Length { what: "snapshot" }));
        assert!(DocumentStore::new(Vec::new()).is_err());
        store.publish(publication(6), None).unwrap();
    }

    #[tokio::test]
    async fn what_leaves_is_counted_and_a_session_has_one_document_at_a_time() {
        let store = DocumentStore::new(vec![7]).unwrap();
        store.publish(publication(5), None).unwrap();
        assert!(store.answer(DocumentAsk::Snapshot).is_ok() && store.answer(DocumentAsk::Head).is_ok());
        assert_eq!(store.metrics().document_bytes, 0, "nothing has left");
        assert!(store.leave(1, 16 << 20, 64 << 10).await && store.leave(1, 10, 10).await);
        let metrics = store.metrics();
        assert_eq!((metrics.documents_given, metrics.document_bytes), (2, (64 << 10) + 10));
        let reader = Reader::new();
        let first = reader.begin(16 << 20).unwrap();
        assert!(reader.begin(SMALL + 1).is_none(), "one large document");
        let small: Vec<_> = (0..SMALL_AT_ONCE).map(|_| reader.begin(SMALL).unwrap()).collect();
        assert!(reader.begin(1).is_none(), "and a few small ones");
        drop((first, small));
        assert!(reader.begin(16 << 20).is_some() && reader.begin(1).is_some());
    }

    /// Fifty requests that are given up after a piece, and the burst is still there for who reads.
    #[tokio::test]
    async fn a_request_that_is_given_up_costs_only_what_left() {
        let store = DocumentStore::new(vec![7]).unwrap();
        let piece = 64 << 10;
        for _ in 0..50 {
            assert!(store.leave(1, 16 << 20, piece).await);
        }
        // Three documents and more at once; charged in full, four of those given up would have used it up.
        for _ in 0..900 {
            let leave = store.leave(2, 16 << 20, piece);
            assert!(tokio::time::timeout(std::time::Duration::ZERO, leave).await.is_ok_and(|left| left), "at once");
        }
    }
}
