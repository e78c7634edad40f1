//! Ports that the router forwards at this machine's request: PCP or NAT-PMP, else UPnP.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::num::NonZeroU16;
use std::sync::Weak;
use std::time::Duration;

use crab_nat::{
    GatewayAddress, InternetProtocol, PortMapping, PortMappingOptions, PortMappingType, TimeoutConfig, natpmp,
};
use igd_next::aio::tokio::search_gateway;
use igd_next::{PortMappingProtocol, SearchOptions};

use crate::local;
use crate::shard::{Command, Shard};

/// For how long a port is asked for; it is renewed at half of that.
const LEASE: Duration = Duration::from_secs(3600);
/// The pause after nothing was found.
const AGAIN: Duration = Duration::from_secs(300);
/// What a gateway may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// What routers show their owners.
const NAME: &str = "zMesh";

/// Keeps a port of the router for the data socket's port, and tells the node of it. Ends with the node.
pub(crate) async fn keep(shard: Weak<Shard>, bound: Vec<SocketAddr>) {
    let Some(inside) = inside(&bound) else { return };
    loop {
        let mapped = match gateway() {
            Some(gateway) => by_pcp(gateway, inside).await,
            None => None,
        };
        let mapped = match mapped {
            Some(mapped) => Some(mapped),
            None => by_upnp(inside).await,
        };
        let wait = if mapped.is_some() { LEASE / 2 } else { AGAIN };
        let Some(shard) = shard.upgrade() else { return };
        if !shard.command(Command::SetMapped(mapped.into_iter().collect())).await {
            return;
        }
        drop(shard);
        tokio::time::sleep(wait).await;
    }
}

/// The private IPv4 address at which the router can reach the data socket. One that is not private needs no help.
fn inside(bound: &[SocketAddr]) -> Option<SocketAddrV4> {
    local::addresses(bound).into_iter().find_map(|address| match address {
        SocketAddr::V4(address) if address.ip().is_private() => Some(address),
        _ => None,
    })
}

async fn by_pcp(gateway: Ipv4Addr, inside: SocketAddrV4) -> Option<SocketAddr> {
    let port = NonZeroU16::new(inside.port())?;
    let timing = TimeoutConfig {
        initial_timeout: Duration::from_millis(250),
        max_retries: 2,
        max_retry_timeout: Some(Duration::from_secs(1)),
    };
    let options = PortMappingOptions {
        external_port: Some(port),
        lifetime_seconds: u32::try_from(LEASE.as_secs()).ok(),
        timeout_config: Some(timing),
    };
    let (gateway, client) = (GatewayAddress::IpV4(gateway), IpAddr::V4(*inside.ip()));
    let asked = PortMapping::new(gateway, client, InternetProtocol::Udp, port, options);
    let mapping = tokio::time::timeout(PATIENCE, asked).await.ok()?.ok()?;
    let outside = match mapping.mapping_type() {
        PortMappingType::Pcp { external_ip, .. } => external_ip,
        PortMappingType::NatPmp => natpmp::external_address(gateway, Some(timing)).await.ok()?.into(),
    };
    Some(SocketAddr::new(outside.to_canonical(), mapping.external_port().get()))
}

async fn by_upnp(inside: SocketAddrV4) -> Option<SocketAddr> {
    let options = SearchOptions {
        bind_addr: SocketAddr::from((*inside.ip(), 0)),
        timeout: Some(PATIENCE),
        single_search_timeout: Some(PATIENCE),
        ..SearchOptions::default()
    };
    let gateway = search_gateway(options).await.ok()?;
    let lease = u32::try_from(LEASE.as_secs()).ok()?;
    let inside = SocketAddr::V4(inside);
    let same = gateway.add_port(PortMappingProtocol::UDP, inside.port(), inside, lease, NAME).await;
    let port = match same {
        Ok(()) => inside.port(),
        Err(_) => gateway.add_any_port(PortMappingProtocol::UDP, inside, lease, NAME).await.ok()?,
    };
    Some(SocketAddr::new(gateway.get_external_ip().await.ok()?, port))
}

/// The default route's IPv4 gateway, where the system tells it in a file; elsewhere only UPnP finds the router.
fn gateway() -> Option<Ipv4Addr> {
    parse_routes(&std::fs::read_to_string("/proc/net/route").ok()?)
}

/// Lines of interface, destination, gateway, …; numbers in the byte order of the machine, as Linux writes them.
fn parse_routes(text: &str) -> Option<Ipv4Addr> {
    text.lines().skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (destination, gateway) = (fields.next()?, fields.next()?);
        let gateway = u32::from_str_radix(gateway, 16).ok()?;
        (destination == "00000000" && gateway != 0).then(|| Ipv4Addr::from(gateway.to_ne_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn the_default_route_is_found() {
        let text = "Iface\tDestination\tGateway\tFlags\n\
                    eth0\t0001A8C0\t00000000\t0001\n\
                    eth0\t00000000\t0101A8C0\t0003\n";
        assert_eq!(parse_routes(text), Some(Ipv4Addr::new(192, 168, 1, 1)));
        assert_eq!(parse_routes("Iface\tDestination\tGateway\n"), None);
        assert_eq!(parse_routes("x\ny\n"), None);
    }
}
