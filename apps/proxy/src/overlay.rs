//! The real network: a [`Connector`] over the circuits of a [`Node`].

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use zmesh_overlay::egress::{self, EgressError};
use zmesh_overlay::{
    Circuit, ConnectErrorKind, DialError, IsolationToken, Node, PathSpec, ServiceAddress, ServiceAddressError, Session,
    Stream, UdpError, UdpSocket,
};

use crate::connector::{ConnectError, Connector, UdpRelay};
use crate::isolation::Token;
use crate::target::{Host, Name, Target};

/// Circuits of one [`Node`], one [`Session`] for each isolation token.
#[derive(Debug)]
pub struct Circuits {
    node: Node,
    spec: PathSpec,
    sessions: Mutex<HashMap<Token, (IsolationToken, Session)>>,
}

impl Circuits {
    /// Opens streams over circuits of `node` as `spec` wants them.
    #[must_use]
    pub fn new(node: Node, spec: PathSpec) -> Circuits {
        Circuits { node, spec, sessions: Mutex::default() }
    }

    /// The session of a token, made at its first use. Two tokens never get the same session, and a token that comes
    /// back after [`Connector::forget`] gets a new one.
    #[must_use]
    pub fn session(&self, token: Token) -> Session {
        self.entry(token).1
    }

    fn entry(&self, token: Token) -> (IsolationToken, Session) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions
            .entry(token)
            .or_insert_with(|| {
                let token = IsolationToken::fresh();
                (token.clone(), self.node.isolated_with(token, self.spec.clone()))
            })
            .clone()
    }

    /// The circuits of every session now, each session's current one first.
    #[must_use]
    pub fn circuits(&self) -> Vec<Circuit> {
        let sessions: Vec<(IsolationToken, Session)> =
            self.sessions.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        sessions.iter().flat_map(|(_, session)| session.circuits()).collect()
    }
}

impl Connector for Circuits {
    type Stream = Stream;
    type Udp = UdpSocket;

    async fn connect(&self, token: Token, target: &Target) -> Result<Stream, ConnectError> {
        if let Some(address) = service(&target.host) {
            let (token, _) = self.entry(token);
            return Ok(self.node.dial_isolated(token, &address?, target.port).await?);
        }
        Ok(self.session(token).connect(to_egress(target)).await?)
    }

    async fn udp(&self, token: Token) -> Result<UdpSocket, ConnectError> {
        Ok(self.session(token).bind_udp().await?)
    }

    async fn resolve(&self, token: Token, name: &Name) -> Result<Vec<IpAddr>, ConnectError> {
        // A service has no address, and its name is nobody's business.
        if ServiceAddress::from_host(name.as_str()).is_some() {
            return Err(ConnectError::NameNotFound);
        }
        Ok(self.session(token).resolve(name.as_str()).await?)
    }

    async fn resolve_ptr(&self, token: Token, ip: IpAddr) -> Result<Name, ConnectError> {
        let names = self.session(token).resolve_ptr(ip).await?;
        let usable = names.iter().find_map(|name| Name::parse(name.as_bytes()));
        usable.ok_or(ConnectError::NameNotFound)
    }

    fn forget(&self, token: Token) {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).remove(&token);
    }
}

impl UdpRelay for UdpSocket {
    async fn send_to(&self, target: &Target, payload: &[u8]) -> Result<(), ConnectError> {
        if service(&target.host).is_some() {
            tracing::debug!("a datagram to a service was dropped: services take streams");
            return Ok(());
        }
        match UdpSocket::send_to(self, payload, to_egress(target)).await {
            Ok(()) => Ok(()),
            Err(UdpError::Lost(_)) => Err(ConnectError::Closed),
            Err(error) => {
                // The error holds lengths at most, never the destination.
                tracing::debug!("a datagram was dropped: {error}");
                Ok(())
            }
        }
    }

    async fn recv_from(&self, buffer: &mut [u8]) -> Result<(Target, usize), ConnectError> {
        let (length, source) = UdpSocket::recv_from(self, buffer).await.map_err(|_| ConnectError::Closed)?;
        Ok((Target::ip(source), length))
    }
}

/// The service that a host name means, if it means one. No such name ever goes to an exit.
fn service(host: &Host) -> Option<Result<ServiceAddress, ConnectError>> {
    let Host::Name(name) = host else { return None };
    let address = ServiceAddress::from_host(name.as_str())?;
    Some(address.map_err(|_: ServiceAddressError| ConnectError::NameNotFound))
}

impl From<DialError> for ConnectError {
    fn from(error: DialError) -> ConnectError {
        match error {
            DialError::Address(_) | DialError::NotFound => ConnectError::NameNotFound,
            DialError::NoSuchPort | DialError::BadPort => ConnectError::Refused,
            DialError::Busy | DialError::WorkRefused { .. } => ConnectError::Quota,
            DialError::NetworkTooSmall(_) | DialError::Circuit(_) => ConnectError::NoCircuit,
            DialError::Timeout => ConnectError::Timeout,
            _ => ConnectError::HostUnreachable,
        }
    }
}

fn to_egress(target: &Target) -> egress::Target {
    let host = match &target.host {
        Host::Name(name) => egress::TargetHost::Name(name.as_str().to_owned()),
        Host::Ip(ip) => egress::TargetHost::Ip(*ip),
    };
    egress::Target { host, port: target.port }
}

impl From<zmesh_overlay::ConnectError> for ConnectError {
    fn from(error: zmesh_overlay::ConnectError) -> ConnectError {
        match error.kind() {
            ConnectErrorKind::Egress(egress) => match egress {
                EgressError::Refused => ConnectError::Policy,
                EgressError::Unreachable => ConnectError::HostUnreachable,
                EgressError::ConnectionRefused => ConnectError::Refused,
                EgressError::Timeout => ConnectError::Timeout,
                EgressError::NameNotFound => ConnectError::NameNotFound,
                EgressError::QuotaExceeded => ConnectError::Quota,
                _ => ConnectError::Unsupported,
            },
            ConnectErrorKind::Misuse => ConnectError::HostUnreachable,
            ConnectErrorKind::Circuit => ConnectError::NoCircuit,
            ConnectErrorKind::Timeout => ConnectError::Timeout,
            _ => ConnectError::Closed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_services_never_reach_an_exit() {
        let host = |text: &str| Host::parse(text.as_bytes()).expect("a host");
        assert!(service(&host("example.org")).is_none());
        assert!(service(&host("zmesh.example")).is_none());
        assert!(service(&host("192.0.2.1")).is_none());
        for name in ["a.zmesh", "A.ZMESH", "a.zmesh.", "b.a.zmesh"] {
            assert!(matches!(service(&host(name)), Some(Err(ConnectError::NameNotFound))), "{name}");
        }
    }
}
