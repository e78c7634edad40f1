//! Addresses: how they are written for people, for libp2p and in the store, and which may be used.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use crate::PeerIdentity;

/// Where a node of the network can be met: an address, and who must answer there, if that is known.
///
/// Written as `203.0.113.5:4001` or `203.0.113.5:4001/<64 hexadecimal digits>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Contact {
    /// Both QUIC (UDP) and TCP are tried at it.
    pub address: SocketAddr,
    /// Without it, whoever answers there is believed to be the contact.
    pub identity: Option<PeerIdentity>,
}

impl FromStr for Contact {
    type Err = NoContact;

    fn from_str(text: &str) -> Result<Self, NoContact> {
        let (address, identity) = match text.split_once('/') {
            Some((address, identity)) => (address, Some(identity.parse().map_err(|_| NoContact)?)),
            None => (text, None),
        };
        let address: SocketAddr = address.parse().map_err(|_| NoContact)?;
        let usable = address.port() != 0 && !address.ip().is_unspecified();
        usable.then_some(Self { address, identity }).ok_or(NoContact)
    }
}

impl fmt::Display for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        self.identity.map_or(Ok(()), |identity| write!(f, "/{identity}"))
    }
}

impl fmt::Debug for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Contact([redacted])")
    }
}

/// A text is no contact.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a contact is an address and a port, such as 203.0.113.5:4001, with /IDENTITY after it if it is known")]
pub struct NoContact;

/// How libp2p writes QUIC at an address.
pub(crate) fn quic(address: SocketAddr) -> Multiaddr {
    Multiaddr::from(address.ip()).with(Protocol::Udp(address.port())).with(Protocol::QuicV1)
}

/// How libp2p writes TCP at an address.
pub(crate) fn tcp(address: SocketAddr) -> Multiaddr {
    Multiaddr::from(address.ip()).with(Protocol::Tcp(address.port()))
}

/// Both, QUIC first.
pub(crate) fn both(address: SocketAddr) -> Vec<Multiaddr> {
    vec![quic(address), tcp(address)]
}

/// The address of a direct connection: IP and port with QUIC or TCP, and nothing else but the peer at its end. `None`
/// for names, relayed connections and whatever else there is.
pub(crate) fn direct(address: &Multiaddr) -> Option<Direct> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => IpAddr::V4(ip),
        Protocol::Ip6(ip) => IpAddr::V6(ip),
        _ => return None,
    };
    let (port, quic) = match parts.next()? {
        Protocol::Tcp(port) => (port, false),
        Protocol::Udp(port) => (parts.next()? == Protocol::QuicV1).then_some((port, true))?,
        _ => return None,
    };
    match (parts.next(), parts.next()) {
        (None | Some(Protocol::P2p(_)), None) if port != 0 => Some(Direct { address: SocketAddr::new(ip, port), quic }),
        _ => None,
    }
}

/// A direct address, written so that libp2p takes it for another one each time: with the name of the node itself behind it so often.
pub(crate) fn again(address: Direct, own: PeerId, times: u32) -> Multiaddr {
    (0..times).fold(address.multiaddr(), |address, _| address.with(Protocol::P2p(own)))
}

/// The address that is meant by what [`again`] wrote.
pub(crate) fn bare(address: &Multiaddr) -> Option<Direct> {
    let mut address = address.clone();
    while let Some(Protocol::P2p(_)) = address.iter().last() {
        address.pop();
    }
    direct(&address)
}

/// The relay that an address leads through, if it leads through one to wherever it is told of, and is nothing else. Where that relay is, the
/// address says too, but nobody takes its word for it.
pub(crate) fn relay_of(address: &Multiaddr) -> Option<PeerIdentity> {
    let mut relay = None;
    let mut parts = address.iter();
    for part in parts.by_ref() {
        match part {
            Protocol::P2p(peer) => relay = PeerIdentity::of(&peer),
            Protocol::P2pCircuit => break,
            _ => relay = None,
        }
    }
    // A circuit through a circuit carries nobody.
    let ends = matches!((parts.next(), parts.next()), (None | Some(Protocol::P2p(_)), None));
    relay.filter(|_| ends && is_relayed(address))
}

/// The address of whoever can be met at a relay, by where this node knows the relay to be.
pub(crate) fn through(relay: PeerId, at: Direct) -> Multiaddr {
    at.multiaddr().with(Protocol::P2p(relay)).with(Protocol::P2pCircuit)
}

/// The same for a relay by its identity and where it is.
pub(crate) fn way((relay, at): (PeerIdentity, Direct)) -> Option<Multiaddr> {
    Some(through(relay.peer_id()?, at))
}

/// A direct address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Direct {
    pub(crate) address: SocketAddr,
    /// Else TCP.
    pub(crate) quic: bool,
}

impl Direct {
    pub(crate) fn multiaddr(self) -> Multiaddr {
        if self.quic { quic(self.address) } else { tcp(self.address) }
    }

    /// 7 or 19 bytes for the store.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.quic)];
        match self.address.ip() {
            IpAddr::V4(ip) => bytes.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => bytes.extend_from_slice(&ip.octets()),
        }
        bytes.extend_from_slice(&self.address.port().to_be_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&kind, rest) = bytes.split_first()?;
        let (ip, port) = rest.split_last_chunk::<2>()?;
        let ip = match ip.len() {
            4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(ip).ok()?)),
            16 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?)),
            _ => return None,
        };
        let port = u16::from_be_bytes(*port);
        (kind <= 1 && port != 0).then_some(Self { address: SocketAddr::new(ip, port), quic: kind == 1 })
    }
}

/// The IP at the near end of a connection, also of one that a relay carries: then it is the relay's.
pub(crate) fn ip(address: &Multiaddr) -> Option<IpAddr> {
    address.iter().find_map(|part| match part {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(IpAddr::V6(ip)),
        _ => None,
    })
}

/// Whether a connection runs over QUIC.
pub(crate) fn is_quic(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::QuicV1)
}

/// Whether a connection runs through a relay.
pub(crate) fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

/// Whether an address can be reached from everywhere, so that it may be told to others and dialled on their word.
/// Who could make us dial private addresses would have us scan the network we are in.
pub(crate) fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => {
            let first = ip.segments()[0];
            // 2000::/3 without documentation, 6to4, Teredo and other blocks for protocols: these embed or mean other addresses.
            first & 0xe000 == 0x2000
                && first != 0x2002
                && !(first == 0x2001 && (ip.segments()[1] < 0x0200 || ip.segments()[1] == 0x0db8))
        }
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let benchmark = a == 198 && (18..20).contains(&b);
    let protocols = a == 192 && b == 0 && c == 0;
    let special = ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_documentation();
    !(special || shared || benchmark || protocols || a == 0 || a >= 224)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn contacts_are_written_as_they_are_read() {
        for text in ["203.0.113.5:4001", "[2001:db8::1]:4001"] {
            assert_eq!(text.parse::<Contact>().expect("a contact").to_string(), text);
        }
        let with = format!("203.0.113.5:4001/{}", "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        assert_eq!(with.parse::<Contact>().expect("a contact").to_string(), with);
        for bad in
            ["", "203.0.113.5", "203.0.113.5:0", "0.0.0.0:1", "example.org:1", "203.0.113.5:1/", "203.0.113.5:1/ab"]
        {
            assert!(bad.parse::<Contact>().is_err(), "{bad}");
        }
    }

    #[test]
    fn private_addresses_are_known() {
        let bad = [
            "10.0.0.1",
            "127.0.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.1.2.3",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "192.0.0.8",
            "::1",
            "fe80::1",
            "fc00::1",
            "::ffff:10.0.0.1",
            "2001:db8::1",
            "2002:a00:1::",
            "2001::1",
            "ff02::1",
            "64:ff9b::a00:1",
        ];
        for text in bad {
            assert!(!is_public(text.parse().expect("an address")), "{text}");
        }
        for text in ["9.9.9.9", "100.128.0.1", "2606:4700::1111", "2001:4860:4860::8888"] {
            assert!(is_public(text.parse().expect("an address")), "{text}");
        }
    }

    #[test]
    fn only_direct_addresses_are_direct() {
        let address: SocketAddr = "203.0.113.5:4001".parse().expect("an address");
        assert_eq!(direct(&quic(address)).map(|d| (d.address, d.quic)), Some((address, true)));
        assert_eq!(direct(&tcp(address)).map(|d| (d.address, d.quic)), Some((address, false)));
        for other in [
            "/dns4/example.org/tcp/1",
            "/ip4/1.2.3.4/udp/1",
            "/ip4/1.2.3.4/tcp/1/ws",
            "/ip4/1.2.3.4/tcp/0",
            "/ip4/1.2.3.4",
        ] {
            assert!(direct(&other.parse().expect("a multiaddress")).is_none(), "{other}");
        }
        let relayed = tcp(address).with(Protocol::P2pCircuit);
        assert!(direct(&relayed).is_none() && is_relayed(&relayed));
        assert_eq!(ip(&relayed), Some(address.ip()));
    }

    #[test]
    fn a_relayed_address_names_its_relay() {
        let key = |n: u8| PeerIdentity(ed25519_dalek::SigningKey::from_bytes(&[n; 32]).verifying_key().to_bytes());
        let peer = |n: u8| key(n).peer_id().expect("a key");
        let at = Direct { address: "203.0.113.5:4001".parse().expect("an address"), quic: true };
        let relayed = through(peer(1), at);
        assert_eq!(relay_of(&relayed), Some(key(1)));
        assert_eq!(relay_of(&relayed.clone().with(Protocol::P2p(peer(2)))), Some(key(1)), "whom it leads to is said");
        assert_eq!(relay_of(&at.multiaddr().with(Protocol::P2p(peer(1)))), None, "it is direct");
        assert_eq!(relay_of(&at.multiaddr().with(Protocol::P2pCircuit)), None, "it names no relay");
        let twice = relayed.with(Protocol::P2p(peer(2))).with(Protocol::P2pCircuit);
        assert_eq!(relay_of(&twice), None, "through two");
    }

    proptest! {
        #[test]
        fn stored_addresses_come_back(v6: bool, raw: u128, port in 1..=u16::MAX, quic: bool) {
            let bytes = raw.to_be_bytes();
            let ip = if v6 { IpAddr::from(bytes) } else { IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]]) };
            let direct = Direct { address: SocketAddr::new(ip, port), quic };
            prop_assert!(Direct::from_bytes(&direct.to_bytes()) == Some(direct));
        }

        #[test]
        fn any_bytes_are_an_address_or_none(bytes: Vec<u8>) {
            if let Some(direct) = Direct::from_bytes(&bytes) {
                prop_assert_eq!(direct.to_bytes(), bytes);
            }
        }
    }
}
