//! The real network: a [`Connector`] over the circuits of a [`Node`].

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use zmesh_overlay::egress::{self, EgressError};
use zmesh_overlay::{Circuit, ConnectErrorKind, IsolationToken, Node, PathSpec, Session, Stream, UdpError, UdpSocket};

use crate::connector::{ConnectError, Connector, UdpRelay};
use crate::isolation::Token;
use crate::target::{Host, Name, Target};

/// Circuits of one [`Node`], one [`Session`] for each isolation token.
#[derive(Debug)]
pub struct Circuits {
    node: Node,
    spec: PathSpec,
    sessions: Mutex<HashMap<Token, Session>>,
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
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions
            .entry(token)
            .or_insert_with(|| self.node.isolated_with(IsolationToken::fresh(), self.spec.clone()))
            .clone()
    }

    /// The circuits of every session now, each session's current one first.
    #[must_use]
    pub fn circuits(&self) -> Vec<Circuit> {
        let sessions: Vec<Session> =
            self.sessions.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        sessions.iter().flat_map(Session::circuits).collect()
    }
}

impl Connector for Circuits {
    type Stream = Stream;
    type Udp = UdpSocket;

    async fn connect(&self, token: Token, target: &Target) -> Result<Stream, ConnectError> {
        Ok(self.session(token).connect(to_egress(target)).await?)
    }

    async fn udp(&self, token: Token) -> Result<UdpSocket, ConnectError> {
        Ok(self.session(token).bind_udp().await?)
    }

    async fn resolve(&self, token: Token, name: &Name) -> Result<Vec<IpAddr>, ConnectError> {
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
