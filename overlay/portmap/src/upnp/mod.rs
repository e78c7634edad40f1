//! Ports by UPnP (Internet Gateway Device 1 and 2): as much of it as that needs, asked of the router of the default route and of nobody
//! else. What comes from the network is bounded in time, length and depth (decision 0251).

mod answer;
mod error;
mod http;
mod search;
mod service;
#[cfg(test)]
mod tests;
mod url;
mod xml;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use answer::Answer;
pub(crate) use error::Error;
pub(crate) use search::Around;
use search::Search;
use service::{Rule, Service};
use url::Url;

use crate::Wanted;

/// The router forwards for ever or not at all.
const ONLY_PERMANENT: u16 = 725;
/// Other ports that are asked for where the wanted one is taken, from the range that nobody is assigned (RFC 6335 §6).
const OTHERS: u16 = 4;
const DYNAMIC: u16 = 49_152;

/// A port that a router forwards.
#[derive(Debug)]
pub(crate) struct Forwarded {
    around: Around,
    service: Service,
    rule: Rule,
    outside: SocketAddr,
    /// For how long it was asked for. Where the router forwards for ever only, it is looked at as often all the same.
    lasts: Duration,
}

impl Forwarded {
    /// Searches for the router and asks it for a port.
    pub(crate) async fn ask(around: Around, inside: SocketAddrV4, wanted: &Wanted) -> Result<Self, Error> {
        Self::ask_by(Search::begin(around).await?, around, inside, wanted).await
    }

    async fn ask_by(mut search: Search, around: Around, inside: SocketAddrV4, wanted: &Wanted) -> Result<Self, Error> {
        let mut failed = Error::Silent;
        while let Some(url) = search.next().await {
            let services = match service::describe(around.own, &url).await {
                Ok(services) => services,
                Err(error) => {
                    failed = error;
                    continue;
                }
            };
            for service in services {
                match Self::ask_of(service, around, inside, wanted).await {
                    Ok(forwarded) => return Ok(forwarded),
                    Err(error) => failed = error,
                }
            }
        }
        Err(failed)
    }

    async fn ask_of(service: Service, around: Around, inside: SocketAddrV4, wanted: &Wanted) -> Result<Self, Error> {
        // First, so that nothing can fail once a port is forwarded.
        let ip = IpAddr::V4(service.address(around.own).await?);
        let lasts = u32::try_from(wanted.lease.as_secs()).unwrap_or(u32::MAX);
        let mut rule = Rule { outside: inside.port(), inside, transport: wanted.transport, lasts };
        add(&service, around, &mut rule).await?;
        let outside = SocketAddr::new(ip, rule.outside);
        Ok(Self { around, service, rule, outside, lasts: wanted.lease })
    }

    pub(crate) fn outside(&self) -> SocketAddr {
        self.outside
    }

    pub(crate) fn lasts(&self) -> Duration {
        self.lasts
    }

    /// The same port for longer.
    pub(crate) async fn renew(mut self) -> Result<Self, Error> {
        let own = self.around.own;
        let renewed = match self.service.add(own, self.rule).await {
            Ok(()) => self.service.address(own).await,
            Err(error) => Err(error),
        };
        match renewed {
            Ok(ip) => self.outside.set_ip(ip.into()),
            Err(error) => {
                self.give_back().await;
                return Err(error);
            }
        }
        Ok(self)
    }

    /// If the router does not hear it, the port is free again when its time is over.
    pub(crate) async fn give_back(self) {
        let Self { around, service, rule, .. } = self;
        let _ = service.delete(around.own, rule.outside, rule.transport).await;
    }
}

/// Has a port forwarded: the wanted one, or another one, which the rule says then.
async fn add(service: &Service, around: Around, rule: &mut Rule) -> Result<(), Error> {
    let refused = match add_lasting(service, around, rule).await {
        Err(Error::Refused(code)) => Error::Refused(code),
        other => return other,
    };
    if service.kind == service::Kind::Ip2 {
        rule.outside = service.add_any(around.own, *rule).await?;
        return Ok(());
    }
    // By the address, so that machines of one home with the same settings try others.
    let [.., host] = around.own.octets();
    let first = rule.inside.port().wrapping_add(host.into());
    for n in 0..OTHERS {
        rule.outside = DYNAMIC + first.wrapping_add(n * 4_099) % (u16::MAX - DYNAMIC + 1);
        match add_lasting(service, around, rule).await {
            Err(Error::Refused(_)) => {}
            other => return other,
        }
    }
    Err(refused)
}

/// Has the port of a rule forwarded, for ever if the router does no other; so that the rule says.
async fn add_lasting(service: &Service, around: Around, rule: &mut Rule) -> Result<(), Error> {
    match service.add(around.own, *rule).await {
        Err(Error::Refused(ONLY_PERMANENT)) if rule.lasts != 0 => {
            rule.lasts = 0;
            service.add(around.own, *rule).await
        }
        other => other,
    }
}

/// Reads bytes as everything that a router's answers are read as.
pub(crate) fn fuzz(bytes: &[u8]) {
    let gateway = Ipv4Addr::new(192, 168, 0, 1);
    let here = Url { at: SocketAddrV4::new(gateway, 80), path: "/d/root.xml".to_owned() };
    if let Some(url) = search::location(bytes, gateway) {
        assert_eq!(url.at.ip(), &gateway, "a description lies at the router");
    }
    let mut reading = answer::Reading::new();
    let read = bytes.chunks(7).try_for_each(|part| reading.take(part).map(|_| ()));
    let whole = read.and_then(|()| reading.end());
    if let Ok(answer) = &whole {
        assert!(answer.body.len() <= answer::BODY_MAX, "a body has an end");
    }
    let body = whole.map_or_else(|_| bytes.to_vec(), |answer| answer.body);
    for service in service::services(&body, &here).unwrap_or_default() {
        assert_eq!(service.control.at.ip(), &gateway, "a service is at the router");
    }
    let _ = service::done(&Answer { status: 200, body }, "AddPortMapping", "NewReservedPort");
}
