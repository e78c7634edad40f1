//! How a client stays up to date: it compares what relays take for the newest document over circuits of their own, fetches
//! what is newer, and says so when something stands between it and its network.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use zmesh_proto::directory::{COMPARED, Comparison, Held, Said, Step, Warning, compare, next_refresh, retry_after};
use zmesh_proto::seeding::address::Address;
use zmesh_proto::wire::control::{DIFFERENCE_MAX, Difference, SIGNED_HEADER_MAX, SNAPSHOT_MAX, SignedHeader};
use zmesh_proto::wire::request::{DocumentAsk, DocumentHash, Failure, Head};

use super::client::{Client, blocking, changes_since};
use super::source::Source;
use super::{DirectoryError, DirectoryEvent, EntryFault, SourceError, UpdateBy};
use crate::api::CircuitError;
use crate::chunks::{self, ChunkOptions, Liars};
use crate::origin::Origin;
use crate::{RelayId, clock, entropy};

/// Relays of a circuit for documents, where the network has so many.
const HOPS: usize = 3;

/// What a keeper shows of itself.
#[derive(Default)]
pub(crate) struct Outlook {
    warning: Mutex<Option<Warning>>,
}

impl Outlook {
    /// What is wrong between this node and its network, if anything is.
    pub(crate) fn warning(&self) -> Option<Warning> {
        *self.warning.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a new judgement; says whether it is another one.
    fn set(&self, new: Option<Warning>) -> bool {
        let mut warning = self.warning.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *warning, new) != new
    }
}

/// What one relay said, with the circuit on which to ask further.
struct Answer {
    source: Source,
    head: Option<Head>,
}

/// Keeps the documents of a node fresh until the node is gone.
pub(crate) async fn keep(
    client: Client,
    origin: Weak<Origin>,
    liars: Weak<Liars>,
    mut held: Held,
    outlook: Arc<Outlook>,
) {
    let (mut tries, mut split) = (0, None);
    loop {
        let (Some(origin), Some(liars)) = (origin.upgrade(), liars.upgrade()) else { return };
        if origin.shard.is_stopping() {
            return;
        }
        let mut round = Round { client: &client, origin: &origin, liars: &liars, held: &mut held, split: &mut split };
        let warning = round.run().await;
        if origin.shard.is_stopping() {
            // Circuits that end with this node say nothing about the network.
            return;
        }
        if outlook.set(warning) {
            client.tell(warning.map_or(DirectoryEvent::Recovered, DirectoryEvent::Warned));
        }
        let unix = clock::unix_seconds();
        let current = held.epoch() >= held.chain().genesis().epoch_at(unix) && warning.is_none();
        tries = if current { 0 } else { tries + 1 };
        let wait = match tries {
            0 => next_refresh(held.chain(), unix, &mut entropy::rng()),
            _ => retry_after(held.chain(), tries, &mut entropy::rng()),
        };
        drop((origin, liars));
        tokio::time::sleep(wait).await;
    }
}

/// One comparison, and what follows from it.
struct Round<'a> {
    client: &'a Client,
    origin: &'a Arc<Origin>,
    liars: &'a Arc<Liars>,
    held: &'a mut Held,
    /// Two histories were seen in this run.
    split: &'a mut Option<Warning>,
}

impl Round<'_> {
    async fn run(&mut self) -> Option<Warning> {
        let mut comparison = self.ask_and_compare().await;
        // Of two histories this node takes neither, by whatever way.
        if comparison.answered() == 0 && self.split.is_none() && self.held.network(clock::unix_seconds()).is_err() {
            // Too old for circuits: by an entry relay again, as after a long pause.
            self.rejoin().await;
        }
        for (relay, lie) in &comparison.liars {
            self.client.tell(DirectoryEvent::RelayLied { relay: *relay, lie: lie.clone() });
        }
        if let Some(split) = comparison.split.take() {
            self.split.get_or_insert(Warning::TwoHistories { epoch: split.epoch });
            self.client.tell(DirectoryEvent::TwoHistories(split));
        }
        let epoch_now = self.held.chain().genesis().epoch_at(clock::unix_seconds());
        let (agree, asked) = (comparison.current.len(), comparison.answered() + comparison.unreached);
        self.client.tell(DirectoryEvent::Compared { agree, asked });
        // Relays that have not heard of what came this moment are not behind.
        comparison.stale.retain(|(_, epoch)| *epoch + 1 < self.held.epoch());
        // Whoever has seen two histories of a network does not forget it.
        self.split.or_else(|| comparison.warning(self.held.epoch(), epoch_now))
    }

    /// Asks relays, takes what is newer, and gives the comparison with what was held before.
    async fn ask_and_compare(&mut self) -> Comparison {
        let (mut answers, mut said) = (Vec::new(), Vec::new());
        let (mut relays, mut used) = (Vec::new(), Vec::new());
        for _ in 0..COMPARED {
            let source = match self.open(&relays, &used).await {
                Ok(source) => source,
                Err(SourceError::Circuit(CircuitError::NoPath(_))) if !said.is_empty() => break,
                Err(_) => {
                    said.push((RelayId([0; 16]), Said::Nothing));
                    continue;
                }
            };
            relays.push(source.relay());
            used.extend_from_slice(source.path());
            let (head, answer) = self.ask(&source).await;
            said.push((source.relay(), answer));
            answers.push(Answer { source, head });
        }
        let comparison = compare(self.held.known(), &said);
        // Of two histories this node takes neither, now and later: the document that it has stays until it ends.
        if comparison.split.is_none()
            && self.split.is_none()
            && let Some(relay) = giver(&comparison)
            && let Some(answer) = answers.iter().find(|answer| answer.source.relay() == relay)
            && let Err(reason) = self.update(answer).await
        {
            self.client.tell(DirectoryEvent::FetchFailed { relay, reason });
        }
        comparison
    }

    /// A circuit to a relay that was not asked yet, over others than those that were used where there are others.
    async fn open(&self, asked: &[RelayId], used: &[RelayId]) -> Result<Source, SourceError> {
        let mut last = None;
        for hops in (1..=HOPS).rev() {
            match Source::through(self.origin, hops, asked, used).await {
                Err(SourceError::Circuit(error @ CircuitError::NoPath(_))) => last = Some(error),
                other => return other,
            }
        }
        Err(last.unwrap_or(CircuitError::Timeout).into())
    }

    async fn ask(&self, source: &Source) -> (Option<Head>, Said) {
        let head = match source.head().await {
            Ok(head) => head,
            Err(error) => return (None, unsaid(&error)),
        };
        if head.hash == DocumentHash::from(self.held.hash()) {
            return (Some(head), Said::Same);
        }
        let said = match source.fetch(DocumentAsk::Header, SIGNED_HEADER_MAX, |_, _| ()).await {
            Ok(bytes) => match SignedHeader::decode(&bytes) {
                Ok(header) if DocumentHash::from(header.header().hash()) == head.hash => Said::Header(Box::new(header)),
                // A newer one may have come between the two questions: then the relay names that one now.
                Ok(header) => match source.head().await {
                    Ok(now) if DocumentHash::from(header.header().hash()) == now.hash => {
                        return (Some(now), Said::Header(Box::new(header)));
                    }
                    _ => Said::Nonsense,
                },
                Err(_) => Said::Nonsense,
            },
            Err(error) => unsaid(&error),
        };
        (Some(head), said)
    }

    /// Takes the newer document of a relay into use.
    async fn update(&mut self, answer: &Answer) -> Result<(), String> {
        let source = &answer.source;
        let newest = match &answer.head {
            Some(head) => head,
            None => return Ok(()),
        };
        let changes = changes_since(source, self.held.epoch() + 1).await.map_err(|fault| fault.to_string())?;
        let ask = DocumentAsk::Difference(self.held.hash().into());
        let by_difference = match source.fetch(ask, DIFFERENCE_MAX, |_, _| ()).await {
            Ok(bytes) => self.advance_by_difference(changes.clone(), bytes).await,
            Err(error) => Err(error.to_string()),
        };
        let by = match by_difference {
            Ok(()) => UpdateBy::Difference,
            Err(_) => self.whole(source, newest, changes).await?,
        };
        let network = self.held.network(clock::unix_seconds()).map_err(|error| error.to_string())?;
        let network = Arc::new(network);
        let (epoch, relays) = (self.held.epoch(), network.relays().len());
        self.origin.shard.set_network(Arc::clone(&network)).await.map_err(|error| error.to_string())?;
        self.origin.set_network(network);
        self.client.keep_on_disk(self.held).await;
        self.client.tell(DirectoryEvent::Updated { epoch, relays, by });
        Ok(())
    }

    /// The whole snapshot: in chunks from those who keep them, else from the relay that named it.
    async fn whole(&mut self, source: &Source, newest: &Head, changes: Vec<SignedHeader>) -> Result<UpdateBy, String> {
        let caches = self.origin.network().relays().iter().any(|relay| relay.is_cache());
        if let Some(snapshot) = newest.snapshot.as_ref().filter(|_| caches) {
            let mut sink = Bounded { bytes: Vec::new(), max: SNAPSHOT_MAX };
            let address = Address::of_snapshot(snapshot);
            let read =
                chunks::read(self.origin, self.liars, &address, &mut sink, ChunkOptions::default(), |_| ()).await;
            if read.is_ok() && self.advance_by_snapshot(changes.clone(), sink.bytes).await.is_ok() {
                return Ok(UpdateBy::Chunks);
            }
        }
        let told = |done, total| self.client.tell(DirectoryEvent::Fetching { done, total });
        let bytes = source.fetch(DocumentAsk::Snapshot, SNAPSHOT_MAX, told).await;
        let bytes = bytes.map_err(|error| error.to_string())?;
        self.advance_by_snapshot(changes, bytes).await?;
        Ok(UpdateBy::Stream)
    }

    async fn advance_by_difference(&mut self, changes: Vec<SignedHeader>, bytes: Vec<u8>) -> Result<(), String> {
        self.advance(move |held| {
            let difference = Difference::decode(&bytes).map_err(|error| error.to_string())?;
            held.advance(&changes, Step::Difference(&difference)).map_err(|error| error.to_string())
        })
        .await
    }

    async fn advance_by_snapshot(&mut self, changes: Vec<SignedHeader>, bytes: Vec<u8>) -> Result<(), String> {
        self.advance(move |held| held.advance(&changes, Step::Snapshot(&bytes)).map_err(|error| error.to_string()))
            .await
    }

    async fn advance(
        &mut self,
        step: impl FnOnce(&mut Held) -> Result<(), String> + Send + 'static,
    ) -> Result<(), String> {
        let mut next = self.held.clone();
        let stepped = blocking(move || step(&mut next).map(|()| next)).await;
        *self.held = stepped.map_err(|fault| fault.to_string())??;
        Ok(())
    }

    /// Begins again by an entry relay or one of those that were known.
    async fn rejoin(&mut self) {
        let before = self.origin.network();
        let entered = self.client.enter(&self.origin.shard, Some(&*self.held)).await;
        match entered {
            Ok((held, network)) => {
                let (epoch, relays) = (held.epoch(), network.relays().len());
                *self.held = held;
                self.origin.set_network(network);
                self.client.tell(DirectoryEvent::Updated { epoch, relays, by: UpdateBy::Stream });
            }
            // Events have told why. What was known is still worth more than nothing.
            Err(error) => {
                if let DirectoryError::NoEntry { faults } = error
                    && let Some(epoch) = faults.iter().find_map(|(_, fault)| match fault {
                        EntryFault::OtherHistory { epoch } => Some(*epoch),
                        _ => None,
                    })
                {
                    self.split.get_or_insert(Warning::TwoHistories { epoch });
                }
                drop(self.origin.shard.replace_network(before).await);
            }
        }
    }
}

/// Whose newer document to take.
fn giver(comparison: &Comparison) -> Option<RelayId> {
    let newer = comparison.newer.as_ref().map(|(relay, _)| *relay);
    newer.or(comparison.beyond.map(|(relay, _)| relay))
}

/// What it says of a relay that it gave no head.
fn unsaid(error: &SourceError) -> Said {
    match error {
        SourceError::Refused(Failure::QuotaExceeded) => Said::Nothing,
        SourceError::Refused(_) => Said::Refused,
        SourceError::Protocol | SourceError::TooLong { .. } | SourceError::Truncated { .. } => Said::Nonsense,
        SourceError::Circuit(_) | SourceError::NoKey | SourceError::Lost(_) => Said::Nothing,
    }
}

/// Takes so many bytes and no more.
struct Bounded {
    bytes: Vec<u8>,
    max: usize,
}

impl AsyncWrite for Bounded {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.bytes.len() + data.len() > self.max {
            return Poll::Ready(Err(io::ErrorKind::FileTooLarge.into()));
        }
        self.bytes.extend_from_slice(data);
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
