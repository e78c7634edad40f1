//! What a caller may ask of a path, and what it is told about one.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use zmesh_proto::path::{LastHop, PathRequest, RESERVE_DEFAULT, Reserve};

use crate::RelayId;
use crate::origin::SharedReserve;

/// The usual number of relays that an origin chooses for itself.
pub const DEFAULT_HOPS: usize = 3;

/// The path of a circuit that ends at an exit.
///
/// ```
/// use zmesh_overlay::PathSpec;
/// let spec = PathSpec::exit().hops(2).port(443);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathSpec {
    pub(crate) hops: usize,
    pub(crate) port: u16,
    pub(crate) v6: bool,
    pub(crate) exit: Option<RelayId>,
    pub(crate) exclude: Vec<RelayId>,
    pub(crate) country: Option<[u8; 2]>,
}

impl PathSpec {
    /// Three relays, the last an exit that serves port 443.
    #[must_use]
    pub fn exit() -> Self {
        Self { hops: DEFAULT_HOPS, port: 443, v6: false, exit: None, exclude: Vec::new(), country: None }
    }

    /// How many relays, the exit included: 2 or 3 (1 only in a test network).
    #[must_use]
    pub fn hops(mut self, hops: usize) -> Self {
        self.hops = hops;
        self
    }

    /// A port that the exit must serve.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The exit must reach IPv6 destinations.
    #[must_use]
    pub fn ipv6(mut self) -> Self {
        self.v6 = true;
        self
    }

    /// One exit and no other.
    #[must_use]
    pub fn through(mut self, exit: RelayId) -> Self {
        self.exit = Some(exit);
        self
    }

    /// The country that the exit must claim, as two capital letters (ISO 3166).
    #[must_use]
    pub fn country(mut self, country: [u8; 2]) -> Self {
        self.country = Some(country);
        self
    }

    /// Relays that the path must not use.
    #[must_use]
    pub fn avoid(mut self, relays: impl IntoIterator<Item = RelayId>) -> Self {
        self.exclude.extend(relays);
        self
    }

    /// What this asks of a choice.
    pub(crate) fn request(&self, guard: Option<RelayId>) -> PathRequest<'_> {
        let last = LastHop::Exit { port: self.port, v6: self.v6 };
        PathRequest { hops: self.hops, last, exclude: &self.exclude, guard, country: self.country }
    }
}

impl Default for PathSpec {
    fn default() -> Self {
        Self::exit()
    }
}

/// The path of a circuit that ends at a meeting relay, which splices it to another one.
#[derive(Clone, Debug)]
pub struct MeetingSpec {
    pub(crate) relay: RelayId,
    pub(crate) hops: usize,
    pub(crate) exclude: Vec<RelayId>,
    pub(crate) apart: Vec<RelayId>,
    pub(crate) rebuilds: Option<Rebuilds>,
}

/// The few relays from which the further circuits of one call are built, the first not included: whoever makes circuits
/// fail on purpose must not make their origin try the whole network. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Rebuilds(pub(crate) SharedReserve);

impl Rebuilds {
    /// A set for one call. Its relays are drawn at the first use.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Reserve::new(RESERVE_DEFAULT))))
    }
}

impl Default for Rebuilds {
    fn default() -> Self {
        Self::new()
    }
}

impl MeetingSpec {
    fn new(relay: RelayId, hops: usize) -> Self {
        Self { relay, hops, exclude: Vec::new(), apart: Vec::new(), rebuilds: None }
    }

    /// Relays that the path uses only where the network has no others: those of another circuit for the same purpose.
    #[must_use]
    pub fn apart_from(mut self, relays: impl IntoIterator<Item = RelayId>) -> Self {
        self.apart.extend(relays);
        self
    }

    /// A further circuit of a call, over relays of these few.
    #[must_use]
    pub fn rebuilt(mut self, rebuilds: &Rebuilds) -> Self {
        self.rebuilds = Some(rebuilds.clone());
        self
    }

    /// A meeting relay of one's own choice (see [`Node::meeting_relay`](crate::Node::meeting_relay)): it counts among
    /// the path's hops.
    #[must_use]
    pub fn chosen(relay: RelayId) -> Self {
        Self::new(relay, DEFAULT_HOPS)
    }

    /// A meeting relay that somebody else chose: it comes on top of the relays of one's own choice.
    #[must_use]
    pub fn given(relay: RelayId) -> Self {
        Self::new(relay, DEFAULT_HOPS + 1)
    }

    /// How many relays in all, the meeting relay included.
    #[must_use]
    pub fn hops(mut self, hops: usize) -> Self {
        self.hops = hops;
        self
    }

    /// Relays that the path must not use.
    #[must_use]
    pub fn avoid(mut self, relays: impl IntoIterator<Item = RelayId>) -> Self {
        self.exclude.extend(relays);
        self
    }
}

/// The two sides of a meeting: both name the same cookie, one waits and one joins.
#[derive(Clone, PartialEq, Eq)]
pub enum Meet {
    /// Leave the cookie at the meeting relay and wait.
    Wait([u8; 16]),
    /// Ask the meeting relay for the circuit that left this cookie.
    Join([u8; 16]),
}

impl Meet {
    /// Leave `cookie` at the meeting relay and wait.
    #[must_use]
    pub fn wait(cookie: [u8; 16]) -> Self {
        Self::Wait(cookie)
    }

    /// Ask the meeting relay for the circuit that left `cookie`.
    #[must_use]
    pub fn join(cookie: [u8; 16]) -> Self {
        Self::Join(cookie)
    }
}

impl fmt::Debug for Meet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wait(_) => "Wait([redacted])",
            Self::Join(_) => "Join([redacted])",
        })
    }
}

/// Streams with different tokens never share a circuit.
///
/// A token is made anew, or from whatever a caller isolates by (a SOCKS user name and password): equal bytes give equal
/// tokens within one process.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct IsolationToken(Vec<u8>);

impl IsolationToken {
    /// A token unlike any other.
    #[must_use]
    pub fn fresh() -> Self {
        Self::labelled(b"fresh", &[&crate::entropy::bytes::<16>()])
    }

    /// The token for these parts; their boundaries count, so `["ab", "c"]` and `["a", "bc"]` differ.
    #[must_use]
    pub fn from_parts(parts: &[&[u8]]) -> Self {
        Self::labelled(b"parts", parts)
    }

    fn labelled(label: &[u8], parts: &[&[u8]]) -> Self {
        let mut bytes = label.to_vec();
        for part in parts {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        Self(bytes)
    }
}

impl fmt::Debug for IsolationToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IsolationToken([redacted])")
    }
}

/// One relay of a circuit's path, as the network document describes it.
#[derive(Clone, PartialEq, Eq)]
pub struct HopInfo {
    /// Who it is.
    pub id: RelayId,
    /// The name that its operator gave it.
    pub nickname: String,
    /// The country that it claims, an ISO 3166 code.
    pub country: Option<String>,
    /// Its first address.
    pub address: Option<SocketAddr>,
}

impl fmt::Debug for HopInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HopInfo").field("nickname", &self.nickname).finish_non_exhaustive()
    }
}
