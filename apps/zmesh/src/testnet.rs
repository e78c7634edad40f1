//! Relays of a network of their own, each a process, on loopback addresses.

use std::fmt::Display;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::task::Poll;
use std::time::Duration;

use serde_json::{Value, json};
use zmesh_proto::keys::RelayKeys;
use zmesh_proto::wire::descriptor::Terms;
use zmesh_proto::wire::document::{DocumentError, Draft, DraftTerms, SignerId};

use crate::commands::describe_relay;
use crate::config::RelayConfig;
use crate::failure::{Failure, Outcome};
use crate::files::{self, Access};
use crate::process::{self, Child};
use crate::randomness;
use crate::time::unix_now;

/// Marks a directory as one that may be made anew.
const MARK: &str = ".zmesh-testnet";
/// For how long a test network holds.
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
}

/// A test network: files in a directory, and processes.
#[derive(Debug)]
pub(crate) struct Testnet {
    network: PathBuf,
    made: u64,
    relays: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    nickname: String,
    keys: RelayKeys,
    id: String,
    address: SocketAddr,
    exit: bool,
    folder: PathBuf,
    child: Option<Child>,
}

impl Testnet {
    /// Makes keys, configurations and the network document. Starts nothing.
    pub(crate) fn prepare(dir: &Path, plan: Plan) -> Outcome<Testnet> {
        if plan.exits > plan.relays {
            return Err(Failure::misused(
                "the test network cannot be made",
                format_args!("{} exits are more than {} relays", plan.exits, plan.relays),
                "exits are among the relays: give fewer exits or more relays",
            ));
        }
        clear(dir)?;
        // Absolute, so that the path that is printed works from everywhere.
        let dir = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
        let addresses = free_addresses(plan.relays)?;
        let mut rng = randomness::generator()?;
        let now = unix_now();
        let mut members = Vec::new();
        for (index, address) in addresses.into_iter().enumerate() {
            // The last ones are the exits.
            let exit = index >= plan.relays - plan.exits;
            let nickname = format!("{}{}", if exit { "exit" } else { "relay" }, index + 1);
            let folder = dir.join(format!("relay-{}", index + 1));
            files::directory(&folder)?;
            let keys = RelayKeys::generate(&mut rng, now);
            files::replace(
                &folder.join("relay.toml"),
                config_text(&nickname, address, address, exit).as_bytes(),
                Access::Public,
            )?;
            files::replace(&folder.join("keys"), keys.to_text().as_bytes(), Access::Secret)?;
            let id = keys.id().to_string();
            members.push(Member { nickname, keys, id, address, exit, folder, child: None });
        }
        let testnet = Testnet { network: dir.join("network"), made: now, relays: members };
        testnet.write_network(&testnet.network, &testnet.addresses())?;
        Ok(testnet)
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
            let text = config_text(&relay.nickname, relay.address, *address, relay.exit);
            let config = RelayConfig::parse(&text).map_err(|why| fault(&why))?;
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

    /// Starts the relays and waits until each is usable.
    pub(crate) async fn start(&mut self) -> Outcome {
        for relay in &mut self.relays {
            let config = relay.folder.join("relay.toml");
            let arguments = [Path::new("relay"), Path::new("--config"), &config, Path::new("--json")];
            let name = format!("the relay {}", relay.nickname);
            relay.child = Some(Child::start(name, arguments, &relay.folder.join("log"))?);
        }
        for relay in &mut self.relays {
            if let Some(child) = &mut relay.child {
                child.result("ready", READY).await?;
            }
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

    /// The network document.
    pub(crate) fn network_file(&self) -> &Path {
        &self.network
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

/// An empty directory: a new one, or one that an earlier test network left behind.
fn clear(dir: &Path) -> Outcome {
    files::directory(dir)?;
    let cannot = |error: std::io::Error| {
        Failure::failed(format_args!("cannot use {}", dir.display()), files::reason(&error), "choose another directory")
    };
    let mark = dir.join(MARK);
    if !mark.exists() && fs::read_dir(dir).map_err(cannot)?.next().is_some() {
        return Err(Failure::misused(
            format_args!("cannot use {}", dir.display()),
            "it holds other files",
            "choose a new directory",
        ));
    }
    for entry in fs::read_dir(dir).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        if entry.file_name().to_string_lossy().starts_with("relay-") {
            fs::remove_dir_all(entry.path()).map_err(cannot)?;
        }
    }
    fs::write(mark, "made by zmesh testnet; what is here may be overwritten\n").map_err(cannot)
}

/// Addresses that are free now. They go into descriptors, so the relays cannot choose for themselves; that somebody
/// else takes one in between is unlikely, and the relay then says so.
fn free_addresses(count: usize) -> Outcome<Vec<SocketAddr>> {
    let cannot = |error: std::io::Error| {
        Failure::failed("cannot find free ports", files::reason(&error), "stop other programs that use UDP ports")
    };
    let sockets: Vec<UdpSocket> =
        (0..count).map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>().map_err(cannot)?;
    sockets.iter().map(UdpSocket::local_addr).collect::<Result<_, _>>().map_err(cannot)
}

fn config_text(nickname: &str, listen: SocketAddr, advertise: SocketAddr, exit: bool) -> String {
    format!(
        "# Made by zmesh testnet.\n\
         nickname = \"{nickname}\"\n\
         operator = \"testnet\"\n\
         listen = [\"{listen}\"]\n\
         advertise = [\"{advertise}\"]\n\
         keys = \"keys\"\n\
         network = \"../network\"\n\
         state = \"state\"\n\
         meeting = true\n\
         \n\
         [exit]\n\
         enabled = {exit}\n\
         policy = [\"accept *\"]\n\
         ipv4 = true\n\
         ipv6 = true\n\
         streams = 1024\n\
         connects_per_minute = 60000\n\
         lookups_per_minute = 60000\n\
         test_network = true\n\
         \n\
         [nat]\n\
         enabled = false\n\
         \n\
         [chunks]\n\
         megabytes = 64\n\
         put_bytes_per_second = 67108864\n"
    )
}
