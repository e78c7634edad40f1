//! What a relay does for services: keeps descriptors, and passes introductions on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::spawn_blocking;
use zmesh_proto::service::Source;
use zmesh_proto::service::intro::{Intros, Next, PAUSE, Refusal as IntroRefusal};
use zmesh_proto::service::introduce::{INTRODUCE_LEN, IntroName, IntroSecret};
use zmesh_proto::service::key::BlindedKey;
use zmesh_proto::service::place_work::PLACE_WORK_LEN;
use zmesh_proto::service::store::{Refusal as StoreRefusal, Store};
use zmesh_proto::service::visitor;
use zmesh_proto::wire::request::Failure;

use crate::shard::Shard;
use crate::{RelayId, clock};

/// Descriptors that are kept: about 5 MB.
const DESCRIPTORS: usize = 4_096;

/// Services whose introductions are passed on, in all and over one link.
const SERVICES: usize = 2_048;
const SERVICES_OF_LINK: usize = 256;

/// Descriptors that are checked or wait for it: one is checked at a time, beside the threads that carry cells.
const CHECKS: usize = 64;

/// How often it is looked for what is over.
const LOOK: Duration = Duration::from_secs(60);

/// How a relay of a test lies about descriptors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(
    not(feature = "testnet"),
    allow(dead_code, unreachable_pub, reason = "only relays of test networks are told to lie")
)]
pub enum Lie {
    /// It takes them and says that it has none.
    Withhold,
    /// It goes on giving the first one that it got.
    Old,
}

/// What one session may ask.
pub(crate) struct Visitor(Mutex<visitor::Visitor>);

impl Visitor {
    pub(crate) fn new() -> Self {
        Self(Mutex::default())
    }

    fn bounds(&self) -> MutexGuard<'_, visitor::Visitor> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the session may make another request about services.
    pub(crate) fn may_ask(&self) -> bool {
        self.bounds().may_ask(clock::now())
    }

    /// Whether the session may have another introduction passed on.
    pub(crate) fn may_introduce(&self) -> bool {
        self.bounds().may_introduce()
    }
}

/// A sealed introduction.
pub(crate) type Sealed = Box<[u8; INTRODUCE_LEN]>;

/// One that waits for its turn. Dropping it tells whoever sent it that nobody is there.
pub(crate) struct Waiting {
    pub(crate) sealed: Sealed,
    told: oneshot::Sender<Result<(), Failure>>,
}

impl Waiting {
    /// It was passed on.
    pub(crate) fn passed(self) {
        let _ = self.told.send(Ok(()));
    }
}

/// See the head of this module.
pub(crate) struct Host {
    me: RelayId,
    shard: Weak<Shard>,
    lie: Option<Lie>,
    store: Mutex<Store>,
    intros: Mutex<Intros<Waiting>>,
    /// Wakes the streams of services.
    wakes: Mutex<HashMap<u64, Arc<Notify>>>,
    checking: Semaphore,
    checks: Semaphore,
    /// What a lying relay gives.
    first: Mutex<HashMap<BlindedKey, Vec<u8>>>,
    next: AtomicU64,
}

impl Host {
    pub(crate) fn start(shard: &Arc<Shard>, me: RelayId, lie: Option<Lie>) -> Arc<Self> {
        let host = Arc::new(Self {
            me,
            shard: Arc::downgrade(shard),
            lie,
            store: Mutex::new(Store::new(DESCRIPTORS)),
            intros: Mutex::new(Intros::new(SERVICES, SERVICES_OF_LINK)),
            wakes: Mutex::default(),
            checking: Semaphore::new(1),
            checks: Semaphore::new(CHECKS),
            first: Mutex::default(),
            next: AtomicU64::new(0),
        });
        shard.runtime.spawn(expire(Arc::downgrade(&host)));
        host
    }

    fn intros(&self) -> MutexGuard<'_, Intros<Waiting>> {
        self.intros.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wakes(&self) -> MutexGuard<'_, HashMap<u64, Arc<Notify>>> {
        self.wakes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many descriptors are kept, and for how many services introductions are passed on.
    pub(crate) fn load(&self) -> (usize, usize) {
        (self.store().len(), self.intros().len())
    }

    pub(crate) fn find(&self, blinded: &BlindedKey) -> Option<Vec<u8>> {
        match self.lie {
            Some(Lie::Withhold) => return None,
            Some(Lie::Old) => {
                let first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
                return first.get(blinded).cloned();
            }
            None => {}
        }
        self.store().get(clock::now(), blinded).map(<[u8]>::to_vec)
    }

    /// Takes a descriptor, if its place is here. What that costs is done on a thread of its own, one after the other, without the store.
    pub(crate) async fn place(&self, source: Source, bytes: &[u8], work: [u8; PLACE_WORK_LEN]) -> Result<(), Failure> {
        let network = self.shard.upgrade().and_then(|shard| shard.network()).ok_or(Failure::Full)?;
        let placed = async {
            let offered = self.store().offer(clock::now(), clock::unix_seconds(), source, bytes, work)?;
            let _room = self.checks.try_acquire().map_err(|_| StoreRefusal::Busy)?;
            let _turn = self.checking.acquire().await.map_err(|_| StoreRefusal::Busy)?;
            let me = self.me;
            let checked = spawn_blocking(move || offered.check(&network, &me)).await;
            self.store().keep(clock::now(), checked.map_err(|_| StoreRefusal::Busy)??)
        };
        let placed = placed.await;
        if self.lie == Some(Lie::Old)
            && let Ok(outer) = zmesh_proto::service::descriptor::Outer::decode(bytes)
        {
            let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
            first.entry(outer.blinded).or_insert_with(|| bytes.to_vec());
        }
        placed.map_err(|refusal| match refusal {
            StoreRefusal::Elsewhere => Failure::Elsewhere,
            StoreRefusal::Stale => Failure::Stale,
            StoreRefusal::Busy => Failure::QuotaExceeded,
            _ => Failure::Malformed,
        })
    }

    /// Takes a service in, until somebody else shows the secret or the place is dropped.
    pub(crate) fn establish(self: &Arc<Self>, secret: &IntroSecret, source: Source) -> Result<Established, Failure> {
        let handle = self.next.fetch_add(1, Ordering::Relaxed);
        let before = self.intros().establish(secret, handle, source).map_err(|_| Failure::Full)?;
        let wake = Arc::new(Notify::new());
        let mut wakes = self.wakes();
        wakes.insert(handle, Arc::clone(&wake));
        if let Some(before) = before.and_then(|before| wakes.remove(&before)) {
            before.notify_one();
        }
        Ok(Established { host: Arc::clone(self), handle, wake })
    }

    /// Passes an introduction on that came over a link, when its turn has come.
    ///
    /// # Cancel safety
    /// What waits goes on waiting.
    pub(crate) async fn introduce(&self, name: &IntroName, link: u64, sealed: Sealed) -> Result<(), Failure> {
        let (told, outcome) = oneshot::channel();
        let introduced = self.intros().introduce(name, link, Waiting { sealed, told });
        let (handle, displaced) = introduced.map_err(|refusal| match refusal {
            IntroRefusal::Busy => Failure::QuotaExceeded,
            _ => Failure::Absent,
        })?;
        if let Some(displaced) = displaced {
            let _ = displaced.told.send(Err(Failure::QuotaExceeded));
        }
        if let Some(wake) = self.wakes().get(&handle) {
            wake.notify_one();
        }
        outcome.await.unwrap_or(Err(Failure::Absent))
    }
}

/// A service's place; leaving it frees it.
pub(crate) struct Established {
    host: Arc<Host>,
    handle: u64,
    wake: Arc<Notify>,
}

impl Established {
    /// Waits for the next introduction; `None` when somebody else has the place.
    ///
    /// # Cancel safety
    /// Cancel safe: no introduction is lost.
    pub(crate) async fn next(&self) -> Option<Waiting> {
        loop {
            let next = self.host.intros().next(clock::now(), self.handle);
            match next {
                Next::Take(waiting) => return Some(waiting),
                Next::Later => tokio::time::sleep(PAUSE).await,
                Next::Nothing => self.wake.notified().await,
                Next::Gone => return None,
            }
        }
    }
}

impl Drop for Established {
    fn drop(&mut self) {
        self.host.wakes().remove(&self.handle);
        self.host.intros().leave(self.handle);
    }
}

async fn expire(host: Weak<Host>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(host) = host.upgrade() else { return };
        host.store().expire(clock::now(), clock::unix_seconds());
    }
}
