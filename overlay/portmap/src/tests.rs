//! Ports are asked of routers that stand on loopback and speak one protocol alone. Loopback has many addresses on Linux alone.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::*;

/// What the routers here say that they have outside.
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(9, 8, 7, 6);
/// A second: the shortest that either protocol can say. It is renewed after half of it.
const LEASE: Duration = Duration::from_secs(1);
/// What a test waits for comes within this, or never.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a router can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Speaks {
    /// NAT-PMP, and to who asks by PCP it says that it does not know that (RFC 6886 §3.5).
    NatPmp,
    /// NAT-PMP, and nothing to who asks by PCP.
    NatPmpAlone,
    Pcp,
}

/// A request for a port, as the router read it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Asked {
    tcp: bool,
    inside: u16,
    lifetime: u32,
    /// Of PCP: who asks.
    nonce: Option<[u8; 12]>,
}

/// A router at an address of its own.
struct Router {
    at: Ipv4Addr,
    asked: mpsc::Receiver<Asked>,
    task: JoinHandle<()>,
}

impl Drop for Router {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Router {
    /// Each test has a loopback address of its own, for the port is one for all. `gives` says which port outside it gives next.
    async fn start(number: u8, speaks: Speaks, mut gives: impl FnMut(&Asked) -> u16 + Send + 'static) -> Self {
        let at = Ipv4Addr::new(127, 53, 51, number);
        let socket = UdpSocket::bind((at, crab_nat::GATEWAY_PORT)).await.unwrap();
        let (tell, asked) = mpsc::channel(256);
        let task = tokio::spawn(async move {
            let mut request = [0; 1_100];
            loop {
                let (len, from) = socket.recv_from(&mut request).await.unwrap();
                let request = &request[..len];
                let answer = match (speaks, request[0]) {
                    (Speaks::NatPmp, 2) => Some(vec![0, request[1] | 0x80, 0, 1, 0, 0, 0, 9]),
                    (Speaks::NatPmp | Speaks::NatPmpAlone, 0) => Some(nat_pmp(request, &mut gives, &tell)),
                    (Speaks::Pcp, 2) => Some(pcp(request, &mut gives, &tell)),
                    _ => None,
                };
                if let Some(answer) = answer {
                    socket.send_to(&answer, from).await.unwrap();
                }
            }
        });
        Self { at, asked, task }
    }

    /// The next request that is not the one before again: a busy machine may ask twice.
    async fn next(&mut self, before: Option<Asked>) -> Asked {
        let next = async {
            loop {
                let asked = self.asked.recv().await.unwrap();
                if Some(asked) != before {
                    return asked;
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("the router is asked")
    }
}

fn number(bytes: &[u8]) -> u16 {
    u16::from_be_bytes(bytes.try_into().unwrap())
}

fn lifetime(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().unwrap())
}

/// RFC 6886 §3.2 and §3.3.
fn nat_pmp(request: &[u8], gives: &mut impl FnMut(&Asked) -> u16, tell: &mpsc::Sender<Asked>) -> Vec<u8> {
    let head = [0, request[1] | 0x80, 0, 0, 0, 0, 0, 9];
    if request.len() == 2 {
        return [&head[..], &OUTSIDE.octets()].concat();
    }
    let asked = Asked {
        tcp: request[1] == 2,
        inside: number(&request[4..6]),
        lifetime: lifetime(&request[8..12]),
        nonce: None,
    };
    let port = if asked.lifetime == 0 { 0 } else { gives(&asked) };
    let _ = tell.try_send(asked);
    [&head[..], &request[4..6], &port.to_be_bytes(), &request[8..12]].concat()
}

/// RFC 6887 §11.1.
fn pcp(request: &[u8], gives: &mut impl FnMut(&Asked) -> u16, tell: &mpsc::Sender<Asked>) -> Vec<u8> {
    let asked = Asked {
        tcp: request[36] == 6,
        inside: number(&request[40..42]),
        lifetime: lifetime(&request[4..8]),
        nonce: Some(request[24..36].try_into().unwrap()),
    };
    let port = if asked.lifetime == 0 { 0 } else { gives(&asked) };
    let _ = tell.try_send(asked);
    let head = [&[2, 0x81, 0, 0][..], &request[4..8], &[0, 0, 0, 9], &[0; 12]].concat();
    let mapping = [&request[24..42], &port.to_be_bytes(), &OUTSIDE.to_ipv6_mapped().octets()].concat();
    [head, mapping].concat()
}

/// Keeps a port of this machine open at a router.
fn keep_at(router: &Router, port: u16, transport: Transport) -> Forwarding {
    let (tell, outside) = watch::channel(None);
    let (end, ended) = oneshot::channel();
    let own = Ipv4Addr::new(192, 168, 1, 2);
    let wanted = Wanted { port: NonZeroU16::new(port).unwrap(), transport, only: None, lease: LEASE };
    let around = Around { gateway: router.at, own };
    let times = Times { least: Duration::ZERO, ..Times::ORDINARY };
    let task = tokio::spawn(keep(wanted, times, move |wanted| ask_at(around, wanted), tell, ended));
    Forwarding { outside, end, task }
}

/// A port is asked for, told, renewed before its time is over as the same one, and given back at the end.
async fn asked_for_renewed_and_given_back(number: u8, speaks: Speaks) {
    let mut router = Router::start(number, speaks, |asked| asked.inside + 1).await;
    let forwarding = keep_at(&router, 9_001, Transport::Udp);
    let mut outside = forwarding.outside();
    assert_eq!(outside.next().await, Some(Some(SocketAddr::from((OUTSIDE, 9_002)))));
    let first = router.next(None).await;
    assert_eq!((first.tcp, first.inside, first.lifetime), (false, 9_001, 1));
    assert_eq!(first.nonce.is_some(), speaks == Speaks::Pcp);
    // Of PCP by the nonce of before: with another one it would be somebody else's. A request that waits too long for its answer on a
    // busy machine is repeated, five times at most, so one of these is a renewal.
    for _ in 0..6 {
        assert_eq!(router.next(None).await, first, "renewed");
    }
    forwarding.give_back().await;
    let last = router.next(Some(first)).await;
    assert_eq!(last, Asked { lifetime: 0, ..first }, "given back, and nothing else");
    assert_eq!(outside.next().await, None, "it was the same all the time, and is not kept any more");
}

#[tokio::test]
async fn a_router_that_knows_nat_pmp_alone_and_says_so() {
    asked_for_renewed_and_given_back(1, Speaks::NatPmp).await;
}

#[tokio::test]
async fn a_router_that_knows_nat_pmp_alone_and_is_silent_else() {
    asked_for_renewed_and_given_back(2, Speaks::NatPmpAlone).await;
}

#[tokio::test]
async fn a_router_that_knows_pcp() {
    asked_for_renewed_and_given_back(3, Speaks::Pcp).await;
}

/// A router that gives another port when it is renewed, as after a restart, is believed: the new one is told.
#[tokio::test]
async fn another_port_than_before_is_told() {
    let mut next = 7_000;
    let router = Router::start(4, Speaks::NatPmp, move |_| {
        next += 1;
        next
    });
    let router = router.await;
    let forwarding = keep_at(&router, 9_001, Transport::Tcp);
    let mut outside = forwarding.outside();
    let first = outside.next().await.unwrap().unwrap();
    let second = outside.next().await.unwrap().unwrap();
    assert!(first.port() > 7_000 && second.port() > first.port(), "{first} {second}");
}

/// Whoever only drops what keeps the port gives it back as well.
#[tokio::test]
async fn dropping_gives_back() {
    let mut router = Router::start(5, Speaks::NatPmp, |asked| asked.inside).await;
    let forwarding = keep_at(&router, 9_001, Transport::Tcp);
    forwarding.outside().next().await.unwrap().unwrap();
    let first = router.next(None).await;
    assert!(first.tcp);
    drop(forwarding);
    assert_eq!(router.next(Some(first)).await.lifetime, 0);
}

/// A router that goes, and a port that is told as none.
#[tokio::test]
async fn a_router_that_goes_takes_the_port_with_it() {
    let router = Router::start(6, Speaks::NatPmp, |asked| asked.inside).await;
    let forwarding = keep_at(&router, 9_001, Transport::Udp);
    let mut outside = forwarding.outside();
    outside.next().await.unwrap().unwrap();
    drop(router);
    assert_eq!(outside.next().await, Some(None));
}

#[test]
fn only_what_is_behind_a_translator_needs_one() {
    for (ip, private) in [("192.168.1.2", true), ("100.64.0.1", true), ("100.128.0.1", false), ("9.9.9.9", false)] {
        assert_eq!(is_private(ip.parse().expect("an address")), private, "{ip}");
    }
}

#[tokio::test]
async fn nothing_is_asked_for_sockets_that_no_router_leads_to() {
    for bound in ["127.0.0.1:9", "[::1]:9", "[2001:db8::1]:9", "0.0.0.0:0"] {
        assert!(Forwarding::keep(bound.parse().expect("an address"), Transport::Udp).is_none(), "{bound}");
    }
}

#[tokio::test]
async fn a_router_that_never_ends_is_given_up_and_asked_anew() {
    let asked = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&asked);
    let never = move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        std::future::pending()
    };
    let wanted = Wanted { port: NonZeroU16::MIN, transport: Transport::Tcp, only: None, lease: LEASE };
    let brief = Duration::from_millis(5);
    let times = Times { asking: brief, renewing: brief, again: brief, again_longest: brief, least: brief };
    let (tell, _outside) = watch::channel(None);
    let (end, ended) = oneshot::channel();
    let task = tokio::spawn(keep(wanted, times, never, tell, ended));
    while asked.load(Ordering::Relaxed) < 3 {
        tokio::time::sleep(brief).await;
    }
    drop(end);
    task.await.expect("it ends when it is told to");
}
