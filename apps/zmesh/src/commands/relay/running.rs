//! A relay that runs: what it looks at from time to time, and how it changes and ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use zmesh_overlay::{Network, RelayHandle, RelayId};

use crate::config::RelayConfig;
use crate::failure::Outcome;
use crate::network_file;
use crate::operation::allowance::{Allowance, AllowanceFile, Use};
use crate::operation::endpoint::Latest;
use crate::operation::exported::{EVERY, Month, Snapshot};
use crate::operation::reload::changes;
use crate::operation::status::Constant;
use crate::process;
use crate::term;
use crate::time::unix_now;

/// How often a relay looks after itself: figures, the bytes of the month, a newer network document.
pub(super) const LOOK: Duration = EVERY;
/// How long a relay may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);
/// How often a draining relay looks whether its circuits have gone.
const DRAIN_LOOK: Duration = Duration::from_millis(250);

pub(super) struct Running {
    pub(super) relay: RelayHandle,
    pub(super) config: RelayConfig,
    pub(super) id: RelayId,
    file: PathBuf,
    network: Arc<Network>,
    /// When the network document on disk was written.
    seen: Option<SystemTime>,
    started: Instant,
    allowance: Allowance,
    allowance_file: AllowanceFile,
    usage: Use,
    snapshot: watch::Sender<Option<Snapshot>>,
}

impl Running {
    /// A relay that has just started, and where its figures appear.
    pub(super) fn new(
        relay: RelayHandle,
        file: PathBuf,
        config: RelayConfig,
        id: RelayId,
        network: Arc<Network>,
    ) -> (Self, Latest) {
        let (snapshot, latest) = watch::channel(None);
        let allowance_file = AllowanceFile::in_state(&config.state);
        let stored = allowance_file.load();
        let allowance = Allowance::new(stored.as_deref(), config.limits.send_bytes_per_month, unix_now());
        let seen = modified(&config.network);
        let running = Self {
            relay,
            config,
            id,
            file,
            network,
            seen,
            started: Instant::now(),
            allowance,
            allowance_file,
            usage: Use::Free,
            snapshot,
        };
        (running, latest)
    }

    /// What does not change while it runs.
    pub(super) fn constant(&self) -> Constant {
        Constant {
            nickname: self.config.nickname.clone(),
            id: self.id.to_string(),
            network: self.network.name().to_owned(),
            exit: self.config.exit.enabled,
            meeting: self.config.meeting,
            chunks: self.config.chunks.enabled,
        }
    }

    /// Looks after everything once.
    pub(super) async fn look(&mut self) {
        self.newer_network().await;
        let Ok(metrics) = self.relay.metrics().await else { return };
        let usage = self.allowance.note(metrics.bytes_sent, unix_now());
        if let Err(failure) = self.allowance_file.store(&self.allowance) {
            term::warning(format_args!("the bytes of this month are not kept: {failure}"));
        }
        self.take_usage(usage).await;
        let (sent, limit) = self.allowance.figures();
        self.snapshot.send_replace(Some(Snapshot {
            relay: metrics,
            up: self.started.elapsed(),
            memory: process::memory(std::process::id()),
            relays: self.network.relays().len(),
            listed: self.network.relay(&self.id).is_some(),
            valid_until: self.network.valid_until(),
            draining: self.usage != Use::Free,
            month: Month { sent, limit },
        }));
    }

    /// Acts where the month's allowance became scarce, was used up, or begins anew.
    async fn take_usage(&mut self, usage: Use) {
        if std::mem::replace(&mut self.usage, usage) == usage {
            return;
        }
        let _ = self.relay.set_draining(usage != Use::Free).await;
        match usage {
            Use::Free => term::progress("a new month: the relay takes circuits again"),
            Use::Scarce => term::warning("nine tenths of this month's bytes are used up: no new circuits"),
            Use::Spent => {
                term::warning("this month's bytes are used up: all circuits are closed until the next month");
                let _ = self.relay.close_circuits().await;
            }
        }
    }

    /// Reads the configuration again, and the network document.
    pub(super) async fn reload(&mut self) {
        self.seen = None;
        self.newer_network().await;
        let new = match RelayConfig::load(&self.file) {
            Ok(new) => new,
            Err(failure) => return term::warning(format_args!("{failure}; the older configuration stays in use")),
        };
        let changes = changes(&self.config, &new);
        if !changes.later.is_empty() {
            term::warning(format_args!("takes effect at the next start: {}", changes.later.join(", ")));
        }
        let _ = self.relay.set_rate_limit(changes.limits.send_bytes_per_second()).await;
        self.allowance.set_limit(changes.limits.send_bytes_per_month);
        self.config.limits = changes.limits;
        self.look().await;
        term::progress("the configuration was read again");
    }

    /// Takes up a network document that is newer on disk.
    async fn newer_network(&mut self) {
        let now = modified(&self.config.network);
        if now == self.seen || now.is_none() {
            return;
        }
        self.seen = now;
        match network_file::load(&self.config.network) {
            Ok(network) => match self.relay.set_network(Arc::clone(&network)).await {
                Ok(()) => {
                    tracing::info!(relays = network.relays().len(), "a newer network document is in use");
                    self.network = network;
                }
                Err(error) => term::warning(format_args!("the network document was not taken: {error}")),
            },
            Err(failure) => term::warning(format_args!("{failure}; the older one stays in use")),
        }
    }

    /// Takes no new circuits, and waits until those that stand have ended, as long as the configuration allows.
    pub(super) async fn drain(&self) {
        let open = async || self.relay.metrics().await.map_or(0, |metrics| metrics.node.circuits.open);
        let allowed = self.config.limits.drain();
        if self.relay.set_draining(true).await.is_err() || allowed.is_zero() {
            return;
        }
        let circuits = open().await;
        if circuits == 0 {
            return;
        }
        let seconds = allowed.as_secs();
        term::progress(format_args!("{circuits} circuits may go on for {seconds} s; Ctrl-C again ends them now"));
        let gone = async {
            while open().await > 0 {
                sleep(DRAIN_LOOK).await;
            }
        };
        let _ = timeout(allowed, gone).await;
    }

    /// Says goodbye, and with `json` the last counters.
    pub(super) async fn finish(mut self, json: bool) -> Outcome {
        let metrics = self.relay.metrics().await.ok();
        if let Some(metrics) = &metrics {
            self.allowance.note(metrics.bytes_sent, unix_now());
            if let Err(failure) = self.allowance_file.store(&self.allowance) {
                term::warning(format_args!("the bytes of this month are not kept: {failure}"));
            }
        }
        if timeout(GOODBYE, self.relay.shutdown()).await.is_err() {
            term::warning("the relay did not say goodbye in time");
        }
        if json {
            term::json(&json!({
                "stopped": true,
                "memory_bytes": process::memory(std::process::id()),
                "metrics": metrics,
            }));
        }
        Ok(())
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|meta| meta.modified()).ok()
}
