//! The counting behind the gate; `now` is an argument.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::Limits;

/// Addresses and networks that are remembered.
const DOORS_MAX: usize = 8_192;
/// Bans from one address until it is closed, and for how long that is.
const STRIKES: u32 = 3;
const CLOSED_FOR: Duration = Duration::from_secs(600);
/// For how long bans that have not closed it count.
const STRUCK_FOR: Duration = Duration::from_secs(3_600);

/// Why a connection was not let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Closed {
    #[error("too many connections from one address or network")]
    Crowded,
    #[error("too many new connections from one address or network")]
    Rush,
    #[error("peers at this address were banned repeatedly")]
    Struck,
    #[error("too many relayed connections")]
    Relayed,
    #[error("too many handshakes")]
    Busy,
}

/// An IPv4 /24 or IPv6 /48: what one owner has at little cost.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Network(IpAddr);

impl Network {
    /// Its first address.
    pub(crate) fn ip(self) -> IpAddr {
        self.0
    }
}

/// What is counted together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Place {
    /// An IPv4 address or an IPv6 /64.
    Area(IpAddr),
    Network(Network),
}

/// How a connection comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Came {
    /// By QUIC. Until its handshake is done, anybody may have written the address.
    Quic(IpAddr),
    /// By TCP, which has proven the address.
    Tcp(IpAddr),
    /// By a relay.
    Relay,
}

/// Connections by address, keyed by the ids of connections.
pub(crate) struct Doors<C> {
    limits: Limits,
    relayed: u32,
    /// Handshakes, by QUIC and by TCP.
    pending: [u32; 2],
    guests: HashMap<C, Guest>,
    doors: BTreeMap<Place, Door>,
}

#[derive(Clone, Copy)]
struct Guest {
    from: Came,
    inside: bool,
}

/// What may be at a place.
#[derive(Clone, Copy)]
struct Bounds {
    inside: u32,
    pending: u32,
    per_minute: f64,
}

struct Door {
    inside: u32,
    pending: [u32; 2],
    /// Arrivals that are left, and when that was counted.
    tokens: f64,
    counted: Instant,
    strikes: u32,
    struck: Instant,
    closed_until: Option<Instant>,
}

impl<C: Eq + Hash + Clone> Doors<C> {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { limits: limits.clone(), relayed: 0, pending: [0; 2], guests: HashMap::new(), doors: BTreeMap::new() }
    }

    /// A connection begins. Nothing is charged for it yet, because the address may be forged, so whoever forges one takes some handshakes
    /// by QUIC and nothing else from whoever has it.
    pub(crate) fn arrive(&mut self, id: C, from: Came, now: Instant) -> Result<(), Closed> {
        let Some((ip, by)) = from.direct() else {
            if self.relayed >= self.limits.relayed {
                return Err(Closed::Relayed);
            }
            self.relayed += 1;
            self.guests.insert(id, Guest { from, inside: false });
            return Ok(());
        };
        // Neither of the two can take all places of the other.
        let most = self.limits.pending_inbound - self.limits.pending_inbound / 4;
        if self.pending[by] >= most {
            return Err(Closed::Busy);
        }
        self.make_room(now);
        for place in places(ip) {
            let bounds = self.bounds(place);
            let Some(door) = self.doors.get_mut(&place) else { continue };
            door.refill(bounds.per_minute, now);
            door.is_open(bounds)?;
            if door.pending[by] >= bounds.pending {
                return Err(Closed::Crowded);
            }
        }
        for place in places(ip) {
            self.door(place, now).pending[by] += 1;
        }
        self.pending[by] += 1;
        self.guests.insert(id, Guest { from, inside: false });
        Ok(())
    }

    /// Its handshake is done, so the address is its own.
    pub(crate) fn enter(&mut self, id: &C, now: Instant) -> Result<(), Closed> {
        let Some(guest) = self.guests.get(id).copied().filter(|guest| !guest.inside) else { return Ok(()) };
        let Some((ip, by)) = guest.from.direct() else { return Ok(()) };
        for place in places(ip) {
            let bounds = self.bounds(place);
            let door = self.door(place, now);
            door.refill(bounds.per_minute, now);
            door.is_open(bounds)?;
        }
        for place in places(ip) {
            let door = self.door(place, now);
            door.pending[by] = door.pending[by].saturating_sub(1);
            door.inside += 1;
            door.tokens -= 1.0;
        }
        self.pending[by] = self.pending[by].saturating_sub(1);
        self.guests.insert(id.clone(), Guest { inside: true, ..guest });
        Ok(())
    }

    /// A connection is over, or came to nothing. Whose handshake failed by TCP is charged for it.
    pub(crate) fn leave(&mut self, id: &C, failed: bool, now: Instant) {
        let Some(guest) = self.guests.remove(id) else { return };
        let Some((ip, by)) = guest.from.direct() else {
            self.relayed = self.relayed.saturating_sub(1);
            return;
        };
        if !guest.inside {
            self.pending[by] = self.pending[by].saturating_sub(1);
        }
        for place in places(ip) {
            let per_minute = self.bounds(place).per_minute;
            let Some(door) = self.doors.get_mut(&place) else { continue };
            door.refill(per_minute, now);
            if guest.inside {
                door.inside = door.inside.saturating_sub(1);
            } else {
                door.pending[by] = door.pending[by].saturating_sub(1);
                if failed && matches!(guest.from, Came::Tcp(_)) {
                    door.tokens = (door.tokens - 1.0).max(0.0);
                }
            }
            if door.is_blank(per_minute) {
                self.doors.remove(&place);
            }
        }
    }

    /// Notes a ban at an address.
    pub(crate) fn strike(&mut self, at: IpAddr, now: Instant) {
        self.make_room(now);
        let door = self.door(Place::Area(area(at)), now);
        door.strikes += 1;
        door.struck = now;
        if door.strikes >= STRIKES {
            door.strikes = 0;
            door.closed_until = Some(now + CLOSED_FOR);
        }
    }

    fn bounds(&self, place: Place) -> Bounds {
        let Limits { per_address, per_network, pending_per_address, arrivals_per_minute, .. } = self.limits;
        match place {
            Place::Area(_) => {
                Bounds { inside: per_address, pending: pending_per_address, per_minute: f64::from(arrivals_per_minute) }
            }
            Place::Network(_) => Bounds {
                inside: per_network,
                pending: pending_per_address.saturating_mul(4),
                per_minute: 2.0 * f64::from(arrivals_per_minute),
            },
        }
    }

    fn door(&mut self, place: Place, now: Instant) -> &mut Door {
        let full = self.bounds(place).per_minute;
        self.doors.entry(place).or_insert_with(|| Door::new(full, now))
    }

    /// Forgets places of which nothing needs to be known, and beyond the bound those whose arrivals were counted; what was banned is
    /// forgotten last, so that nobody washes bans away by coming from everywhere.
    fn make_room(&mut self, now: Instant) {
        if self.doors.len() < DOORS_MAX {
            return;
        }
        let (area, network) =
            (f64::from(self.limits.arrivals_per_minute), 2.0 * f64::from(self.limits.arrivals_per_minute));
        self.doors.retain(|place, door| {
            let per_minute = if matches!(place, Place::Area(_)) { area } else { network };
            door.refill(per_minute, now);
            !door.is_blank(per_minute)
        });
        if self.doors.len() >= DOORS_MAX {
            self.doors.retain(|_, door| door.is_used() || door.is_noted());
        }
        while self.doors.len() >= DOORS_MAX {
            let spare = self.doors.iter().filter(|(_, door)| !door.is_used());
            let oldest = spare.min_by_key(|(_, door)| (door.closed_until, door.struck)).map(|(place, _)| *place);
            match oldest {
                Some(place) => {
                    self.doors.remove(&place);
                }
                // As many as are connected.
                None => return,
            }
        }
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.doors.len()
    }
}

impl Door {
    fn new(full: f64, now: Instant) -> Self {
        Self { inside: 0, pending: [0; 2], tokens: full, counted: now, strikes: 0, struck: now, closed_until: None }
    }

    fn refill(&mut self, full: f64, now: Instant) {
        let past = now.saturating_duration_since(self.counted);
        self.counted = now;
        self.tokens = (self.tokens + past.as_secs_f64() * full / 60.0).min(full);
        if self.closed_until.is_some_and(|until| now >= until) {
            self.closed_until = None;
        }
        if now.saturating_duration_since(self.struck) > STRUCK_FOR {
            self.strikes = 0;
        }
    }

    fn is_open(&self, bounds: Bounds) -> Result<(), Closed> {
        if self.closed_until.is_some() {
            Err(Closed::Struck)
        } else if self.inside >= bounds.inside {
            Err(Closed::Crowded)
        } else if self.tokens < 1.0 {
            Err(Closed::Rush)
        } else {
            Ok(())
        }
    }

    fn is_used(&self) -> bool {
        self.inside > 0 || self.pending != [0; 2]
    }

    /// Somebody was banned here.
    fn is_noted(&self) -> bool {
        self.strikes > 0 || self.closed_until.is_some()
    }

    fn is_blank(&self, full: f64) -> bool {
        !self.is_used() && !self.is_noted() && self.tokens >= full
    }
}

impl Came {
    fn direct(self) -> Option<(IpAddr, usize)> {
        match self {
            Self::Quic(ip) => Some((ip, 0)),
            Self::Tcp(ip) => Some((ip, 1)),
            Self::Relay => None,
        }
    }
}

fn places(ip: IpAddr) -> [Place; 2] {
    [Place::Area(area(ip)), Place::Network(network(ip))]
}

/// Whom an address belongs to: an IPv4 address to one, of IPv6 a whole /64.
pub(crate) fn area(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

/// The network of an address.
pub(crate) fn network(ip: IpAddr) -> Network {
    Network(match ip.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & !0xff)),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !(u128::MAX >> 48))),
    })
}
