//! A relay that runs: what it looks at from time to time, and how it changes and ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use zmesh_control::directory::{Condition, Documents};
use zmesh_overlay::{Network, Publication, RelayHandle, RelayId, RelayMetrics};
use zmesh_proto::wire::descriptor::Descriptor;

use super::Source;
use super::directory::Member;
use crate::config::RelayConfig;
use crate::failure::Outcome;
use crate::network_file;
use crate::operation::allowance::{Allowance, AllowanceFile, Use};
use crate::operation::endpoint::Latest;
use crate::operation::exported::{EVERY, Month, Snapshot};
use crate::operation::load::{LoadMeter, Look};
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
    source: Source,
    /// The newest document that is in use; none before the first.
    network: Option<Arc<Network>>,
    json: bool,
    /// When the network document on disk was written.
    seen: Option<SystemTime>,
    started: Instant,
    allowance: Allowance,
    allowance_file: AllowanceFile,
    usage: Use,
    load: LoadMeter,
    snapshot: watch::Sender<Option<Snapshot>>,
}

impl Running {
    /// A relay that has just started, and where its figures appear.
    pub(super) fn new(
        relay: RelayHandle,
        file: PathBuf,
        config: RelayConfig,
        id: RelayId,
        source: Source,
        json: bool,
    ) -> (Self, Latest) {
        let network = match &source {
            Source::File(network) => Some(Arc::clone(network)),
            Source::Agreed(_) => None,
        };
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
            source,
            network,
            json,
            seen,
            started: Instant::now(),
            allowance,
            allowance_file,
            usage: Use::Free,
            load: LoadMeter::default(),
            snapshot,
        };
        (running, latest)
    }

    /// What does not change while it runs.
    pub(super) fn constant(&self) -> Constant {
        Constant {
            nickname: self.config.nickname.clone(),
            id: self.id.to_string(),
            network: match &self.source {
                Source::File(network) => network.name().to_owned(),
                Source::Agreed(genesis) => genesis.terms().name.clone(),
            },
            network_id: match &self.source {
                Source::File(network) => network.network_id(),
                Source::Agreed(genesis) => genesis.network_id(),
            }
            .to_string(),
            exit: self.config.exit.enabled,
            meeting: self.config.meeting,
            chunks: self.config.chunks.enabled,
        }
    }

    /// Looks after everything once.
    pub(super) async fn look(&mut self, member: Option<&Member>) {
        self.newer_network().await;
        let Ok(metrics) = self.relay.metrics().await else { return };
        let usage = self.allowance.note(metrics.bytes_sent, unix_now());
        if let Err(failure) = self.allowance_file.store(&self.allowance) {
            term::warning(format_args!("the bytes of this month are not kept: {failure}"));
        }
        self.take_usage(usage).await;
        let (sent, limit) = self.allowance.figures();
        let directory = match member {
            Some(member) => {
                member.tell(self.condition(&metrics));
                member.status().await
            }
            None => None,
        };
        let network = self.network.as_deref();
        self.snapshot.send_replace(Some(Snapshot {
            taken: Instant::now(),
            relay: metrics,
            up: self.started.elapsed(),
            memory: process::memory(std::process::id()),
            relays: network.map_or(0, |network| network.relays().len()),
            listed: network.is_some_and(|network| network.relay(&self.id).is_some()),
            valid_until: network.map_or(0, Network::valid_until),
            directory,
            draining: self.usage != Use::Free,
            month: Month { sent, limit },
        }));
    }

    /// How the relay does, for its heartbeat.
    fn condition(&mut self, metrics: &RelayMetrics) -> Condition {
        let limits = &self.config.limits;
        let up = self.started.elapsed();
        let load = self.load.note(Look {
            up,
            circuits: metrics.node.circuits.open,
            circuits_most: limits.circuits as u64,
            sent: metrics.bytes_sent,
            sent_most: limits.send_bytes_per_second(),
            work: metrics.node.work.cost,
        });
        let part = |text: &str| text.parse().unwrap_or(0);
        let release = (part(env!("CARGO_PKG_VERSION_MAJOR")), part(env!("CARGO_PKG_VERSION_MINOR")));
        Condition { release, up_seconds: up.as_secs(), load }
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
    pub(super) async fn reload(&mut self, member: Option<&Member>) {
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
        self.look(member).await;
        term::progress("the configuration was read again");
    }

    /// Takes up a network document that is newer on disk.
    async fn newer_network(&mut self) {
        if matches!(self.source, Source::Agreed(_)) {
            return;
        }
        let now = modified(&self.config.network);
        if now == self.seen || now.is_none() {
            return;
        }
        self.seen = now;
        match network_file::load(&self.config.network) {
            Ok(network) => match self.relay.set_network(Arc::clone(&network)).await {
                Ok(()) => {
                    tracing::info!(relays = network.relays().len(), "a newer network document is in use");
                    self.network = Some(network);
                }
                Err(error) => term::warning(format_args!("the network document was not taken: {error}")),
            },
            Err(failure) => term::warning(format_args!("{failure}; the older one stays in use")),
        }
    }

    /// Takes a document that voters agreed on into use, and gives it to whoever asks.
    pub(super) async fn newer_document(&mut self, documents: Arc<Documents>) {
        // For a large network this takes some time, which others should not have to wait.
        let prepare = move || {
            let held = &documents.held;
            held.network(unix_now()).map(|network| (network, Publication::of(held, &documents.earlier)))
        };
        let (network, publication) = match tokio::task::spawn_blocking(prepare).await {
            Ok(Ok(prepared)) => prepared,
            // One that was stored, from before a long pause: the next one comes from others.
            Ok(Err(error)) => return tracing::info!("a document is not used: {error}"),
            Err(_) => return tracing::error!("a document could not be read"),
        };
        let network = Arc::new(network);
        if let Err(error) = self.relay.set_network(Arc::clone(&network)).await {
            return term::warning(format_args!("a document was not taken: {error}"));
        }
        if let Err(error) = self.relay.publish(publication).await {
            term::warning(format_args!("a document is not given to others: {error}"));
        }
        let state = |network: &Network| (network.relays().len(), network.relay(&self.id).is_some());
        let (relays, listed) = state(&network);
        let epoch = network.epoch();
        tracing::info!(epoch, relays, "a newer document is in use");
        if self.network.as_deref().map(state) != Some((relays, listed)) {
            if self.json {
                term::json(&json!({ "document": { "epoch": epoch, "relays": relays, "listed": listed } }));
            } else if self.network.as_deref().is_none_or(|before| state(before).1 != listed) {
                let among = if listed { "this one among them" } else { "this one not yet among them" };
                term::line(format_args!("the network has {relays} relays, {among}"));
            }
        }
        self.network = Some(network);
    }

    /// Gives the relay's new descriptor to those who have no circuit yet.
    pub(super) async fn described(&self, descriptor: &Descriptor) {
        // It fails only when the relay has ended, which is noticed elsewhere.
        let _ = self.relay.set_descriptor(descriptor).await;
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
