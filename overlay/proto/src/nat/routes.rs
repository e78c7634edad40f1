//! Flows of which this node is an end: what stands for them in links, and when that ends.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::machine::Nat;
use crate::link::{LinkId, route};
use crate::node::core::Core;

/// Flows through one relay between, at most: no relay can take the places of all others.
pub(crate) const ROUTES_OF_LINK: usize = 32;
/// A flow on which nothing came for so long is forgotten; links on it would have said something long before.
pub(crate) const ROUTE_IDLE: Duration = Duration::from_secs(60);

/// A flow that another node passes on, as an end of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    pub(super) via: LinkId,
    pub(super) flow: u32,
    /// When something came by it.
    pub(super) used: Instant,
}

impl Nat {
    /// A new flow, for an attempt that is under way.
    pub(super) fn add_route(&mut self, core: &mut Core, now: Instant, via: LinkId, flow: u32) -> Option<u32> {
        let at = core.links.address(via)?;
        let of_via = || self.routes.values().filter(|route| route.via == via);
        if flow == 0
            || self.routes.len() >= route::MAX_ROUTES
            || of_via().count() >= ROUTES_OF_LINK
            || of_via().any(|route| route.flow == flow)
        {
            return None;
        }
        let number = self.next_route;
        self.next_route = self.next_route.checked_add(1)?;
        self.routes.insert(number, Route { via, flow, used: now });
        core.links.set_route(number, at, flow);
        Some(number)
    }

    pub(super) fn remove_route(&mut self, core: &mut Core, number: u32) {
        self.routes.remove(&number);
        core.links.remove_route(number);
    }

    /// The attempt that a flow was for has ended: it stays only if a link came to go by it.
    pub(super) fn release_route(&mut self, core: &mut Core, number: Option<u32>) {
        let Some(number) = number else { return };
        let address = Some(route::relayed(number));
        if !core.links.peers().any(|(link, _)| core.links.address(link) == address) {
            self.remove_route(core, number);
        }
    }

    /// The relay between passes a flow on no longer.
    pub(super) fn flow_closed(&mut self, core: &mut Core, via: LinkId, flow: u32) {
        let gone = self.routes.iter().find(|(_, route)| route.via == via && route.flow == flow).map(|(n, _)| *n);
        if let Some(number) = gone {
            self.remove_route(core, number);
        }
    }

    /// The link to a relay between is gone.
    pub(super) fn lose_routes(&mut self, core: &mut Core, via: LinkId) {
        let lost: Vec<u32> = self.routes.iter().filter(|(_, route)| route.via == via).map(|(n, _)| *n).collect();
        for number in lost {
            self.remove_route(core, number);
        }
    }

    /// Forgets flows that nobody used, and follows relays between that have moved.
    pub(super) fn keep_routes(&mut self, core: &mut Core, now: Instant) {
        let idle = |route: &Route| now.saturating_duration_since(route.used) >= ROUTE_IDLE;
        let idle: Vec<u32> = self.routes.iter().filter(|(_, route)| idle(route)).map(|(number, _)| *number).collect();
        for number in idle {
            self.remove_route(core, number);
        }
        for (number, route) in &self.routes {
            if let Some(via) = core.links.address(route.via) {
                core.links.set_route(*number, via, route.flow);
            }
        }
    }

    /// The route by which a relayed datagram has come from `from` under this number.
    pub(super) fn used_route(&mut self, core: &Core, now: Instant, from: SocketAddr, flow: u32) -> Option<SocketAddr> {
        let here = |route: &Route| route.flow == flow && core.links.address(route.via) == Some(from);
        let (number, route) = self.routes.iter_mut().find(|(_, route)| here(route))?;
        route.used = now;
        Some(route::relayed(*number))
    }
}
