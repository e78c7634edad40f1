//! The relay: circuits of others, from the set-up packet to the last cell.
//!
//! `neighbour` keeps each link's fair queue ([`queue`]); `setup` takes set-up packets through public-key work within a
//! `budget`; `cells` peels or adds one layer of each cell and passes it on; `meeting` splices two circuits whose
//! origins both know a cookie (`splice`); `close` ends circuits. Of a circuit a relay knows its two neighbours and
//! its own keys, and nothing else.

pub(crate) mod budget;
mod cells;
mod close;
pub mod in_order;
pub mod kind;
mod meeting;
pub mod message;
pub(crate) mod neighbour;
pub mod queue;
mod setup;
pub(crate) mod slab;
pub(crate) mod splice;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use zmesh_sphinx::{HopCircuit, PACKET_LEN, Peeled, ReplayFilter, ReplySeal};

use self::budget::{ClassTurns, RateLimit};
use self::in_order::InOrder;
use self::message::Assembly;
use self::neighbour::End;
use self::slab::Slab;
use self::splice::{CookieTag, Meetings};
use crate::crowd::Via;
use crate::link::LinkId;
use crate::node::core::Core;
use crate::node::{Event, LocalId, OnionKey, RelayConfig, ReplayStart};

/// How often a circuit's old keys are erased and its idle time is looked at.
const TICK: Duration = Duration::from_secs(10);
/// Probes that a circuit may have answered in a second, over its burst.
const PINGS_PER_SECOND: u32 = 10;

/// What a relay does for others.
pub(crate) struct Relay {
    config: RelayConfig,
    filter: ReplayFilter,
    hops: Slab<Hop>,
    meetings: Meetings<u64, LinkId>,
    /// Set-up packets that wait for their turn.
    setups: ClassTurns<LinkId, Setup>,
    /// Packets that passed the filter and wait for their second step.
    finishing: VecDeque<(u64, Peeled)>,
    /// Circuits that stand go on, and no new ones are taken.
    draining: bool,
}

/// A set-up packet that waits for public-key work.
struct Setup {
    hop: u64,
    packet: Box<[u8; PACKET_LEN]>,
}

/// A circuit through this relay.
struct Hop {
    /// Towards the origin.
    prev: End,
    /// Towards the far end; nothing at the last hop.
    next: Option<End>,
    /// The link on which `next` will be, while it comes up.
    stage: Stage,
    /// The keys, once the set-up packet is unwrapped.
    crypto: Option<Box<HopCircuit>>,
    role: Role,
    since: Instant,
    last_used: Instant,
    pings: RateLimit,
}

/// How far a circuit is.
enum Stage {
    /// Public-key work is waiting or under way.
    Working,
    /// The set-up packet waits for the link to the next relay.
    Connecting { link: LinkId, since: Instant, packet: Box<[u8; PACKET_LEN]>, reply: ReplySeal },
    /// The next relay has the set-up packet.
    Asked { reply: ReplySeal },
    /// The reply has passed.
    Open,
}

/// What the circuit is used for at this relay, if this is its last hop.
enum Role {
    /// Nothing so far.
    None,
    /// Messages for this relay itself. Boxed: most circuits only pass through.
    Local(Box<Local>),
    /// Waits for a meeting.
    Waiting(CookieTag),
    /// Spliced with another circuit.
    Joined { other: u64, tag: CookieTag },
}

/// A circuit that ends here.
#[derive(Default)]
struct Local {
    assembly: Assembly,
    /// Puts messages in order, if the driver wants it.
    order: Option<InOrder>,
    /// The id of the next answer. Each circuit counts its own: nobody learns how much this relay says to others.
    next_message: u16,
}

impl Relay {
    pub(crate) fn new(config: RelayConfig, core: &mut Core, now: Instant) -> Self {
        let capacity = config.replay_capacity;
        let slot = core.slot(now);
        let filter = match &config.replay {
            ReplayStart::Fresh => ReplayFilter::new(capacity),
            ReplayStart::Saved(bytes) => {
                ReplayFilter::from_bytes(bytes).unwrap_or_else(|_| ReplayFilter::after_crash(capacity, slot))
            }
            ReplayStart::Lost => ReplayFilter::after_crash(capacity, slot),
        };
        let mut relay = Self {
            filter,
            hops: Slab::new(),
            meetings: Meetings::new(config.max_meetings, config.meeting_patience, core.rng()),
            setups: ClassTurns::new(config.setups_per_link, config.setups_waiting),
            finishing: VecDeque::new(),
            draining: false,
            config,
        };
        relay.filter.set_capacity(capacity);
        relay
    }

    /// Replaces the onion keys; the old ones are erased when no job holds them any more.
    pub(crate) fn set_onion_keys(&mut self, keys: Vec<OnionKey>) {
        self.config.onion_keys = keys;
    }

    /// Takes no new circuits from now on, or takes them again.
    pub(crate) fn set_draining(&mut self, draining: bool) {
        self.draining = draining;
    }

    pub(crate) fn id(&self) -> &zmesh_sphinx::RelayId {
        &self.config.id
    }

    /// The link over which a circuit that ends here came, and who is behind it.
    pub(crate) fn local_via(&self, core: &Core, local: LocalId) -> Option<Via> {
        let link = self.hops.get(local.0)?.prev.link;
        Some(Via { class: core.neighbours.class(link), link: link.as_u64() })
    }

    pub(crate) fn replay_state(&self) -> Vec<u8> {
        // Whatever capacity is written there, the next start sets its own.
        self.filter.to_bytes()
    }

    /// A circuit's timer: give up what is not built in time or idle, erase old keys.
    pub(crate) fn handle_timer(&mut self, core: &mut Core, now: Instant, key: u64) {
        let Some(hop) = self.hops.get_mut(key) else {
            return;
        };
        if let Some(crypto) = &mut hop.crypto {
            crypto.expire(now);
        }
        let mut held = None;
        if let Role::Local(local) = &mut hop.role {
            core.age(now, &mut local.assembly);
            let event = |message| Event::LocalMessage { local: LocalId(key), message };
            held = local.order.as_mut().and_then(|order| core.tell_held(now, order, event));
        }
        let deadline = match hop.stage {
            Stage::Open => hop.last_used + self.config.idle_timeout,
            Stage::Connecting { since, .. } => since + self.config.connect_timeout,
            Stage::Working | Stage::Asked { .. } => hop.since + self.config.setup_timeout,
        };
        if now < deadline {
            let due = held.map_or(now + TICK, |due| due.min(now + TICK));
            core.timers.set(crate::node::core::Timer::Hop(key), deadline.min(due));
            return;
        }
        let circuits = &mut core.metrics.circuits;
        let (counter, reason) = match hop.stage {
            Stage::Open => (&mut circuits.idle, kind::reason::IDLE),
            Stage::Connecting { .. } => (&mut circuits.unreachable, kind::reason::UNREACHABLE),
            Stage::Working | Stage::Asked { .. } => (&mut circuits.timed_out, kind::reason::TIMEOUT),
        };
        *counter += 1;
        self.close(core, now, key, close::Cause::here(reason));
    }

    /// Meetings that nobody came to.
    pub(crate) fn sweep(&mut self, now: Instant) {
        for key in self.meetings.expire(now) {
            if let Some(hop) = self.hops.get_mut(key) {
                hop.role = Role::None;
            }
        }
    }

    pub(crate) fn gauges(&self, metrics: &mut crate::node::Metrics) {
        metrics.circuits.open = self.hops.len() as u64;
        metrics.meetings_waiting = self.meetings.len() as u64;
        metrics.work.waiting = (self.setups.len() + self.finishing.len()) as u64;
    }
}

#[cfg(test)]
impl Relay {
    /// The relays (by link) that each circuit's state names, for the test of what a relay knows.
    pub(crate) fn named_links(&self) -> Vec<Vec<LinkId>> {
        self.hops
            .iter()
            .map(|(_, hop)| std::iter::once(hop.prev.link).chain(hop.next.map(|next| next.link)).collect())
            .collect()
    }
}
