//! Addresses that stand for something other than a place in the network.
//!
//! To the links everything has a socket address. A flow that another node passes on, and a carrier that is not UDP, get one
//! from `100::/16`, which the network never routes. Datagrams to a relayed flow leave in front of the node between them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::output::Output;
use crate::wire::datagram::{Header, Kind, RELAYED_LEN};

const PREFIX: u16 = 0x0100;
const RELAYED: u16 = 1;
const CARRIED: u16 = 2;
const ASIDE: u16 = 3;
const STREAM: u16 = 4;
/// In the place of the first two bytes of IPv6: the next four are an IPv4 address.
const V4: u16 = 0xffff;
/// Flows that a node's own links use, at most.
pub(crate) const MAX_ROUTES: usize = 256;

fn make(kind: u16, network: [u16; 3], number: u32) -> SocketAddr {
    let [a, b, c, d] = number.to_be_bytes();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let [x, y, z] = network;
    SocketAddr::new(Ipv6Addr::new(PREFIX, x, y, z, 0, kind, high, low).into(), 1)
}

fn number(address: SocketAddr, wanted: u16) -> Option<u32> {
    let IpAddr::V6(ip) = address.ip() else { return None };
    let [prefix, _, _, _, _, kind, high, low] = ip.segments();
    (prefix == PREFIX && kind == wanted).then(|| u32::from(high) << 16 | u32::from(low))
}

/// The address that stands for a flow which another node passes on.
pub(crate) fn relayed(number: u32) -> SocketAddr {
    make(RELAYED, [0; 3], number)
}

/// Whether an address stands for a flow that another node passes on.
#[must_use]
pub fn is_relayed(address: SocketAddr) -> bool {
    number(address, RELAYED).is_some()
}

/// The address that stands for a connection of a carrier which is not UDP. `far` is where the connection leads or comes
/// from: links of one far network share its bound as links by UDP do.
#[must_use]
pub fn carried(connection: u32, far: SocketAddr) -> SocketAddr {
    connected(CARRIED, connection, far)
}

/// The same for a TCP connection that both ends opened to each other.
#[must_use]
pub fn stream(connection: u32, far: SocketAddr) -> SocketAddr {
    connected(STREAM, connection, far)
}

fn connected(kind: u16, connection: u32, far: SocketAddr) -> SocketAddr {
    // Six bytes tell networks apart: all of an IPv4 address, a /48 of IPv6.
    let network = match far.ip() {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            [V4, u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]
        }
        IpAddr::V6(ip) => {
            let [a, b, c, ..] = ip.segments();
            [a, b, c]
        }
    };
    let mut made = make(kind, network, connection);
    made.set_port(far.port());
    made
}

/// The connection that an address stands for, of any carrier that has some.
#[must_use]
pub fn connection_of(address: SocketAddr) -> Option<u32> {
    number(address, CARRIED).or_else(|| number(address, STREAM))
}

/// Whether an address stands for a connection to or from a relay that serves such.
pub(crate) fn is_carried(address: SocketAddr) -> bool {
    number(address, CARRIED).is_some()
}

/// Whether an address stands for a TCP connection that both ends opened.
pub(crate) fn is_stream(address: SocketAddr) -> bool {
    number(address, STREAM).is_some()
}

/// Where a connection that an address stands for leads or comes from; known of IPv4 only.
pub(crate) fn far_of(address: SocketAddr) -> Option<SocketAddr> {
    connection_of(address)?;
    let IpAddr::V6(ip) = address.ip() else { return None };
    let [_, family, x, y, ..] = ip.segments();
    let ([a, b], [c, d]) = (x.to_be_bytes(), y.to_be_bytes());
    (family == V4 && address.port() != 0).then(|| SocketAddr::from(([a, b, c, d], address.port())))
}

/// The address that stands for an IPv4 address seen from one of a node's further sockets, counted from 1. Links that were
/// opened from there stay there.
#[must_use]
pub fn aside(far: SocketAddr, socket: u16) -> Option<SocketAddr> {
    let IpAddr::V4(ip) = far.ip() else { return None };
    let [a, b, c, d] = ip.octets();
    let network = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]), far.port()];
    Some(make(ASIDE, network, socket.into()))
}

/// The socket, counted from 1, and the IPv4 address that an address stands for.
#[must_use]
pub fn aside_of(address: SocketAddr) -> Option<(u16, SocketAddr)> {
    let socket = u16::try_from(number(address, ASIDE)?).ok()?;
    let IpAddr::V6(ip) = address.ip() else { return None };
    let [_, x, y, port, ..] = ip.segments();
    let ([a, b], [c, d]) = (x.to_be_bytes(), y.to_be_bytes());
    Some((socket, SocketAddr::from(([a, b, c, d], port))))
}

pub(crate) fn is_aside(address: SocketAddr) -> bool {
    number(address, ASIDE).is_some()
}

/// Whether an address stands for something else than a place in the network.
#[must_use]
pub fn is_made_up(address: SocketAddr) -> bool {
    matches!(address.ip(), IpAddr::V6(ip) if ip.segments()[0] == PREFIX)
}

/// Where relayed flows leave: the node between, and its number for the flow.
#[derive(Debug, Default)]
pub(super) struct Routes {
    by_number: BTreeMap<u32, (SocketAddr, u32)>,
}

impl Routes {
    pub(super) fn set(&mut self, number: u32, via: SocketAddr, flow: u32) {
        if self.by_number.len() < MAX_ROUTES || self.by_number.contains_key(&number) {
            self.by_number.insert(number, (via, flow));
        }
    }

    pub(super) fn remove(&mut self, number: u32) {
        self.by_number.remove(&number);
    }

    /// Appends a datagram of `len` zero bytes for `to` to the output, behind what its way needs in front.
    pub(super) fn datagram<'a>(&self, output: &'a mut Output, to: SocketAddr, len: usize) -> &'a mut [u8] {
        match self.resolve(to) {
            None => output.datagram(to, len),
            Some((via, front)) => {
                let front = front.bytes();
                let (head, rest) = output.datagram(via, front.len() + len).split_at_mut(front.len());
                head.copy_from_slice(front);
                rest
            }
        }
    }

    /// Where a datagram for this address really goes, and what stands in front of it: one header, or two when the node
    /// between is itself reached through another.
    fn resolve(&self, to: SocketAddr) -> Option<(SocketAddr, Front)> {
        let (via, inner) = self.step(to)?;
        Some(match self.step(via) {
            None => (via, Front { bytes: [inner, [0; RELAYED_LEN]], count: 1 }),
            Some((outer_via, outer)) => (outer_via, Front { bytes: [outer, inner], count: 2 }),
        })
    }

    fn step(&self, to: SocketAddr) -> Option<(SocketAddr, [u8; RELAYED_LEN])> {
        let (via, flow) = *self.by_number.get(&number(to, RELAYED)?)?;
        Some((via, Header { kind: Kind::Relayed, suite: 0, index: flow, counter: 0 }.to_bytes()))
    }
}

/// What stands in front of a relayed datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Front {
    bytes: [[u8; RELAYED_LEN]; 2],
    count: usize,
}

impl Front {
    fn bytes(&self) -> &[u8] {
        &self.bytes.as_flattened()[..self.count * RELAYED_LEN]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_addresses_are_told_apart() {
        let far = "192.0.2.7:44".parse().expect("an address");
        assert_eq!(connection_of(carried(0x1234_5678, far)), Some(0x1234_5678));
        assert_eq!(connection_of(stream(0x1234_5678, far)), Some(0x1234_5678));
        assert!(is_carried(carried(1, far)) && !is_stream(carried(1, far)) && is_stream(stream(1, far)));
        assert_eq!((far_of(carried(1, far)), far_of(stream(1, far)), far_of(relayed(9))), (Some(far), Some(far), None));
        assert_eq!(far_of(carried(1, "[2001:db8::1]:44".parse().expect("an address"))), None);
        assert!(is_relayed(relayed(9)) && connection_of(relayed(9)).is_none());
        assert!(is_made_up(relayed(9)) && is_made_up(carried(1, far)) && !is_relayed(carried(1, far)));
        assert!(!is_made_up("192.0.2.7:9".parse().expect("an address")));
    }

    #[test]
    fn a_further_socket_keeps_the_address() {
        let far = "192.0.2.7:65000".parse().expect("an address");
        let made = aside(far, 256).expect("IPv4");
        assert_eq!(aside_of(made), Some((256, far)));
        assert!(is_aside(made) && is_made_up(made) && aside_of(far).is_none());
        assert_eq!(aside("[2001:db8::1]:1".parse().expect("an address"), 1), None);
    }

    #[test]
    fn a_route_ends() {
        let via = "192.0.2.7:9".parse().expect("an address");
        let mut routes = Routes::default();
        routes.set(4, via, 77);
        let (to, header) = routes.resolve(relayed(4)).expect("a route");
        let header = header.bytes();
        assert_eq!((to, header.len(), header[0], &header[4..8]), (via, 16, 6, &77u32.to_be_bytes()[..]));
        routes.set(5, relayed(4), 78);
        let (to, header) = routes.resolve(relayed(5)).expect("a route by a route");
        let numbers = [&header.bytes()[4..8], &header.bytes()[20..24]];
        assert_eq!((to, numbers), (via, [&77u32.to_be_bytes()[..], &78u32.to_be_bytes()[..]]));
        routes.remove(4);
        assert_eq!(routes.resolve(relayed(4)), None);
    }
}
