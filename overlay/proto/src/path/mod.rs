//! Choosing the relays of a circuit.
//!
//! A [`Chooser`] draws among **all** ordered paths that satisfy the request: no two relays of one operator, one family, one
//! IPv4 /16 or one IPv6 /32 (a test network lifts this), an exit that takes the port, a guard if one is given. Each path
//! comes with exactly its share of the weight of all paths. The weight is the product of what its relays weigh by capacity
//! and place, and a factor for the time that the path takes; both are preferences of bounded [`Strength`], and give way
//! to the anonymity [`Floor`]. Where nothing was measured, all paths weigh the same.
//!
//! It first draws relays independently and keeps the first draw that fits; where paths are so rare that this does not
//! succeed, it goes through them all, so that it never fails while a path exists. [`GuardSet`] keeps the few guards of
//! an origin, [`Reserve`] the few inner relays that a session rebuilds from. [`coordinate`] makes the map of latencies.

mod candidates;
mod chooser;
pub mod coordinate;
mod exhaust;
mod facts;
mod guard;
mod latency;
mod preference;
mod reserve;
mod second;
mod survey;
#[cfg(test)]
mod tests;

use rand_core::Rng;
use zmesh_sphinx::{MAX_HOPS, RelayId};

pub use chooser::{Chooser, Explanation, Narrow};
pub use guard::{GUARDS_DEFAULT, GuardError, GuardReport, GuardSet, GuardState, GuardStateError};
pub use preference::{Floor, Preference, Strength};
pub use reserve::{RESERVE_DEFAULT, Reserve};
pub use second::{SECOND_DEFAULT, SecondLayer, select_behind};
pub use survey::Uncertainty;

use crate::directory::Network;

/// Most relays of an origin's own choice.
pub const OWN_HOPS_MAX: usize = MAX_HOPS - 1;

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
    /// The country that the exit must claim, as two capital letters. Only exits are chosen by country.
    pub country: Option<[u8; 2]>,
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
    #[error("a path of {hops} relays lacks {}: {shortage}", lacking(*missing, *shortage))]
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
    #[error("{}", no_exit(*port, *v6, None))]
    Exits {
        /// The port; 0 for any.
        port: u16,
        /// Over IPv6.
        v6: bool,
    },
    /// Exits that take the port and claim the country.
    #[error("{}", no_exit(*port, *v6, Some(*country)))]
    ExitsThere {
        /// The port; 0 for any.
        port: u16,
        /// Over IPv6.
        v6: bool,
        /// The country, as two letters.
        country: [u8; 2],
    },
    /// Relays that splice meetings.
    #[error("no relay of the network splices meetings")]
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

/// What is missing, in words: which relay, where only one will do, else how many.
fn lacking(missing: usize, shortage: Shortage) -> String {
    match shortage {
        Shortage::Exits { .. } | Shortage::ExitsThere { .. } => "its exit".to_owned(),
        Shortage::MeetingRelays | Shortage::DirectoryRelays => "its last relay".to_owned(),
        _ => format!("{missing} of them"),
    }
}

fn no_exit(port: u16, v6: bool, country: Option<[u8; 2]>) -> String {
    let there = country.map(|country| format!(" in {}{}", char::from(country[0]), char::from(country[1])));
    let (there, v6) = (there.unwrap_or_default(), if v6 { " over IPv6" } else { "" });
    match port {
        0 => format!("the network has no exit{there}{v6}"),
        port => format!("no exit{there} takes port {port}{v6}"),
    }
}

/// Chooses a path, every one that satisfies the request as likely as another. Whoever draws often, or by capacity and
/// latency, keeps a [`Chooser`].
///
/// # Errors
/// See [`PathError`]. [`PathError::NotEnough`] only when there is truly no path.
pub fn select(network: &Network, want: &PathRequest<'_>, rng: &mut impl Rng) -> Result<Vec<RelayId>, PathError> {
    Chooser::new(network, Preference::UNIFORM).select(want, rng)
}

/// The same, with a path whose relays between the first and the last are all among `inner`; so is the last one, if the
/// request leaves it open which relay splices.
///
/// # Errors
/// As [`select`].
pub fn select_within(
    network: &Network,
    want: &PathRequest<'_>,
    inner: &[RelayId],
    rng: &mut impl Rng,
) -> Result<Vec<RelayId>, PathError> {
    let narrow = Narrow { inner: Some(inner), last: None };
    Chooser::new(network, Preference::UNIFORM).select_narrow(want, narrow, rng)
}

/// How many bits of choice an observer who knows the request lacks when the choice is uniform: the logarithm of the number
/// of paths. Zero when there is one path or none.
///
/// # Errors
/// As [`select`], but not [`PathError::NotEnough`].
pub fn entropy_bits(network: &Network, want: &PathRequest<'_>) -> Result<f64, PathError> {
    let paths = Chooser::new(network, Preference::UNIFORM).count(want)?;
    Ok(if paths == 0 { 0.0 } else { (paths as f64).log2() })
}
