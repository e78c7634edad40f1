//! How often each kind is met, and how much the result depends on it.
//!
//! No survey has all of these kinds at once. The weights are put together from: B. Ford, P. Srisuresh, D. Kegel, "Peer-to-Peer
//! Communication Across Network Address Translators" (2005): 82 % of routers tested keep one mapping for all destinations;
//! G. Halkes, J. Pouwelse, "UDP NAT and Firewall Puncturing in the Wild" (2010): about 64 % of peers are behind something
//! that hole punching should get through; D. Trautwein and others, "Challenging Tribal Knowledge" (arXiv 2510.27500, 2025):
//! 70 ± 7 % of hole punches succeed, over 4.4 million attempts, by TCP as often as by QUIC. Where they say nothing (UPnP,
//! double, CGNAT, blocked, IPv6 only) the share is a guess, and the range below says what it matters: P. Richter and others,
//! "A Multi-perspective Analysis of Carrier-Grade NAT Deployment" (2016), find that sort in most mobile networks; those who
//! run QUIC report failures of UDP of a few percent. Google counts 45 to 50 % of its users by IPv6 in 2025 (google.com/intl/en/ipv6/statistics.html):
//! two variants have so many with IPv6 besides, all of them behind the worst translator for IPv4. Nobody's surveys count pairs, so pairs weigh as if both ends were
//! drawn apart.

use crate::kinds::Kind;

/// The share of nodes in each kind of place, in percent.
pub(crate) fn base(kind: Kind) -> f64 {
    match kind {
        Kind::Open => 8.0,
        Kind::FullCone => 10.0,
        Kind::AddressRestricted => 6.0,
        Kind::PortRestricted => 34.0,
        Kind::Upnp => 8.0,
        Kind::Symmetric => 14.0,
        Kind::Double => 4.0,
        Kind::Cgnat => 11.0,
        Kind::UdpBlocked => 3.0,
        Kind::Ipv6Only => 2.0,
        // In variants only: it is not known which of the other kinds those have who have IPv6 besides.
        Kind::Dual => 0.0,
    }
}

/// One way in which the weights may be wrong: these kinds have this share together, and the others what is left.
pub(crate) struct Variant {
    pub(crate) name: &'static str,
    pub(crate) shares: &'static [(Kind, f64)],
}

pub(crate) const VARIANTS: [Variant; 10] = [
    Variant { name: "as stated", shares: &[] },
    Variant { name: "symmetric 6 %", shares: &[(Kind::Symmetric, 6.0)] },
    Variant { name: "symmetric 25 %", shares: &[(Kind::Symmetric, 25.0)] },
    Variant { name: "UDP blocked 8 %", shares: &[(Kind::UdpBlocked, 8.0)] },
    Variant { name: "CGNAT 30 %", shares: &[(Kind::Cgnat, 30.0)] },
    Variant { name: "symmetric 25 %, blocked 8 %", shares: &[(Kind::Symmetric, 25.0), (Kind::UdpBlocked, 8.0)] },
    Variant { name: "IPv6 only 10 %", shares: &[(Kind::Ipv6Only, 10.0)] },
    Variant {
        name: "symmetric 25, blocked 8, IPv6 10 %",
        shares: &[(Kind::Symmetric, 25.0), (Kind::UdpBlocked, 8.0), (Kind::Ipv6Only, 10.0)],
    },
    Variant { name: "IPv6 only 10, IPv6 besides 45 %", shares: &[(Kind::Ipv6Only, 10.0), (Kind::Dual, 45.0)] },
    Variant {
        name: "blocked 8, IPv6 only 10, besides 45 %",
        shares: &[(Kind::Symmetric, 14.0), (Kind::Dual, 45.0), (Kind::UdpBlocked, 8.0), (Kind::Ipv6Only, 10.0)],
    },
];

impl Variant {
    /// The weight of a kind among `kinds`; all of them together weigh 1.
    pub(crate) fn weight(&self, kind: Kind, kinds: &[Kind]) -> f64 {
        let set = |kind: Kind| self.shares.iter().find(|(of, _)| *of == kind).map(|(_, share)| *share);
        let fixed: f64 = kinds.iter().filter_map(|kind| set(*kind)).sum();
        let free: f64 = kinds.iter().filter(|kind| set(**kind).is_none()).map(|kind| base(*kind)).sum();
        match set(kind) {
            Some(share) if free > 0.0 => share / 100.0,
            Some(share) => share / fixed,
            None => base(kind) / free * (1.0 - fixed / 100.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_weights_are_one_in_each_variant() {
        for variant in &VARIANTS {
            for kinds in [&Kind::ALL[..], &Kind::ALL[..5]] {
                let sum: f64 = kinds.iter().map(|kind| variant.weight(*kind, kinds)).sum();
                assert!((sum - 1.0).abs() < 1e-9, "{} {sum}", variant.name);
            }
        }
    }
}
