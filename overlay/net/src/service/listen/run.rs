//! What a running service does, one event after the other.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use zmesh_proto::pace::Pace;
use zmesh_proto::service::descriptor::Contents;
use zmesh_proto::service::introduce::{self, Introduction};
use zmesh_proto::service::key::{BlindedKey, Subcredential};
use zmesh_proto::service::load::{Offer, Price, Queue};
use zmesh_proto::service::period::Period;
use zmesh_proto::service::pow::{Puzzle, Trial};

use super::super::host::Sealed;
use super::super::relay_circuit::AskError;
use super::super::{ListenError, ServiceKey, ServiceOptions, SharedSecond, own_hops};
use super::answer::{self, Invitation};
use super::clients::{Clients, Place as ClientPlace};
use super::point::{self, Place, Point, Successor, Told};
use super::publish::{Outcome, Revisions, publish};
use super::schedule::Schedule;
use super::{SharedStats, change};
use crate::api::{CircuitError, Stream};
use crate::origin::Origin;
use crate::{RelayId, clock, entropy};

/// Introductions that wait for an answer.
const WAITING: usize = 128;

/// Circuits to meeting relays that are begun, in a second and at once. Each shows a relay of the client's choice one of the service's.
const MEETINGS: u64 = 8;
const MEETINGS_BURST: u64 = 32;

/// The pause before another introduction point is tried: doubled after each that failed, up to the second.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Points that may fail before a service that was never up says so.
const PATIENCE: u32 = 6;

/// Relays that failed as introduction points are left alone for so long.
const REST: Duration = Duration::from_secs(600);

/// A seed for proofs of work lasts this long.
const SEED_LIFE: Duration = Duration::from_secs(2 * 3_600);

/// How often a service looks around.
const LOOK: Duration = Duration::from_secs(1);

/// What whoever started the service waits for.
pub(super) enum Begun {
    /// Not yet, and why.
    Not(String),
    /// The descriptor can be found.
    Up,
    /// It will not be.
    Failed(Failure),
}

/// Why a service cannot begin.
#[derive(Clone)]
pub(super) enum Failure {
    NetworkTooSmall(String),
    NoIntroduction(String),
    NotPublished(String),
    Stale,
}

impl Failure {
    pub(super) fn error(&self) -> ListenError {
        match self.clone() {
            Self::NetworkTooSmall(why) => ListenError::NetworkTooSmall(why),
            Self::NoIntroduction(why) => ListenError::NoIntroduction(why),
            Self::NotPublished(why) => ListenError::NotPublished(why),
            Self::Stale => ListenError::Stale,
        }
    }
}

/// See the head of this module.
pub(super) struct Service {
    origin: Arc<Origin>,
    key: ServiceKey,
    options: ServiceOptions,
    second: Arc<SharedSecond>,
    streams: mpsc::Sender<(Stream, u16)>,
    stats: SharedStats,
    begun: watch::Sender<Begun>,

    points: BTreeMap<u64, Point>,
    next_point: u64,
    failed: VecDeque<(RelayId, Instant)>,
    failures: u32,
    not_before: Instant,

    revisions: Revisions,
    publishing: JoinSet<(Period, Outcome)>,
    schedule: Schedule,
    /// The random value by which the descriptors are placed.
    placed_by: [u8; 32],

    seeds: Vec<[u8; 32]>,
    seed_born: Instant,
    trial: Trial,
    price: Price,
    queue: Queue<Invitation>,
    pace: Pace,
    answering: JoinSet<()>,
    clients: Arc<Clients>,
    /// Blinded keys and subcredentials of the periods around now.
    periods: Vec<(Period, BlindedKey, Subcredential)>,
}

impl Service {
    pub(super) fn new(
        origin: &Arc<Origin>,
        key: ServiceKey,
        options: ServiceOptions,
        second: Arc<SharedSecond>,
        streams: mpsc::Sender<(Stream, u16)>,
        stats: SharedStats,
        begun: watch::Sender<Begun>,
    ) -> Self {
        let now = clock::now();
        let clients = Clients::new(options.clients);
        Self {
            origin: Arc::clone(origin),
            key,
            options,
            second,
            streams,
            stats,
            begun,
            points: BTreeMap::new(),
            next_point: 0,
            failed: VecDeque::new(),
            failures: 0,
            not_before: now,
            revisions: Revisions::default(),
            publishing: JoinSet::new(),
            schedule: Schedule::default(),
            placed_by: origin.network().shared_random(),
            seeds: vec![*entropy::secret()],
            seed_born: now,
            trial: Trial::new(),
            price: Price::new(now),
            queue: Queue::new(WAITING),
            pace: Pace::new(MEETINGS, MEETINGS_BURST),
            answering: JoinSet::new(),
            clients,
            periods: Vec::new(),
        }
    }

    /// Runs until the node is shut down or the task is aborted.
    pub(super) async fn run(mut self) {
        let (told, mut tells) = mpsc::channel(64);
        loop {
            if self.origin.shard.is_stopping() {
                return;
            }
            self.look(clock::now(), &told);
            tokio::select! {
                told = tells.recv() => if let Some((number, told)) = told {
                    self.handle(clock::now(), number, told);
                },
                Some(ended) = self.publishing.join_next() => match ended {
                    Ok((period, outcome)) => self.published(clock::now(), period, &outcome),
                    Err(_) => self.schedule.lost(clock::now(), &mut entropy::rng()),
                },
                Some(_) = self.answering.join_next() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Whatever is due.
    fn look(&mut self, now: Instant, told: &mpsc::Sender<(u64, Told)>) {
        self.turn_periods(now);
        self.turn_seeds(now);
        self.turn_points(now, told);
        self.queue.expire(now);
        if now >= self.price.next_look() {
            let (shed, waiting) = (self.queue.take_shed(), self.queue.len());
            change(&self.stats, |stats| stats.shed += shed.all);
            if let Some(effort) = self.price.look(now, shed.enough, waiting) {
                change(&self.stats, |stats| stats.effort = effort);
                self.publish_soon(now);
            }
        }
        let wanted = self.options.intros;
        while self.points.len() < wanted && now >= self.not_before {
            self.failed.retain(|(_, since)| now.duration_since(*since) < REST);
            let mut used: Vec<RelayId> = self.points.values().map(|point| point.relay).collect();
            used.extend(self.failed.iter().map(|(relay, _)| *relay));
            let Some(relay) = point::choose(&self.origin.network(), &used) else {
                self.fail(Failure::NetworkTooSmall("no relay passes introductions on".into()));
                self.not_before = now + PAUSE_MAX;
                return;
            };
            // A network of few relays has fewer points than are wanted.
            if self.points.values().any(|point| point.relay == relay) {
                break;
            }
            self.begin_point(relay, point::end(now, &mut entropy::rng()), told);
        }
        let random = self.origin.network().shared_random();
        if self.placed_by != random {
            self.placed_by = random;
            self.publish_soon(now);
        }
        while let Some(period) = self.schedule.due(now, &mut entropy::rng()) {
            if !self.publish(now, period) {
                break;
            }
        }
        self.answer(now);
    }

    fn begin_point(&mut self, relay: RelayId, until: Instant, told: &mpsc::Sender<(u64, Told)>) {
        // The service chose the relay, so it counts among its own.
        let hops = own_hops(&self.origin.network()).min(self.options.hops);
        let number = self.next_point;
        self.next_point += 1;
        let place = Place { relay, hops, until, introductions: self.options.introductions };
        let point = Point::start(&self.origin, &self.second, place, number, told.clone());
        self.points.insert(number, point);
        change(&self.stats, |stats| stats.introduction_points_ever += 1);
    }

    fn turn_periods(&mut self, now: Instant) {
        let around = Period::around(clock::unix_seconds());
        if self.periods.iter().map(|(period, ..)| *period).eq(around.iter().copied()) {
            return;
        }
        self.schedule.turn(now, &around, &mut entropy::rng());
        self.periods = around
            .into_iter()
            .map(|period| {
                let secret = self.key.blinded(period);
                (period, secret.public(), secret.subcredential())
            })
            .collect();
    }

    fn turn_seeds(&mut self, now: Instant) {
        if now.duration_since(self.seed_born) < SEED_LIFE {
            return;
        }
        self.seed_born = now;
        self.seeds.insert(0, *entropy::secret());
        // Whoever has the descriptor before this one may still be at work.
        self.seeds.truncate(2);
        if self.price.effort() > 0 {
            self.publish_soon(now);
        }
    }

    /// Old points and full ones make room for others; one at a time, so that clients always find some.
    fn turn_points(&mut self, now: Instant, told: &mpsc::Sender<(u64, Told)>) {
        let worn = self.points.iter().find(|(_, point)| point.seen.is_full() || now >= point.until);
        let Some(point) = worn.map(|(number, _)| *number).and_then(|number| self.points.remove(&number)) else {
            return;
        };
        match point.successor(now) {
            Successor::Another => {}
            Successor::SameRelay => self.begin_point(point.relay, point.until, told),
            Successor::LeaveAlone => self.failed.push_back((point.relay, now)),
        }
        self.publish_soon(now);
    }

    fn handle(&mut self, now: Instant, number: u64, told: Told) {
        match told {
            Told::Up => {
                if let Some(point) = self.points.get_mut(&number) {
                    point.up = true;
                    self.failures = 0;
                    self.publish_soon(now);
                }
            }
            Told::Came(sealed) => self.introduced(now, number, &sealed),
            Told::Down(error) => {
                let Some(point) = self.points.remove(&number) else { return };
                tracing::debug!(%error, "an introduction point is gone");
                self.failed.push_back((point.relay, now));
                self.not_before = now + (PAUSE * 2u32.saturating_pow(self.failures.min(16))).min(PAUSE_MAX);
                self.failures = self.failures.saturating_add(1);
                if point.up {
                    self.publish_soon(now);
                }
                match &error {
                    AskError::Circuit(CircuitError::NoPath(why)) => self.fail(Failure::NetworkTooSmall(why.clone())),
                    error if self.failures >= PATIENCE => self.fail(Failure::NoIntroduction(error.to_string())),
                    error => self.not_yet(&error.to_string()),
                }
            }
        }
        let up = self.points.values().filter(|point| point.up).count();
        change(&self.stats, |stats| stats.introduction_points = up);
    }

    fn not_yet(&self, why: &str) {
        self.begun.send_if_modified(|begun| match begun {
            Begun::Not(old) => {
                why.clone_into(old);
                true
            }
            _ => false,
        });
    }

    /// Whoever waits for the start is told that it failed; a service that was up once goes on trying.
    fn fail(&self, failure: Failure) {
        self.begun.send_if_modified(|begun| match begun {
            Begun::Not(_) => {
                *begun = Begun::Failed(failure);
                true
            }
            _ => false,
        });
    }

    fn publish_soon(&mut self, now: Instant) {
        self.schedule.soon(now, &mut entropy::rng());
    }

    /// Whether there is something to publish.
    fn publish(&mut self, now: Instant, period: Period) -> bool {
        let intros: Vec<_> = self.points.values().filter(|point| point.up).map(Point::describe).collect();
        // The first descriptor waits a moment for all points, and one without any helps nobody.
        let all = self.points.values().all(|point| point.up);
        let first = !self.schedule.was_published(period);
        if intros.is_empty() || !all && first && intros.len() < self.options.intros.min(2) {
            self.schedule.put_off(period, now + LOOK);
            return false;
        }
        let puzzle = Puzzle { effort: self.price.effort(), seed: self.seeds[0] };
        let contents = Contents { not_after: 0, puzzle, intros };
        let publishing = publish(&self.origin, &self.second, &self.key, &mut self.revisions, period, contents);
        self.publishing.spawn(async move { (period, publishing.await) });
        self.schedule.began(now, period);
        true
    }

    fn published(&mut self, now: Instant, period: Period, outcome: &Outcome) {
        outcome.note(period, &mut self.revisions);
        let whole = outcome.missed == 0 && outcome.copies > 0;
        if !whole {
            tracing::debug!(missed = outcome.missed, reason = outcome.reason, "not all relays took the descriptor");
        }
        self.schedule.ended(now, period, whole, &mut entropy::rng());
        change(&self.stats, |stats| stats.publications += 1);
        if !self.schedule.is_present(period) {
            return;
        }
        change(&self.stats, |stats| stats.copies = outcome.copies);
        if outcome.copies > 0 {
            self.begun.send_if_modified(|begun| match begun {
                Begun::Not(_) => {
                    *begun = Begun::Up;
                    true
                }
                _ => false,
            });
        } else if outcome.no_path {
            self.fail(Failure::NetworkTooSmall(outcome.reason.clone()));
        } else if outcome.stale {
            self.fail(Failure::Stale);
        } else {
            self.fail(Failure::NotPublished(outcome.reason.clone()));
        }
    }

    /// An introduction came by way of a point: open, look at what it claims, compare with those seen, check the work, queue.
    fn introduced(&mut self, now: Instant, number: u64, sealed: &Sealed) {
        change(&self.stats, |stats| stats.introductions += 1);
        if !self.accept(now, number, sealed) {
            change(&self.stats, |stats| stats.refused += 1);
        }
    }

    fn accept(&mut self, now: Instant, number: u64, sealed: &Sealed) -> bool {
        let subcredentials: Vec<Subcredential> =
            self.periods.iter().map(|(.., subcredential)| subcredential.clone()).collect();
        let Some(point) = self.points.get(&number) else { return false };
        let Ok((introduction, period)) = introduce::open(&sealed[..], &point.name, &point.key, &subcredentials) else {
            return false;
        };
        let offer = self.price.judge(introduction.solution.effort);
        if offer == Offer::Refused {
            return false;
        }
        // A client that tries a second point comes with the same cookie; so does a relay that repeats.
        if self.points.values().any(|point| point.seen.contains(&introduction.cookie)) {
            return false;
        }
        let (_, blinded, _) = self.periods[period];
        if !self.trial.holds(&self.seeds, &blinded, &introduction.cookie, &introduction.solution) {
            return false;
        }
        // Only now: what claims work that was not done does not fill the filter.
        if let Some(point) = self.points.get_mut(&number) {
            point.seen.insert(&introduction.cookie);
        }
        let Introduction { relay, cookie, solution, meeting } = introduction;
        self.queue.push(now, solution.effort, offer == Offer::Enough, Invitation { relay, cookie, meeting });
        true
    }

    /// Goes to meet as many as may be met at once.
    fn answer(&mut self, now: Instant) {
        // Clients that were met: their tasks are among those that answer, and do not count against the next ones.
        while self.answering.len() < self.options.answers + self.clients.met() {
            let Some(effort) = self.queue.first(now) else { return };
            if !self.clients.has_room(now, effort) || !self.pace.take(now, 1) {
                return;
            }
            let Some(place) = self.clients.enter(now, effort) else { return };
            let Some((effort, invitation)) = self.queue.pop(now) else { return };
            self.price.answered(effort);
            self.go(invitation, place);
        }
    }

    fn go(&mut self, invitation: Invitation, place: ClientPlace) {
        let (origin, second) = (Arc::clone(&self.origin), Arc::clone(&self.second));
        let (streams, stats, hops) = (self.streams.clone(), Arc::clone(&self.stats), self.options.hops);
        let forge_key = self.options.forge_key;
        let ports: Option<Arc<[u16]>> = self.options.ports.as_deref().map(Arc::from);
        self.answering.spawn(async move {
            let Some(connection) = answer::go(&origin, &second, forge_key, invitation, hops).await else { return };
            place.met();
            change(&stats, |stats| {
                stats.met += 1;
                stats.clients += 1;
            });
            let _gone = Gone(Arc::clone(&stats));
            answer::serve(connection, ports, streams, place).await;
        });
    }
}

/// A client that was met is gone.
struct Gone(SharedStats);

impl Drop for Gone {
    fn drop(&mut self) {
        change(&self.0, |stats| stats.clients = stats.clients.saturating_sub(1));
    }
}
