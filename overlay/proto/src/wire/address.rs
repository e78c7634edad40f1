//! Socket addresses in a fixed number of bytes: IPv6, or IPv4 in IPv6's form, then the port.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Bytes of an address.
pub const ADDRESS_LEN: usize = 18;

/// The bytes of an address. Scope and flow label of IPv6 are left out: they mean nothing to others.
#[must_use]
pub fn address_bytes(address: SocketAddr) -> [u8; ADDRESS_LEN] {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut out = [0; ADDRESS_LEN];
    let (head, port) = out.split_at_mut(16);
    head.copy_from_slice(&ip.octets());
    port.copy_from_slice(&address.port().to_be_bytes());
    out
}

/// Reads an address. `None` for what no datagram can be sent to: port 0, the unspecified address, a group of receivers.
#[must_use]
pub fn read_address(bytes: &[u8; ADDRESS_LEN]) -> Option<SocketAddr> {
    let (ip, port) = bytes.split_first_chunk::<16>()?;
    let ip = Ipv6Addr::from(*ip).to_canonical();
    let port = u16::from_be_bytes(*port.first_chunk::<2>()?);
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    let good = port != 0 && !ip.is_unspecified() && !ip.is_multicast() && !broadcast;
    good.then(|| SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_address_that_reads_writes_the_same(bytes: [u8; ADDRESS_LEN]) {
            if let Some(address) = read_address(&bytes) {
                prop_assert_eq!(address_bytes(address), bytes);
            }
        }
    }

    #[test]
    fn what_is_no_destination_is_refused() {
        for text in ["0.0.0.0:1", "255.255.255.255:1", "224.0.0.1:1", "[::]:1", "[ff02::1]:1", "10.0.0.1:0"] {
            assert_eq!(read_address(&address_bytes(text.parse().expect("an address"))), None, "{text}");
        }
        for text in ["10.0.0.1:7", "[2001:db8::1]:65535"] {
            let address = text.parse().expect("an address");
            assert_eq!(read_address(&address_bytes(address)), Some(address));
        }
    }
}
