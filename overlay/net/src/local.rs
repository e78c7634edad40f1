//! Addresses of this machine's own interfaces.

use std::net::SocketAddr;

/// At most so many: a machine with more needs no help to be found.
const MOST: usize = 16;

/// Where sockets that are bound to these addresses can be reached in this machine's own networks.
pub(crate) fn addresses(bound: &[SocketAddr]) -> Vec<SocketAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let mut out: Vec<SocketAddr> = Vec::new();
    for bound in bound {
        if !bound.ip().is_unspecified() {
            out.push(*bound);
            continue;
        }
        for interface in &interfaces {
            let ip = interface.ip();
            let same = bound.is_ipv6() || ip.is_ipv4();
            if same && !interface.is_loopback() {
                out.push(SocketAddr::new(ip, bound.port()));
            }
        }
    }
    out.sort_unstable();
    out.dedup();
    out.truncate(MOST);
    out
}
