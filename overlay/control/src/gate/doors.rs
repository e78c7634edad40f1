//! The counting behind the gate; `now` is an argument.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::Limits;

/// Addresses that are remembered although nobody is connected from them.
const IDLE_MAX: usize = 4_096;
/// Bans from one address until it is closed, and for how long that is.
const STRIKES: u32 = 3;
const CLOSED_FOR: Duration = Duration::from_secs(600);

/// Why a connection was not let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Closed {
    #[error("too many connections from one address")]
    Crowded,
    #[error("too many new connections from one address")]
    Rush,
    #[error("peers at this address were banned repeatedly")]
    Struck,
    #[error("too many relayed connections")]
    Relayed,
}

/// Connections by address, keyed by the ids of connections.
pub(crate) struct Doors<C> {
    per_address: u32,
    arrivals_per_minute: u32,
    relayed_max: u32,
    relayed: u32,
    inside: HashMap<C, Option<IpAddr>>,
    doors: BTreeMap<IpAddr, Door>,
}

struct Door {
    inside: u32,
    /// Arrivals that are left, and when that was counted.
    tokens: f64,
    counted: Instant,
    strikes: u32,
    closed_until: Option<Instant>,
}

impl<C: Eq + Hash> Doors<C> {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            per_address: limits.per_address,
            arrivals_per_minute: limits.arrivals_per_minute,
            relayed_max: limits.relayed,
            relayed: 0,
            inside: HashMap::new(),
            doors: BTreeMap::new(),
        }
    }

    /// Lets a connection in that comes from an address, or (`None`) by a relay.
    pub(crate) fn arrive(&mut self, id: C, from: Option<IpAddr>, now: Instant) -> Result<(), Closed> {
        let Some(from) = from.map(area) else {
            if self.relayed >= self.relayed_max {
                return Err(Closed::Relayed);
            }
            self.relayed += 1;
            self.inside.insert(id, None);
            return Ok(());
        };
        self.make_room(now);
        let (most, full) = (self.per_address, f64::from(self.arrivals_per_minute));
        let door = self.doors.entry(from).or_insert_with(|| Door::new(full, now));
        door.refill(full, now);
        if door.closed_until.is_some() {
            return Err(Closed::Struck);
        }
        if door.inside >= most {
            return Err(Closed::Crowded);
        }
        if door.tokens < 1.0 {
            return Err(Closed::Rush);
        }
        door.tokens -= 1.0;
        door.inside += 1;
        self.inside.insert(id, Some(from));
        Ok(())
    }

    /// A connection is over, or came to nothing.
    pub(crate) fn leave(&mut self, id: &C) {
        match self.inside.remove(id) {
            Some(Some(from)) => {
                if let Some(door) = self.doors.get_mut(&from) {
                    door.inside = door.inside.saturating_sub(1);
                }
            }
            Some(None) => self.relayed = self.relayed.saturating_sub(1),
            None => {}
        }
    }

    /// Notes a ban at an address.
    pub(crate) fn strike(&mut self, at: IpAddr, now: Instant) {
        self.make_room(now);
        let full = f64::from(self.arrivals_per_minute);
        let door = self.doors.entry(area(at)).or_insert_with(|| Door::new(full, now));
        door.strikes += 1;
        if door.strikes >= STRIKES {
            door.strikes = 0;
            door.closed_until = Some(now + CLOSED_FOR);
        }
    }

    /// Forgets addresses of which nothing needs to be known, and beyond the bound those that nobody is connected from.
    fn make_room(&mut self, now: Instant) {
        if self.doors.len() < IDLE_MAX {
            return;
        }
        let full = f64::from(self.arrivals_per_minute);
        self.doors.retain(|_, door| {
            door.refill(full, now);
            door.inside > 0 || door.closed_until.is_some() || door.tokens < full
        });
        if self.doors.len() >= IDLE_MAX {
            self.doors.retain(|_, door| door.inside > 0);
        }
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.doors.len()
    }
}

impl Door {
    fn new(full: f64, now: Instant) -> Self {
        Self { inside: 0, tokens: full, counted: now, strikes: 0, closed_until: None }
    }

    fn refill(&mut self, full: f64, now: Instant) {
        let past = now.saturating_duration_since(self.counted);
        self.counted = now;
        self.tokens = (self.tokens + past.as_secs_f64() * full / 60.0).min(full);
        if self.closed_until.is_some_and(|until| now >= until) {
            self.closed_until = None;
        }
    }
}

/// Whom an address belongs to: an IPv4 address to one, of IPv6 a whole /64.
fn area(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        },
    }
}
