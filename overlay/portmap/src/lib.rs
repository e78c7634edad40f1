//! Ports that the router in front of this machine forwards at its request: by PCP, else NAT-PMP, else UPnP.
//!
//! One port is one [`Forwarding`]: it is asked for, renewed, and given back at the end, so that nothing is left open for whoever gets the
//! machine's address next.

mod router;
#[cfg(all(test, target_os = "linux"))]
mod tests;
mod upnp;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::num::NonZeroU16;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use router::Lease;
use upnp::{Around, Forwarded};

/// For how long a port is asked for.
const LEASE: Duration = Duration::from_secs(3_600);
/// How long giving back may take at the end of a program.
const GIVE_BACK: Duration = Duration::from_secs(3);

/// What is forwarded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// Connections.
    Tcp,
}

/// A port of the router that is kept for one of this machine's, for as long as this lives. It needs a tokio runtime.
#[derive(Debug)]
pub struct Forwarding {
    outside: watch::Receiver<Option<SocketAddr>>,
    /// Dropping it ends the task, which gives the port back.
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// What a router forwards, as it changes.
#[derive(Clone, Debug)]
pub struct Outside(watch::Receiver<Option<SocketAddr>>);

impl Forwarding {
    /// Asks for the port that a socket is bound to, renewed after half of an hour. `None` if no router can lead there: the socket is bound
    /// to IPv6 alone, to loopback, or to no port.
    #[must_use]
    pub fn keep(bound: SocketAddr, transport: Transport) -> Option<Self> {
        Self::keep_for(bound, transport, LEASE)
    }

    /// The same for another time than an hour; a router may give more.
    #[must_use]
    pub fn keep_for(bound: SocketAddr, transport: Transport, lease: Duration) -> Option<Self> {
        let port = NonZeroU16::new(bound.port())?;
        let only = match bound.ip() {
            ip if ip.is_loopback() => return None,
            ip if ip.is_unspecified() => None,
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(_) => return None,
        };
        let (tell, outside) = watch::channel(None);
        let (end, ended) = oneshot::channel();
        let task = tokio::spawn(keep(Wanted { port, transport, only, lease }, Times::ORDINARY, ask, tell, ended));
        Some(Self { outside, end, task })
    }

    /// Follows where the port is reached from outside.
    #[must_use]
    pub fn outside(&self) -> Outside {
        Outside(self.outside.clone())
    }

    /// Gives the port back, and waits for that a little. Dropping this does so as well, while the runtime lives.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the giving back to the runtime.
    pub async fn give_back(self) {
        drop(self.end);
        // Who does not answer keeps it until its time is over.
        let _ = tokio::time::timeout(GIVE_BACK, self.task).await;
    }
}

impl Outside {
    /// The next change: where the port is reached, if it is. `None` when the port is not kept any more.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<Option<SocketAddr>> {
        self.0.changed().await.ok()?;
        Some(*self.0.borrow_and_update())
    }
}

/// What is wanted of the router.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    port: NonZeroU16,
    transport: Transport,
    /// The one address that the socket is bound to.
    only: Option<Ipv4Addr>,
    lease: Duration,
}

/// How long what may take.
#[derive(Clone, Copy)]
struct Times {
    /// All of asking, and all of renewing, whatever a router does.
    asking: Duration,
    renewing: Duration,
    /// The pause after nothing was found: the first one, for a router or a network that is just coming up; each is twice as long as the
    /// one before, …
    again: Duration,
    /// … up to this.
    again_longest: Duration,
    /// A port that was given for less is renewed as if it had been given for this: a router that gives seconds is not asked all the time.
    least: Duration,
}

impl Times {
    const ORDINARY: Self = Self {
        asking: Duration::from_secs(20),
        renewing: Duration::from_secs(10),
        again: Duration::from_secs(5),
        again_longest: Duration::from_secs(300),
        least: Duration::from_secs(60),
    };
}

/// Keeps a port by what `ask` finds.
async fn keep<A: Future<Output = Option<Lease>>>(
    wanted: Wanted,
    times: Times,
    ask: impl Fn(Wanted) -> A,
    tell: watch::Sender<Option<SocketAddr>>,
    mut ended: oneshot::Receiver<()>,
) {
    let mut held: Option<Lease> = None;
    let mut again = times.again;
    loop {
        // Not ended in the middle of a request: its answer says what is to be given back.
        held = match held {
            Some(lease) => timeout(times.renewing, lease.renew()).await.ok().flatten(),
            None => None,
        };
        if held.is_none() {
            held = timeout(times.asking, ask(wanted)).await.ok().flatten();
        }
        let outside = held.as_ref().map(Lease::outside);
        tell.send_if_modified(|known| std::mem::replace(known, outside) != outside);
        let pause = match &held {
            Some(lease) => {
                again = times.again;
                lease.lasts().max(times.least).min(wanted.lease) / 2
            }
            None => {
                let pause = again;
                again = (again * 2).min(times.again_longest);
                pause
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = &mut ended => break,
        }
    }
    if let Some(lease) = held {
        lease.give_back().await;
    }
}

async fn ask(wanted: Wanted) -> Option<Lease> {
    ask_at(surroundings().await?, wanted).await
}

async fn ask_at(around: Around, wanted: Wanted) -> Option<Lease> {
    if wanted.only.is_some_and(|only| only != around.own) || !is_private(around.own) {
        return None;
    }
    let inside = SocketAddrV4::new(around.own, wanted.port.get());
    if let Some(lease) = router::by_pcp(around.gateway, inside, &wanted).await {
        return Some(lease);
    }
    match Forwarded::ask(around, inside, &wanted).await {
        Ok(forwarded) => Some(Lease::Upnp(Box::new(forwarded))),
        Err(error) => {
            tracing::debug!("the router forwards no port: {error}");
            None
        }
    }
}

/// The IPv4 gateway of the default route, and this machine's address towards it.
async fn surroundings() -> Option<Around> {
    // Reads tables of the operating system, which may take a moment.
    let interface = tokio::task::spawn_blocking(netdev::get_default_interface).await.ok()?.ok()?;
    let gateway = *interface.gateway.as_ref()?.ipv4.first()?;
    Some(Around { gateway, own: interface.ipv4.first()?.addr() })
}

/// Whether a translator stands before an address: those of homes, and of providers who translate (RFC 6598).
fn is_private(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    ip.is_private() || (a == 100 && (64..128).contains(&b))
}

/// Reads what a router at an address could send in the places where UPnP has it read, for fuzzing.
///
/// # Panics
/// When what is read leads elsewhere than to that router, or is longer than it may be.
#[doc(hidden)]
pub fn fuzz_upnp(bytes: &[u8]) {
    upnp::fuzz(bytes);
}
