//! What a running relay tells whoever may read its files: one JSON value over a socket in its directory of state.

use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use zmesh_control::directory::DirectoryStatus;
use zmesh_proto::wire::bootstrap::Checkpoint;
use zmesh_proto::wire::control::HeaderHash;

use super::endpoint::Latest;
use super::exported::Snapshot;
use crate::failure::{Failure, Outcome};

/// The name of the socket in a relay's directory of state.
const SOCKET: &str = "status.sock";
/// Longest answer that is read.
#[cfg(unix)]
const ANSWER_MAX: u64 = 1 << 20;

/// What does not change while a relay runs.
#[derive(Clone, Debug)]
pub(crate) struct Constant {
    pub(crate) nickname: String,
    pub(crate) id: String,
    pub(crate) network: String,
    pub(crate) network_id: String,
    pub(crate) exit: bool,
    pub(crate) meeting: bool,
    pub(crate) chunks: bool,
}

impl Constant {
    /// The answer: what the relay is, and how it does.
    pub(crate) fn answer(&self, snapshot: &Snapshot) -> Value {
        let metrics = &snapshot.relay;
        json!({
            "role": "relay",
            "age_seconds": snapshot.taken.elapsed().as_secs(),
            "version": env!("CARGO_PKG_VERSION"),
            "nickname": self.nickname,
            "id": self.id,
            "exit": self.exit,
            "meeting": self.meeting,
            "chunks": self.chunks,
            "up_seconds": snapshot.up.as_secs(),
            "memory_bytes": snapshot.memory,
            "draining": snapshot.draining,
            "network": {
                "name": self.network,
                "id": self.network_id,
                "relays": snapshot.relays,
                "listed": snapshot.listed,
                "valid_until": snapshot.valid_until,
            },
            "directory": snapshot.directory.as_ref().map(directory),
            "month": { "sent_bytes": snapshot.month.sent, "limit_bytes": snapshot.month.limit },
            "metrics": metrics,
        })
    }
}

/// What a relay knows as a member of a directory: nothing that names a peer.
fn directory(status: &DirectoryStatus) -> Value {
    let control = &status.control;
    json!({
        "epoch": status.epoch,
        "voters": status.voters,
        "votes": status.votes,
        "round": status.round,
        "descriptors": status.descriptors,
        "convicted_voters": status.convicted,
        "peers": control.peers,
        "known_peers": control.known,
        "reachable": control.reachable,
        "messages": { "accepted": control.accepted, "ignored": control.ignored, "rejected": control.rejected },
        "turned_away": control.turned_away,
        "cut": control.cut,
        "banned": control.banned,
        "checkpoint": status.checkpoint.as_ref().map(checkpoint),
        "health": {
            "relays": status.health.alive,
            "relays_by_load": status.health.load,
            "typical_load": status.health.typical_load(),
            "typical_peers": status.health.peers,
        },
    })
}

/// A checkpoint as JSON, which [`read_checkpoint`] reads.
fn checkpoint(checkpoint: &Checkpoint) -> Value {
    json!({
        "epoch": checkpoint.epoch,
        "hash": HEXLOWER.encode(&checkpoint.hash.0),
        "voters": HEXLOWER.encode(&checkpoint.voters),
    })
}

/// The newest document that a running relay holds, of its answer; `None` if it has none.
pub(crate) fn read_checkpoint(answer: &Value) -> Option<Checkpoint> {
    let told = answer.pointer("/directory/checkpoint")?;
    let bytes = |name: &str| {
        let bytes = HEXLOWER.decode(told[name].as_str()?.as_bytes()).ok()?;
        <[u8; 32]>::try_from(bytes).ok()
    };
    Some(Checkpoint { epoch: told["epoch"].as_u64()?, hash: HeaderHash(bytes("hash")?), voters: bytes("voters")? })
}

fn socket_in(state: &Path) -> PathBuf {
    state.join(SOCKET)
}

/// Answers on the socket until dropped.
#[cfg(unix)]
pub(crate) struct StatusSocket {
    path: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

#[cfg(unix)]
impl StatusSocket {
    /// Opens the socket in a relay's directory of state, for its owner only. One that an earlier run left is replaced.
    pub(crate) fn start(state: &Path, constant: Constant, latest: Latest) -> Outcome<StatusSocket> {
        use std::os::unix::fs::PermissionsExt;
        let path = socket_in(state);
        let cannot = |error: std::io::Error| {
            Failure::failed(
                format_args!("cannot open {} for zmesh status", path.display()),
                crate::files::reason(&error),
                "choose another directory for state in the configuration",
            )
        };
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(cannot(error)),
            _ => {}
        }
        let listener = tokio::net::UnixListener::bind(&path).map_err(cannot)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(cannot)?;
        let task = tokio::spawn(answer(listener, constant, latest));
        Ok(StatusSocket { path, task })
    }
}

/// Where readers come in.
#[cfg(unix)]
trait Door: Send {
    type Reader: tokio::io::AsyncWrite + Unpin + Send;

    fn next(&mut self) -> impl Future<Output = std::io::Result<Self::Reader>> + Send;
}

#[cfg(unix)]
impl Door for tokio::net::UnixListener {
    type Reader = tokio::net::UnixStream;

    async fn next(&mut self) -> std::io::Result<Self::Reader> {
        Ok(self.accept().await?.0)
    }
}

#[cfg(unix)]
async fn answer(mut door: impl Door, constant: Constant, latest: Latest) {
    use tokio::io::AsyncWriteExt;
    /// How long one reader may take.
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);
    /// The pause after a connection could not be taken, as when there are no more file descriptors.
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(200);
    loop {
        let Ok(mut reader) = door.next().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let snapshot = latest.borrow().clone();
        let text = snapshot.map(|snapshot| constant.answer(&snapshot).to_string()).unwrap_or_default();
        // One after the other: a reader that hangs holds others up for seconds, and nothing grows.
        let _ = tokio::time::timeout(PATIENCE, reader.write_all(text.as_bytes())).await;
    }
}

#[cfg(unix)]
impl Drop for StatusSocket {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Elsewhere there is no such socket, and `zmesh status` says so.
#[cfg(not(unix))]
pub(crate) struct StatusSocket;

#[cfg(not(unix))]
impl StatusSocket {
    pub(crate) fn start(_: &Path, _: Constant, _: Latest) -> Outcome<StatusSocket> {
        Ok(StatusSocket)
    }
}

/// Asks the relay whose directory of state this is.
#[cfg(unix)]
pub(crate) fn ask(state: &Path) -> Outcome<Value> {
    use std::io::Read;
    let path = socket_in(state);
    let nobody = |why: &dyn std::fmt::Display| {
        Failure::failed(
            format_args!("no relay answers at {}", path.display()),
            why,
            "start it with zmesh relay, or name its configuration with --config",
        )
    };
    let stream =
        std::os::unix::net::UnixStream::connect(&path).map_err(|error| nobody(&crate::files::reason(&error)))?;
    let patience = std::time::Duration::from_secs(5);
    stream.set_read_timeout(Some(patience)).map_err(|error| nobody(&error))?;
    let mut text = String::new();
    stream.take(ANSWER_MAX).read_to_string(&mut text).map_err(|error| nobody(&error))?;
    serde_json::from_str(&text).map_err(|_| nobody(&"it is still starting"))
}

/// Asks the relay whose directory of state this is.
#[cfg(not(unix))]
pub(crate) fn ask(_: &Path) -> Outcome<Value> {
    Err(Failure::failed("zmesh status", "it needs Unix sockets", "see the metrics endpoint ([metrics]) instead"))
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::operation::exported::sample;
    use tokio::sync::watch;

    fn constant() -> Constant {
        Constant {
            nickname: "alice".into(),
            id: "00".into(),
            network: "friends".into(),
            network_id: "f1".into(),
            exit: false,
            meeting: true,
            chunks: true,
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_owner_is_answered_and_the_socket_goes_away() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().to_owned();
        ask(&state).expect_err("nobody listens yet");
        let (sender, latest) = watch::channel(None);
        let socket = StatusSocket::start(&state, constant(), latest).unwrap();
        let mode = std::fs::metadata(socket_in(&state)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let asked = |state: PathBuf| tokio::task::spawn_blocking(move || ask(&state));
        assert!(asked(state.clone()).await.unwrap().unwrap_err().to_string().contains("still starting"));
        sender.send_replace(Some(sample()));
        let answer = asked(state.clone()).await.unwrap().unwrap();
        assert_eq!(answer["nickname"], "alice");
        assert_eq!(answer["network"]["relays"], 9);
        assert!(answer["age_seconds"].is_u64(), "how old the figures are: {answer}");
        assert!(read_checkpoint(&answer).is_none(), "it is no member of a directory");
        assert_eq!(answer["metrics"]["links_up"], 0);
        drop(socket);
        assert!(!socket_in(&state).exists());
    }
    #[test]
    fn a_checkpoint_is_read_as_it_was_told_and_nothing_else_is() {
        let told = Checkpoint { epoch: 812, hash: HeaderHash([7; 32]), voters: [9; 32] };
        let answer = |checkpoint: Value| json!({ "directory": { "checkpoint": checkpoint } });
        assert_eq!(read_checkpoint(&answer(checkpoint(&told))), Some(told));
        for (part, bad) in [("epoch", json!(-1)), ("hash", json!("07")), ("voters", json!("zz")), ("hash", Value::Null)]
        {
            let mut value = checkpoint(&told);
            value[part] = bad;
            assert_eq!(read_checkpoint(&answer(value)), None, "{part}");
        }
        assert_eq!(read_checkpoint(&answer(Value::Null)), None);
    }

    /// Fails as a listener does when there are no more file descriptors, and then lets one reader in.
    struct Stuck(u32, Option<tokio::io::DuplexStream>);

    impl Door for Stuck {
        type Reader = tokio::io::DuplexStream;

        async fn next(&mut self) -> std::io::Result<Self::Reader> {
            self.0 += 1;
            match self.1.take() {
                Some(reader) if self.0 > 5 => Ok(reader),
                Some(reader) => {
                    self.1 = Some(reader);
                    Err(std::io::Error::other("too many open files"))
                }
                None => std::future::pending().await,
            }
        }
    }

    #[tokio::test]
    async fn a_reader_that_cannot_be_taken_does_not_end_it() {
        use tokio::io::AsyncReadExt as _;
        let (mut ours, theirs) = tokio::io::duplex(1 << 20);
        let (_sender, latest) = watch::channel(Some(sample()));
        let task = tokio::spawn(answer(Stuck(0, Some(theirs)), constant(), latest));
        let mut text = String::new();
        ours.read_to_string(&mut text).await.unwrap();
        assert!(text.contains("\"nickname\":\"alice\""), "{text}");
        task.abort();
    }
}
