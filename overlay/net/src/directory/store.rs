//! What a relay gives of the network's documents. It gives bytes: whoever asks verifies them.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use zmesh_proto::directory::Held;
use zmesh_proto::seeding::cache::Pace;
use zmesh_proto::wire::control::{Difference, Snapshot};
use zmesh_proto::wire::request::{DOCUMENT_MAX, DocumentAsk, DocumentHash, Failure, Head, SnapshotRef};

use crate::clock;

/// Bytes of documents that a relay gives in a second, and at once.
const BYTES_PER_SECOND: u64 = 4 << 20;
const BYTES_BURST: u64 = 64 << 20;
/// Answers up to this length, so headers, the genesis and most differences, have a rate of their own: who asks for
/// snapshots takes nothing from who keeps up.
const SMALL: u64 = 64 << 10;
const SMALL_PER_SECOND: u64 = 1 << 20;
const SMALL_BURST: u64 = 16 << 20;

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
    large: Mutex<Pace>,
    small: Mutex<Pace>,
    given: AtomicU64,
    bytes: AtomicU64,
    refused: AtomicU64,
    /// Stops in the middle of every document, to see that clients find out.
    #[cfg(feature = "testnet")]
    cut: std::sync::atomic::AtomicBool,
}

/// What the answer to a request is.
pub(crate) enum Answer<'a> {
    Head(Head),
    /// Parts that follow each other, and what they were granted.
    Bytes(Vec<Bytes>, Grant<'a>),
}

/// Bytes that may leave. Dropped, it gives back to the relay's rate what did not: a request that is cancelled costs others
/// no more than what was sent of it.
pub(crate) struct Grant<'a> {
    pace: &'a Mutex<Pace>,
    unsent: u64,
}

impl<'a> Grant<'a> {
    fn take(pace: &'a Mutex<Pace>, bytes: u64) -> Option<Self> {
        let granted = pace.lock().unwrap_or_else(PoisonError::into_inner).take(clock::now(), bytes);
        // Made only if granted: dropping one gives back.
        granted.then(|| Self { pace, unsent: bytes })
    }

    /// So many more bytes have left.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.unsent = self.unsent.saturating_sub(bytes as u64);
    }
}

impl Drop for Grant<'_> {
    fn drop(&mut self) {
        if self.unsent > 0 {
            self.pace.lock().unwrap_or_else(PoisonError::into_inner).give_back(self.unsent);
        }
    }
}

impl DocumentStore {
    /// Gives this genesis, and documents once they are published.
    pub(crate) fn new(genesis: Vec<u8>) -> Result<Self, PublishError> {
        check("genesis", &genesis)?;
        Ok(Self {
            genesis: genesis.into(),
            served: RwLock::default(),
            large: Mutex::new(Pace::new(BYTES_PER_SECOND, BYTES_BURST)),
            small: Mutex::new(Pace::new(SMALL_PER_SECOND, SMALL_BURST)),
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

    /// Answers a request, if the relay's rate allows it.
    pub(crate) fn answer(&self, ask: DocumentAsk) -> Result<Answer<'_>, Failure> {
        let answer = self.find(ask);
        match &answer {
            Ok(Answer::Head(_)) => self.given.fetch_add(1, Ordering::Relaxed),
            Ok(Answer::Bytes(parts, _)) => {
                self.bytes.fetch_add(parts.iter().map(|part| part.len() as u64).sum(), Ordering::Relaxed);
                self.given.fetch_add(1, Ordering::Relaxed)
            }
            Err(_) => self.refused.fetch_add(1, Ordering::Relaxed),
        };
        answer
    }

    fn find(&self, ask: DocumentAsk) -> Result<Answer<'_>, Failure> {
        let served = self.served.read().unwrap_or_else(PoisonError::into_inner).clone();
        let parts = match ask {
            DocumentAsk::Genesis => vec![self.genesis.clone()],
            DocumentAsk::Head => return Ok(Answer::Head(served.ok_or(Failure::Absent)?.head)),
            DocumentAsk::Header => vec![served.ok_or(Failure::Absent)?.header.clone()],
            DocumentAsk::Snapshot => vec![served.ok_or(Failure::Absent)?.snapshot.clone()],
            DocumentAsk::Difference(from) => {
                vec![served.ok_or(Failure::Absent)?.differences.get(&from.0).ok_or(Failure::Absent)?.clone()]
            }
            DocumentAsk::Chain { from } => chain(&served.ok_or(Failure::Absent)?.chain, from)?,
        };
        let len = parts.iter().map(|part| part.len() as u64).sum();
        let pace = if len <= SMALL { &self.small } else { &self.large };
        let grant = Grant::take(pace, len).ok_or(Failure::QuotaExceeded)?;
        Ok(Answer::Bytes(parts, grant))
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
            Answer::Bytes(parts, mut grant) => {
                grant.sent(parts.iter().map(Bytes::len).sum());
                Ok(parts.concat())
            }
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

    #[test]
    fn the_relay_gives_no_more_than_its_rate() {
        let store = DocumentStore::new(vec![7]).unwrap();
        store.publish(Publication { snapshot: vec![1; 16 << 20], ..publication(5) }, None).unwrap();
        let take = |_: &i32| match store.answer(DocumentAsk::Snapshot) {
            Ok(Answer::Bytes(_, mut grant)) => {
                grant.sent(16 << 20);
                true
            }
            _ => false,
        };
        let given = (0..50).filter(take).count();
        assert_eq!(given, 4, "a burst of 64 MiB");
        let metrics = store.metrics();
        assert_eq!((metrics.documents_given, metrics.document_refusals), (4, 46));
        assert_eq!(metrics.document_bytes, 64 << 20);
        assert!(store.answer(DocumentAsk::Head).is_ok(), "a head costs nothing");
        assert!(bytes(&store, DocumentAsk::Header).is_ok(), "what is small has a rate of its own");
    }

    #[test]
    fn a_request_that_is_cancelled_costs_others_only_what_was_sent_of_it() {
        let store = DocumentStore::new(vec![7]).unwrap();
        store.publish(Publication { snapshot: vec![1; 16 << 20], ..publication(5) }, None).unwrap();
        for _ in 0..50 {
            let Ok(Answer::Bytes(_, mut grant)) = store.answer(DocumentAsk::Snapshot) else { panic!("granted") };
            grant.sent(64 << 10);
        }
        assert!(bytes(&store, DocumentAsk::Snapshot).is_ok());
    }
}
