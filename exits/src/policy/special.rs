//! Addresses that are never public: from the special-purpose registries of IANA (RFC 6890 and its successors).
//!
//! IPv4 lists what is refused. IPv6 lists what is allowed, global unicast (2000::/3), and what is refused inside it:
//! a range that is assigned in future is refused until somebody has looked at it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is not public.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Special {
    /// "This network", or no address at all.
    Unspecified,
    /// This machine.
    Loopback,
    /// Private networks, unique-local ones included.
    Private,
    /// Shared address space of carrier-grade translators.
    CarrierNat,
    /// Link-local and site-local.
    LinkLocal,
    /// Where clouds tell a machine its secrets.
    Metadata,
    /// Protocol assignments, documentation, benchmarks, discard, segment routing.
    Reserved,
    /// Multicast and broadcast.
    Multicast,
    /// An IPv6 form that carries an IPv4 address past a check: IPv4-compatible, local NAT64, 6to4, Teredo, ISATAP.
    Embedded,
}

impl Special {
    /// Whether a test network lifts this.
    #[must_use]
    pub fn is_local(self) -> bool {
        matches!(self, Self::Loopback | Self::Private)
    }
}

impl fmt::Display for Special {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "unspecified",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::CarrierNat => "carrier-grade NAT",
            Self::LinkLocal => "link-local",
            Self::Metadata => "cloud metadata",
            Self::Reserved => "reserved",
            Self::Multicast => "multicast or broadcast",
            Self::Embedded => "IPv4 inside IPv6",
        })
    }
}

/// Why an address is not public, or nothing if it is. An IPv4-mapped IPv6 address counts as the IPv4 address that the
/// system would connect to.
#[must_use]
pub fn classify(ip: IpAddr) -> Option<Special> {
    match ip.to_canonical() {
        IpAddr::V4(ip) => classify_v4(ip),
        IpAddr::V6(ip) => classify_v6(ip),
    }
}

/// The IPv4 address behind the well-known NAT64 prefix, 64:ff9b::/96 (RFC 6052).
#[must_use]
pub fn nat64(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    match ip.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(join(high, low)),
        _ => None,
    }
}

fn classify_v4(ip: Ipv4Addr) -> Option<Special> {
    Some(match ip.octets() {
        [0, ..] => Special::Unspecified,
        [127, ..] => Special::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Special::Private,
        // Alibaba's metadata service lies in the shared space of translators, Oracle's in the protocol assignments,
        // Azure's at a public address.
        [169, 254, 169, 254] | [100, 100, 100, 200] | [192, 0, 0, 192] | [168, 63, 129, 16] => Special::Metadata,
        [100, 64..=127, ..] => Special::CarrierNat,
        [169, 254, ..] => Special::LinkLocal,
        [192, 0, 0, _] | [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [198, 18..=19, ..] => {
            Special::Reserved
        }
        [192, 88, 99, _] => Special::Embedded,
        [224..=239, ..] | [255, 255, 255, 255] => Special::Multicast,
        [240..=255, ..] => Special::Reserved,
        _ => return None,
    })
}

fn classify_v6(ip: Ipv6Addr) -> Option<Special> {
    let s = ip.segments();
    Some(match s {
        [0, 0, 0, 0, 0, 0, 0, 0] => Special::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => Special::Loopback,
        [0, 0, 0, 0, 0, 0, ..] => Special::Embedded,
        // Its IPv4 address is judged as well: see `Policy::check`.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => return classify_v4(join(high, low)),
        [0x64, 0xff9b, ..] => Special::Embedded,
        // Amazon's and Google's metadata services lie in unique-local space.
        [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254] | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254] => Special::Metadata,
        [0xfc00..=0xfdff, ..] => Special::Private,
        [0xfe80..=0xfeff, ..] => Special::LinkLocal,
        [0xff00..=0xffff, ..] => Special::Multicast,
        // Teredo, then the rest of the protocol assignments 2001::/23.
        [0x2001, 0, ..] => Special::Embedded,
        [0x2001, 0x1..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Special::Reserved,
        [0x2002, ..] => Special::Embedded,
        [0x2000..=0x3fff, _, _, _, 0 | 0x200, 0x5efe, ..] => Special::Embedded,
        [0x2000..=0x3fff, ..] => return None,
        _ => Special::Reserved,
    })
}

fn join(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(high) << 16 | u32::from(low))
}
