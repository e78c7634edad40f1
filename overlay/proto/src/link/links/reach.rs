//! Other ways to a peer, and datagrams that belong to no link.

use std::net::SocketAddr;
use std::time::Instant;

use rand_core::Rng;

use super::Links;
use crate::link::shared::Shared;
use crate::link::types::{LinkId, LinkPeer, LinkPeerInfo, LinkSecret, LocalIdentity};
use crate::wire::datagram::{Header, Kind, RELAYED_LEN};

/// Addresses of one peer that are tried, at most.
const MAX_ADDRESSES: usize = 24;

impl Links {
    /// The peer may be reached at another address. A link that is up moves there once a PING is answered from there; one
    /// that is not begins its next handshake there at once, and tries it again in turn with the others.
    pub(crate) fn reach(&mut self, now: Instant, id: LinkId, address: SocketAddr) {
        let now = self.shared.clock.nanos(now);
        let ping = self.shared.rng.next_u32();
        let Some(link) = self.table.get_mut(id) else { return };
        if link.up {
            link.propose(now, address, ping);
            return self.table.mark_dirty(id);
        }
        let Some(peer) = &mut link.peer else { return };
        if !peer.addresses.contains(&address) && peer.addresses.len() < MAX_ADDRESSES {
            peer.addresses.push(address);
        }
        link.prefer = Some(address);
        self.begin_handshake(now, id);
    }

    /// Asks the peer of a link that is up where this node's datagrams come from. [`Inbound::Observed`] follows, unless one
    /// of the two datagrams is lost.
    ///
    /// [`Inbound::Observed`]: crate::link::Inbound::Observed
    pub(crate) fn observe(&mut self, id: LinkId) {
        let token = self.shared.rng.next_u32();
        if let Some(link) = self.table.get_mut(id).filter(|link| link.up) {
            link.observe(token);
            self.table.mark_dirty(id);
        }
    }

    /// Sends a datagram that belongs to no link of this node, if the node's rate allows it.
    pub(crate) fn send_raw(&mut self, now: Instant, to: SocketAddr, datagram: &[u8]) -> bool {
        let now = self.shared.clock.nanos(now);
        if !self.shared.rate_allows(now) {
            return false;
        }
        let Shared { routes, output, .. } = &mut self.shared;
        routes.datagram(output, to, datagram.len()).copy_from_slice(datagram);
        self.shared.charge(now, datagram.len());
        true
    }

    /// What is sent to the address of flow `number` leaves at `via`, in front of it the flow's number there.
    pub(crate) fn set_route(&mut self, number: u32, via: SocketAddr, flow: u32) {
        self.shared.routes.set(number, via, flow);
    }

    /// The flow is gone.
    pub(crate) fn remove_route(&mut self, number: u32) {
        self.shared.routes.remove(number);
    }

    /// Where the peer of a link is; `None` once the link is gone.
    pub(crate) fn address(&self, id: LinkId) -> Option<SocketAddr> {
        self.table.get(id).map(|link| link.address)
    }

    /// Sends the inside of a relayed datagram on, under the flow's number at the other node. A node over its rate drops it.
    pub(crate) fn pass_on(&mut self, now: Instant, to: SocketAddr, flow: u32, inner: &[u8]) {
        let now = self.shared.clock.nanos(now);
        if !self.shared.rate_allows(now) {
            return;
        }
        let header = Header { kind: Kind::Relayed, suite: 0, index: flow, counter: 0 };
        let Shared { routes, output, .. } = &mut self.shared;
        let out = routes.datagram(output, to, RELAYED_LEN + inner.len());
        out[..RELAYED_LEN].copy_from_slice(&header.to_bytes());
        out[RELAYED_LEN..].copy_from_slice(inner);
        self.shared.charge(now, RELAYED_LEN + inner.len());
    }

    /// The link to a peer, up or not, whoever opened it.
    pub(crate) fn link_to(&self, peer: &LinkPeer) -> Option<LinkId> {
        self.table.to_peer(peer)
    }

    /// All links and who is at their other ends.
    pub(crate) fn peers(&self) -> impl Iterator<Item = (LinkId, LinkPeerInfo)> {
        self.table.iter().map(|link| (link.id, link.info))
    }

    /// Identity and link secret of this relay.
    pub(crate) fn local_secret(&self) -> Option<([u8; 32], LinkSecret)> {
        match &self.shared.config.local {
            LocalIdentity::Anonymous => None,
            LocalIdentity::Relay { identity, link_secret } => Some((*identity, link_secret.clone())),
        }
    }
}
