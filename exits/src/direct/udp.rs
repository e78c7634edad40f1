//! UDP flows.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::net::UdpSocket;
use tokio::time::sleep_until;
use zmesh_overlay::egress::{BoxFuture, EgressError, EgressUdp, Target};
use zmesh_proto::wire::request::{Host, HostName};

use super::{Inner, host};
use crate::quota::Permit;

/// Destinations from which replies are let in; the one that was sent to longest ago gives way.
const PEERS_MAX: usize = 64;
/// Names that a flow has resolved.
const NAMES_MAX: usize = 16;

/// One flow: a socket per family, open to those whom it has sent to and to nobody else.
pub(super) struct Flow {
    inner: Arc<Inner>,
    permit: Permit,
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
    state: Mutex<State>,
}

struct State {
    moved_at: Instant,
    /// Most recently sent to last.
    peers: Vec<SocketAddr>,
    /// What names were resolved to, for the life of the flow: one query per name, and every datagram to a name goes to
    /// one host. Nobody but this circuit sees it.
    names: Vec<(HostName, IpAddr)>,
}

impl Flow {
    pub(super) async fn bind(inner: Arc<Inner>, permit: Permit) -> Result<Self, EgressError> {
        let (want_v4, want_v6) = inner.policy.families();
        let v4 = if want_v4 { UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.ok() } else { None };
        let v6 = if want_v6 { UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).await.ok() } else { None };
        if v4.is_none() && v6.is_none() {
            return Err(EgressError::Unreachable);
        }
        let state = State { moved_at: Instant::now(), peers: Vec::new(), names: Vec::new() };
        Ok(Self { inner, permit, v4, v6, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The judged address of a target.
    async fn address(&self, target: &Target) -> Result<SocketAddr, EgressError> {
        let name = match host(&target.host)? {
            Host::Ip(_) => None,
            Host::Name(name) => Some(name),
        };
        if let Some(name) = &name {
            let known = self.state().names.iter().find(|(known, _)| known == name).map(|(_, ip)| *ip);
            if let Some(ip) = known {
                let address = SocketAddr::new(ip, target.port);
                self.inner.policy.check(address).map_err(|_| EgressError::Refused)?;
                return Ok(address);
            }
        }
        let judged = self.inner.judged(self.permit.account(), target).await?;
        let usable = |address: &&SocketAddr| self.socket(**address).is_some();
        let address = judged.iter().find(usable).copied().ok_or(EgressError::Unreachable)?;
        if let Some(name) = name {
            let mut state = self.state();
            if state.names.len() == NAMES_MAX {
                state.names.remove(0);
            }
            state.names.push((name, address.ip()));
        }
        Ok(address)
    }

    fn socket(&self, address: SocketAddr) -> Option<&UdpSocket> {
        if address.is_ipv4() { self.v4.as_ref() } else { self.v6.as_ref() }
    }

    async fn send(&self, payload: &[u8], target: &Target) -> Result<(), EgressError> {
        let now = Instant::now();
        match self.permit.account().may_move(now)? {
            None => {}
            // Over its pace a flow loses datagrams, as behind any narrow link.
            Some(_) => return Ok(()),
        }
        let address = self.address(target).await?;
        let socket = self.socket(address).ok_or(EgressError::Unreachable)?;
        {
            let mut state = self.state();
            state.moved_at = now;
            state.peers.retain(|peer| *peer != address);
            if state.peers.len() == PEERS_MAX {
                state.peers.remove(0);
            }
            state.peers.push(address);
        }
        self.permit.account().spend(payload.len(), now);
        // A full buffer or an unreachable host loses the datagram: that is UDP.
        if let Err(error) = socket.send_to(payload, address).await {
            tracing::trace!(kind = ?error.kind(), "a datagram could not be sent");
        }
        Ok(())
    }

    async fn receive(&self, buffer: &mut [u8]) -> Result<(usize, SocketAddr), EgressError> {
        loop {
            // Strangers who flood the socket must not keep its thread from other work.
            tokio::task::consume_budget().await;
            let until = self.state().moved_at + self.inner.udp_idle;
            // The sockets signal, then are read without waiting, so nothing is lost when this future is dropped.
            tokio::select! {
                () = sleep_until(until.into()) => {
                    if self.state().moved_at + self.inner.udp_idle <= Instant::now() {
                        return Err(EgressError::Timeout);
                    }
                }
                () = readable(self.v4.as_ref()) => {
                    if let Some(got) = self.take(self.v4.as_ref(), buffer)? {
                        return Ok(got);
                    }
                }
                () = readable(self.v6.as_ref()) => {
                    if let Some(got) = self.take(self.v6.as_ref(), buffer)? {
                        return Ok(got);
                    }
                }
            }
        }
    }

    /// Reads one datagram if it is from somebody whom the flow has sent to.
    fn take(&self, socket: Option<&UdpSocket>, buffer: &mut [u8]) -> Result<Option<(usize, SocketAddr)>, EgressError> {
        let Some(socket) = socket else {
            return Ok(None);
        };
        let (len, from) = match socket.try_recv_from(buffer) {
            Ok(got) => got,
            // Would block, or an ICMP error about an earlier datagram.
            Err(error) => {
                if error.kind() != io::ErrorKind::WouldBlock {
                    tracing::trace!(kind = ?error.kind(), "a datagram was not delivered");
                }
                return Ok(None);
            }
        };
        let now = Instant::now();
        let mut state = self.state();
        if !state.peers.contains(&from) {
            return Ok(None);
        }
        state.moved_at = now;
        drop(state);
        let account = self.permit.account();
        if account.may_move(now)?.is_some() {
            return Ok(None);
        }
        account.spend(len, now);
        Ok(Some((len, from)))
    }
}

/// Waits until a socket has something to read; for ever without a socket.
async fn readable(socket: Option<&UdpSocket>) {
    match socket {
        Some(socket) if socket.readable().await.is_ok() => {}
        _ => std::future::pending().await,
    }
}

impl EgressUdp for Flow {
    fn send_to<'a>(&'a self, payload: &'a [u8], target: &'a Target) -> BoxFuture<'a, Result<(), EgressError>> {
        Box::pin(self.send(payload, target))
    }

    fn recv_from<'a>(&'a self, buffer: &'a mut [u8]) -> BoxFuture<'a, Result<(usize, SocketAddr), EgressError>> {
        Box::pin(self.receive(buffer))
    }
}
