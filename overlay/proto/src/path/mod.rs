//! Choosing the relays of a circuit.
//!
//! [`select`] draws uniformly among **all** ordered paths that satisfy the request: no two relays of one operator, one
//! family, one IPv4 /16 or one IPv6 /32 (a test network lifts this), an exit that takes the port, a guard if one is
//! given. It first draws relays independently and keeps the first draw that fits, which is uniform; where paths are so
//! rare that this does not succeed, it counts them all and takes one by number, so that it never fails while a path
//! exists. [`GuardSet`] keeps the few guards of a session, [`Reserve`] the few inner relays that it rebuilds from.

mod candidates;
mod guard;
mod reserve;
#[cfg(test)]
mod tests;

use rand_core::Rng;
use zmesh_sphinx::{MAX_HOPS, RelayId};

pub use guard::{GUARDS_DEFAULT, GuardError, GuardReport, GuardSet};
pub use reserve::{RESERVE_DEFAULT, Reserve};

use crate::directory::Network;
use candidates::{Candidates, Distinct};

/// Most relays of an origin's own choice.
pub const OWN_HOPS_MAX: usize = MAX_HOPS - 1;

/// Independent draws before all paths are counted.
const DRAWS: usize = 512;

/// What a path has to be.
#[derive(Clone, Copy, Debug)]
pub struct PathRequest<'a> {
    /// How many relays, the last one included: 2 or 3, 4 if the last is a relay of somebody else's choice, and 1
    /// in a test network only.
    pub hops: usize,
    /// What the last relay has to be.
    pub last: LastHop,
    /// Relays to leave out, for example because they just failed.
    pub exclude: &'a [RelayId],
    /// The relay to begin with.
    pub guard: Option<RelayId>,
}

/// What the last relay of a path has to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LastHop {
    /// Any relay.
    Any,
    /// An exit that takes this port.
    Exit {
        /// Destination port; 0 for any exit at all.
        port: u16,
        /// The destination is an IPv6 address.
        v6: bool,
    },
    /// Any relay that splices meetings: the origin chooses where to meet.
    AnyMeeting,
    /// Any relay that gives documents of the network.
    AnyDirectory,
    /// This relay, chosen by somebody else. The other relays differ from it in operator and network where that is
    /// possible, and otherwise only in being other relays, so that its choice cannot make the path fail.
    Meeting(RelayId),
    /// This relay that keeps chunks, named by a chunk and so chosen by somebody else. The other relays differ from it as
    /// with a meeting relay.
    Cache(RelayId),
}

impl LastHop {
    /// The one relay that it has to be, where somebody else chose it.
    #[must_use]
    pub fn given(self) -> Option<RelayId> {
        match self {
            Self::Meeting(id) | Self::Cache(id) => Some(id),
            Self::Any | Self::Exit { .. } | Self::AnyMeeting | Self::AnyDirectory => None,
        }
    }
}

/// Why there is no path.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// The number of hops is not offered.
    #[error("paths have {min} to {max} hops here, not {hops}")]
    Hops {
        /// What was asked for.
        hops: usize,
        /// Fewest.
        min: usize,
        /// Most.
        max: usize,
    },
    /// The relay is not in the network document.
    #[error("the relay {0} is not in the network document")]
    UnknownRelay(RelayId),
    /// The meeting relay does not splice meetings.
    #[error("the relay {0} does not splice meetings")]
    NotMeeting(RelayId),
    /// The relay does not keep chunks.
    #[error("the relay {0} does not keep chunks")]
    NotCache(RelayId),
    /// The guard cannot serve: it is excluded, or is itself the relay to reach.
    #[error("the guard {0} is excluded or is the relay to reach")]
    GuardUnusable(RelayId),
    /// There are not enough relays.
    #[error("a path of {hops} relays lacks {missing}: {shortage}")]
    NotEnough {
        /// Relays wanted.
        hops: usize,
        /// How many of them cannot be found.
        missing: usize,
        /// What there is too little of.
        shortage: Shortage,
    },
}

/// What a network has too little of for a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Shortage {
    /// Relays at all.
    #[error("the network has too few relays")]
    Relays,
    /// Exits that take the port.
    #[error("no exit takes port {port}{}", if *v6 { " over IPv6" } else { "" })]
    Exits {
        /// The port; 0 for any.
        port: u16,
        /// Over IPv6.
        v6: bool,
    },
    /// Relays that splice meetings.
    #[error("no relay splices meetings")]
    MeetingRelays,
    /// Relays that give documents.
    #[error("no relay gives documents of the network")]
    DirectoryRelays,
    /// Operators.
    #[error("too few relays have different operators")]
    Operators,
    /// Families.
    #[error("too few relays are of different families")]
    Families,
    /// Networks: IPv4 /16 and IPv6 /32.
    #[error("too few relays are in different networks (IPv4 /16, IPv6 /32)")]
    Prefixes,
    /// Several of these together.
    #[error("too few relays differ in operator, family and network at once")]
    Combination,
}

/// Chooses a path.
///
/// # Errors
/// See [`PathError`]. [`PathError::NotEnough`] only when there is truly no path.
pub fn select(network: &Network, want: &PathRequest<'_>, rng: &mut impl Rng) -> Result<Vec<RelayId>, PathError> {
    choose(network, &prepare(network, want)?, want, rng)
}

/// Chooses a path whose relays between the first and the last are all among `inner`; so is the last one, if the request
/// leaves it open which relay splices.
///
/// # Errors
/// As [`select`].
pub fn select_within(
    network: &Network,
    want: &PathRequest<'_>,
    inner: &[RelayId],
    rng: &mut impl Rng,
) -> Result<Vec<RelayId>, PathError> {
    let mut candidates = prepare(network, want)?;
    candidates.keep_inner(network, inner, want.last == LastHop::AnyMeeting);
    choose(network, &candidates, want, rng)
}

fn choose(
    network: &Network,
    candidates: &Candidates,
    want: &PathRequest<'_>,
    rng: &mut impl Rng,
) -> Result<Vec<RelayId>, PathError> {
    let strictest = Distinct::strictest(network.is_test_network());
    let mut rules = vec![strictest];
    if want.last.given().is_some() && strictest.last {
        rules.push(Distinct { last: false, ..strictest });
    }
    for rules in rules {
        let found =
            candidates.draw(want.hops, rules, DRAWS, rng).or_else(|| candidates.draw_exactly(want.hops, rules, rng));
        if let Some(path) = found {
            return Ok(path.into_iter().map(|at| network.relays()[at].id()).collect());
        }
    }
    Err(explain(candidates, want, strictest))
}

/// How many bits of choice an observer who knows the request lacks: the logarithm of the number of paths from which
/// [`select`] draws uniformly. Zero when there is one path or none.
///
/// # Errors
/// As [`select`], but not [`PathError::NotEnough`].
pub fn entropy_bits(network: &Network, want: &PathRequest<'_>) -> Result<f64, PathError> {
    let candidates = prepare(network, want)?;
    let strictest = Distinct::strictest(network.is_test_network());
    let mut count = candidates.count(want.hops, strictest);
    if count == 0 && want.last.given().is_some() {
        let relaxed = Distinct { last: false, ..strictest };
        count = candidates.count(want.hops, relaxed);
    }
    Ok(if count == 0 { 0.0 } else { (count as f64).log2() })
}

fn prepare(network: &Network, want: &PathRequest<'_>) -> Result<Candidates, PathError> {
    let min = if network.is_test_network() { 1 } else { 2 };
    let max = if want.last.given().is_some() { MAX_HOPS } else { OWN_HOPS_MAX };
    if !(min..=max).contains(&want.hops) {
        return Err(PathError::Hops { hops: want.hops, min, max });
    }
    if let Some(id) = want.last.given() {
        let relay = network.relay(&id).ok_or(PathError::UnknownRelay(id))?;
        match want.last {
            LastHop::Meeting(_) if !relay.is_meeting() => return Err(PathError::NotMeeting(id)),
            LastHop::Cache(_) if !relay.is_cache() => return Err(PathError::NotCache(id)),
            _ => {}
        }
        if want.guard == Some(id) && want.hops > 1 {
            return Err(PathError::GuardUnusable(id));
        }
    }
    if let Some(guard) = want.guard {
        network.relay(&guard).ok_or(PathError::UnknownRelay(guard))?;
        if want.exclude.contains(&guard) {
            return Err(PathError::GuardUnusable(guard));
        }
    }
    Ok(Candidates::new(network, want))
}

/// Finds out what stands in the way, by lifting one rule after the other.
fn explain(candidates: &Candidates, want: &PathRequest<'_>, strictest: Distinct) -> PathError {
    let reached = (1..want.hops).rev().find(|hops| candidates.count(*hops, strictest) > 0).unwrap_or(0);
    let none = Distinct::default();
    let shortage = if candidates.last_is_empty() {
        match want.last {
            LastHop::Exit { port, v6 } => Shortage::Exits { port, v6 },
            LastHop::AnyMeeting => Shortage::MeetingRelays,
            LastHop::AnyDirectory => Shortage::DirectoryRelays,
            LastHop::Any | LastHop::Meeting(_) | LastHop::Cache(_) => Shortage::Relays,
        }
    } else if candidates.count(want.hops, none) == 0 {
        Shortage::Relays
    } else {
        let without = [
            (Distinct { operator: false, ..strictest }, Shortage::Operators),
            (Distinct { family: false, ..strictest }, Shortage::Families),
            (Distinct { prefix: false, ..strictest }, Shortage::Prefixes),
        ];
        without
            .into_iter()
            .find(|(rules, _)| candidates.count(want.hops, *rules) > 0)
            .map_or(Shortage::Combination, |(_, shortage)| shortage)
    };
    PathError::NotEnough { hops: want.hops, missing: want.hops - reached, shortage }
}
