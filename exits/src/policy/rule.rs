//! One rule of a policy.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use zmesh_proto::wire::descriptor::PortSet;

use super::special;

/// A line of a policy that could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line} of the exit policy: {error}")]
pub struct ParseError {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub error: RuleError,
}

/// What is wrong with a rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// No `accept` or `reject`.
    #[error("a rule begins with \"accept\" or \"reject\"")]
    Action,
    /// Not one word after the action.
    #[error("a rule is an action, then addresses and ports such as \"*:443\" in one word")]
    Words,
    /// The address or prefix.
    #[error("the address is not \"*\", an IP address or a prefix; names cannot be in rules")]
    Address,
    /// The prefix has bits set behind its length.
    #[error("the prefix has bits set behind its length")]
    HostBits,
    /// The ports.
    #[error("ports are numbers from 1 to 65535, ranges such as 8000-8999, or \"*\", separated by commas")]
    Ports,
    /// Accepts addresses that no exit reaches.
    #[error("these addresses are not public: no rule can accept them")]
    NeverPublic,
    /// Too many rules.
    #[error("there are more than 1,024 rules")]
    TooMany,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Addresses {
    All,
    V4,
    V6,
    Prefix { ip: IpAddr, len: u8 },
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Rule {
    accept: bool,
    addresses: Addresses,
    ports: PortSet,
}

impl Rule {
    pub(super) fn accepts(&self) -> bool {
        self.accept
    }

    /// Whether the rule is about this destination. The address is canonical.
    pub(super) fn matches(&self, ip: IpAddr, port: u16) -> bool {
        let by_address = match self.addresses {
            Addresses::All => true,
            Addresses::V4 => ip.is_ipv4(),
            Addresses::V6 => ip.is_ipv6(),
            Addresses::Prefix { ip: prefix, len } => ip.is_ipv4() == prefix.is_ipv4() && masked(ip, len) == prefix,
        };
        by_address && self.ports.contains(port)
    }

    /// Whether the rule decides this port for the addresses of a family in general.
    pub(super) fn is_general(&self, v4: bool, port: u16) -> bool {
        let all = match self.addresses {
            Addresses::All => true,
            Addresses::V4 => v4,
            Addresses::V6 => !v4,
            Addresses::Prefix { ip, len } => len == 0 && ip.is_ipv4() == v4,
        };
        all && self.ports.contains(port)
    }
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(line: &str) -> Result<Self, RuleError> {
        let mut words = line.split_whitespace();
        let accept = match words.next() {
            Some("accept") => true,
            Some("reject") => false,
            _ => return Err(RuleError::Action),
        };
        let (Some(target), None) = (words.next(), words.next()) else {
            return Err(RuleError::Words);
        };
        let (addresses, ports) = split(target)?;
        let addresses = parse_addresses(addresses)?;
        if accept && let Addresses::Prefix { ip, len } = addresses {
            // Only what lies in such a range whole; a wider prefix is cut by the fixed refusals in any case.
            let never = len > 0 && special::classify(ip).is_some_and(|special| !special.is_local()) && {
                special::classify(last_of(ip, len)).is_some()
            };
            if never {
                return Err(RuleError::NeverPublic);
            }
        }
        Ok(Self { accept, addresses, ports: parse_ports(ports)? })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.accept { "accept " } else { "reject " })?;
        match self.addresses {
            Addresses::All => f.write_str("*")?,
            Addresses::V4 => f.write_str("*4")?,
            Addresses::V6 => f.write_str("*6")?,
            Addresses::Prefix { ip: IpAddr::V4(ip), len } => write!(f, "{ip}/{len}")?,
            Addresses::Prefix { ip: IpAddr::V6(ip), len } => write!(f, "[{ip}]/{len}")?,
        }
        if self.ports == PortSet::all() {
            return Ok(());
        }
        let ports: Vec<String> = self
            .ports
            .ranges()
            .map(|range| match (range.start(), range.end()) {
                (first, last) if first == last => first.to_string(),
                (first, last) => format!("{first}-{last}"),
            })
            .collect();
        write!(f, ":{}", ports.join(","))
    }
}

/// Parts a target into addresses and ports.
fn split(target: &str) -> Result<(&str, &str), RuleError> {
    if let Some(rest) = target.strip_prefix('[') {
        let close = rest.find(']').ok_or(RuleError::Address)?;
        // Whatever stands between the bracket and the colon belongs to the address: a prefix length.
        let colon = rest[close..].find(':').map(|at| close + at);
        return Ok(match colon {
            Some(colon) => (&target[..=colon], &rest[colon + 1..]),
            None => (target, "*"),
        });
    }
    match target.matches(':').count() {
        0 => Ok((target, "*")),
        1 => target.split_once(':').ok_or(RuleError::Ports),
        // Bare IPv6 without ports.
        _ => Ok((target, "*")),
    }
}

fn parse_addresses(text: &str) -> Result<Addresses, RuleError> {
    match text {
        "*" => return Ok(Addresses::All),
        "*4" => return Ok(Addresses::V4),
        "*6" => return Ok(Addresses::V6),
        _ => {}
    }
    let (ip, len) = match text.split_once('/') {
        Some((ip, len)) => (ip, Some(len)),
        None => (text, None),
    };
    let bracketed = ip.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    // A prefix length may stand inside the brackets as well.
    let (ip, len) = match (bracketed, ip.strip_prefix('['), len.and_then(|len| len.strip_suffix(']'))) {
        (Some(ip), _, _) => (ip, len),
        (None, Some(ip), Some(len)) => (ip, Some(len)),
        _ => (ip, len),
    };
    let ip: IpAddr = ip.parse().map_err(|_| RuleError::Address)?;
    let full = if ip.is_ipv4() { 32 } else { 128 };
    let len = match len {
        None => full,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().map_err(|_| RuleError::Address)?,
        Some(_) => return Err(RuleError::Address),
    };
    if len > full || ip.to_canonical() != ip {
        return Err(RuleError::Address);
    }
    if masked(ip, len) != ip {
        return Err(RuleError::HostBits);
    }
    Ok(Addresses::Prefix { ip, len })
}

fn parse_ports(text: &str) -> Result<PortSet, RuleError> {
    if text == "*" {
        return Ok(PortSet::all());
    }
    let port = |text: &str| match text.parse::<u16>() {
        Ok(port) if port > 0 && text.bytes().all(|b| b.is_ascii_digit()) => Ok(port),
        _ => Err(RuleError::Ports),
    };
    let mut ranges = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (port(first)?, port(last)?);
        if first > last {
            return Err(RuleError::Ports);
        }
        ranges.push(first..=last);
    }
    PortSet::new(ranges).ok_or(RuleError::Ports)
}

fn masked(ip: IpAddr, len: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => IpAddr::V4((u32::from(ip) & u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0)).into()),
        IpAddr::V6(ip) => {
            IpAddr::V6((u128::from(ip) & u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0)).into())
        }
    }
}

/// The last address of a prefix.
fn last_of(ip: IpAddr, len: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => IpAddr::V4((u32::from(ip) | u32::MAX.checked_shr(u32::from(len)).unwrap_or(0)).into()),
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) | u128::MAX.checked_shr(u32::from(len)).unwrap_or(0)).into()),
    }
}
