//! The origin: circuits that this node builds for itself.
//!
//! `build` turns a path into a set-up packet, sends it and checks the one reply that comes back; `circuit` sends and
//! receives messages, probes and meeting requests; [`health`] keeps the answers of hops, [`judge`] says what to think of
//! them together with end-to-end acknowledgements.

mod build;
mod circuit;
pub mod health;
pub mod judge;

use std::time::{Duration, Instant};

use zmesh_sphinx::{OriginCircuit, PACKET_LEN, PendingSetup};

use self::health::Health;
use crate::link::LinkId;
use crate::node::core::{Core, Timer};
use crate::node::{BuildFailure, CircuitId, CloseReason, Event, Meet, OriginConfig};
use crate::relay::in_order::InOrder;
use crate::relay::kind::reason;
use crate::relay::message::Assembly;
use crate::relay::neighbour::End;
use crate::relay::slab::Slab;

/// Circuits of this node.
pub(crate) struct Origin {
    config: OriginConfig,
    circuits: Slab<Own>,
}

/// One circuit of this node.
struct Own {
    link: LinkId,
    /// Its place on the link, from the moment that the set-up packet goes out.
    end: Option<End>,
    stage: Stage,
    hops: usize,
    started: Instant,
    assembly: Assembly,
    /// Puts messages in order, if the driver wants it.
    order: Option<Box<InOrder>>,
    next_message: u16,
    health: Health,
    meeting: Option<Meeting>,
    /// When something was last sent.
    last_sent: Instant,
    /// When something was sent to which nothing has come back yet.
    unheard_since: Option<Instant>,
    /// How long a silence it bears.
    patience: Duration,
    /// Its driver has another circuit ready and wants to know at once when this one may be dead.
    watched: Option<Watched>,
    /// The driver was told, and nothing has come since.
    suspected: bool,
    /// What the timer is set to.
    armed: Instant,
}

/// A circuit that is watched closely.
#[derive(Clone, Copy)]
struct Watched {
    /// Its usual round trip.
    rtt: Duration,
    /// Silence counts from here on.
    since: Instant,
}

/// How far a circuit is.
enum Stage {
    /// The set-up packet is being made.
    Creating,
    /// The set-up packet waits for the link.
    Connecting { packet: Box<[u8; PACKET_LEN]>, pending: Box<PendingSetup> },
    /// The set-up packet is on its way.
    Asked { pending: Box<PendingSetup> },
    /// The reply is being checked.
    Completing,
    /// Ready.
    Open(Box<OriginCircuit>),
}

/// A request to the meeting relay.
struct Meeting {
    role: Meet,
    state: MeetState,
    began: Instant,
    next_try: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum MeetState {
    Asking,
    Waiting,
    Joined,
}

impl Origin {
    pub(crate) const fn new(config: OriginConfig) -> Self {
        Self { config, circuits: Slab::new() }
    }

    /// What is known about a circuit's hops.
    pub(crate) fn health(&self, circuit: CircuitId) -> Option<&Health> {
        Some(&self.circuits.get(circuit.0)?.health)
    }

    pub(crate) fn gauges(&self, metrics: &mut crate::node::Metrics) {
        metrics.own.open = self.circuits.len() as u64;
    }

    /// Ends a circuit on request of the driver.
    pub(crate) fn close(&mut self, core: &mut Core, now: Instant, circuit: CircuitId) {
        self.remove(core, now, circuit.0, Some(reason::NONE));
    }

    /// The relay that built on, or a later one, ended the circuit.
    pub(crate) fn handle_destroy(&mut self, core: &mut Core, now: Instant, key: u64, code: u8) {
        self.end(core, now, key, build_failure(code), close_reason(code), None);
    }

    /// A link is gone: so are all circuits over it.
    pub(crate) fn link_down(&mut self, core: &mut Core, now: Instant, link: LinkId) {
        let keys: Vec<u64> = self.circuits.iter().filter(|(_, own)| own.link == link).map(|(key, _)| key).collect();
        for key in keys {
            self.end(core, now, key, BuildFailure::GuardUnreachable, CloseReason::GuardLost, None);
        }
    }

    /// A circuit's timer: time limits of building, probes, meeting requests, the layers' old keys.
    pub(crate) fn handle_timer(&mut self, core: &mut Core, now: Instant, key: u64) {
        let Some(own) = self.circuits.get_mut(key) else {
            return;
        };
        let Stage::Open(crypto) = &mut own.stage else {
            let connecting = matches!(own.stage, Stage::Connecting { .. });
            let (limit, failure) = if connecting && !core.neighbours.is_up(own.link) {
                (self.config.connect_timeout, BuildFailure::GuardUnreachable)
            } else {
                (self.config.build_timeout, BuildFailure::Timeout)
            };
            let at = own.started + limit;
            if now < at {
                return self.arm(core, key, at);
            }
            return self.end(core, now, key, failure, CloseReason::Other, Some(reason::NONE));
        };
        crypto.expire(now);
        core.age(now, &mut own.assembly);
        let circuit = CircuitId(key);
        let event = |message| Event::Message { circuit, message };
        let held = own.order.as_mut().and_then(|order| core.tell_held(now, order, event));
        core.metrics.own.pings_lost += own.health.expire(now, self.config.ping_timeout);
        if own.unheard_since.is_some_and(|since| now >= since + own.patience) {
            return self.end(core, now, key, BuildFailure::Timeout, CloseReason::Unresponsive, Some(reason::NONE));
        }
        let tick = now + KEY_TICK;
        self.arm(core, key, held.map_or(tick, |due| due.min(tick)));
        self.keep_alive(core, now, key);
        self.meet_again(core, now, key);
        self.watch_silence(core, now, key);
        let expiry = |own: &Own| own.health.next_expiry(self.config.ping_timeout);
        if let Some(at) = self.circuits.get(key).and_then(expiry) {
            self.arm_earlier(core, key, at);
        }
    }

    /// Watches a circuit closely from now on, or no longer.
    pub(crate) fn watch(&mut self, core: &mut Core, now: Instant, circuit: CircuitId, rtt: Option<Duration>) {
        let Some(own) = self.circuits.get_mut(circuit.0) else {
            return;
        };
        own.watched = rtt.map(|rtt| Watched { rtt, since: now });
        own.suspected = false;
        if own.unheard_since.is_some() {
            self.watch_silence(core, now, circuit.0);
        }
    }

    /// Probes the far end while nothing comes back.
    fn watch_silence(&mut self, core: &mut Core, now: Instant, key: u64) {
        let Some(own) = self.circuits.get(key) else {
            return;
        };
        let Some(since) = own.unheard_since else {
            return;
        };
        let last_hop = own.hops - 1;
        let patience = own.patience;
        let interval = if own.watched.is_some() { SUSPECT_PROBES } else { self.config.probe_interval };
        let first = self.config.first_probe(since, own.watched);
        if now < first {
            return self.arm_earlier(core, key, first);
        }
        if let (Some(watched), false) = (own.watched, own.suspected) {
            let at = since.max(watched.since) + self.config.suspect_after + watched.rtt * 2;
            if now < at {
                self.arm_earlier(core, key, at);
            } else {
                if let Some(own) = self.circuits.get_mut(key) {
                    own.suspected = true;
                }
                core.tell(Event::CircuitSuspect { circuit: CircuitId(key) });
            }
        }
        // No room for a probe means that enough are under way.
        let _ = self.probe(core, now, key, last_hop, true);
        let next = now + interval;
        self.arm_earlier(core, key, next.min(since + patience));
    }

    /// A probe on a circuit that nobody uses, so that relays keep it.
    fn keep_alive(&mut self, core: &mut Core, now: Instant, key: u64) {
        let Some(own) = self.circuits.get(key) else {
            return;
        };
        let (due, last_hop) = (own.last_sent + self.config.keepalive, own.hops - 1);
        if now < due {
            return self.arm_earlier(core, key, due);
        }
        let _ = self.probe(core, now, key, last_hop, true);
    }

    /// Sets a circuit's timer.
    fn arm(&mut self, core: &mut Core, key: u64, at: Instant) {
        if let Some(own) = self.circuits.get_mut(key) {
            own.armed = at;
            core.timers.set(Timer::Own(key), at);
        }
    }

    /// Sets a circuit's timer unless it fires before.
    fn arm_earlier(&mut self, core: &mut Core, key: u64, at: Instant) {
        if self.circuits.get(key).is_some_and(|own| at < own.armed) {
            self.arm(core, key, at);
        }
    }

    /// Ends a circuit and tells the driver: in the words of a failed build, or of a lost circuit.
    fn end(
        &mut self,
        core: &mut Core,
        now: Instant,
        key: u64,
        failure: BuildFailure,
        close: CloseReason,
        destroy: Option<u8>,
    ) {
        let Some(own) = self.remove(core, now, key, destroy) else {
            return;
        };
        let circuit = CircuitId(key);
        if matches!(own.stage, Stage::Open(_)) {
            core.metrics.own.lost += 1;
            core.tell(Event::CircuitClosed { circuit, reason: close });
        } else {
            core.metrics.own.failed += 1;
            core.tell(Event::CircuitFailed { circuit, reason: failure });
        }
    }

    fn remove(&mut self, core: &mut Core, now: Instant, key: u64, destroy: Option<u8>) -> Option<Own> {
        let own = self.circuits.remove(key)?;
        core.timers.cancel(Timer::Own(key));
        core.forget(&own.assembly, own.order.as_deref());
        if let Some(end) = own.end {
            match destroy {
                Some(code) => core.destroy(now, end, code),
                None => core.detach(end),
            }
        }
        Some(own)
    }
}

/// Old keys of the layers are erased at least this often.
const KEY_TICK: Duration = Duration::from_secs(10);

/// The time between two probes of a circuit that is watched closely and silent.
const SUSPECT_PROBES: Duration = Duration::from_millis(25);

impl OriginConfig {
    /// How long a silence a circuit bears of which building `took` so long, a round trip and what its relays had to do. Answers to
    /// probes that are under way are still waited for; but a path that is slow on purpose buys no more than the time again.
    fn patience(&self, took: Duration) -> Duration {
        self.dead_after + took.min(self.dead_after)
    }

    /// When a circuit that is silent since then gets its first probe.
    fn first_probe(&self, since: Instant, watched: Option<Watched>) -> Instant {
        let late = since + self.probe_after;
        watched.map_or(late, |watched| late.min(since.max(watched.since) + self.suspect_after / 2 + watched.rtt))
    }
}

fn build_failure(code: u8) -> BuildFailure {
    match code {
        reason::RESOURCES | reason::BUSY => BuildFailure::Busy,
        reason::UNREACHABLE | reason::LINK_DOWN => BuildFailure::Unreachable,
        reason::TIMEOUT => BuildFailure::Timeout,
        _ => BuildFailure::Refused,
    }
}

fn close_reason(code: u8) -> CloseReason {
    match code {
        reason::LINK_DOWN | reason::UNREACHABLE | reason::UNKNOWN => CloseReason::PathLost,
        reason::REMOTE => CloseReason::Remote,
        reason::RESOURCES | reason::BUSY | reason::IDLE => CloseReason::Resources,
        reason::DAMAGED => CloseReason::Damaged,
        reason::EXHAUSTED => CloseReason::Exhausted,
        _ => CloseReason::Other,
    }
}

#[cfg(test)]
impl Origin {
    /// The set-up packet that waits for its link, for tests of replay.
    pub(crate) fn setup_packet(&self, circuit: CircuitId) -> Option<[u8; PACKET_LEN]> {
        match &self.circuits.get(circuit.0)?.stage {
            Stage::Connecting { packet, .. } => Some(**packet),
            _ => None,
        }
    }

    /// The link of any circuit.
    pub(crate) fn any_link(&self) -> Option<LinkId> {
        self.circuits.iter().map(|(_, own)| own.link).next()
    }
}
