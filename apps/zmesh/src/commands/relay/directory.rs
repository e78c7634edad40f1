//! A relay's part in a network whose voters agree on documents: its node in the control plane, its descriptor, its vote.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use zmesh_control::directory::{Condition, Describe, DirectoryHandle, DirectoryNode, DirectoryStatus, Documents};
use zmesh_control::{Contact, Control, Limits, PeerIdentity, StartError, Store, StoreError};
use zmesh_overlay::{Measuring, RelayHandle, RelayKeys};
use zmesh_proto::directory::measuring::Pace;
use zmesh_proto::wire::control::Genesis;
use zmesh_proto::wire::descriptor::{Descriptor, Terms};

use super::Args;
use crate::commands::{describe_relay, keys};
use crate::config::{RelayConfig, wrong};
use crate::failure::{Failure, Outcome};
use crate::term;

/// How often the descriptor is made anew: four times in its life of a day.
pub(crate) const REFRESH: u64 = 6 * 3_600;
/// How long the node may take to write down what it knows.
const GOODBYE: Duration = Duration::from_secs(5);

/// A running node of the directory, beside its relay.
pub(super) struct Member {
    handle: DirectoryHandle,
    documents: watch::Receiver<Option<Arc<Documents>>>,
    described: watch::Receiver<Option<Descriptor>>,
    condition: watch::Sender<Condition>,
    /// How others name this relay as whom to ask first.
    pub(super) contacts: Vec<Contact>,
    /// Ends with it.
    _measuring: Option<Measuring>,
}

/// What comes of it for the relay.
pub(super) enum News {
    /// There is a newer document.
    Document(Arc<Documents>),
    /// The relay is described anew.
    Descriptor(Box<Descriptor>),
    /// The node has ended, which it never does by itself.
    Ended,
}

impl Member {
    /// Starts the node. The keys are a copy of the relay's own.
    pub(super) fn start(
        args: &Args,
        config: &RelayConfig,
        genesis: &Genesis,
        keys: RelayKeys,
        relay: &RelayHandle,
    ) -> Outcome<Member> {
        let file = args.config.as_path();
        let directory = &config.directory;
        // Better now than in a log, when it should be published.
        config.describe().map_err(|why| wrong(file, why))?;
        let identity = PeerIdentity(keys.identity_public());
        let reached_at = directory.reached_at(&config.advertise);
        let mut control = Control::builder(genesis.network_id())
            .identity(keys.identity())
            .maps_ports(config.nat.enabled && config.nat.port_mapping);
        if genesis.terms().test_network {
            control = control.limits(Limits::one_machine());
        }
        for address in &directory.listen {
            control = control.listen(*address);
        }
        for address in &reached_at {
            control = control.advertise(*address);
        }
        for contact in directory.contacts().map_err(|why| wrong(file, why))? {
            control = control.bootstrap(contact);
        }
        let store = Store::open(&directory.store).map_err(|error| no_store(&directory.store, &error))?;
        let (tell, described) = watch::channel(None);
        let own = keys.id();
        let (speaker, condition) = (keys.signer(), watch::Sender::new(Condition::default()));
        let describe = describer(config.clone(), keys, tell);
        let mut node = DirectoryNode::new(genesis.clone(), control)
            .store(Arc::new(store))
            .describe(describe, Duration::from_secs(REFRESH));
        if let Some(voter) = &directory.voter {
            let (wanted, unwanted) = directory.wishes().map_err(|why| wrong(file, why))?;
            node = node.voter(keys::load_signer(voter)?).wishes(wanted, unwanted);
        }
        if directory.heartbeat {
            node = node.heartbeat(speaker, condition.subscribe());
        }
        // Only ballots say what was measured.
        let measuring = directory.voter.as_ref().filter(|_| directory.measure).map(|_| {
            let terms = genesis.terms();
            relay.measure(own, Pace::of(terms.epoch_length, terms.test_network))
        });
        if let Some(measuring) = &measuring {
            node = node.measures(measuring.figures());
        }
        if args.begin_network {
            node = node.begin_network();
        }
        let handle = node.start().map_err(|error| not_started(&directory.store, error))?;
        let mut documents = handle.documents();
        // One that was stored is news as well.
        documents.mark_changed();
        let contact = |address| Contact { address, identity: Some(identity) };
        let contacts = reached_at.into_iter().map(contact).collect();
        Ok(Member { documents, described, condition, contacts, handle, _measuring: measuring })
    }

    /// The next news.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn news(&mut self) -> News {
        loop {
            tokio::select! {
                changed = self.documents.changed() => {
                    if changed.is_err() {
                        return News::Ended;
                    }
                    let documents = self.documents.borrow_and_update().clone();
                    if let Some(documents) = documents {
                        return News::Document(documents);
                    }
                }
                changed = self.described.changed() => {
                    if changed.is_err() {
                        return News::Ended;
                    }
                    let descriptor = self.described.borrow_and_update().clone();
                    if let Some(descriptor) = descriptor {
                        return News::Descriptor(Box::new(descriptor));
                    }
                }
            }
        }
    }

    /// Tells it how the relay does.
    pub(super) fn tell(&self, condition: Condition) {
        self.condition.send_replace(condition);
    }

    /// What it knows now.
    pub(super) async fn status(&self) -> Option<DirectoryStatus> {
        self.handle.status().await
    }

    /// Ends the node after it has written down what it knows.
    pub(super) async fn stop(self) {
        if timeout(GOODBYE, self.handle.stop()).await.is_err() {
            term::warning("what is known of the directory could not be written down in time");
        }
    }
}

/// News of a relay that may be no member of a directory.
///
/// # Cancel safety
/// Cancel safe.
pub(super) async fn news(member: Option<&mut Member>) -> News {
    match member {
        Some(member) => member.news().await,
        None => std::future::pending().await,
    }
}

/// Makes the relay's descriptor when the directory asks, and hands it to the relay.
fn describer(config: RelayConfig, mut keys: RelayKeys, tell: watch::Sender<Option<Descriptor>>) -> Describe {
    Box::new(move |now| {
        // The relay erases its own copy of past keys, and this one must not outlive it.
        if let Err(error) = keys.erase_before(now) {
            tracing::warn!(%error, "onion keys are not erased");
        }
        match describe_relay(&config, &keys, Terms::agreed(now)) {
            Ok(descriptor) => {
                tell.send_replace(Some(descriptor.clone()));
                Some(descriptor)
            }
            Err(why) => {
                tracing::error!("the relay cannot be described: {why}");
                None
            }
        }
    })
}

fn no_store(store: &Path, error: &StoreError) -> Failure {
    Failure::failed(
        format_args!("the store of the directory {} cannot be used", store.display()),
        error,
        "see whether another relay runs with it, whether the disk is full, and who may write there",
    )
}

fn not_started(store: &Path, error: StartError) -> Failure {
    let what = "the relay's part in the directory cannot start";
    match error {
        StartError::Store(error) => no_store(store, &error),
        StartError::Listen(_) => {
            Failure::failed(what, error, "stop the other program or change listen in [directory] of the configuration")
        }
        _ => Failure::failed(what, error, "correct [directory] in the configuration"),
    }
}
