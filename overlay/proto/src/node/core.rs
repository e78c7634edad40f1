//! What the relay and the origin inside one node share: links, queues, the index of circuits, timers, events.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use zmesh_sphinx::{RelayId, SLOT_SECONDS};

use super::{Event, Metrics};
use crate::directory::Network;
use crate::keys::relay_id;
use crate::link::{self, Control, LinkId, LinkPeer, LinkPeerInfo, Links};
use crate::nat::ExchangeWork;
use crate::random::Generator;
use crate::relay::in_order::InOrder;
use crate::relay::message::{Assembled, Assembly};
use crate::relay::neighbour::{Class, End, KeyedHash, Neighbours};
use crate::timer::Timers;
use crate::wire::cell::Cell;

/// Undrained events of which a driver may fall behind; further messages are dropped, other events are not.
const EVENTS_MAX: usize = 8192;
/// Links asked for in one turn that others may help to open.
const OPENING_MAX: usize = 256;
/// Unfinished messages of all circuits together, about 12 MB, but for the least that each circuit may have.
const UNFINISHED_MAX: usize = 8192;
/// A circuit may have one in so many of the places that are free: the fuller it is, the less for those who have much, so that
/// few circuits cannot leave the others without any (dynamic thresholds, Choudhury and Hahne 1998). Beyond that a circuit's
/// new one costs it its oldest.
const UNFINISHED_SHARE: usize = 64;
/// The least that each circuit may have.
const UNFINISHED_LEAST: usize = 2;
/// Messages of all circuits together that wait for those before them, about 12 MB; beyond that nothing is held back.
const HELD_MAX: usize = 8192;

/// Whose circuit a number on a link names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A circuit of somebody else through this relay; cells on this link come from the origin's side.
    FromOrigin(u64),
    /// A circuit of somebody else through this relay; cells on this link come from the far side.
    FromFar(u64),
    /// A circuit of this node.
    Own(u64),
}

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// A circuit through this relay.
    Hop(u64),
    /// A circuit of this node.
    Own(u64),
    /// A descriptor that this node fetches.
    Fetch(u64),
    /// Memory of quiet queues, meetings that nobody came to.
    Sweep,
}

pub(crate) struct Core {
    pub(crate) links: Links,
    pub(crate) neighbours: Neighbours<Owner>,
    pub(crate) timers: Timers<Timer>,
    pub(crate) metrics: Metrics,
    pub(crate) network: Option<Arc<Network>>,
    /// Links that were not up when they were asked for, and to whom.
    pub(crate) opening: Vec<(LinkId, RelayId)>,
    /// Public-key work of exchanges that waits to go out.
    pub(crate) exchanges: VecDeque<ExchangeWork>,
    circuits: HashMap<(LinkId, u32), Owner, KeyedHash>,
    events: VecDeque<Event>,
    rng: Generator,
    /// Unfinished messages of all circuits.
    unfinished: usize,
    /// Messages of all circuits that wait for those before them.
    held: usize,
    clock: (Instant, u64),
}

impl Core {
    pub(crate) fn new(
        links: Links,
        neighbours: Neighbours<Owner>,
        mut rng: Generator,
        now: Instant,
        unix_nanos: u64,
    ) -> Self {
        Self {
            links,
            neighbours,
            timers: Timers::new(),
            metrics: Metrics::default(),
            network: None,
            opening: Vec::new(),
            exchanges: VecDeque::new(),
            circuits: HashMap::with_hasher(KeyedHash::new(&mut rng)),
            events: VecDeque::new(),
            rng,
            unfinished: 0,
            held: 0,
            clock: (now, unix_nanos),
        }
    }

    pub(crate) fn set_clock(&mut self, now: Instant, unix_nanos: u64) {
        self.clock = (now, unix_nanos);
        self.links.set_clock(now, unix_nanos);
    }

    /// Wall time in seconds since 1970.
    pub(crate) fn unix(&self, now: Instant) -> u64 {
        let (at, nanos) = self.clock;
        (Duration::from_nanos(nanos) + now.saturating_duration_since(at)).as_secs()
    }

    /// The slot of set-up packets that is current.
    pub(crate) fn slot(&self, now: Instant) -> u32 {
        u32::try_from(self.unix(now) / SLOT_SECONDS).unwrap_or(u32::MAX)
    }

    /// The root of the random numbers of this node. For what is no secret, or is kept anyway: other things come from a fork.
    pub(crate) const fn rng(&mut self) -> &mut Generator {
        &mut self.rng
    }

    /// A generator of its own for a job. What it gave cannot be found from the state of this node afterwards.
    pub(crate) fn fork_rng(&mut self) -> Generator {
        self.rng.fork()
    }

    /// Opens a link to a relay of the network document, or finds the one that is there.
    pub(crate) fn connect(&mut self, now: Instant, to: &RelayId) -> Option<Result<LinkId, link::Error>> {
        let network = self.network.as_ref()?;
        let peer = network.relay(to)?.link_peer();
        let result = self.connect_to(now, &peer);
        if let Ok(link) = result
            && !self.links.is_up(link)
            && self.opening.len() < OPENING_MAX
        {
            self.opening.push((link, *to));
        }
        Some(result)
    }

    /// Opens a link to a relay that need not be in the network document, or finds the one that is there.
    pub(crate) fn connect_to(&mut self, now: Instant, peer: &LinkPeer) -> Result<LinkId, link::Error> {
        let link = self.links.connect(now, peer)?;
        self.neighbours.add(link, &mut self.rng);
        Ok(link)
    }

    /// A link carries cells; returns whose set-ups have waited for it.
    pub(crate) fn link_up(&mut self, link: LinkId, info: LinkPeerInfo) -> Vec<Owner> {
        let class = class(self.network.as_deref(), &info);
        self.links.set_relay(link, class == Class::Known);
        self.neighbours.up(link, info, class, &mut self.rng)
    }

    /// Another network document counts from now on.
    pub(crate) fn set_network(&mut self, network: Arc<Network>) {
        let links = &mut self.links;
        self.neighbours.classify(|link, info| {
            let class = class(Some(&network), info);
            links.set_relay(link, class == Class::Known);
            class
        });
        self.network = Some(network);
    }

    /// Whose circuit this is.
    pub(crate) fn owner(&self, link: LinkId, circuit: u32) -> Option<Owner> {
        self.circuits.get(&(link, circuit)).copied()
    }

    /// Enters a circuit whose number the peer chose, and which has a place in the link's queue.
    pub(crate) fn enter(&mut self, end: End, owner: Owner) {
        self.links.set_in_use(end.link, true);
        self.circuits.insert((end.link, end.circuit), owner);
        self.neighbours.set_owner(end, owner);
    }

    /// Turns down a circuit that the peer asked for. Only some refusals of a link are answered, so that a flood of
    /// set-ups does not take the node's rate from cells; the peer's own time limit ends its wait for the others.
    pub(crate) fn refuse(&mut self, now: Instant, link: LinkId, circuit: u32, reason: u8) {
        if self.neighbours.may_turn_down(now, link) {
            let _ = self.links.send_control(now, link, Control::Destroy { circuit, reason });
        }
    }

    /// Enters a circuit under a number that this node chooses.
    pub(crate) fn allocate(&mut self, link: LinkId, owner: Owner) -> Option<End> {
        loop {
            let circuit = self.neighbours.next_number(link)?;
            if !self.circuits.contains_key(&(link, circuit)) {
                let end = self.neighbours.attach(link, circuit)?;
                self.enter(end, owner);
                return Some(end);
            }
        }
    }

    /// Removes a circuit's entry on one link, and its waiting cells.
    pub(crate) fn detach(&mut self, end: End) {
        self.circuits.remove(&(end.link, end.circuit));
        self.metrics.drops.closed += self.neighbours.detach(end) as u64;
        if !self.neighbours.serves(end.link) {
            self.links.set_in_use(end.link, false);
        }
    }

    /// Removes a circuit's entry on one link and tells the neighbour, at once or when there is room for the frame.
    pub(crate) fn destroy(&mut self, now: Instant, end: End, reason: u8) {
        self.detach(end);
        self.neighbours.destroy(now, &mut self.links, end, reason);
    }

    /// Queues a cell towards the link of `end`.
    pub(crate) fn push(&mut self, now: Instant, end: End, cell: &Cell) {
        self.neighbours.push(now, end, cell, &mut self.metrics);
    }

    /// Takes one part of a message; returns the message and its id when it is whole, and counts what is thrown away.
    pub(crate) fn assemble(&mut self, assembly: &mut Assembly, payload: &[u8]) -> Option<(u16, Vec<u8>)> {
        let before = assembly.unfinished();
        let assembled = assembly.accept(payload, has_room(self.unfinished, before));
        self.unfinished = self.unfinished + assembly.unfinished() - before;
        let drops = &mut self.metrics.messages;
        drops.incomplete += assembly.take_evicted();
        match assembled {
            Assembled::Message(id, message) => return Some((id, message)),
            Assembled::Partial => {}
            Assembled::Duplicate => drops.duplicate_parts += 1,
            Assembled::Malformed => drops.malformed_parts += 1,
        }
        None
    }

    /// Tells the driver of a message once its turn has come; says when to ask [`Self::tell_held`], if something waits.
    pub(crate) fn tell_in_order(
        &mut self,
        now: Instant,
        order: &mut InOrder,
        (id, message): (u16, Vec<u8>),
        event: impl Fn(Vec<u8>) -> Event,
    ) -> Option<Instant> {
        let before = order.held();
        order.accept(now, id, message, self.held < HELD_MAX);
        self.tell_ready(order, before, event)
    }

    /// Tells the driver of messages that have waited long enough for others; says when to ask again.
    pub(crate) fn tell_held(
        &mut self,
        now: Instant,
        order: &mut InOrder,
        event: impl Fn(Vec<u8>) -> Event,
    ) -> Option<Instant> {
        let before = order.held();
        order.handle_timeout(now);
        self.tell_ready(order, before, event)
    }

    fn tell_ready(&mut self, order: &mut InOrder, before: usize, event: impl Fn(Vec<u8>) -> Event) -> Option<Instant> {
        self.held = self.held + order.held() - before;
        while let Some(message) = order.poll() {
            self.tell_message(event(message));
        }
        order.next_timeout()
    }

    /// Gives up messages of a circuit that have been unfinished for long.
    pub(crate) fn age(&mut self, now: Instant, assembly: &mut Assembly) {
        let before = assembly.unfinished();
        assembly.age(now);
        self.unfinished = self.unfinished + assembly.unfinished() - before;
        self.metrics.messages.incomplete += assembly.take_evicted();
    }

    /// A circuit is gone with its unfinished messages, and with those that wait for others.
    pub(crate) fn forget(&mut self, assembly: &Assembly, order: Option<&InOrder>) {
        self.unfinished -= assembly.unfinished();
        self.held -= order.map_or(0, InOrder::held);
    }

    /// Tells the driver something that it must not miss.
    pub(crate) fn tell(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// Tells the driver of a message, unless it has fallen too far behind.
    pub(crate) fn tell_message(&mut self, event: Event) {
        if self.events.len() < EVENTS_MAX {
            self.events.push_back(event);
        } else {
            self.metrics.messages.events_full += 1;
        }
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    #[cfg(test)]
    /// How many entries the index of circuits has: one for each circuit and link.
    pub(crate) fn entries(&self) -> usize {
        self.circuits.len()
    }
}

/// A peer is known when the link key that it has proven stands beside the identity that it claims in the document.
fn class(network: Option<&Network>, info: &LinkPeerInfo) -> Class {
    let known = || {
        let relay = network?.relay(&relay_id(&info.identity?))?;
        Some(relay.descriptor().link_key() == info.link_key?)
    };
    if known() == Some(true) { Class::Known } else { Class::Stranger }
}

/// Whether a circuit with so many of all unfinished messages may have another.
fn has_room(all: usize, own: usize) -> bool {
    let share = UNFINISHED_MAX.saturating_sub(all) / UNFINISHED_SHARE;
    own < share.max(UNFINISHED_LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::message::split;

    /// Puts the parts of a message whose indices are given into an assembly; says whether it is whole.
    fn offer(all: &mut usize, assembly: &mut Assembly, id: u16, indices: std::ops::Range<usize>) -> bool {
        let mut parts = Vec::new();
        let _ = split::<()>(&[7; 1200], id, |part| {
            parts.push(part.to_vec());
            Ok(())
        });
        let mut whole = false;
        for part in &parts[indices] {
            let before = assembly.unfinished();
            whole |= matches!(assembly.accept(part, has_room(*all, before)), Assembled::Message(..));
            *all = *all + assembly.unfinished() - before;
        }
        whole
    }

    #[test]
    fn unfinished_messages_of_a_few_circuits_leave_places_for_others() {
        let mut all = 0;
        let mut greedy: Vec<Assembly> = (0..128).map(|_| Assembly::default()).collect();
        for id in 0..200 {
            for assembly in &mut greedy {
                assert!(!offer(&mut all, assembly, id, 0..1));
            }
        }
        assert!(all <= UNFINISHED_MAX);
        // One whose last parts come 20 messages late, as a link sends them again.
        let mut honest = Assembly::default();
        for id in 0..200 {
            assert!(!offer(&mut all, &mut honest, id, 0..2));
            if let Some(late) = id.checked_sub(20) {
                assert!(offer(&mut all, &mut honest, late, 2..3), "message {late}");
            }
        }
        // However many there are, each has a few places and all together not many more than the bound.
        let mut crowd: Vec<Assembly> = (0..8192).map(|_| Assembly::default()).collect();
        for id in 0..10 {
            for assembly in &mut crowd {
                assert!(!offer(&mut all, assembly, id, 0..1));
            }
        }
        assert!(crowd.iter().all(|assembly| (1..=64).contains(&assembly.unfinished())));
        assert!(all <= UNFINISHED_MAX + UNFINISHED_LEAST * crowd.len(), "{all}");
    }
}
