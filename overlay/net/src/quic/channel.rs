//! QUIC from an origin to one exit, and the requests that it carries.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::{Connection, ConnectionError, Endpoint, ReadError, RecvStream, SendStream, VarInt};
use tokio::time::timeout;
use zmesh_proto::wire::request::{DocumentAsk, Failure, Host, HostError, HostName, RESPONSE_MAX, Request, Response};

use super::flows::{Flow, Flows};
use super::{CircuitSocket, codes, tls, transport};
use crate::RelayId;
use crate::api::{CircuitError, ConnectError, ConnectErrorKind};
use crate::egress::{EgressError, Target, TargetHost};

/// How long QUIC's handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long an exit may take to answer a request; its own limits are shorter.
const ANSWER: Duration = Duration::from_secs(60);

/// The alert of a peer whose key is not the one expected: what [`tls`]'s verifier turns into (`access_denied`), and what
/// a wrong signature turns into (`decrypt_error`).
pub(super) const KEY_ALERTS: [u8; 4] = [42, 46, 49, 51];

/// A QUIC connection to an exit.
pub(crate) struct Channel {
    pub(crate) connection: Connection,
    pub(crate) endpoint: Endpoint,
    flows: Arc<Flows>,
}

/// A stream whose request the exit granted.
pub(crate) struct Opened {
    pub(crate) send: SendStream,
    pub(crate) recv: RecvStream,
    /// What came right behind the response.
    pub(crate) head: Bytes,
}

impl Channel {
    /// Shakes hands with the exit over `socket`, on the shard's thread.
    ///
    /// # Errors
    /// [`CircuitError::ExitKey`], [`CircuitError::Timeout`] or [`CircuitError::Exit`].
    ///
    /// # Cancel safety
    /// Dropping the future gives the connection up.
    pub(crate) async fn open(
        runtime: &tokio::runtime::Handle,
        socket: Arc<CircuitSocket>,
        exit: RelayId,
        exit_key: &[u8; 32],
    ) -> Result<Arc<Self>, CircuitError> {
        let failed = |reason: String| CircuitError::Exit { exit, reason };
        let config = transport::client(exit_key, None, tls::EXIT).map_err(|error| failed(error.to_string()))?;
        let endpoint = super::endpoint(runtime, socket, None).map_err(|error| failed(error.to_string()))?;
        let address = super::socket::exit_address(exit);
        let connecting =
            endpoint.connect_with(config, address, tls::SERVER_NAME).map_err(|error| failed(error.to_string()))?;
        let connection = match timeout(HANDSHAKE, connecting).await {
            Err(_) => return Err(CircuitError::Timeout),
            Ok(Err(error)) => return Err(handshake_error(exit, &error)),
            Ok(Ok(connection)) => connection,
        };
        let flows = Flows::new(connection.clone());
        Ok(Arc::new(Self { connection, endpoint, flows }))
    }

    /// Opens a byte stream to `target`.
    pub(crate) async fn connect(&self, target: &Target) -> Result<Opened, ConnectError> {
        let host = host(&target.host)?;
        if target.port == 0 {
            return Err(ConnectError::new(ConnectErrorKind::Misuse, "port 0 cannot be connected to"));
        }
        match self.ask(&Request::Connect { host, port: target.port }).await? {
            (Response::Connected, opened) => Ok(opened),
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// The addresses of a name; an address is its own.
    pub(crate) async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ConnectError> {
        let host = match Host::parse(name).map_err(|error| bad_host(&error))? {
            Host::Name(host) => host,
            Host::Ip(ip) => return Ok(vec![ip]),
        };
        match self.ask(&Request::Resolve { host }).await? {
            (Response::Addresses(addresses), _) => Ok(addresses),
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// The names of an address.
    pub(crate) async fn resolve_ptr(&self, ip: IpAddr) -> Result<Vec<String>, ConnectError> {
        match self.ask(&Request::ResolvePtr { ip }).await? {
            (Response::Names(names), _) => Ok(names.iter().map(|name| name.as_str().to_owned()).collect()),
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// Opens a UDP flow.
    pub(crate) async fn bind_udp(&self, runtime: &tokio::runtime::Handle) -> Result<Flow, ConnectError> {
        let place = self.flows.reserve().ok_or_else(|| {
            ConnectError::new(ConnectErrorKind::Misuse, "too many UDP sockets are open on this circuit")
        })?;
        match self.ask(&Request::BindUdp { flow: place.number() }).await? {
            (Response::Bound(_), opened) => Ok(place.start(runtime, opened)),
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// Makes the exit notice that another circuit carries the connection now: it answers to where the last packet came
    /// from.
    pub(crate) fn nudge(&self) {
        let _ = self.connection.send_datagram(Bytes::from_static(&[0]));
    }

    /// Closes the connection and tells the exit.
    pub(crate) fn close(&self, reason: &str) {
        self.connection.close(codes::DONE, reason.as_bytes());
    }

    /// Asks for a document; the relay's refusal is an answer here.
    pub(crate) async fn document(&self, ask: DocumentAsk) -> Result<(Response, Opened), ConnectError> {
        self.request(&Request::Document(ask)).await
    }

    /// Asks this node's own relay for bytes that mean nothing, by way of the relay that is measured.
    pub(crate) async fn load(&self, ticket: [u8; 16]) -> Result<Opened, ConnectError> {
        match self.ask(&Request::Load(ticket)).await? {
            (Response::Document { .. }, opened) => Ok(opened),
            (other, _) => Err(unexpected(&other)),
        }
    }

    async fn ask(&self, request: &Request) -> Result<(Response, Opened), ConnectError> {
        match self.request(request).await? {
            (Response::Failed(failure), _) => Err(refused(failure)),
            granted => Ok(granted),
        }
    }

    async fn request(&self, request: &Request) -> Result<(Response, Opened), ConnectError> {
        let late = || ConnectError::new(ConnectErrorKind::Timeout, "the exit did not answer in time");
        let opened = timeout(ANSWER, self.connection.open_bi()).await.map_err(|_| late())?;
        let (mut send, mut recv) = opened.map_err(|error| lost(&error))?;
        let asked = timeout(ANSWER, async {
            send.write_all(&request.encode()).await.map_err(|error| {
                ConnectError::new(ConnectErrorKind::Lost, format!("the exit did not take the request: {error}"))
            })?;
            answer(&mut recv).await
        })
        .await
        .unwrap_or_else(|_| Err(late()));
        match asked {
            Ok((response, head)) => Ok((response, Opened { send, recv, head })),
            Err(error) => {
                let _ = send.reset(codes::CANCELLED);
                Err(error)
            }
        }
    }
}

/// Reads a response and what came right behind it.
pub(crate) async fn answer(recv: &mut RecvStream) -> Result<(Response, Bytes), ConnectError> {
    let mut bytes = Vec::new();
    loop {
        let chunk = recv.read_chunk(RESPONSE_MAX, true).await.map_err(|error| match error {
            ReadError::ConnectionLost(error) => lost(&error),
            other => ConnectError::new(ConnectErrorKind::Lost, format!("the exit gave the request up: {other}")),
        })?;
        let Some(chunk) = chunk else {
            return Err(ConnectError::new(ConnectErrorKind::Protocol, "the exit ended the stream without an answer"));
        };
        bytes.extend_from_slice(&chunk.bytes);
        match Response::decode_prefix(&bytes) {
            Ok(Some((response, used))) => return Ok((response, Bytes::from(bytes).slice(used..))),
            Ok(None) if bytes.len() < RESPONSE_MAX => {}
            Ok(None) | Err(_) => {
                return Err(ConnectError::new(ConnectErrorKind::Protocol, "the exit's answer cannot be read"));
            }
        }
    }
}

/// A target's host as the exit protocol writes it.
///
/// # Errors
/// [`ConnectErrorKind::Misuse`].
pub(crate) fn host(host: &TargetHost) -> Result<Host, ConnectError> {
    match host {
        TargetHost::Ip(ip) => Ok(Host::from(*ip)),
        TargetHost::Name(name) => HostName::parse(name).map(Host::Name).map_err(|error| bad_host(&error)),
    }
}

fn bad_host(error: &HostError) -> ConnectError {
    ConnectError::new(ConnectErrorKind::Misuse, format!("this cannot be a destination: {error}"))
}

fn lost(error: &ConnectionError) -> ConnectError {
    ConnectError::new(ConnectErrorKind::Lost, format!("the circuit to the exit is lost: {error}"))
}

fn unexpected(_response: &Response) -> ConnectError {
    ConnectError::new(ConnectErrorKind::Protocol, "the exit answered another question")
}

fn refused(failure: Failure) -> ConnectError {
    let error = match failure {
        Failure::Refused => EgressError::Refused,
        Failure::Unreachable => EgressError::Unreachable,
        Failure::ConnectionRefused => EgressError::ConnectionRefused,
        Failure::Timeout => EgressError::Timeout,
        Failure::NameNotFound => EgressError::NameNotFound,
        Failure::QuotaExceeded => EgressError::QuotaExceeded,
        Failure::Unsupported => EgressError::Unsupported,
        other => return ConnectError::new(ConnectErrorKind::Protocol, other.to_string()),
    };
    error.into()
}

fn handshake_error(exit: RelayId, error: &ConnectionError) -> CircuitError {
    match error {
        ConnectionError::TimedOut => CircuitError::Timeout,
        ConnectionError::TransportError(error)
            if KEY_ALERTS.iter().any(|&alert| error.code == quinn::TransportErrorCode::crypto(alert)) =>
        {
            CircuitError::ExitKey(exit)
        }
        other => CircuitError::Exit { exit, reason: other.to_string() },
    }
}

/// Turns a reset code into words; used where a stream ends early.
pub(crate) fn reset_reason(code: VarInt) -> &'static str {
    match code {
        codes::DONE | codes::CANCELLED => "the other end gave the stream up",
        codes::EGRESS => "the destination reset the connection",
        _ => "the stream was reset",
    }
}
