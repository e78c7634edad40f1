//! The deterministic simulator: hosts, links and clocks in virtual time, all from one seed.
//!
//! A [`Sim`] owns one event heap. Every [`Host`] is one core: datagrams wait in its bounded receive buffer until the core is free, a turn
//! handles at most 64 of them and takes the time that [`cost`] charges, and public-key jobs queue behind the same core. What a
//! turn sends leaves when the turn ends and travels through the pipes of `zmesh-netem`: those of the sender's access, of the path between
//! the two hosts, and of the receiver's access ([`Sim::set_access`], [`Sim::set_path`]).
//! No wall clock and no ambient randomness take part, so the same seed gives the same [`Trace`].

pub mod app;
pub mod attack;
pub mod cost;
pub mod host;
pub mod node;
mod trace;
pub mod wire;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use zmesh_netem::{Access, Arrivals, Counters, Timeline};

pub use host::{Host, Outbox, Received};
pub use trace::{Observed, Trace};
use wire::{Stretch, Wires};

/// Datagrams that a host handles in one turn, as a relay's shard does.
pub const BATCH: usize = 64;

/// A host of the simulation, in the order in which they were added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub usize);

/// What the engine counted at one host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostCounters {
    /// Datagrams taken from the receive buffer.
    pub received: u64,
    /// Datagrams dropped because the receive buffer was full.
    pub buffer_drops: u64,
    /// Datagrams sent.
    pub sent: u64,
    /// The most bytes that ever stood in the receive buffer.
    pub buffer_peak: usize,
    /// Time for which the core was busy.
    pub busy: Duration,
}

struct Slot {
    host: Box<dyn Host>,
    address: SocketAddr,
    buffer: VecDeque<Received>,
    buffered: usize,
    buffer_limit: usize,
    state: Core,
    wake_at: Option<u64>,
    /// Set after a turn: a waiting job goes before the next turn, so that neither starves the other.
    job_is_next: bool,
    alive: bool,
    counters: HostCounters,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Core {
    Idle,
    Turn,
    Job,
}

type Observer = Box<dyn FnMut(&Observed<'_>)>;

enum Happening {
    /// A datagram is at the end of one stretch of its way, and enters the next.
    Passes(Stretch, HostId, HostId, Received),
    Arrival(HostId, Received),
    CoreFree(HostId),
    Wake(HostId),
}

struct Event {
    at: u64,
    order: u64,
    what: Happening,
}

/// The simulation. See the [module](self).
pub struct Sim {
    epoch: Instant,
    now: u64,
    order: u64,
    heap: BinaryHeap<Reverse<Event>>,
    slots: Vec<Slot>,
    by_address: BTreeMap<SocketAddr, HostId>,
    wires: Wires,
    trace: Trace,
    observers: Vec<Observer>,
}

impl Sim {
    /// An empty world in which `path` leads from everywhere to everywhere until [`Sim::set_path`] says otherwise.
    #[must_use]
    pub fn new(seed: u64, path: impl Into<Timeline>) -> Sim {
        Sim {
            // Opaque: only differences from it ever matter.
            epoch: Instant::now(),
            now: 0,
            order: 0,
            heap: BinaryHeap::new(),
            slots: Vec::new(),
            by_address: BTreeMap::new(),
            wires: Wires::new(path.into(), seed),
            trace: Trace::default(),
            observers: Vec::new(),
        }
    }

    /// Adds a host at `address` whose receive buffer holds `buffer_limit` bytes.
    pub fn add(&mut self, address: SocketAddr, buffer_limit: usize, host: impl Host) -> HostId {
        let id = HostId(self.slots.len());
        self.slots.push(Slot {
            host: Box::new(host),
            address,
            buffer: VecDeque::new(),
            buffered: 0,
            buffer_limit,
            state: Core::Idle,
            wake_at: None,
            job_is_next: false,
            alive: true,
            counters: HostCounters::default(),
        });
        self.by_address.insert(address, id);
        self.push(self.now, Happening::Wake(id));
        id
    }

    /// Sets the path from one host to another, in this direction only: a [`wire::Path`], conditions, or a timeline.
    pub fn set_path(&mut self, from: HostId, to: HostId, path: impl Into<Timeline>) {
        self.wires.set(from, to, path.into());
    }

    /// Sets the path between two hosts in both directions; each has queues and chances of its own.
    pub fn set_paths(&mut self, one: HostId, other: HostId, path: impl Into<Timeline>) {
        let path = path.into();
        self.set_path(one, other, path.clone());
        self.set_path(other, one, path);
    }

    /// Sets what every datagram from a host, and every datagram to it, passes beside the path between the two hosts: one queue, one
    /// rate and one loss process each way, whoever is at the other end.
    pub fn set_access(&mut self, host: HostId, access: &Access) {
        self.wires.set_access(host, access.up.clone(), access.down.clone());
    }

    /// What the access of a host did to datagrams that it sent, and to datagrams for it.
    #[must_use]
    pub fn access_counters(&self, host: HostId) -> (Counters, Counters) {
        self.wires.access(host)
    }

    /// What the path from one host to another did to datagrams.
    #[must_use]
    pub fn path_counters(&self, from: HostId, to: HostId) -> Counters {
        self.wires.between(from, to)
    }

    /// Shows every datagram to `observer` as it leaves its sender.
    pub fn observe(&mut self, observer: impl FnMut(&Observed<'_>) + 'static) {
        self.observers.push(Box::new(observer));
    }

    /// Takes a host from the network at once: it neither receives nor sends from now on.
    pub fn kill(&mut self, id: HostId) {
        let slot = &mut self.slots[id.0];
        slot.alive = false;
        slot.buffer.clear();
        slot.buffered = 0;
    }

    /// Gives a host another address, as a phone gets one that leaves its Wi-Fi: what is under way to the old one is lost, and the
    /// host itself is not told.
    pub fn readdress(&mut self, id: HostId, address: SocketAddr) {
        let slot = &mut self.slots[id.0];
        self.by_address.remove(&slot.address);
        slot.address = address;
        self.by_address.insert(address, id);
    }

    /// Virtual time as an `Instant`, as the machines see it.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.epoch + self.elapsed()
    }

    /// Virtual time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.now)
    }

    /// What happened so far, condensed.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// What the engine counted at a host.
    #[must_use]
    pub fn counters(&self, id: HostId) -> HostCounters {
        self.slots[id.0].counters
    }

    /// Datagrams lost on the way, by chance or by a full queue.
    #[must_use]
    pub fn wire_drops(&self) -> u64 {
        self.wires.drops()
    }

    /// The host itself, to ask or to command; a command takes effect when [`Sim::poke`] gives the host a turn.
    ///
    /// # Panics
    /// When the host is of another type.
    pub fn host<H: Host>(&mut self, id: HostId) -> &mut H {
        let host: &mut dyn std::any::Any = self.slots[id.0].host.as_mut();
        host.downcast_mut().expect("the host was added as this type")
    }

    /// Gives a host a turn now, whatever its timers say.
    pub fn poke(&mut self, id: HostId) {
        self.push(self.now, Happening::Wake(id));
    }

    /// Runs until nothing is left to happen before `until` (virtual time since the start).
    pub fn run_until(&mut self, until: Duration) {
        self.run_while(until, |_| true);
    }

    /// Runs until `until`, or until `go_on` says no; it is asked after every event. True when `go_on` ended it.
    pub fn run_while(&mut self, until: Duration, mut go_on: impl FnMut(&mut Sim) -> bool) -> bool {
        let until = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
        while let Some(Reverse(next)) = self.heap.peek() {
            if next.at > until {
                break;
            }
            let Some(Reverse(event)) = self.heap.pop() else {
                break;
            };
            self.now = self.now.max(event.at);
            self.happen(event.what);
            if !go_on(self) {
                return true;
            }
        }
        self.now = self.now.max(until);
        false
    }

    fn push(&mut self, at: u64, what: Happening) {
        self.order += 1;
        self.heap.push(Reverse(Event { at, order: self.order, what }));
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Passes(stretch, from, to, datagram) => {
                let arrivals = self.wires.carry(stretch, from, to, self.now, datagram.data.len());
                self.forward(stretch, from, to, arrivals, datagram);
            }
            Happening::Arrival(id, datagram) => {
                let slot = &mut self.slots[id.0];
                if !slot.alive {
                    return;
                }
                let length = datagram.data.len() + wire::BUFFER_OVERHEAD;
                if slot.buffered + length > slot.buffer_limit {
                    slot.counters.buffer_drops += 1;
                    return;
                }
                slot.buffered += length;
                slot.counters.buffer_peak = slot.counters.buffer_peak.max(slot.buffered);
                slot.buffer.push_back(datagram);
                self.work(id);
            }
            Happening::Wake(id) => {
                let slot = &mut self.slots[id.0];
                if slot.wake_at == Some(self.now) {
                    slot.wake_at = None;
                }
                self.work(id);
            }
            Happening::CoreFree(id) => {
                let now = self.now();
                let slot = &mut self.slots[id.0];
                let was = std::mem::replace(&mut slot.state, Core::Idle);
                if was == Core::Job && slot.alive {
                    let mut out = Outbox::default();
                    let cost = slot.host.finish_job(now, &mut out);
                    self.occupy(id, Core::Turn, cost, out);
                } else {
                    self.work(id);
                }
            }
        }
    }

    /// Starts whatever the core of `id` has to do, if it is free.
    fn work(&mut self, id: HostId) {
        let now = self.now();
        let slot = &mut self.slots[id.0];
        if !slot.alive || slot.state != Core::Idle {
            return;
        }
        let due = slot.host.next_timeout().is_some_and(|at| at <= now);
        let turn = !slot.buffer.is_empty() || due || slot.host.wants_turn();
        if (slot.job_is_next || !turn)
            && let Some(cost) = slot.host.start_job()
        {
            slot.job_is_next = false;
            self.occupy(id, Core::Job, cost, Outbox::default());
            return;
        }
        if turn {
            slot.job_is_next = true;
            let count = slot.buffer.len().min(BATCH);
            let mut batch: Vec<Received> = slot.buffer.drain(..count).collect();
            for datagram in &batch {
                slot.buffered -= datagram.data.len() + wire::BUFFER_OVERHEAD;
            }
            slot.counters.received += count as u64;
            let mut out = Outbox::default();
            let cost = slot.host.turn(now, &mut batch, &mut out);
            self.occupy(id, Core::Turn, cost, out);
            return;
        }
        if let Some(at) = slot.host.next_timeout() {
            let at = nanos(at.saturating_duration_since(self.epoch)).max(self.now);
            let slot = &mut self.slots[id.0];
            if slot.wake_at.is_none_or(|earlier| at < earlier) {
                slot.wake_at = Some(at);
                self.push(at, Happening::Wake(id));
            }
        }
    }

    /// Keeps the core busy for `cost`; what is in `out` leaves at the end of it.
    fn occupy(&mut self, id: HostId, state: Core, cost: Duration, out: Outbox) {
        // A turn that took no time could follow itself for ever.
        let end = self.now + nanos(cost).max(100);
        let slot = &mut self.slots[id.0];
        slot.state = state;
        slot.counters.busy += cost;
        slot.counters.sent += out.datagrams.len() as u64;
        let address = slot.address;
        self.push(end, Happening::CoreFree(id));
        for host::Leaving { from, to, data } in out.datagrams {
            let Some(&target) = self.by_address.get(&to) else {
                continue;
            };
            let datagram = Received { from: from.unwrap_or(address), data };
            let first = self.wires.first(id);
            let arrivals = self.wires.carry(first, id, target, end, datagram.data.len());
            let seen = Observed {
                at: Duration::from_nanos(end),
                from: id,
                to: target,
                data: &datagram.data,
                lost: arrivals.is_lost(),
            };
            self.trace.note(&seen);
            for observer in &mut self.observers {
                observer(&seen);
            }
            self.forward(first, id, target, arrivals, datagram);
        }
    }

    /// Lets a datagram go on after a stretch, as often as it came through it.
    fn forward(&mut self, stretch: Stretch, from: HostId, to: HostId, arrivals: Arrivals, datagram: Received) {
        let next = self.wires.after(stretch, to);
        let mut ats = arrivals.map(nanos);
        let Some(first) = ats.next() else {
            return;
        };
        let copies = ats.map(|at| (at, datagram.clone())).collect::<Vec<_>>();
        for (at, datagram) in copies.into_iter().chain([(first, datagram)]) {
            let what = match next {
                Some(next) => Happening::Passes(next, from, to, datagram),
                None => Happening::Arrival(to, datagram),
            };
            self.push(at, what);
        }
    }
}

impl std::fmt::Debug for Sim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sim")
            .field("elapsed", &self.elapsed())
            .field("hosts", &self.slots.len())
            .field("events", &self.heap.len())
            .finish_non_exhaustive()
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Event) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Event) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    fn cmp(&self, other: &Event) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
