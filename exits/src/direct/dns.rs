//! Names to addresses and back.
//!
//! Names are always asked for as they are: no search domains, no hosts file, both of which belong to the exit's
//! operator and not to strangers. **There is no cache here**: a cache that circuits share would tell one of them, by the
//! time of an answer, what another asked (decision 0042).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData};
use tokio::time::timeout;
use tracing::instrument::WithSubscriber as _;
use tracing::subscriber::NoSubscriber;
use zmesh_overlay::egress::EgressError;
use zmesh_proto::wire::request::{ADDRESSES_MAX, HostName, NAMES_MAX};

/// Endings of names that DNS does not serve: to ask for them would only tell name servers about them.
const NOT_DNS: [&str; 7] = ["onion", "i2p", "zmesh", "local", "internal", "invalid", "home.arpa"];

/// Who resolves names for an exit.
#[derive(Clone, Debug, Default)]
pub enum Nameserver {
    /// The one that the operating system uses; without a usable `/etc/resolv.conf` the one on this machine, as the C
    /// library does.
    #[default]
    System,
    /// This one.
    At(SocketAddr),
}

/// Where names are resolved, and why there.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DnsSource {
    /// By the operating system's configuration.
    System,
    /// That could not be used, so by port 53 of this machine.
    ThisMachine {
        /// What was wrong with the operating system's configuration.
        cause: String,
    },
    /// By the name server that was configured.
    Configured(SocketAddr),
}

impl std::fmt::Display for DnsSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::System => f.write_str("the system's name servers"),
            Self::ThisMachine { cause } => {
                write!(f, "the name server on this machine, because the system's configuration is unusable: {cause}")
            }
            Self::Configured(address) => write!(f, "the name server {address}"),
        }
    }
}

pub(super) struct Dns {
    resolver: TokioResolver,
    source: DnsSource,
    timeout: Duration,
}

impl Dns {
    pub(super) fn new(nameserver: &Nameserver, families: (bool, bool), timeout: Duration) -> io::Result<Self> {
        let (config, mut options, source) = match nameserver {
            Nameserver::At(address) => (server(*address), ResolverOpts::default(), DnsSource::Configured(*address)),
            Nameserver::System => match hickory_resolver::system_conf::read_system_conf() {
                Ok((config, options)) => {
                    // The search list and the domain of the exit's operator are dropped.
                    let config = ResolverConfig::from_parts(None, Vec::new(), config.name_servers().to_vec());
                    (config, options, DnsSource::System)
                }
                Err(error) => {
                    let cause = format!("/etc/resolv.conf: {error}");
                    tracing::warn!(%cause, "no usable DNS configuration: asking the name server on this machine");
                    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 53));
                    (server(here), ResolverOpts::default(), DnsSource::ThisMachine { cause })
                }
            },
        };
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        options.case_randomization = true;
        options.ip_strategy = match families {
            (true, false) => LookupIpStrategy::Ipv4Only,
            (false, true) => LookupIpStrategy::Ipv6Only,
            _ => LookupIpStrategy::Ipv6AndIpv4,
        };
        options.timeout = options.timeout.min(timeout / 2);
        options.attempts = options.attempts.clamp(1, 3);
        let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .build()
            .map_err(io::Error::other)?;
        Ok(Self { resolver, source, timeout })
    }

    pub(super) fn source(&self) -> &DnsSource {
        &self.source
    }

    /// The addresses of a name, as many as an answer carries, never none.
    pub(super) async fn lookup(&self, name: &HostName) -> Result<Vec<IpAddr>, EgressError> {
        if is_or_is_under(name, "localhost") {
            // RFC 6761: always this machine. The policy decides what that is worth.
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        if NOT_DNS.iter().any(|ending| is_or_is_under(name, ending)) {
            return Err(EgressError::NameNotFound);
        }
        let name = Name::from_ascii(format!("{}.", name.as_str())).map_err(|_| EgressError::NameNotFound)?;
        let found = timeout(self.timeout, silently(self.resolver.lookup_ip(name)))
            .await
            .map_err(|_| EgressError::Timeout)?
            .map_err(|error| failure(&error))?;
        let mut ips: Vec<IpAddr> = Vec::new();
        for ip in found.iter().map(|ip| ip.to_canonical()) {
            if !ips.contains(&ip) && ips.len() < ADDRESSES_MAX {
                ips.push(ip);
            }
        }
        if ips.is_empty() { Err(EgressError::NameNotFound) } else { Ok(ips) }
    }

    /// The names of an address, as many as an answer carries, never none.
    pub(super) async fn reverse(&self, ip: IpAddr) -> Result<Vec<String>, EgressError> {
        let found = timeout(self.timeout, silently(self.resolver.reverse_lookup(ip)))
            .await
            .map_err(|_| EgressError::Timeout)?
            .map_err(|error| failure(&error))?;
        let names: Vec<String> = found
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::PTR(name) => HostName::parse(&name.0.to_ascii()).ok(),
                _ => None,
            })
            .take(NAMES_MAX)
            .map(|name| name.as_str().to_owned())
            .collect();
        if names.is_empty() { Err(EgressError::NameNotFound) } else { Ok(names) }
    }
}

/// The resolver logs the names that it is asked for, some of them as errors: nobody gets to see that, whatever the
/// program's filter says.
fn silently<F: Future>(asking: F) -> impl Future<Output = F::Output> {
    asking.with_subscriber(NoSubscriber::default())
}

fn server(address: SocketAddr) -> ResolverConfig {
    let mut connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = address.port();
    }
    let server = NameServerConfig::new(address.ip(), true, connections.to_vec());
    ResolverConfig::from_parts(None, Vec::new(), vec![server])
}

fn is_or_is_under(name: &HostName, ending: &str) -> bool {
    name.as_str().strip_suffix(ending).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn failure(error: &NetError) -> EgressError {
    if error.is_no_records_found() {
        return EgressError::NameNotFound;
    }
    match error {
        NetError::Timeout | NetError::Busy => EgressError::Timeout,
        _ => EgressError::Unreachable,
    }
}
