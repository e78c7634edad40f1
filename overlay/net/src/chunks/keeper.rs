//! A relay that keeps chunks: what it gives, what it takes, and what it fetches for itself.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::spawn_blocking;
use zmesh_proto::pace::Pace;
use zmesh_proto::seeding::cache::{Refusal, Source};
use zmesh_proto::seeding::placement::{COPIES, ranking};
use zmesh_proto::seeding::{ChunkId, ChunkRef, Class, SymbolRun};
use zmesh_proto::wire::request::Failure;

use super::gather::{Gather, Gathered};
use super::lanes::Lanes;
use super::seeder::Way;
use super::store::{ChunkMetrics, Store};
use super::{ChunkStore, Liars, reseed};
use crate::api::NodeError;
use crate::origin::Origin;
use crate::shard::Shard;
use crate::{RelayId, clock};

/// Requests of one circuit per second, and at once.
const REQUESTS: u64 = 200;
const REQUESTS_BURST: u64 = 100;

/// What strangers may leave at once, in seconds of their rate.
const PUT_BURST: u64 = 16;

/// Chunks that the relay fetches for itself at once, because somebody asked for them; and how many it begins, in a
/// minute and at once. Each takes circuits to several relays.
const PULLS: usize = 4;
const PULLS_PER_MINUTE: u64 = 60;
const PULLS_BURST: u64 = 20;

/// A chunk that nobody had is looked for again after this time. So many are remembered.
const MISSED: Duration = Duration::from_secs(300);
const MISSED_MAX: usize = 4096;

/// Relays of its own choice on circuits of its own.
const OWN_HOPS: usize = 2;

/// Other relays that are asked for a chunk that somebody asked for in vain: each takes a circuit.
const PULL_FROM: usize = 3;

/// Chunks that one session may have announced and not sent yet. Publishers send six at a time.
const ANNOUNCED: usize = 8;
/// Bytes of symbols of one session that wait to be read.
const UNREAD: usize = 1 << 20;

/// Chunks that wait to be passed on.
const QUEUE: usize = 4096;

/// One circuit's session.
pub(crate) struct Guest {
    source: Source,
    requests: Mutex<Pace>,
    announced: Semaphore,
    unread: Semaphore,
}

impl Guest {
    /// The session of this number.
    pub(crate) fn new(number: u64) -> Self {
        Self {
            source: Source(number),
            requests: Mutex::new(Pace::new(REQUESTS, REQUESTS_BURST)),
            announced: Semaphore::new(ANNOUNCED),
            unread: Semaphore::new(UNREAD),
        }
    }

    /// Room for so many bytes of symbols that this session has not read yet.
    pub(crate) fn unread(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        self.unread.try_acquire_many(u32::try_from(bytes).ok()?).ok()
    }
}

/// What the relay answers to a chunk that somebody wants to leave.
pub(crate) enum Admission<'a> {
    /// It is welcome.
    Send(Announced<'a>),
    /// It is there.
    Held,
}

/// A chunk that was announced: what it takes of the relay's rate, given back if it does not come.
pub(crate) struct Announced<'a> {
    intake: &'a Mutex<Pace>,
    /// Bytes that are taken and have not come.
    owed: u64,
    _place: SemaphorePermit<'a>,
}

impl Announced<'_> {
    /// So many of its bytes have come.
    pub(crate) fn came(&mut self, bytes: usize) {
        self.owed = self.owed.saturating_sub(bytes as u64);
    }
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        if self.owed > 0 {
            self.intake.lock().unwrap_or_else(PoisonError::into_inner).give_back(self.owed);
        }
    }
}

/// What became of a chunk that has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Taken {
    /// It is kept.
    Stored,
    /// It was there.
    Held,
}

/// See the head of this module.
pub(crate) struct Keeper {
    me: RelayId,
    pub(super) store: Arc<Store>,
    lanes: Lanes,
    intake: Mutex<Pace>,
    /// Weak: the origin holds the shard, which holds this.
    origin: OnceLock<Weak<Origin>>,
    pub(super) liars: Arc<Liars>,
    pulls: Mutex<Pulls>,
    pub(super) reseed_after: Duration,
    queue: Mutex<VecDeque<(Instant, ChunkRef)>>,
    given: AtomicU64,
    taken: AtomicU64,
    fetched: AtomicU64,
    pub(super) reseeded: AtomicU64,
    refused: AtomicU64,
    /// Gives wrong symbols, to see that readers find out.
    poison: bool,
}

struct Pulls {
    pace: Pace,
    under_way: Vec<ChunkId>,
    missed: HashMap<ChunkId, Instant>,
}

impl Keeper {
    /// Opens the store. Waits for the disk.
    pub(crate) fn open(me: RelayId, config: &ChunkStore, poison: bool) -> Result<Arc<Self>, NodeError> {
        let store = Store::open(config).map_err(|source| NodeError::System { what: "the chunk store", source })?;
        let burst = (config.put_rate.saturating_mul(PUT_BURST)).max(2 * Class::Full.len() as u64);
        Ok(Arc::new(Self {
            me,
            store: Arc::new(store),
            lanes: Lanes::new(),
            intake: Mutex::new(Pace::new(config.put_rate, burst)),
            origin: OnceLock::new(),
            liars: Arc::default(),
            pulls: Mutex::new(Pulls {
                pace: Pace::new(PULLS_PER_MINUTE / 60, PULLS_BURST),
                under_way: Vec::new(),
                missed: HashMap::new(),
            }),
            reseed_after: config.reseed_after,
            queue: Mutex::default(),
            given: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            fetched: AtomicU64::new(0),
            reseeded: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            poison,
        }))
    }

    /// Begins to pass chunks on, once there is a network to find other relays in.
    pub(crate) fn use_origin(self: &Arc<Self>, shard: &Arc<Shard>, origin: &Arc<Origin>) {
        if self.origin.set(Arc::downgrade(origin)).is_ok() {
            shard.runtime.spawn(reseed::run(Arc::downgrade(self)));
        }
    }

    pub(super) fn origin(&self) -> Option<Arc<Origin>> {
        self.origin.get()?.upgrade()
    }

    /// How the relay's own circuits go.
    pub(super) fn way(&self) -> Way {
        Way { hops: OWN_HOPS, me: Some(self.me) }
    }

    /// The other relays that may keep a chunk, best first; `None` if this relay is not among those that may.
    pub(super) fn others(&self, origin: &Origin, chunk: &ChunkRef) -> Option<Vec<RelayId>> {
        let mut ranked = ranking(&origin.network(), &chunk.shelf);
        let at = ranked.iter().position(|relay| *relay == self.me)?;
        ranked.remove(at);
        Some(ranked)
    }

    /// The relay's counters.
    pub(crate) fn metrics(&self) -> ChunkMetrics {
        let mut metrics = ChunkMetrics::default();
        self.store.fill(&mut metrics);
        metrics.symbols_given = self.given.load(Ordering::Relaxed);
        metrics.chunks_taken = self.taken.load(Ordering::Relaxed);
        metrics.chunks_fetched = self.fetched.load(Ordering::Relaxed);
        metrics.chunks_reseeded = self.reseeded.load(Ordering::Relaxed);
        metrics.chunk_refusals = self.refused.load(Ordering::Relaxed);
        metrics
    }

    fn refuse(&self, failure: Failure) -> Failure {
        self.refused.fetch_add(1, Ordering::Relaxed);
        failure
    }

    fn may_ask(&self, guest: &Guest) -> Result<(), Failure> {
        let granted = guest.requests.lock().unwrap_or_else(PoisonError::into_inner).take(clock::now(), 1);
        if granted { Ok(()) } else { Err(self.refuse(Failure::QuotaExceeded)) }
    }

    /// Symbols of a chunk. What is not there is looked for at other relays, for the next one who asks.
    pub(crate) async fn symbols(self: &Arc<Self>, guest: &Guest, run: SymbolRun) -> Result<Vec<u8>, Failure> {
        self.may_ask(guest)?;
        // Before the lane: a false length must not take long work through the lane of short work.
        if self.store.differs(&run.chunk) {
            return Err(Failure::Absent);
        }
        let Some(_turn) = self.lanes.turn(run.chunk.class).await else {
            return Err(self.refuse(Failure::QuotaExceeded));
        };
        let (store, source) = (Arc::clone(&self.store), guest.source);
        let made = spawn_blocking(move || (store.symbols(&run, source), store.holds(&run.chunk.id))).await;
        match made {
            Err(_) => Err(Failure::Internal),
            Ok((None, held)) => {
                if !held {
                    self.pull(run.chunk);
                }
                Err(Failure::Absent)
            }
            Ok((Some(mut symbols), _)) => {
                self.given.fetch_add(run.count.into(), Ordering::Relaxed);
                if self.poison {
                    symbols.iter_mut().step_by(97).for_each(|byte| *byte ^= 0x55);
                }
                Ok(symbols)
            }
        }
    }

    /// Whether a chunk may be left here.
    pub(crate) async fn admit<'a>(&'a self, guest: &'a Guest, chunk: ChunkRef) -> Result<Admission<'a>, Failure> {
        self.may_ask(guest)?;
        let place = guest.announced.try_acquire().map_err(|_| self.refuse(Failure::QuotaExceeded))?;
        let origin = self.origin().ok_or(Failure::Full)?;
        if self.others(&origin, &chunk).is_none() {
            return Err(self.refuse(Failure::Elsewhere));
        }
        let (store, source) = (Arc::clone(&self.store), guest.source);
        match spawn_blocking(move || store.would_take(&chunk, source)).await.map_err(|_| Failure::Internal)? {
            Err(Refusal::Held) => return Ok(Admission::Held),
            Err(_) => return Err(self.refuse(Failure::Full)),
            Ok(()) => {}
        }
        let owed = chunk.class.len() as u64;
        let granted = self.intake.lock().unwrap_or_else(PoisonError::into_inner).take(clock::now(), owed);
        if granted {
            Ok(Admission::Send(Announced { intake: &self.intake, owed, _place: place }))
        } else {
            Err(self.refuse(Failure::QuotaExceeded))
        }
    }

    /// Keeps a chunk that was admitted and has come.
    pub(crate) async fn keep(&self, guest: &Guest, chunk: ChunkRef, bytes: Vec<u8>) -> Result<Taken, Failure> {
        let Some(_turn) = self.lanes.turn(chunk.class).await else {
            return Err(self.refuse(Failure::QuotaExceeded));
        };
        match self.insert(chunk, guest.source, bytes).await? {
            Ok(()) => {
                self.taken.fetch_add(1, Ordering::Relaxed);
                self.pass_on(clock::now() + self.reseed_after, chunk);
                Ok(Taken::Stored)
            }
            Err(Refusal::Held) => Ok(Taken::Held),
            Err(_) => Err(self.refuse(Failure::Full)),
        }
    }

    async fn insert(&self, chunk: ChunkRef, source: Source, bytes: Vec<u8>) -> Result<Result<(), Refusal>, Failure> {
        let store = Arc::clone(&self.store);
        let kept = spawn_blocking(move || {
            if bytes.len() != chunk.class.len() || ChunkId::of(&bytes) != chunk.id {
                return Err(Failure::Mismatch);
            }
            Ok(store.insert(chunk, source, &bytes))
        });
        kept.await.unwrap_or(Err(Failure::Internal))
    }

    /// Sees to it, later, that others keep a chunk too.
    pub(super) fn pass_on(&self, at: Instant, chunk: ChunkRef) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.len() < QUEUE {
            queue.push_back((at, chunk));
        }
    }

    /// Chunks whose time to be passed on has come, at most `count`.
    pub(super) fn due(&self, now: Instant, count: usize) -> Vec<ChunkRef> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let mut due = Vec::new();
        while due.len() < count
            && let Some((_, chunk)) = queue.pop_front_if(|(at, _)| *at <= now)
        {
            due.push(chunk);
        }
        due
    }

    /// Fetches a chunk from other relays, if it is one of those that this relay may keep, for those who ask later.
    fn pull(self: &Arc<Self>, chunk: ChunkRef) {
        let Some(origin) = self.origin() else { return };
        let Some(others) = pull_from(&ranking(&origin.network(), &chunk.shelf), &self.me) else { return };
        if !self.begin(chunk.id) {
            return;
        }
        let keeper = Arc::clone(self);
        tokio::spawn(async move {
            let mut gather = Gather::new(origin, Arc::clone(&keeper.liars), keeper.way());
            gather.want(0, chunk, others);
            let gathered = gather.next().await;
            drop(gather);
            let kept = match gathered {
                Some(Gathered::Done(_, bytes)) => keeper.insert(chunk, Source::SELF, bytes).await.is_ok(),
                _ => false,
            };
            if kept {
                keeper.fetched.fetch_add(1, Ordering::Relaxed);
            }
            keeper.finish(chunk.id, kept);
        });
    }

    fn begin(&self, id: ChunkId) -> bool {
        let now = clock::now();
        let mut pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
        if pulls.under_way.len() >= PULLS
            || pulls.under_way.contains(&id)
            || pulls.missed.get(&id).is_some_and(|since| now.saturating_duration_since(*since) < MISSED)
            || !pulls.pace.take(now, 1)
        {
            return false;
        }
        pulls.under_way.push(id);
        true
    }

    fn finish(&self, id: ChunkId, kept: bool) {
        let now = clock::now();
        let mut pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
        pulls.under_way.retain(|other| *other != id);
        if !kept {
            pulls.missed.retain(|_, since| now.saturating_duration_since(*since) < MISSED);
            if pulls.missed.len() < MISSED_MAX {
                pulls.missed.insert(id, now);
            }
        }
    }
}

/// The other relays that a relay looks at for a chunk that it should keep and was asked for in vain; `None` if it need not keep
/// it, so that one question does not go on from relay to relay. The nearest few only: if none of them has it, the reader, who
/// asks the others himself, finds it there.
fn pull_from(ranked: &[RelayId], me: &RelayId) -> Option<Vec<RelayId>> {
    let mine = ranked.iter().take(COPIES).any(|relay| relay == me);
    mine.then(|| ranked.iter().filter(|relay| *relay != me).take(PULL_FROM).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_in_vain_takes_few_circuits() {
        let ranked: Vec<RelayId> = (0..12).map(|number| RelayId([number; 16])).collect();
        for (at, me) in ranked.iter().enumerate() {
            let from = pull_from(&ranked, me);
            assert_eq!(from.is_some(), at < COPIES);
            assert!(from.is_none_or(|from| from.len() == PULL_FROM && !from.contains(me)));
        }
        assert_eq!(pull_from(&ranked[..2], &ranked[0]), Some(vec![ranked[1]]));
    }

    /// Somebody announces chunks and sends nothing, over and over.
    #[tokio::test]
    async fn what_is_announced_and_does_not_come_takes_nothing_of_the_rate() {
        let now = clock::now();
        let intake = Mutex::new(Pace::new(1, 1000));
        let guest = Guest::new(1);
        for _ in 0..100 {
            assert!(intake.lock().expect("alone").take(now, 600), "the rate is there");
            let place = guest.announced.try_acquire().expect("a place");
            drop(Announced { intake: &intake, owed: 600, _place: place });
        }
        assert!(intake.lock().expect("alone").take(now, 600));
        let place = guest.announced.try_acquire().expect("a place");
        let mut announced = Announced { intake: &intake, owed: 600, _place: place };
        announced.came(600);
        drop(announced);
        assert!(!intake.lock().expect("alone").take(now, 600), "what came is paid for");
    }

    #[test]
    fn a_session_announces_and_leaves_unread_no_more_than_its_share() {
        let guest = Guest::new(1);
        let places: Vec<_> = std::iter::from_fn(|| guest.announced.try_acquire().ok()).collect();
        assert_eq!(places.len(), ANNOUNCED);
        let answers: Vec<_> = std::iter::from_fn(|| guest.unread(64 << 10)).collect();
        assert_eq!(answers.len(), UNREAD / (64 << 10));
        assert!(Guest::new(2).unread(64 << 10).is_some());
    }
}
