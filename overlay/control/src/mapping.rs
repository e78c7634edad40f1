//! Ports of the router in front of this machine, by PCP and NAT-PMP. UPnP is libp2p's.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::time::Duration;

use crab_nat::{GatewayAddress, InternetProtocol, PortMapping, PortMappingOptions, PortMappingType};
use tokio::sync::mpsc;

/// For how long a mapping is asked for, in seconds; it is renewed after half of it.
const LIFETIME: u32 = 3_600;
/// How long to wait after a router refused, or did not answer.
const AGAIN: Duration = Duration::from_secs(900);

/// A port of the router leads here, if the router speaks the truth.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mapped {
    pub(crate) external: SocketAddr,
    pub(crate) quic: bool,
}

/// Keeps mappings for these local addresses for as long as somebody listens to what comes of it.
pub(crate) fn start(listen: &[SocketAddr]) -> mpsc::Receiver<Mapped> {
    let (tell, told) = mpsc::channel(8);
    // A port that the system chooses is another after each start: not worth a mapping.
    for port in listen.iter().filter(|address| address.is_ipv4()).filter_map(|address| NonZeroU16::new(address.port()))
    {
        for quic in [true, false] {
            tokio::spawn(keep(port, quic, tell.clone()));
        }
    }
    told
}

async fn keep(port: NonZeroU16, quic: bool, tell: mpsc::Sender<Mapped>) {
    while !tell.is_closed() {
        let wait = match map(port, quic).await {
            Some((mapping, external)) => {
                if tell.send(Mapped { external, quic }).await.is_err() {
                    // Nobody listens any more: give the port back. If the router does not hear it, the mapping ends by itself.
                    let _ = mapping.try_drop().await;
                    return;
                }
                let half = Duration::from_secs(u64::from(mapping.lifetime().clamp(120, 86_400) / 2));
                tokio::select! {
                    () = tokio::time::sleep(half) => Duration::ZERO,
                    () = tell.closed() => {
                        let _ = mapping.try_drop().await;
                        return;
                    }
                }
            }
            None => AGAIN,
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = tell.closed() => return,
        }
    }
}

/// Asks the router once.
async fn map(port: NonZeroU16, quic: bool) -> Option<(PortMapping, SocketAddr)> {
    let (gateway, local) = surroundings().await?;
    let protocol = if quic { InternetProtocol::Udp } else { InternetProtocol::Tcp };
    let options = PortMappingOptions {
        external_port: Some(port),
        lifetime_seconds: Some(LIFETIME),
        ..PortMappingOptions::default()
    };
    let mapping = PortMapping::new(gateway, local, protocol, port, options).await.ok()?;
    let external = match mapping.mapping_type() {
        PortMappingType::Pcp { external_ip, .. } => external_ip,
        PortMappingType::NatPmp => IpAddr::V4(crab_nat::natpmp::external_address(gateway, None).await.ok()?),
    };
    let external = SocketAddr::new(external, mapping.external_port().get());
    Some((mapping, external))
}

/// The IPv4 gateway and this machine's address towards it.
async fn surroundings() -> Option<(GatewayAddress, IpAddr)> {
    // Reads tables of the operating system, which may take a moment.
    let interface = tokio::task::spawn_blocking(netdev::get_default_interface).await.ok()?.ok()?;
    let gateway = *interface.gateway.as_ref()?.ipv4.first()?;
    let local = interface.ipv4.first()?.addr();
    Some((GatewayAddress::from(gateway), IpAddr::V4(local)))
}
