//! What is said to routers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::num::NonZeroU16;
use std::time::Duration;

use crab_nat::{
    GatewayAddress, InternetProtocol, PortMapping, PortMappingOptions, PortMappingType, TimeoutConfig, natpmp,
};

use crate::upnp::Forwarded;
use crate::{Transport, Wanted};

/// What a router may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// A port that a router forwards until it is given back, or its time is over.
pub(crate) enum Lease {
    Pcp { mapping: PortMapping, outside: SocketAddr },
    Upnp(Box<Forwarded>),
}

impl Lease {
    /// Where the port is reached, if the router speaks the truth.
    pub(crate) fn outside(&self) -> SocketAddr {
        match self {
            Self::Pcp { outside, .. } => *outside,
            Self::Upnp(forwarded) => forwarded.outside(),
        }
    }

    /// For how long it was given.
    pub(crate) fn lasts(&self) -> Duration {
        match self {
            Self::Pcp { mapping, .. } => Duration::from_secs(mapping.lifetime().into()),
            Self::Upnp(forwarded) => forwarded.lasts(),
        }
    }

    /// The same port for longer; `None` if the router does not give it any more.
    pub(crate) async fn renew(self) -> Option<Self> {
        match self {
            Self::Pcp { mut mapping, .. } => {
                // By the nonce that it was asked for with: with another one a router takes it for somebody else's.
                tokio::time::timeout(PATIENCE, mapping.renew()).await.ok()?.ok()?;
                seen(mapping).await
            }
            Self::Upnp(forwarded) => match forwarded.renew().await {
                Ok(forwarded) => Some(Self::Upnp(Box::new(forwarded))),
                Err(error) => {
                    tracing::debug!("the router forwards a port no longer: {error}");
                    None
                }
            },
        }
    }

    pub(crate) async fn give_back(self) {
        // If the router does not hear it, the port is free again when its time is over.
        match self {
            Self::Pcp { mapping, .. } => drop(tokio::time::timeout(PATIENCE, mapping.try_drop()).await),
            Self::Upnp(forwarded) => drop(tokio::time::timeout(PATIENCE, forwarded.give_back()).await),
        }
    }
}

/// By PCP, or NAT-PMP if that comes to nothing: a router that knows no PCP should say so, and some say nothing.
pub(crate) async fn by_pcp(gateway: Ipv4Addr, inside: SocketAddrV4, wanted: &Wanted) -> Option<Lease> {
    let port = NonZeroU16::new(inside.port())?;
    let protocol = match wanted.transport {
        Transport::Udp => InternetProtocol::Udp,
        Transport::Tcp => InternetProtocol::Tcp,
    };
    let options = PortMappingOptions {
        external_port: Some(port),
        lifetime_seconds: Some(seconds(wanted.lease)),
        timeout_config: Some(timing()),
    };
    let (gateway, client) = (GatewayAddress::IpV4(gateway), IpAddr::V4(*inside.ip()));
    let by_either = PortMapping::new(gateway, client, protocol, port, options);
    if let Ok(Ok(mapping)) = tokio::time::timeout(PATIENCE, by_either).await {
        return seen(mapping).await;
    }
    let timing = TimeoutConfig { max_retries: 1, ..timing() };
    let options = PortMappingOptions { timeout_config: Some(timing), ..options };
    let by_nat_pmp = natpmp::port_mapping(gateway, protocol, port, options);
    seen(tokio::time::timeout(PATIENCE, by_nat_pmp).await.ok()?.ok()?).await
}

/// With the address that the router has outside.
async fn seen(mapping: PortMapping) -> Option<Lease> {
    let ip = match mapping.mapping_type() {
        PortMappingType::Pcp { external_ip, .. } => external_ip,
        PortMappingType::NatPmp => natpmp::external_address(mapping.gateway(), Some(timing())).await.ok()?.into(),
    };
    let outside = SocketAddr::new(ip.to_canonical(), mapping.external_port().get());
    Some(Lease::Pcp { mapping, outside })
}

fn timing() -> TimeoutConfig {
    TimeoutConfig {
        initial_timeout: Duration::from_millis(250),
        max_retries: 2,
        max_retry_timeout: Some(Duration::from_secs(1)),
    }
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}
