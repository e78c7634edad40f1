//! Which destinations an exit connects to.
//!
//! A [`Policy`] judges the address and port that a socket is about to use, after DNS: a name is resolved once, each
//! address of the answer is judged, and the connection goes to a judged address, so a name that changes its answer
//! between two look-ups gains nothing. Names do not appear in rules for that reason.
//!
//! Three things decide, in this order:
//! 1. Addresses that are never public ([`special`]), the exit's own addresses, and ports 0 and 25 are refused,
//!    whatever the rules say. A test network lifts this for loopback and private addresses.
//! 2. The first rule that matches.
//! 3. If none does, refusal.

mod rule;
pub mod special;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use zmesh_proto::wire::descriptor::{ExitSummary, PortSet};

pub use rule::{ParseError, RuleError};

use rule::Rule;
use special::Special;

/// Most rules of a policy.
pub const RULES_MAX: usize = 1_024;

/// The default: what the web and DNS need.
const DEFAULT: &str = "accept *:53\naccept *:80\naccept *:443\n";

/// SMTP between servers: open relays of mail are the quickest way to lose an exit.
const SMTP: u16 = 25;

/// Why a destination was refused; for counters and tests. It does not travel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// An address that is never public.
    #[error("the address is not public ({0})")]
    Special(Special),
    /// An address of the exit itself.
    #[error("the address is the exit's own")]
    Own,
    /// A port that no exit serves.
    #[error("no exit serves this port")]
    Port,
    /// A family of addresses that this exit does not reach.
    #[error("this exit does not reach this family of addresses")]
    Family,
    /// A rule, or the absence of one.
    #[error("no rule accepts the address and port")]
    Rule,
}

/// Which destinations an exit connects to. See the head of this module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    rules: Vec<Rule>,
    own: Vec<IpAddr>,
    test_network: bool,
    v4: bool,
    v6: bool,
}

impl Default for Policy {
    /// Ports 53, 80 and 443 of all public addresses.
    fn default() -> Self {
        DEFAULT.parse().expect("the default policy parses")
    }
}

impl Policy {
    /// Every port but 25 of all public addresses.
    #[must_use]
    pub fn open() -> Self {
        "accept *".parse().expect("one wildcard rule parses")
    }

    /// For tests on one machine and **never for a public exit**: every port but 25 of every address, loopback and
    /// private ones included. Link-local, multicast and cloud metadata addresses stay refused.
    #[must_use]
    pub fn test_network() -> Self {
        Self { test_network: true, ..Self::open() }
    }

    /// Lifts the refusal of loopback and private addresses from these rules, as [`Policy::test_network`] does.
    #[must_use]
    pub fn for_test_network(self) -> Self {
        Self { test_network: true, ..self }
    }

    /// Whether loopback and private addresses are let through to the rules.
    #[must_use]
    pub fn is_for_test_network(&self) -> bool {
        self.test_network
    }

    /// Refuses the exit's own public addresses too, so that nobody reaches services of this machine from inside its
    /// firewall. A test network ignores this.
    #[must_use]
    pub fn with_own_addresses(mut self, own: impl IntoIterator<Item = IpAddr>) -> Self {
        self.own.extend(own.into_iter().map(|ip| ip.to_canonical()));
        self
    }

    /// Restricts the policy to the families of addresses that this exit reaches.
    #[must_use]
    pub fn with_families(self, v4: bool, v6: bool) -> Self {
        Self { v4, v6, ..self }
    }

    /// Judges an address and port, immediately before a socket uses it.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn check(&self, address: SocketAddr) -> Result<(), Refusal> {
        let port = address.port();
        let ip = address.ip().to_canonical();
        if port == 0 || port == SMTP {
            return Err(Refusal::Port);
        }
        if !(if ip.is_ipv4() { self.v4 } else { self.v6 }) {
            return Err(Refusal::Family);
        }
        self.check_public(ip)?;
        self.check_rules(ip, port)?;
        // Behind a NAT64 prefix stands an IPv4 host: it has to pass as itself too.
        if let IpAddr::V6(v6) = ip
            && let Some(v4) = special::nat64(v6)
        {
            self.check_public(v4.into())?;
            self.check_rules(v4.into(), port)?;
        }
        Ok(())
    }

    fn check_public(&self, ip: IpAddr) -> Result<(), Refusal> {
        match special::classify(ip) {
            Some(special) if !(self.test_network && special.is_local()) => return Err(Refusal::Special(special)),
            _ => {}
        }
        if !self.test_network && self.own.contains(&ip) {
            return Err(Refusal::Own);
        }
        Ok(())
    }

    /// Judges an address without a port, for look-ups: what is never public is not told either.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn check_address(&self, ip: IpAddr) -> Result<(), Refusal> {
        let ip = ip.to_canonical();
        self.check_public(ip)?;
        match ip {
            IpAddr::V6(v6) => special::nat64(v6).map_or(Ok(()), |v4| self.check_public(v4.into())),
            IpAddr::V4(_) => Ok(()),
        }
    }

    /// Which families of addresses this exit reaches: IPv4, IPv6.
    #[must_use]
    pub fn families(&self) -> (bool, bool) {
        (self.v4, self.v6)
    }

    fn check_rules(&self, ip: IpAddr, port: u16) -> Result<(), Refusal> {
        let first = self.rules.iter().find(|rule| rule.matches(ip, port));
        if first.is_some_and(Rule::accepts) { Ok(()) } else { Err(Refusal::Rule) }
    }

    /// What to say of this exit in its descriptor: the ports that it accepts for addresses in general, judged by the
    /// rules for all addresses or all of a family. `None` when there is no such port.
    ///
    /// Where the ports fall into more ranges than a descriptor holds, the last ones are left out.
    #[must_use]
    pub fn summary(&self) -> Option<ExitSummary> {
        let v4 = self.v4 && self.general_ports(true).next().is_some();
        let v6 = self.v6 && self.general_ports(false).next().is_some();
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for port in 1..=u16::MAX {
            let accepted = (v4 && self.accepts_generally(true, port)) || (v6 && self.accepts_generally(false, port));
            if !accepted {
                continue;
            }
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == port => *last = port,
                _ => ranges.push((port, port)),
            }
        }
        ranges.truncate(zmesh_proto::wire::descriptor::PORT_RANGES_MAX);
        let ports = PortSet::new(ranges.into_iter().map(|(first, last)| first..=last))?;
        (!ports.is_empty()).then_some(ExitSummary { v4, v6, ports })
    }

    fn general_ports(&self, v4: bool) -> impl Iterator<Item = u16> + '_ {
        (1..=u16::MAX).filter(move |port| self.accepts_generally(v4, *port))
    }

    fn accepts_generally(&self, v4: bool, port: u16) -> bool {
        port != SMTP && self.rules.iter().find(|rule| rule.is_general(v4, port)).is_some_and(Rule::accepts)
    }
}

/// Reads rules, one a line. `#` begins a comment.
///
/// ```text
/// # action  addresses      ports
/// reject    198.51.100.0/24
/// accept    [2606:4700::]/32:443
/// accept    *:80,443,8000-8999
/// ```
///
/// Addresses are `*` (all), `*4`, `*6` (all of a family), an address or a prefix; IPv6 stands in brackets where ports
/// follow. Ports are a list of ports and ranges, or `*`, which is also the default.
impl FromStr for Policy {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut rules = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let rule = line.parse().map_err(|error| ParseError { line: at + 1, error })?;
            if rules.len() == RULES_MAX {
                return Err(ParseError { line: at + 1, error: RuleError::TooMany });
            }
            rules.push(rule);
        }
        Ok(Self { rules, own: Vec::new(), test_network: false, v4: true, v6: true })
    }
}

/// The rules, one a line, so that they read back to the same policy.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rules.iter().try_for_each(|rule| writeln!(f, "{rule}"))
    }
}
