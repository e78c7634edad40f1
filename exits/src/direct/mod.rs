//! Egress through this machine's own sockets.

mod dns;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use zmesh_overlay::egress::{
    BoxFuture, CircuitHandle, Egress, EgressError, EgressStream, EgressUdp, Target, TargetHost,
};
use zmesh_proto::wire::request::{Host, HostName};

pub use dns::{DnsSource, Nameserver};

use crate::policy::Policy;
use crate::quota::{Account, Limits, Quotas};
use dns::Dns;

/// Settings of a [`Direct`] egress.
#[derive(Clone, Debug)]
pub struct DirectConfig {
    /// Which destinations it connects to.
    pub policy: Policy,
    /// What a circuit may use.
    pub limits: Limits,
    /// Who resolves names.
    pub nameserver: Nameserver,
    /// How long a TCP connection may take to come up, all addresses of the name together.
    pub connect_timeout: Duration,
    /// How long DNS may take.
    pub resolve_timeout: Duration,
    /// A TCP stream on which nothing arrives or leaves for this long is closed.
    pub stream_idle: Duration,
    /// A UDP flow on which nothing arrives or leaves for this long is closed.
    pub udp_idle: Duration,
}

impl DirectConfig {
    /// The defaults around a policy.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            limits: Limits::default(),
            nameserver: Nameserver::System,
            connect_timeout: Duration::from_secs(10),
            resolve_timeout: Duration::from_secs(8),
            stream_idle: Duration::from_secs(3_600),
            // RFC 4787 asks translators for at least two minutes.
            udp_idle: Duration::from_secs(150),
        }
    }
}

impl Default for DirectConfig {
    fn default() -> Self {
        Self::new(Policy::default())
    }
}

/// Egress through this machine's own sockets: TCP, UDP and DNS, under a policy and quotas.
///
/// Cheap to clone; all clones share their quotas.
#[derive(Clone)]
pub struct Direct(Arc<Inner>);

struct Inner {
    policy: Policy,
    quotas: Quotas,
    dns: Dns,
    connect_timeout: Duration,
    stream_idle: Duration,
    udp_idle: Duration,
}

impl Direct {
    /// Prepares the resolver; opens no socket. Has to be called inside a tokio runtime.
    ///
    /// # Errors
    /// The resolver could not be made.
    pub fn new(config: DirectConfig) -> io::Result<Self> {
        let dns = Dns::new(&config.nameserver, config.policy.families(), config.resolve_timeout)?;
        Ok(Self(Arc::new(Inner {
            policy: config.policy,
            quotas: Quotas::new(config.limits),
            dns,
            connect_timeout: config.connect_timeout,
            stream_idle: config.stream_idle,
            udp_idle: config.udp_idle,
        })))
    }

    /// Where names are resolved, for the operator to see.
    #[must_use]
    pub fn dns_source(&self) -> &DnsSource {
        self.0.dns.source()
    }

    /// Circuits with open accounts, and sockets in use.
    #[must_use]
    pub fn usage(&self) -> (usize, usize) {
        (self.0.quotas.len(), self.0.quotas.sockets())
    }
}

impl std::fmt::Debug for Direct {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Direct").finish_non_exhaustive()
    }
}

impl Inner {
    fn account(&self, circuit: CircuitHandle) -> Result<Arc<Account>, EgressError> {
        Ok(self.quotas.account(circuit, Instant::now())?)
    }

    /// The addresses of a name, each paid for and judged; not yet for a port.
    async fn lookup(&self, account: &Account, name: &HostName) -> Result<Vec<IpAddr>, EgressError> {
        account.lookup(Instant::now())?;
        self.dns.lookup(name).await
    }

    /// The addresses to which this target may be connected, best first, never none.
    async fn judged(&self, account: &Account, target: &Target) -> Result<Vec<SocketAddr>, EgressError> {
        let ips = match host(&target.host)? {
            Host::Ip(ip) => vec![ip],
            Host::Name(name) => {
                // Not even a query for a port that nothing may use.
                if target.port == 0 {
                    return Err(EgressError::Refused);
                }
                self.lookup(account, &name).await?
            }
        };
        let allowed: Vec<SocketAddr> = ips
            .into_iter()
            .map(|ip| SocketAddr::new(ip.to_canonical(), target.port))
            .filter(|address| match self.policy.check(*address) {
                Ok(()) => true,
                Err(refusal) => {
                    tracing::trace!(%refusal, "refused by policy");
                    false
                }
            })
            .collect();
        if allowed.is_empty() { Err(EgressError::Refused) } else { Ok(allowed) }
    }

    async fn resolve(&self, circuit: CircuitHandle, name: &str) -> Result<Vec<IpAddr>, EgressError> {
        let account = self.account(circuit)?;
        let ips = match Host::parse(name).map_err(|_| EgressError::NameNotFound)? {
            Host::Ip(ip) => vec![ip],
            Host::Name(name) => self.lookup(&account, &name).await?,
        };
        let public: Vec<IpAddr> = ips.into_iter().filter(|ip| self.policy.check_address(*ip).is_ok()).collect();
        if public.is_empty() { Err(EgressError::Refused) } else { Ok(public) }
    }

    async fn resolve_ptr(&self, circuit: CircuitHandle, ip: IpAddr) -> Result<Vec<String>, EgressError> {
        let ip = ip.to_canonical();
        let account = self.account(circuit)?;
        self.policy.check_address(ip).map_err(|_| EgressError::Refused)?;
        account.lookup(Instant::now())?;
        self.dns.reverse(ip).await
    }
}

impl Egress for Direct {
    fn connect(
        &self,
        circuit: CircuitHandle,
        target: Target,
    ) -> BoxFuture<'_, Result<Box<dyn EgressStream>, EgressError>> {
        Box::pin(async move {
            let inner = &self.0;
            let permit = inner.account(circuit)?.stream(Instant::now())?;
            let addresses = inner.judged(permit.account(), &target).await?;
            let stream = tcp::connect(addresses, inner.connect_timeout).await?;
            Ok(Box::new(tcp::Metered::new(stream, permit, inner.stream_idle)) as Box<dyn EgressStream>)
        })
    }

    fn bind_udp(&self, circuit: CircuitHandle) -> BoxFuture<'_, Result<Box<dyn EgressUdp>, EgressError>> {
        Box::pin(async move {
            let permit = self.0.account(circuit)?.flow()?;
            let flow = udp::Flow::bind(self.0.clone(), permit).await?;
            Ok(Box::new(flow) as Box<dyn EgressUdp>)
        })
    }

    fn resolve<'a>(&'a self, circuit: CircuitHandle, name: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, EgressError>> {
        Box::pin(self.0.resolve(circuit, name))
    }

    fn resolve_ptr(&self, circuit: CircuitHandle, ip: IpAddr) -> BoxFuture<'_, Result<Vec<String>, EgressError>> {
        Box::pin(self.0.resolve_ptr(circuit, ip))
    }

    fn closed(&self, circuit: CircuitHandle) {
        self.0.quotas.forget(circuit);
    }
}

/// A host in canonical form. What is neither a name nor an address has no address.
fn host(host: &TargetHost) -> Result<Host, EgressError> {
    match host {
        TargetHost::Ip(ip) => Ok(Host::from(*ip)),
        TargetHost::Name(name) => Host::parse(name).map_err(|_| EgressError::NameNotFound),
    }
}

/// What an error of the operating system means to an origin.
fn failure(error: &io::Error) -> EgressError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => EgressError::ConnectionRefused,
        io::ErrorKind::TimedOut => EgressError::Timeout,
        // EMFILE and its kind: the exit is full, not the destination away.
        io::ErrorKind::OutOfMemory | io::ErrorKind::QuotaExceeded => EgressError::QuotaExceeded,
        _ => EgressError::Unreachable,
    }
}
