//! The circuit that stands by under a session: another way to the same exit, over other relays.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use zmesh_proto::path::{RESERVE_DEFAULT, Reserve};

use super::{Carrier, Origin, SharedReserve, Wanted};
use crate::api::{CircuitError, HopInfo, NodeEvent, PathSpec};
use crate::quic::CircuitSocket;
use crate::shard::{Command, Shard, Sink};
use crate::{RelayId, clock};

/// Circuits that a session may build at once after its first, and the time in which it earns another one.
const BUDGET: u32 = 6;
const EARN: Duration = Duration::from_secs(60);
/// The pause after a failure, twice as long after each further one in a row.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// A second circuit to the exit of a session, and when another one may be built.
pub(super) struct Standby {
    exit: RelayId,
    spec: PathSpec,
    reserve: SharedReserve,
    ready: Option<Arc<Carrier>>,
    building: Option<mpsc::Receiver<Result<Carrier, CircuitError>>>,
    budget: Budget,
    not_before: Instant,
    failures: u32,
}

/// Circuits that a session may build after its first, whether they stand by or replace one that died at once: each is another
/// choice of relays, and who kills circuits must not get as many as he likes.
struct Budget {
    left: u32,
    earning_since: Instant,
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self { left: BUDGET, earning_since: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        while self.left < BUDGET && now >= self.earning_since + EARN {
            self.left += 1;
            self.earning_since += EARN;
        }
        if self.left == BUDGET {
            self.earning_since = now;
        }
        let granted = self.left > 0;
        self.left = self.left.saturating_sub(1);
        granted
    }
}

/// What [`Standby::news`] tells.
pub(super) enum News {
    /// A circuit is there, or could not be built.
    Built(Result<Carrier, CircuitError>),
    /// The one that stood by has ended.
    Ended,
}

impl Standby {
    pub(super) fn new(exit: RelayId, spec: PathSpec) -> Self {
        let now = clock::now();
        Self {
            exit,
            spec,
            reserve: Arc::new(Mutex::new(Reserve::new(RESERVE_DEFAULT))),
            ready: None,
            building: None,
            budget: Budget::new(now),
            not_before: now,
            failures: 0,
        }
    }

    /// Whether the session may build a circuit in place of one that died.
    pub(super) fn may_rebuild(&mut self) -> bool {
        self.budget.take(clock::now())
    }

    /// Another circuit to the exit, over other relays than those of `path`.
    pub(super) fn wanted(&self) -> Wanted {
        Wanted::exit(&self.spec.clone().through(self.exit)).within(&self.reserve)
    }

    /// The relays of a path that another circuit should not use.
    pub(super) fn others(&self, path: &[HopInfo]) -> Vec<RelayId> {
        path.iter().map(|hop| hop.id).filter(|id| *id != self.exit).collect()
    }

    /// Begins to build one, if none is there or on its way, and the budget allows.
    pub(super) fn build(&mut self, origin: &Arc<Origin>, active: &Carrier, socket: &Arc<CircuitSocket>) {
        let now = clock::now();
        if self.ready.is_some() || self.building.is_some() || now < self.not_before || !self.budget.take(now) {
            return;
        }
        let (wanted, avoid) = (self.wanted(), self.others(&active.path));
        let (origin, socket) = (Arc::downgrade(origin), Arc::clone(socket));
        let (done, building) = mpsc::channel(1);
        self.building = Some(building);
        tokio::spawn(async move {
            let Some(origin) = origin.upgrade() else { return };
            let built = origin.build(&wanted, &avoid, |_| Sink::QuicStandby(Arc::clone(&socket))).await;
            let _ = done.send(built).await;
        });
    }

    /// Waits for news: one is built or has failed, or the one that stood by has ended. Keeps waiting while there is neither.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn news(&mut self) -> News {
        let building = async {
            match &mut self.building {
                Some(building) => building.recv().await.unwrap_or(Err(CircuitError::ShutDown)),
                None => std::future::pending().await,
            }
        };
        let ended = async {
            match &self.ready {
                Some(carrier) => drop(carrier.circuit.state.closed().await),
                None => std::future::pending().await,
            }
        };
        let news = tokio::select! {
            built = building => News::Built(built),
            () = ended => News::Ended,
        };
        match news {
            News::Built(_) => self.building = None,
            News::Ended => self.ready = None,
        }
        news
    }

    /// Takes in what [`Standby::news`] gave. Tells `origin`'s listeners, and has the active circuit watched closely.
    pub(super) async fn take_in(&mut self, news: News, origin: &Origin, shard: &Shard, active: &Carrier) {
        match news {
            News::Ended => {}
            News::Built(Ok(carrier)) => {
                self.failures = 0;
                let mine = self.others(&active.path);
                let shared = carrier.path.iter().filter(|hop| mine.contains(&hop.id)).count();
                origin.tell(NodeEvent::Standby { shared });
                self.ready = Some(Arc::new(carrier));
                shard.command(Command::Watch { circuit: active.circuit.id, rtt: active.took }).await;
            }
            News::Built(Err(error)) => {
                tracing::debug!(%error, "a standby circuit could not be built");
                let pause = PAUSE * 2u32.saturating_pow(self.failures.min(16));
                self.failures = self.failures.saturating_add(1);
                self.not_before = clock::now() + pause.min(PAUSE_MAX);
            }
        }
    }

    /// The standby.
    pub(super) fn ready(&self) -> Option<&Arc<Carrier>> {
        self.ready.as_ref()
    }

    /// Takes the standby, if it lives.
    pub(super) fn take(&mut self) -> Option<Arc<Carrier>> {
        self.ready.take().filter(|carrier| carrier.circuit.state.end().is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_of_killed_circuits_buys_a_bounded_number_of_choices() {
        let begin = clock::now();
        let mut budget = Budget::new(begin);
        let granted = (0..3600u64).filter(|second| budget.take(begin + Duration::from_secs(*second))).count();
        assert_eq!(granted, 6 + 59);
        let mut rested = Budget::new(begin);
        assert!((0..6).all(|_| rested.take(begin)) && !rested.take(begin));
        let later = begin + Duration::from_secs(3600);
        assert!((0..6).all(|_| rested.take(later)) && !rested.take(later), "no more than six are saved up");
    }
}
