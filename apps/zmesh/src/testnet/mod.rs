//! Relays of a network of their own, each a process, on loopback addresses.

mod agreed;
mod folder;

use std::fmt::Display;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::task::Poll;
use std::time::Duration;

use serde_json::{Value, json};
use zmesh_proto::keys::RelayKeys;
use zmesh_proto::wire::descriptor::Terms;
use zmesh_proto::wire::document::{DocumentError, Draft, DraftTerms, SignerId};

use self::folder::{Config, clear, free_addresses, free_control_addresses};
use crate::commands::describe_relay;
use crate::config::RelayConfig;
use crate::failure::{Failure, Outcome};
use crate::files::{self, Access};
use crate::process::{self, Child};
use crate::randomness;
use crate::time::unix_now;

pub(crate) use self::agreed::{EPOCH_DEFAULT, EPOCH_LEAST};

/// For how long the document of a test network holds, if it is in a file.
const LIFETIME: u64 = 2 * 86_400;
/// How long a relay may take to get ready, and to stop.
const READY: Duration = Duration::from_secs(30);
const GOODBYE: Duration = Duration::from_secs(8);

/// How large a test network is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Relays, exits included.
    pub(crate) relays: usize,
    /// Exits among them.
    pub(crate) exits: usize,
    /// By what they know each other.
    pub(crate) directory: Directory,
}

/// By what the relays of a test network know each other, and their users them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Directory {
    /// A network document in a file.
    File,
    /// Documents on which voters among them agree in epochs of so many seconds.
    Agreed {
        /// The length of an epoch.
        epoch: u32,
        /// Whether voters measure the others.
        measure: bool,
    },
}

/// A test network: files in a directory, and processes.
#[derive(Debug)]
pub(crate) struct Testnet {
    dir: PathBuf,
    directory: Directory,
    made: u64,
    relays: Vec<Member>,
    /// The bootstrap line, where relays agree.
    line: Option<String>,
    /// Keeps the directory from the next test network as long as this one runs.
    _lock: fs::File,
}

#[derive(Debug)]
struct Member {
    nickname: String,
    keys: RelayKeys,
    id: String,
    address: SocketAddr,
    /// Where it meets others to agree, if they do.
    control: Option<SocketAddr>,
    exit: bool,
    folder: PathBuf,
    child: Option<Child>,
}

impl Testnet {
    /// Makes keys, configurations and the network document, or what is needed to agree on one. Starts nothing.
    pub(crate) fn prepare(dir: &Path, plan: Plan) -> Outcome<Testnet> {
        if plan.exits > plan.relays {
            return Err(Failure::misused(
                "the test network cannot be made",
                format_args!("{} exits are more than {} relays", plan.exits, plan.relays),
                "exits are among the relays: give fewer exits or more relays",
            ));
        }
        let lock = clear(dir)?;
        // Absolute, so that the path that is printed works from everywhere.
        let dir = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
        let addresses = free_addresses(plan.relays)?;
        let control = match plan.directory {
            Directory::File => Vec::new(),
            Directory::Agreed { .. } => free_control_addresses(plan.relays, &addresses)?,
        };
        let mut rng = randomness::generator()?;
        let now = unix_now();
        let mut members = Vec::new();
        for (index, address) in addresses.into_iter().enumerate() {
            // The last ones are the exits.
            let exit = index >= plan.relays - plan.exits;
            let folder = dir.join(format!("relay-{}", index + 1));
            files::directory(&folder)?;
            let keys = RelayKeys::generate(&mut rng, now);
            files::replace(&folder.join("keys"), keys.to_text().as_bytes(), Access::Secret)?;
            members.push(Member {
                nickname: format!("{}{}", if exit { "exit" } else { "relay" }, index + 1),
                id: keys.id().to_string(),
                keys,
                address,
                control: control.get(index).copied(),
                exit,
                folder,
                child: None,
            });
        }
        let mut testnet =
            Testnet { dir, directory: plan.directory, made: now, relays: members, line: None, _lock: lock };
        testnet.configure()?;
        match plan.directory {
            Directory::File => testnet.write_network(&testnet.network_file(), &testnet.addresses())?,
            Directory::Agreed { epoch, .. } => testnet.line = Some(agreed::begin(&testnet, epoch)?),
        }
        Ok(testnet)
    }

    fn configure(&self) -> Outcome {
        // One contact is enough, and the one whom all others ask needs none.
        let contact = self.relays.first().and_then(Member::contact);
        for (index, relay) in self.relays.iter().enumerate() {
            let config = Config {
                control: relay.control,
                contact: contact.as_deref().filter(|_| index > 0),
                votes: index < agreed::voters(self.relays.len()),
                measures: matches!(self.directory, Directory::Agreed { measure: true, .. }),
                ..relay.config(relay.address)
            };
            files::replace(&relay.folder.join("relay.toml"), config.text().as_bytes(), Access::Public)?;
        }
        Ok(())
    }

    /// Where each relay listens.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.relays.iter().map(|relay| relay.address).collect()
    }

    /// Writes a document of this network in which the relays have these addresses: as somebody sees them who reaches them only there.
    pub(crate) fn write_network(&self, file: &Path, addresses: &[SocketAddr]) -> Outcome {
        let fault =
            |why: &dyn Display| Failure::failed("the test network cannot be made", why, "this is a fault of zmesh");
        let now = self.made;
        let terms = Terms { published: now, expires: now + LIFETIME, revision: now };
        let signer = self.relays.first().map(|relay| relay.keys.signer()).expect("a test network has relays");
        let mut descriptors = Vec::new();
        for (relay, address) in self.relays.iter().zip(addresses) {
            let config = RelayConfig::parse(&relay.config(*address).text()).map_err(|why| fault(&why))?;
            descriptors.push(describe_relay(&config, &relay.keys, terms).map_err(|why| fault(&why))?);
        }
        let make = || -> Result<String, DocumentError> {
            let mut draft = Draft::new(DraftTerms {
                name: "testnet".to_owned(),
                test_network: true,
                valid_after: now,
                valid_until: now + LIFETIME,
                signers: vec![SignerId(signer.public())],
            })?;
            for descriptor in descriptors {
                draft.add(descriptor)?;
            }
            draft.sign(&signer, now)?;
            Ok(draft.to_text())
        };
        files::replace(file, make().map_err(|why| fault(&why))?.as_bytes(), Access::Public)
    }

    /// Starts the relays and waits until each is usable, and in a network that agrees, until a document lists all of them.
    pub(crate) async fn start(&mut self) -> Outcome {
        if let Directory::Agreed { epoch, .. } = self.directory {
            return agreed::start(self, epoch).await;
        }
        for relay in &mut self.relays {
            relay.start()?;
        }
        for relay in &mut self.relays {
            relay.ready().await?;
        }
        Ok(())
    }

    /// Waits until a relay ends by itself, and says so.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn watch(&mut self) -> Failure {
        std::future::poll_fn(|context| {
            for relay in &mut self.relays {
                let Some(child) = &mut relay.child else { continue };
                let ended = std::pin::pin!(child.ended()).poll(context);
                if let Poll::Ready(failure) = ended {
                    relay.child = None;
                    return Poll::Ready(failure);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// How many relays run.
    pub(crate) fn running(&self) -> usize {
        self.relays.iter().filter(|relay| relay.child.is_some()).count()
    }

    /// The network document, where it is in a file.
    pub(crate) fn network_file(&self) -> PathBuf {
        self.dir.join("network")
    }

    /// The bootstrap line, where relays agree on documents, and the file that holds it.
    pub(crate) fn bootstrap(&self) -> Option<(&str, PathBuf)> {
        Some((self.line.as_deref()?, self.dir.join(agreed::LINE_FILE)))
    }

    /// How a command is told which network to use.
    pub(crate) fn option(&self) -> (&'static str, PathBuf) {
        match self.bootstrap() {
            Some((_, file)) => ("--bootstrap", file),
            None => ("--network", self.network_file()),
        }
    }

    /// The relays for reports, with their memory now.
    pub(crate) fn relays(&self) -> Vec<Value> {
        self.relays.iter().map(Member::json).collect()
    }

    /// Stops the relays; gives each with its counters.
    pub(crate) async fn stop(self) -> Vec<Value> {
        let mut stopping = tokio::task::JoinSet::new();
        for (index, mut relay) in self.relays.into_iter().enumerate() {
            stopping.spawn(async move {
                let mut report = relay.json();
                if let Some(child) = relay.child.take() {
                    let last = child.stop(GOODBYE).await.pop();
                    report["metrics"] = last.map(|value| value["metrics"].clone()).unwrap_or_default();
                }
                (index, report)
            });
        }
        let mut reports = stopping.join_all().await;
        reports.sort_by_key(|(index, _)| *index);
        reports.into_iter().map(|(_, report)| report).collect()
    }
}

impl Member {
    /// Its configuration in a network file, seen at an address.
    fn config(&self, advertise: SocketAddr) -> Config<'_> {
        Config {
            nickname: &self.nickname,
            listen: self.address,
            advertise,
            exit: self.exit,
            control: None,
            contact: None,
            votes: false,
            measures: false,
        }
    }

    /// How another relay names it as whom to ask first.
    fn contact(&self) -> Option<String> {
        Some(format!("{}/{}", self.control?, SignerId(self.keys.identity_public())))
    }

    fn start(&mut self) -> Outcome {
        let config = self.folder.join("relay.toml");
        // A test network always begins: its keys were made just now.
        let begins = Path::new("--begin-network");
        let arguments = [Path::new("relay"), Path::new("--config"), &config, Path::new("--json"), begins];
        let name = format!("the relay {}", self.nickname);
        self.child = Some(Child::start(name, arguments, &self.folder.join("log"))?);
        Ok(())
    }

    async fn ready(&mut self) -> Outcome {
        match &mut self.child {
            Some(child) => child.result("ready", READY).await.map(drop),
            None => Ok(()),
        }
    }

    fn json(&self) -> Value {
        let process = self.child.as_ref().and_then(Child::id);
        json!({
            "nickname": self.nickname,
            "id": self.id,
            "address": self.address,
            "exit": self.exit,
            "process": process,
            "memory_bytes": process.and_then(process::memory),
        })
    }
}
