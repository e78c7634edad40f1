//! An egress that reaches this machine and nothing else.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::{TcpStream, UdpSocket};

use crate::egress::{BoxFuture, CircuitHandle, Egress, EgressError, EgressStream, EgressUdp, Target, TargetHost};

/// An egress to loopback addresses. The only name that it knows is `localhost`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Loopback {
    _private: (),
}

fn address(target: &Target) -> Result<SocketAddr, EgressError> {
    let ip = match &target.host {
        TargetHost::Ip(ip) => *ip,
        TargetHost::Name(name) if name == "localhost" => Ipv4Addr::LOCALHOST.into(),
        TargetHost::Name(_) => return Err(EgressError::NameNotFound),
    };
    if ip.is_loopback() { Ok(SocketAddr::new(ip, target.port)) } else { Err(EgressError::Refused) }
}

fn failure(error: &io::Error) -> EgressError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => EgressError::ConnectionRefused,
        io::ErrorKind::TimedOut => EgressError::Timeout,
        _ => EgressError::Unreachable,
    }
}

impl Egress for Loopback {
    fn connect(
        &self,
        _circuit: CircuitHandle,
        target: Target,
    ) -> BoxFuture<'_, Result<Box<dyn EgressStream>, EgressError>> {
        Box::pin(async move {
            let stream = TcpStream::connect(address(&target)?).await.map_err(|error| failure(&error))?;
            stream.set_nodelay(true).map_err(|error| failure(&error))?;
            Ok(Box::new(stream) as Box<dyn EgressStream>)
        })
    }

    fn bind_udp(&self, _circuit: CircuitHandle) -> BoxFuture<'_, Result<Box<dyn EgressUdp>, EgressError>> {
        Box::pin(async {
            let v4 = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(|error| failure(&error))?;
            // A machine without IPv6 has none to offer.
            let v6 = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).await.ok();
            Ok(Box::new(LoopbackUdp { v4, v6 }) as Box<dyn EgressUdp>)
        })
    }

    fn resolve<'a>(
        &'a self,
        _circuit: CircuitHandle,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Vec<IpAddr>, EgressError>> {
        Box::pin(async move {
            match name {
                "localhost" => Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]),
                _ => Err(EgressError::NameNotFound),
            }
        })
    }

    fn resolve_ptr(&self, _circuit: CircuitHandle, ip: IpAddr) -> BoxFuture<'_, Result<Vec<String>, EgressError>> {
        Box::pin(
            async move { if ip.is_loopback() { Ok(vec!["localhost".into()]) } else { Err(EgressError::NameNotFound) } },
        )
    }

    fn closed(&self, _circuit: CircuitHandle) {}
}

struct LoopbackUdp {
    v4: UdpSocket,
    v6: Option<UdpSocket>,
}

impl EgressUdp for LoopbackUdp {
    fn send_to<'a>(&'a self, payload: &'a [u8], target: &'a Target) -> BoxFuture<'a, Result<(), EgressError>> {
        Box::pin(async move {
            let to = address(target)?;
            // As UDP may, a datagram that the system does not take is lost.
            let socket = if to.is_ipv4() { Some(&self.v4) } else { self.v6.as_ref() };
            if let Some(socket) = socket {
                let _ = socket.send_to(payload, to).await;
            }
            Ok(())
        })
    }

    fn recv_from<'a>(&'a self, buffer: &'a mut [u8]) -> BoxFuture<'a, Result<(usize, SocketAddr), EgressError>> {
        Box::pin(async move {
            loop {
                let (socket, ready) = match &self.v6 {
                    None => (&self.v4, self.v4.readable().await),
                    Some(v6) => tokio::select! {
                        ready = self.v4.readable() => (&self.v4, ready),
                        ready = v6.readable() => (v6, ready),
                    },
                };
                ready.map_err(|error| failure(&error))?;
                match socket.try_recv_from(buffer) {
                    // Another reader was faster, or an ICMP error came in: wait on.
                    Err(_) => {}
                    Ok(received) => return Ok(received),
                }
            }
        })
    }
}
