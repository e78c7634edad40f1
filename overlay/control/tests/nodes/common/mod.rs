//! Nodes on loopback, each driven by a task, and what one waits for.
#![allow(unreachable_pub, reason = "a module of a test binary")]
#![allow(clippy::unwrap_used, reason = "tests")]

pub mod directory;
#[cfg(target_os = "linux")]
pub mod places;
pub mod raw;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use zmesh_control::{Builder, Contact, Control, Event, Limits, PeerIdentity, PublishError, Reason, Topic, Verdict};
use zmesh_proto::wire::document::NetworkId;

pub const NETWORK: NetworkId = NetworkId([7; 32]);
/// What a test waits for comes within this, or never.
const PATIENCE: Duration = Duration::from_secs(60);

type Work = Box<dyn FnOnce(&mut Control) + Send>;

/// A node that judges messages by their first byte: `!` is invalid, `?` is ignored, all else is good.
pub struct Node {
    work: mpsc::Sender<Work>,
    task: JoinHandle<()>,
    pub identity: PeerIdentity,
    pub address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
pub struct Seen {
    pub messages: Vec<(Topic, Vec<u8>)>,
    pub up: Vec<PeerIdentity>,
    pub answers: Vec<Result<Vec<u8>, zmesh_control::AskError>>,
    /// Addresses of its own that others confirmed.
    pub reachable: Vec<SocketAddr>,
}

pub fn key(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

/// Settings of a node on loopback that listens.
pub fn lasting(n: u8) -> Builder {
    Control::builder(NETWORK)
        .identity(&key(n))
        .listen((Ipv4Addr::LOCALHOST, 0).into())
        .test_network(true)
        .limits(Limits::one_machine())
}

impl Node {
    /// Starts a node and waits until it listens, if it does.
    pub async fn start(builder: Builder, listens: bool) -> Self {
        Self::start_with(builder, listens, true).await
    }

    /// The same for one that refuses all questions.
    pub async fn start_reader(builder: Builder) -> Self {
        Self::start_with(builder, false, false).await
    }

    async fn start_with(builder: Builder, listens: bool, answers: bool) -> Self {
        let mut control = builder.start().unwrap();
        let identity = control.identity();
        let mut address = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        while listens && address.port() == 0 {
            if let Event::Listening { address: at, quic: true } = control.next().await {
                address = at;
            }
        }
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (work, jobs) = mpsc::channel(16);
        let task = tokio::spawn(drive(control, jobs, Arc::clone(&seen), answers));
        Self { work, task, identity, address, seen }
    }

    pub fn contact(&self) -> Contact {
        Contact { address: self.address, identity: Some(self.identity) }
    }

    /// Does something with the node.
    pub async fn with<T: Send + 'static>(&self, job: impl FnOnce(&mut Control) -> T + Send + 'static) -> T {
        let (tell, told) = oneshot::channel();
        let job: Work = Box::new(move |control| drop(tell.send(job(control))));
        assert!(self.work.send(job).await.is_ok(), "the node runs");
        told.await.unwrap()
    }

    pub async fn peers(&self) -> Vec<PeerIdentity> {
        self.with(|control| control.peers().collect()).await
    }

    pub async fn publish(&self, topic: Topic, bytes: &[u8]) {
        // Peers tell which topics they read a moment after they have greeted.
        until("somebody reads the topic", || async {
            let bytes = bytes.to_vec();
            match self.with(move |control| control.publish(topic, bytes)).await {
                Err(PublishError::Nobody) => false,
                published => published.map(|_| true).unwrap(),
            }
        })
        .await;
    }

    pub fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap())
    }

    pub fn got(&self, bytes: &[u8]) -> usize {
        self.seen(|seen| seen.messages.iter().filter(|(_, message)| message == bytes).count())
    }

    /// Ends the node at once, without a word to anybody.
    pub async fn kill(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn drive(mut control: Control, mut jobs: mpsc::Receiver<Work>, seen: Arc<Mutex<Seen>>, answers: bool) {
    loop {
        tokio::select! {
            job = jobs.recv() => match job {
                Some(job) => job(&mut control),
                None => return,
            },
            event = control.next() => match event {
                Event::Message { tag, topic, bytes } => {
                    let verdict = match bytes.first() {
                        Some(b'!') => Verdict::Reject(Reason::Forged),
                        Some(b'?') => Verdict::Ignore(Reason::Stale),
                        _ => Verdict::Accept,
                    };
                    control.report(&tag, verdict);
                    seen.lock().unwrap().messages.push((topic, bytes));
                }
                Event::Reachable { address } => seen.lock().unwrap().reachable.push(address),
                Event::PeerUp { peer, .. } => seen.lock().unwrap().up.push(peer),
                Event::Question { id, bytes, .. } => match bytes.as_slice() {
                    _ if !answers => control.refuse(id),
                    b"refuse" => control.refuse(id),
                    b"much" => control.answer(id, vec![7; 3 << 20]),
                    b"too much" => control.answer(id, vec![7; zmesh_control::ANSWER_MAX + 1]),
                    _ => control.answer(id, bytes),
                },
                Event::Answer { result, .. } => seen.lock().unwrap().answers.push(result),
                _ => {}
            },
        }
    }
}

/// Waits until something is so, and says what did not come about.
pub async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "never came: {what}");
}
