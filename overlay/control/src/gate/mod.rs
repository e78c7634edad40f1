//! Who may connect from where: connections, handshakes and arrivals for each address and network, before any cryptography is done
//! for it. The limits of libp2p count peers, and peers cost nothing.

mod doors;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::IpAddr;
use std::task::{Context, Poll};

use libp2p::core::{Endpoint, transport::PortUse};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, ListenError, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};

use crate::{Limits, address, clock};

use doors::{Came, Doors};
pub(crate) use doors::{Network, area, network};

/// Counts connections by address. Has to stand before every behaviour that counts as well: it sees the denials of those
/// that stand after it.
pub(crate) struct Gate {
    doors: Doors<ConnectionId>,
    /// Addresses of this node that others may want to test.
    suggested: VecDeque<Multiaddr>,
}

impl Gate {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { doors: Doors::new(limits), suggested: VecDeque::new() }
    }

    /// A peer at this address was banned: who is banned there repeatedly gets no new connections from it for a while.
    pub(crate) fn strike(&mut self, ip: IpAddr) {
        self.doors.strike(ip, clock::now());
    }

    /// Has an address tested by others, as one at which this node may be reachable.
    pub(crate) fn suggest(&mut self, address: Multiaddr) {
        self.suggested.push_back(address);
    }
}

impl NetworkBehaviour for Gate {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let from = match address::ip(remote).filter(|_| !address::is_relayed(remote)) {
            Some(ip) if address::is_quic(remote) => Came::Quic(ip),
            Some(ip) => Came::Tcp(ip),
            None => Came::Relay,
        };
        self.doors.arrive(id, from, clock::now()).map_err(ConnectionDenied::new)
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.doors.enter(&id, clock::now()).map_err(ConnectionDenied::new)?;
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(closed) => self.doors.leave(&closed.connection_id, false, clock::now()),
            FromSwarm::ListenFailure(failure) => {
                // Who was turned away here or at the next behaviour did nothing wrong.
                let failed = !matches!(failure.error, ListenError::Denied { .. });
                self.doors.leave(&failure.connection_id, failed, clock::now());
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        match self.suggested.pop_front() {
            Some(address) => Poll::Ready(ToSwarm::NewExternalAddrCandidate(address)),
            // Whoever suggests something has the swarm polled right after it.
            None => Poll::Pending,
        }
    }
}
