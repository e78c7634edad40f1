//! Addresses at which a node may be reached.

use std::net::{IpAddr, SocketAddr};

use crate::wire::address::{ADDRESS_LEN, address_bytes, read_address};
use crate::wire::document::is_public;

/// Candidates in one message, at most.
pub const MAX_CANDIDATES: usize = 16;
/// Bytes of a candidate.
pub const CANDIDATE_LEN: usize = 1 + ADDRESS_LEN;

/// How a node knows an address of its own. In order: what is tried first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, serde::Serialize)]
#[repr(u8)]
#[serde(rename_all = "lowercase")]
pub enum CandidateKind {
    /// An address of one of its own interfaces.
    Host = 1,
    /// A port that its router forwards at its request.
    Mapped = 2,
    /// Where relays see its datagrams come from.
    Reflexive = 3,
    /// Where its router is likely to send the next flow from.
    Predicted = 4,
    /// Where its TCP connections come from, all from one port of its own.
    Stream = 5,
}

/// One address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// How it is known.
    pub kind: CandidateKind,
    /// The address.
    pub address: SocketAddr,
}

impl Candidate {
    /// Writes it.
    pub fn write(&self, out: &mut [u8; CANDIDATE_LEN]) {
        out[0] = self.kind as u8;
        out[1..].copy_from_slice(&address_bytes(self.address));
    }

    /// Reads it; `None` when the kind is unknown or the address none that a datagram can be sent to.
    #[must_use]
    pub fn read(bytes: &[u8; CANDIDATE_LEN]) -> Option<Self> {
        let (&[kind], address) = bytes.split_first_chunk::<1>()?;
        let kind = match kind {
            1 => CandidateKind::Host,
            2 => CandidateKind::Mapped,
            3 => CandidateKind::Reflexive,
            4 => CandidateKind::Predicted,
            5 => CandidateKind::Stream,
            _ => return None,
        };
        Some(Self { kind, address: read_address(address.first_chunk()?)? })
    }
}

/// Whether an address means something only inside one private network.
#[must_use]
pub fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_private() || ip.is_link_local() || ip.is_loopback() || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_loopback(),
    }
}

/// Whether a probe may go to an address that somebody else named: to public ones; to private ones of one's own network,
/// never to this machine; and to all in test networks.
#[must_use]
pub fn may_be_probed(ip: IpAddr, same_network: bool, anywhere: bool) -> bool {
    let near = match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unicast_link_local(),
    };
    anywhere || is_public(ip) || (same_network && is_private(ip) && !near)
}

/// What a node knows of itself when it gathers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// Addresses of its interfaces, with the port that its socket is bound to.
    pub local: &'a [SocketAddr],
    /// Where relays see it, best confirmed first.
    pub reflexive: &'a [SocketAddr],
    /// Ports that its router forwards.
    pub mapped: &'a [SocketAddr],
    /// Where its router is likely to send the next flow from.
    pub predicted: &'a [SocketAddr],
    /// Where its TCP connections come from.
    pub stream: Option<SocketAddr>,
}

/// The candidates to send to a peer that shows the public address `peer`, best first.
///
/// Private addresses are no secret to one's own network and a fingerprint to everybody else: they are given only to a
/// peer that shows the same public address, which is therefore behind the same translator.
#[must_use]
pub fn gather(known: Known<'_>, peer: Option<IpAddr>) -> Vec<Candidate> {
    let same_network =
        known.reflexive.iter().chain(known.local).any(|own| Some(own.ip()) == peer) || peer.is_some_and(is_private);
    let usable = |address: &&SocketAddr| {
        let ip = address.ip();
        let link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        let useless =
            ip.is_unspecified() || link_local || (ip.is_loopback() && !peer.is_none_or(|ip| ip.is_loopback()));
        !useless && (!is_private(ip) || same_network)
    };
    let lists = [
        (CandidateKind::Stream, known.stream.as_slice()),
        (CandidateKind::Host, known.local),
        (CandidateKind::Mapped, known.mapped),
        (CandidateKind::Reflexive, known.reflexive),
        (CandidateKind::Predicted, known.predicted),
    ];
    let mut out: Vec<Candidate> = Vec::new();
    for (kind, addresses) in lists {
        for address in addresses.iter().filter(usable) {
            // A port of TCP is another than the same one of UDP.
            let is_stream = |kind| kind == CandidateKind::Stream;
            let same = |known: &Candidate| known.address == *address && is_stream(known.kind) == is_stream(kind);
            if out.len() < MAX_CANDIDATES && !out.iter().any(same) {
                out.push(Candidate { kind, address: *address });
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    proptest! {
        #[test]
        fn a_candidate_that_reads_writes_the_same(bytes: [u8; CANDIDATE_LEN]) {
            if let Some(candidate) = Candidate::read(&bytes) {
                let mut out = [0; CANDIDATE_LEN];
                candidate.write(&mut out);
                prop_assert_eq!(out, bytes);
            }
        }
    }

    #[test]
    fn private_addresses_are_for_the_same_network_only() {
        let local = [at("192.168.1.5:9000"), at("[2001:db8::5]:9000"), at("[fe80::1]:9000"), at("127.0.0.1:9000")];
        let reflexive = [at("198.51.100.7:4000")];
        let known = Known { local: &local, reflexive: &reflexive, ..Known::default() };
        let of = |peer: &str| {
            let addresses = gather(known, Some(peer.parse().expect("an address")));
            addresses.iter().map(|candidate| candidate.address).collect::<Vec<_>>()
        };
        assert_eq!(of("203.0.113.1"), [local[1], reflexive[0]]);
        assert_eq!(of("198.51.100.7"), [local[0], local[1], reflexive[0]]);
    }

    #[test]
    fn probes_go_to_public_addresses_and_the_own_network() {
        let may = |ip: &str, same, anywhere| may_be_probed(ip.parse().expect("an address"), same, anywhere);
        for ip in ["192.168.1.1", "10.0.0.1", "100.64.0.1", "fd00::1"] {
            assert!(!may(ip, false, false) && may(ip, true, false) && may(ip, false, true), "{ip}");
        }
        for ip in ["127.0.0.1", "169.254.1.1", "224.0.0.1", "255.255.255.255", "::1", "fe80::1", "ff02::1"] {
            assert!(!may(ip, true, false), "{ip}");
        }
        assert!(may("5.44.0.1", false, false) && may("2a00::1", false, false));
    }

    #[test]
    fn an_address_is_given_once_and_not_too_many() {
        let local: Vec<SocketAddr> = (1..40).map(|i| SocketAddr::from(([198, 51, 100, i], 9))).collect();
        let known = Known { local: &local, reflexive: &local[..1], ..Known::default() };
        let all = gather(known, None);
        assert_eq!(all.len(), MAX_CANDIDATES);
        assert_eq!(all.iter().filter(|candidate| candidate.address == local[0]).count(), 1);
    }
}
