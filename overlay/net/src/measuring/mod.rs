//! A voter's measuring: the circuits that [`Measurer`] asks for, one at a time, beside everything else that the relay does.
//!
//! It runs on tasks of the caller's runtime and shares nothing with votes but a value that they look at: a measurement that hangs delays no
//! ballot. Nothing of it is logged but how many relays have a figure.

mod run;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use zmesh_proto::directory::Measure;
use zmesh_proto::directory::measuring::{Job, Measurer, Pace};
use zmesh_proto::random::Generator;

use crate::shard::Shard;
use crate::{Network, RelayId, clock, entropy};

/// How long it waits while there is no document that names this relay.
const WAIT: Duration = Duration::from_millis(500);

/// What a voter says of relays.
pub type Figures = Arc<BTreeMap<RelayId, Measure>>;

/// Measuring that goes on. Dropping it ends it.
#[derive(Debug)]
pub struct Measuring {
    figures: watch::Receiver<Figures>,
    task: JoinHandle<()>,
}

impl Measuring {
    /// Starts it for the relay `own` on this shard.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub(crate) fn start(shard: &Arc<Shard>, own: RelayId, pace: Pace) -> Self {
        let (tell, figures) = watch::channel(Figures::default());
        let driver = Driver {
            own,
            pace,
            machine: Measurer::new(own, pace, clock::now()),
            rng: entropy::rng(),
            followed: None,
            drawn: clock::now(),
            tell,
        };
        Self { figures, task: tokio::spawn(driver.run(Arc::downgrade(shard))) }
    }

    /// What is known so far; changes as it grows.
    #[must_use]
    pub fn figures(&self) -> watch::Receiver<Figures> {
        self.figures.clone()
    }
}

impl Drop for Measuring {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Driver {
    own: RelayId,
    pace: Pace,
    machine: Measurer,
    rng: Generator,
    followed: Option<Arc<Network>>,
    /// When the last map was drawn.
    drawn: Instant,
    tell: watch::Sender<Figures>,
}

impl Driver {
    async fn run(mut self, shard: Weak<Shard>) {
        loop {
            let Some(shard) = shard.upgrade().filter(|shard| !shard.is_stopping()) else { return };
            if !self.follow(&shard) {
                drop(shard);
                sleep(WAIT).await;
                continue;
            }
            self.draw_if_due().await;
            match self.machine.next(clock::now(), &mut self.rng) {
                Some(job) => self.do_job(&shard, job).await,
                None => {
                    drop(shard);
                    sleep(self.machine.due().saturating_duration_since(clock::now()).min(WAIT)).await;
                }
            }
        }
    }

    /// Takes the newest document; false if there is none that names this relay.
    fn follow(&mut self, shard: &Shard) -> bool {
        let Some(network) = shard.network() else { return false };
        if !network.is_valid_at(clock::unix_seconds()) || network.relay(&self.own).is_none() {
            return false;
        }
        if !self.followed.as_ref().is_some_and(|followed| Arc::ptr_eq(followed, &network)) {
            self.machine.follow(&network, clock::now());
            self.followed = Some(network);
        }
        true
    }

    async fn do_job(&mut self, shard: &Arc<Shard>, job: Job) {
        match job {
            Job::Load { relay, bytes } => {
                let loaded = run::load(shard, self.own, relay, bytes, self.pace.longest).await;
                match loaded {
                    Ok(course) => self.machine.loaded(relay, &course, clock::now(), &mut self.rng),
                    Err(_) => self.machine.failed(clock::now(), &mut self.rng),
                }
                self.tell();
            }
            Job::Times { first, second } => match run::times(shard, first, second).await {
                Ok(timing) => self.machine.timed(first, second, timing, clock::now(), &mut self.rng),
                Err(_) => self.machine.failed(clock::now(), &mut self.rng),
            },
        }
    }

    /// Draws the map anew from time to time, where it holds nobody up.
    async fn draw_if_due(&mut self) {
        if clock::now().saturating_duration_since(self.drawn) < self.pace.map {
            return;
        }
        let (survey, mut rng) = (self.machine.survey(), self.rng.fork());
        // A panic in it is a fault of ours, and is logged by the runtime.
        if let Ok(places) = tokio::task::spawn_blocking(move || survey.draw(&mut rng)).await {
            self.machine.mapped(places);
        }
        self.drawn = clock::now();
        self.tell();
    }

    fn tell(&self) {
        let figures = self.machine.figures(clock::now());
        let places = figures.values().filter(|measure| measure.place.is_some()).count();
        tracing::debug!(relays = figures.len(), places, "relays have a figure");
        self.tell.send_replace(Arc::new(figures));
    }
}
