//! The kinds of translators, as rules of nft for a router with the interfaces `wan` and `lan`.

use zmesh_netns::{CLOSED, SILENT, translator};

/// A kind of place that a node can be in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// A public address.
    Open,
    /// The same mapping for everybody, and everybody is let in.
    FullCone,
    /// The same mapping for everybody; let in are addresses that something was sent to.
    AddressRestricted,
    /// The same mapping for everybody; let in are addresses and ports that something was sent to.
    PortRestricted,
    /// The same, with a router that forwards ports at request (PCP, NAT-PMP, UPnP).
    Upnp,
    /// A random port for each destination.
    Symmetric,
    /// Two port-restricted ones behind each other.
    Double,
    /// A port-restricted one behind a provider's, which lets everybody in and turns its own people round (hairpin).
    Cgnat,
    /// A port-restricted one that lets no UDP through.
    UdpBlocked,
    /// A public IPv6 address and none of IPv4.
    Ipv6Only,
    /// A random port of IPv4 for each destination, as mobile networks have it, and besides a public IPv6 address behind a firewall that
    /// lets in answers alone (RFC 6092).
    Dual,
}

impl Kind {
    pub(crate) const ALL: [Self; 11] = [
        Self::Open,
        Self::FullCone,
        Self::AddressRestricted,
        Self::PortRestricted,
        Self::Upnp,
        Self::Symmetric,
        Self::Double,
        Self::Cgnat,
        Self::UdpBlocked,
        Self::Ipv6Only,
        Self::Dual,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::FullCone => "full-cone",
            Self::AddressRestricted => "address",
            Self::PortRestricted => "port",
            Self::Upnp => "upnp",
            Self::Symmetric => "symmetric",
            Self::Double => "double",
            Self::Cgnat => "cgnat",
            Self::UdpBlocked => "blocked",
            Self::Ipv6Only => "ipv6",
            Self::Dual => "dual",
        }
    }

    /// The rules of the router next to the node, which is at `inside`.
    pub(crate) fn rules(self, inside: &str) -> String {
        match self {
            Self::Open | Self::Ipv6Only => String::new(),
            Self::FullCone => {
                translator("masquerade", &format!("iifname wan udp dport 1024-65535 dnat to {inside} ;"), "")
            }
            Self::AddressRestricted => {
                let forward = "iifname lan oifname wan update @met { ip daddr } ; iifname wan oifname lan ip saddr @met accept ; \
                               ct state established accept ; iifname wan drop ;";
                let dnat = format!("iifname wan udp dport 1024-65535 ip saddr @met dnat to {inside} ;");
                translator("masquerade", &dnat, forward)
            }
            Self::PortRestricted | Self::Double | Self::Cgnat | Self::Upnp => translator("masquerade", "", CLOSED),
            Self::Symmetric | Self::Dual => translator("masquerade fully-random", "", CLOSED),
            Self::UdpBlocked => {
                translator("masquerade", "", "meta l4proto udp drop ; ct state established accept ; iifname wan drop ;")
            }
        }
    }
}

/// The provider's router in front of homes: who is behind it, by the port that their node uses, and its own address. Who is
/// turned round is told by address, as a rule by the interface that it came by does not match behind the routing.
pub(crate) fn provider(homes: &[(String, u16)], own: &str) -> String {
    let inward: String =
        homes.iter().map(|(home, port)| format!("ip daddr {own} udp dport {port} dnat to {home} ; ")).collect();
    format!(
        "table ip nat {{
           chain pre {{ type nat hook prerouting priority -100 ; policy accept ; {inward} }}
           chain post {{ type nat hook postrouting priority 100 ; policy accept ; oifname wan masquerade ;
             oifname lan ip saddr 100.64.0.0/24 ct status dnat snat to {own} ; }}
           {SILENT}
         }}"
    )
}

/// A router's firewall for IPv6, which translates nothing.
pub(crate) const FIREWALL: &str = "table ip6 wall {
   chain on { type filter hook forward priority 0 ; policy accept ; ct state established,related accept ; iifname wan drop ; }
 }";
