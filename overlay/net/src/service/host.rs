//! What a relay does for services: keeps descriptors, and passes introductions on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::mpsc;
use zmesh_proto::seeding::cache::Pace;
use zmesh_proto::service::Source;
use zmesh_proto::service::intro::{Intros, Refusal as IntroRefusal};
use zmesh_proto::service::introduce::{INTRODUCE_LEN, IntroName, IntroSecret};
use zmesh_proto::service::key::BlindedKey;
use zmesh_proto::service::store::{Refusal as StoreRefusal, Store};
use zmesh_proto::wire::request::Failure;

use crate::shard::Shard;
use crate::{RelayId, clock};

/// Descriptors that are kept: about 5 MB.
const DESCRIPTORS: usize = 4_096;

/// Services whose introductions are passed on, in all and over one link.
const SERVICES: usize = 2_048;
const SERVICES_OF_LINK: usize = 256;

/// Introductions that wait for one service to take them.
const WAITING: usize = 64;

/// Requests of one session about services, in a second and at once.
const REQUESTS: u64 = 1;
const REQUESTS_BURST: u64 = 12;

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

/// One session's pace.
pub(crate) struct Visitor(Mutex<Pace>);

impl Visitor {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Pace::new(REQUESTS, REQUESTS_BURST)))
    }

    /// Whether the session may make another request about services.
    pub(crate) fn may_ask(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take(clock::now(), 1)
    }
}

/// A sealed introduction.
pub(crate) type Sealed = Box<[u8; INTRODUCE_LEN]>;

/// See the head of this module.
pub(crate) struct Host {
    me: RelayId,
    shard: Weak<Shard>,
    lie: Option<Lie>,
    store: Mutex<Store>,
    intros: Mutex<Intros>,
    streams: Mutex<HashMap<u64, mpsc::Sender<Sealed>>>,
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
            streams: Mutex::default(),
            first: Mutex::default(),
            next: AtomicU64::new(0),
        });
        shard.runtime.spawn(expire(Arc::downgrade(&host)));
        host
    }

    fn intros(&self) -> MutexGuard<'_, Intros> {
        self.intros.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<u64, mpsc::Sender<Sealed>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
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

    pub(crate) fn place(&self, source: Source, bytes: &[u8]) -> Result<(), Failure> {
        let network = self.shard.upgrade().and_then(|shard| shard.network()).ok_or(Failure::Full)?;
        let placed = self.store().put(clock::now(), clock::unix_seconds(), &network, &self.me, source, bytes);
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

    /// Takes a service in. What comes for it waits in the queue, which ends when somebody else shows the secret.
    pub(crate) fn establish(
        self: &Arc<Self>,
        secret: &IntroSecret,
        source: Source,
    ) -> Result<(Established, mpsc::Receiver<Sealed>), Failure> {
        let handle = self.next.fetch_add(1, Ordering::Relaxed);
        let before = self.intros().establish(secret, handle, source).map_err(|_| Failure::Full)?;
        let (sender, receiver) = mpsc::channel(WAITING);
        let mut streams = self.streams();
        if let Some(before) = before {
            streams.remove(&before);
        }
        streams.insert(handle, sender);
        Ok((Established { host: Arc::clone(self), handle }, receiver))
    }

    pub(crate) fn introduce(&self, name: &IntroName, sealed: Sealed) -> Result<(), Failure> {
        let handle = self.intros().introduce(clock::now(), name).map_err(|refusal| match refusal {
            IntroRefusal::Busy => Failure::QuotaExceeded,
            _ => Failure::Absent,
        })?;
        let sender = self.streams().get(&handle).cloned().ok_or(Failure::Absent)?;
        sender.try_send(sealed).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Failure::QuotaExceeded,
            mpsc::error::TrySendError::Closed(_) => Failure::Absent,
        })
    }
}

/// A service's place; leaving it frees it.
pub(crate) struct Established {
    host: Arc<Host>,
    handle: u64,
}

impl Drop for Established {
    fn drop(&mut self) {
        self.host.streams().remove(&self.handle);
        self.host.intros().remove(self.handle);
    }
}

async fn expire(host: Weak<Host>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(host) = host.upgrade() else { return };
        host.store().expire(clock::now(), clock::unix_seconds());
    }
}
