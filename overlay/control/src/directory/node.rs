//! The driver of a directory node: one task that owns the control node, the documents and the descriptors.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Interval, MissedTickBehavior};
use zmesh_proto::directory::{Catalogue, Heartbeats, Held};
use zmesh_proto::keys::relay_id;
use zmesh_proto::wire::control::{Reason, Snapshot, Topic, Verdict};
use zmesh_proto::wire::document::NetworkId;
use zmesh_sphinx::RelayId;

use super::fetching::Way;
use super::follow::{Follow, Job, Progress, Verified};
use super::gather::Gather;
use super::pulse::Pulse;
use super::question::{Answer, Question};
use super::vote::Votes;
use super::wishes::Wishes;
use super::{Command, Describe, DirectoryHandle, DirectoryNode, DirectoryStatus, Documents, Measures};
use crate::event::{AskId, Event, MessageTag};
use crate::{Claims, Control, PeerIdentity, PublishError, StartError, Store, StoreError, clock};

/// How often it looks what is due.
const TICK: Duration = Duration::from_secs(1);
/// Seconds between questions for a newer document, in case gossip missed it.
const HEAD_EVERY: u64 = 15;
/// Seconds between writes of the descriptors.
const KEEP_EVERY: u64 = 60;
/// Seconds between questions for all descriptors, in case gossip missed some: an epoch, and no fewer than these.
const GATHER_LEAST: u64 = 10;
/// New peers of which all descriptors are asked for after a start.
const GATHER_FROM: usize = 3;
/// Names of values in the store.
const HELD: &str = "held";
const DESCRIPTORS: &str = "descriptors";

pub(super) struct Driver {
    pub(super) control: Control,
    pub(super) follow: Follow,
    pub(super) shelf: Catalogue,
    pub(super) votes: Votes,
    pub(super) measures: Option<Measures>,
    pub(super) store: Option<Arc<Store>>,
    pub(super) pulse: Option<Pulse>,
    pub(super) heartbeats: Heartbeats,
    describe: Option<Describe>,
    refresh: Duration,
    described: Option<Instant>,
    /// The own descriptor, while nobody has taken it.
    unpublished: Option<Vec<u8>>,
    asks: HashMap<AskId, Question>,
    gathered: usize,
    gather: Gather,
    /// Whom this node asked for its newest header, not because that one came or said something.
    chosen: Option<PeerIdentity>,
    /// Who was given the newest document, and when.
    pub(super) given: HashMap<PeerIdentity, (u64, Instant)>,
    verifying: Option<JoinHandle<Verified>>,
    /// What is verified after that: one at most, as two peers are asked.
    jobs: VecDeque<Box<Job>>,
    /// Writing descriptors to the disk.
    writing: Option<JoinHandle<()>>,
    pub(super) ticks: u64,
    tick: Interval,
    documents: watch::Sender<Option<Arc<Documents>>>,
    listening: watch::Sender<Vec<SocketAddr>>,
}

pub(super) fn start(settings: DirectoryNode) -> Result<DirectoryHandle, StartError> {
    let DirectoryNode { control, genesis, store, describe, refresh, voter, begins, pulse, wishes, measures } = settings;
    let wishes = Wishes::new(wishes.0, wishes.1)?;
    let network = genesis.network_id();
    if control.network != network {
        return Err(StartError::Setting("the control node is of another network than the genesis"));
    }
    let test_network = genesis.terms().test_network;
    let (mut shelf, mut held) = (Catalogue::new(&genesis), None);
    let mut control = control.test_network(test_network);
    if let Some(store) = &store {
        held = stored(store, network)?;
        let now = clock::unix_seconds();
        if let Some(held) = &held {
            shelf.list(held.snapshot().descriptors(), now);
        }
        if let Some(kept) = store.value(DESCRIPTORS)?
            && let Ok(kept) = Answer::decode(&kept)
        {
            for descriptor in kept.descriptors().flatten() {
                shelf.fill(descriptor, now);
            }
        }
        shelf.take_changed();
        control = control.store(Arc::clone(store));
    }
    let (tell_documents, documents) = watch::channel(None);
    let (tell_listening, listening) = watch::channel(Vec::new());
    let (commands, orders) = mpsc::channel(16);
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let control = control.start()?;
    let own = relay_id(&control.identity().0);
    shelf.set_own(own);
    let votes = Votes::new(&genesis, held.as_ref(), voter, own, store.as_deref(), begins)?.with(wishes);
    let heartbeats = Heartbeats::new(&genesis);
    let mut driver = Driver {
        control,
        votes,
        measures,
        follow: Follow::new(genesis, held),
        shelf,
        store,
        pulse,
        heartbeats,
        describe,
        refresh,
        described: None,
        unpublished: None,
        asks: HashMap::new(),
        gathered: 0,
        gather: Gather::default(),
        chosen: None,
        given: HashMap::new(),
        verifying: None,
        jobs: VecDeque::new(),
        writing: None,
        ticks: 0,
        tick,
        documents: tell_documents,
        listening: tell_listening,
    };
    driver.hear_listed();
    driver.show();
    let task = tokio::spawn(driver.run(orders));
    Ok(DirectoryHandle { documents, listening, commands, task })
}

/// The document that a store keeps. One that does not verify any more is asked for anew.
pub(super) fn stored(store: &Store, network: NetworkId) -> Result<Option<Held>, StoreError> {
    Ok(store.value(HELD)?.and_then(|bytes| Held::decode(network, &bytes).ok()))
}

impl Driver {
    async fn run(mut self, mut orders: mpsc::Receiver<Command>) {
        loop {
            tokio::select! {
                event = self.control.next() => self.handle(event),
                _ = self.tick.tick() => self.due(),
                () = until(self.votes.timeout()) => self.time_passes(),
                verified = finished(&mut self.verifying) => self.verified(verified),
                order = orders.recv() => match order {
                    Some(Command::Report(tell)) => {
                        // Who asked may have gone.
                        let _ = tell.send(self.status());
                    }
                    Some(Command::Publish(snapshot)) => self.publish_document(&snapshot),
                    Some(Command::Stop) | None => break,
                },
            }
        }
        self.keep_descriptors();
        if let Some(writing) = self.writing.take() {
            // A panic in it is a fault of ours, and is logged by the runtime.
            let _ = writing.await;
        }
        if let Err(error) = self.control.flush() {
            tracing::warn!("what is known of peers cannot be kept: {error}");
        }
        self.control.give_ports_back().await;
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Listening { address, quic: true } => self.listening.send_modify(|all| all.push(address)),
            Event::PeerUp { peer, claims } => {
                // It proved to be this relay, so nobody who was only heard of is preferred to it.
                self.shelf.met(relay_id(&peer.0), clock::unix_seconds());
                if !claims.descriptor.is_empty() && !self.introduce(&claims.descriptor) {
                    self.control.punish_lie(peer);
                    return;
                }
                self.ask(peer, Question::Head);
                if self.gathered < GATHER_FROM {
                    self.gathered += 1;
                    self.ask(peer, Question::Descriptors { after: None });
                }
            }
            Event::PeerDown { peer } => {
                self.gather.give_up(&peer);
                self.follow.give_up(&peer, clock::unix_seconds());
            }
            Event::Message { tag, topic, bytes } => {
                let verdict = self.judge(&tag, topic, &bytes);
                self.control.report(&tag, verdict);
            }
            Event::Question { id, bytes, peer } => self.questioned(id, peer, &bytes),
            Event::Answer { id, peer, result } => {
                let Some(question) = self.asks.remove(&id) else { return };
                match result.map(|bytes| Answer::decode(&bytes)) {
                    Ok(Ok(answer)) => self.answered(peer, question, answer),
                    Ok(Err(_)) => {
                        self.unanswered(&peer, &question);
                        self.control.blame(peer);
                    }
                    Err(_) => self.unanswered(&peer, &question),
                }
            }
            _ => {}
        }
    }

    /// A question of this node came to nothing.
    fn unanswered(&mut self, peer: &PeerIdentity, question: &Question) {
        match question {
            Question::Changes { .. } | Question::Document { .. } => self.follow.give_up(peer, clock::unix_seconds()),
            Question::Descriptors { .. } => self.gather.give_up(peer),
            Question::Head | Question::Votes { .. } => {}
        }
    }

    /// Takes the descriptor of a peer's greeting, and tells others of it: a newcomer has few who would. False if it is bad.
    fn introduce(&mut self, descriptor: &[u8]) -> bool {
        match self.shelf.offer(descriptor, clock::unix_seconds()) {
            Verdict::Accept => {
                // Nobody may be there to hear it, or all know it.
                let _ = self.control.publish(Topic::Descriptors, descriptor.to_vec());
                true
            }
            Verdict::Reject(_) => false,
            Verdict::Ignore(_) => true,
        }
    }

    fn judge(&mut self, tag: &MessageTag, topic: Topic, bytes: &[u8]) -> Verdict {
        if bytes.len() > topic.message_max() {
            return Verdict::against(Reason::Oversized);
        }
        match topic {
            Topic::Descriptors => self.shelf.offer(bytes, clock::unix_seconds()),
            Topic::Snapshots => {
                let (verdict, newer) = self.follow.judge(bytes, clock::unix_seconds());
                self.votes.voting.handle_message(topic, bytes, clock::unix_millis());
                self.settle();
                // Who took part in the votes has made the document itself by now.
                if newer
                    && self.follow.judge(bytes, clock::unix_seconds()).1
                    && let Some(peer) = tag.source()
                {
                    self.fetch_from(peer, Way::Brought);
                }
                verdict
            }
            Topic::Votes | Topic::Proofs => {
                let verdict = self.votes.voting.handle_message(topic, bytes, clock::unix_millis());
                self.settle();
                verdict
            }
            Topic::Meta => self.heartbeats.offer(bytes, clock::unix_seconds()),
            _ => Verdict::against(Reason::Unrelated),
        }
    }

    fn answered(&mut self, peer: PeerIdentity, question: Question, answer: Answer) {
        match question {
            Question::Head => {
                if let Some(header) = answer.only() {
                    // One that this node chose has the place that nobody else can take.
                    let way =
                        if self.chosen.take_if(|chosen| *chosen == peer).is_some() { Way::Chosen } else { Way::Said };
                    match self.follow.judge(&header, clock::unix_seconds()) {
                        (Verdict::Reject(_), _) => self.control.blame(peer),
                        (_, true) => self.fetch_from(peer, way),
                        _ => {}
                    }
                }
            }
            Question::Descriptors { after } => self.gather(peer, after, &answer),
            Question::Votes { .. } => {
                if !self.take_votes(&answer) {
                    self.control.blame(peer);
                }
            }
            Question::Changes { .. } | Question::Document { .. } => {
                match self.follow.answered(&peer, answer, clock::unix_seconds()) {
                    Progress::Ask(question) => self.ask(peer, question),
                    Progress::Verify(job) => {
                        self.jobs.push_back(job);
                        self.verify_next();
                    }
                    Progress::Nothing => {}
                    Progress::Blame => self.control.blame(peer),
                }
            }
        }
    }

    /// Takes a page of descriptors, and asks for the next.
    fn gather(&mut self, peer: PeerIdentity, after: Option<RelayId>, answer: &Answer) {
        let (next, news) = self.gather.take(peer, after, answer, &mut self.shelf, clock::unix_seconds());
        if news {
            self.control.praise(peer);
        }
        match next {
            Ok(Some(question)) => self.ask(peer, question),
            Ok(None) => {}
            Err(()) => self.control.blame(peer),
        }
    }

    /// Documents are verified one after the other.
    fn verify_next(&mut self) {
        if self.verifying.is_none()
            && let Some(job) = self.jobs.pop_front()
        {
            self.verifying = Some(tokio::task::spawn_blocking(move || job.run()));
        }
    }

    fn verified(&mut self, verified: Result<Verified, JoinError>) {
        self.verifying = None;
        self.verify_next();
        // A panic in the verification is a fault of ours, and is logged by the runtime.
        let Ok(verified) = verified else { return };
        match self.follow.verified(verified, clock::unix_seconds()) {
            (peer, Ok(true)) => {
                self.control.praise(peer);
                self.arrived();
            }
            (_, Ok(false)) => {}
            (peer, Err(())) => self.control.blame(peer),
        }
    }

    /// A newer document is held: write it down, then show it.
    pub(super) fn arrived(&mut self) {
        self.tell_machine();
        if let (Some(store), Some(held)) = (&self.store, self.follow.held())
            && let Err(error) = store.put_values([(HELD, Some(held.encode().as_slice()))])
        {
            tracing::warn!("the newest document cannot be kept: {error}");
        }
        self.shelf.list(self.follow.listed(), clock::unix_seconds());
        self.hear_listed();
        self.show();
        self.settle();
    }

    fn show(&self) {
        if let Some(held) = self.follow.held() {
            let documents = Documents { held: held.clone(), earlier: self.follow.earlier().cloned().collect() };
            self.documents.send_replace(Some(Arc::new(documents)));
        }
    }

    fn publish_document(&mut self, snapshot: &Snapshot) {
        match self.follow.adopt(snapshot) {
            Ok(true) => {
                self.arrived();
                let header = snapshot.document().signed().encode();
                // Without peers it is asked for when they come.
                let _ = self.control.publish(Topic::Snapshots, header);
            }
            Ok(false) => {}
            Err(error) => tracing::warn!("a document was not published: {error}"),
        }
    }

    fn due(&mut self) {
        self.ticks += 1;
        self.describe();
        self.beat();
        self.watch_relays();
        if self.ticks.is_multiple_of(HEAD_EVERY)
            && let Some(peer) = self.some_peer()
        {
            self.chosen = Some(peer);
            self.ask(peer, Question::Head);
        }
        if self.ticks.is_multiple_of(self.votes.epoch().max(GATHER_LEAST))
            && let Some(peer) = self.some_peer()
        {
            self.ask(peer, Question::Descriptors { after: None });
        }
        let now = clock::unix_seconds();
        self.follow.give_up_slow(now);
        if self.ticks.is_multiple_of(KEEP_EVERY) {
            for peer in self.control.peers() {
                self.shelf.met(relay_id(&peer.0), now);
            }
            self.shelf.prune(now);
            self.keep_descriptors();
        }
    }

    /// Makes this relay's descriptor when it is time, and publishes it once there is somebody to take it.
    fn describe(&mut self) {
        let now = clock::now();
        let due = self.described.is_none_or(|last| now.saturating_duration_since(last) >= self.refresh);
        if due {
            self.describe_anew(now);
        }
        if let Some(bytes) = &self.unpublished
            && self.control.peers().next().is_some()
            && matches!(self.control.publish(Topic::Descriptors, bytes.clone()), Ok(()) | Err(PublishError::Known))
        {
            self.unpublished = None;
        }
    }

    fn describe_anew(&mut self, now: Instant) {
        let unix = clock::unix_seconds();
        let Some(descriptor) = self.describe.as_mut().and_then(|describe| describe(unix)) else { return };
        let bytes = descriptor.as_bytes().to_vec();
        if self.shelf.put(descriptor, unix) == Verdict::against(Reason::TooMany) {
            // Started again so soon that others would not take it: a little later.
            return;
        }
        self.described = Some(now);
        // Whoever comes from now on need not wait for gossip.
        self.control.set_claims(Claims { descriptor: bytes.clone(), ..Claims::default() });
        self.unpublished = Some(bytes);
    }

    /// Another peer each second.
    pub(super) fn some_peer(&self) -> Option<PeerIdentity> {
        let count = u64::try_from(self.control.peers().count()).ok().filter(|count| *count > 0)?;
        self.control.peers().nth(usize::try_from(self.ticks % count).ok()?)
    }

    pub(super) fn fetch_from_somebody(&mut self) {
        if let Some(peer) = self.some_peer() {
            self.fetch_from(peer, Way::Chosen);
        }
    }

    pub(super) fn ask(&mut self, peer: PeerIdentity, question: Question) {
        match self.control.ask_within(peer, question.encode(), question.answer_max()) {
            Ok(id) => {
                self.asks.insert(id, question);
            }
            Err(_) => self.unanswered(&peer, &question),
        }
    }

    fn fetch_from(&mut self, peer: PeerIdentity, way: Way) {
        if let Some(question) = self.follow.begin(peer, way, clock::unix_seconds()) {
            self.ask(peer, question);
        }
    }

    /// Writes down the descriptors that are in no document, if there are others than the last time, while this node goes on. Those of
    /// the document are kept with it.
    fn keep_descriptors(&mut self) {
        if self.writing.as_ref().is_some_and(|writing| !writing.is_finished()) {
            return;
        }
        let Some(store) = self.store.clone().filter(|_| self.shelf.take_changed()) else { return };
        let all = self.shelf.strangers().map(|descriptor| descriptor.as_bytes().to_vec()).collect();
        self.writing = Some(tokio::task::spawn_blocking(move || {
            if let Err(error) = store.put_values([(DESCRIPTORS, Some(Answer::parts(all).encode().as_slice()))]) {
                tracing::warn!("descriptors cannot be kept: {error}");
            }
        }));
    }

    fn status(&self) -> DirectoryStatus {
        let voting = &self.votes.voting;
        DirectoryStatus {
            control: self.control.status(),
            descriptors: self.shelf.len(),
            epoch: self.follow.epoch(),
            relays: self.follow.listed().len(),
            voters: voting.chain().head().voters.len(),
            votes: self.votes.is_in_office(),
            round: voting.round(),
            checkpoint: self.follow.held().map(Held::checkpoint),
            health: self.heartbeats.health(clock::unix_seconds()),
            convicted: self.votes.proofs.voters(),
        }
    }
}

/// Waits for a time, unix milliseconds.
async fn until(at: Option<u64>) {
    match at {
        Some(at) => tokio::time::sleep(Duration::from_millis(at.saturating_sub(clock::unix_millis()))).await,
        None => std::future::pending().await,
    }
}

async fn finished(verifying: &mut Option<JoinHandle<Verified>>) -> Result<Verified, JoinError> {
    match verifying {
        Some(handle) => handle.await,
        None => std::future::pending().await,
    }
}
