//! A service: keeps introduction points, publishes its descriptor, and goes to meet the clients that are introduced.

mod answer;
mod clients;
mod point;
mod publish;
mod run;
mod schedule;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, mpsc, watch};
use tokio::task::AbortHandle;

use self::run::{Begun, Service};
use super::{ListenError, ServiceAddress, ServiceKey, ServiceOptions, SharedSecond};
use crate::api::Stream;
use crate::origin::Origin;

/// Streams that wait to be accepted.
const WAITING: usize = 64;

/// How a service does.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, serde::Serialize)]
#[non_exhaustive]
pub struct ListenerStats {
    /// Introduction points that work.
    pub introduction_points: usize,
    /// Introduction points that there have been.
    pub introduction_points_ever: u64,
    /// Relays that took the newest descriptor of the present period.
    pub copies: usize,
    /// Descriptors published.
    pub publications: u64,
    /// Introductions that came.
    pub introductions: u64,
    /// Of these, such as could not be read, came twice, claimed work that was not done, or less than half of what is asked for.
    pub refused: u64,
    /// Of these, such as waited too long, or had to give way to others that had done more work.
    pub shed: u64,
    /// Clients that were met.
    pub met: u64,
    /// Clients that there are now.
    pub clients: usize,
    /// The work that is asked for.
    pub effort: u32,
}

type SharedStats = Arc<Mutex<ListenerStats>>;

fn change(stats: &SharedStats, change: impl FnOnce(&mut ListenerStats)) {
    change(&mut stats.lock().unwrap_or_else(PoisonError::into_inner));
}

/// A service that can be reached. Dropping it withdraws the service; streams that were accepted go on.
pub struct Listener {
    address: ServiceAddress,
    streams: AsyncMutex<mpsc::Receiver<(Stream, u16)>>,
    stats: SharedStats,
    running: AbortHandle,
}

impl Listener {
    /// Brings the service up, and returns when its descriptor can be found.
    pub(crate) async fn start(
        origin: &Arc<Origin>,
        key: ServiceKey,
        options: ServiceOptions,
    ) -> Result<Self, ListenError> {
        if !(2..=3).contains(&options.hops) {
            return Err(ListenError::Hops(options.hops));
        }
        let second = match options.state.clone() {
            None => SharedSecond::memory(),
            Some(file) => tokio::task::spawn_blocking(move || SharedSecond::open(file))
                .await
                .map_err(|_| ListenError::ShutDown)?
                .map_err(ListenError::State)?,
        };
        let address = key.address();
        let (streams, accepted) = mpsc::channel(WAITING);
        let (begun, mut told) = watch::channel(Begun::Not(String::new()));
        let stats = SharedStats::default();
        let service = Service::new(origin, key, options, second, streams, Arc::clone(&stats), begun);
        let running = tokio::spawn(service.run()).abort_handle();
        let listener = Self { address, streams: AsyncMutex::new(accepted), stats, running };
        let told = told.wait_for(|begun| !matches!(begun, Begun::Not(_))).await;
        match told.as_deref() {
            Ok(Begun::Up) => Ok(listener),
            Ok(Begun::Failed(error)) => Err(error.error()),
            _ => Err(ListenError::ShutDown),
        }
    }

    /// Where clients find the service.
    #[must_use]
    pub fn address(&self) -> ServiceAddress {
        self.address
    }

    /// Waits for a client's next stream, and gives the port that it asked for. `None` when the node was shut down.
    ///
    /// # Cancel safety
    /// Cancel safe: no stream is lost.
    pub async fn accept(&self) -> Option<(Stream, u16)> {
        self.streams.lock().await.recv().await
    }

    /// How the service does.
    #[must_use]
    pub fn stats(&self) -> ListenerStats {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}
