//! Names and addresses of hosts, in the one form in which they travel.

use std::fmt;
use std::net::IpAddr;

use crate::wire::codec::{Error, ErrorKind, Reader, Writer};

/// Longest host name, in bytes: what DNS can carry, written without the final dot.
pub const NAME_MAX: usize = 253;

const KIND_NAME: u8 = 3;

/// Why text is no host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// Nothing there.
    #[error("the host name is empty")]
    Empty,
    /// Longer than DNS allows.
    #[error("the host name is longer than 253 bytes")]
    TooLong,
    /// A label is empty or longer than 63 bytes.
    #[error("a part of the host name is empty or longer than 63 bytes")]
    Label,
    /// A character that does not appear in host names. Internationalised names travel in their `xn--` form.
    #[error("the host name has a character other than letters, digits, hyphen and underscore")]
    Character,
    /// The last label is a number, so that some resolvers would read the name as an address.
    #[error("the host name ends in a number but is no address")]
    Numeric,
}

/// A host name: lower-case labels of letters, digits, hyphen and underscore, no final dot, at most 253 bytes.
///
/// Deliberately not stricter: names with underscores or with hyphens at the ends of labels exist. A name whose last
/// label is a number, in decimal or hexadecimal, is refused, because system resolvers read `127.1` or `0x7f000001` as
/// addresses, past any check of names.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct HostName(String);

impl HostName {
    /// Reads a name as people write it: upper case is folded, one final dot is dropped.
    ///
    /// # Errors
    /// See [`HostError`].
    pub fn parse(text: &str) -> Result<Self, HostError> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        Self::canonical(&name)?;
        Ok(Self(name))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn canonical(name: &str) -> Result<(), HostError> {
        if name.is_empty() {
            return Err(HostError::Empty);
        }
        if name.len() > NAME_MAX {
            return Err(HostError::TooLong);
        }
        for label in name.split('.') {
            if label.is_empty() || label.len() > 63 {
                return Err(HostError::Label);
            }
            let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
            if !label.bytes().all(allowed) {
                return Err(HostError::Character);
            }
        }
        let last = name.rsplit('.').next().unwrap_or(name);
        let hexadecimal = last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        if hexadecimal || last.bytes().all(|b| b.is_ascii_digit()) {
            return Err(HostError::Numeric);
        }
        Ok(())
    }
}

/// A destination: the default prints nothing of it.
impl fmt::Debug for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A host: a name, or an address.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name that the exit resolves.
    Name(HostName),
    /// An address; never an IPv6 form of an IPv4 address.
    Ip(IpAddr),
}

impl Host {
    /// Reads a host as people write it: a name, an IPv4 address, or an IPv6 address with or without brackets.
    ///
    /// # Errors
    /// See [`HostError`].
    pub fn parse(text: &str) -> Result<Self, HostError> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        match bare.parse::<IpAddr>() {
            Ok(ip) => Ok(Self::from(ip)),
            Err(_) => HostName::parse(text).map(Self::Name),
        }
    }

    pub(super) fn write(&self, w: &mut Writer) {
        match self {
            Self::Name(name) => {
                w.u8(KIND_NAME);
                w.bytes8(name.0.as_bytes());
            }
            Self::Ip(ip) => w.ip(*ip),
        }
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        let mut ahead = r.clone();
        if ahead.u8()? == KIND_NAME {
            *r = ahead;
            read_name(r).map(Self::Name)
        } else {
            r.ip().map(Self::Ip)
        }
    }
}

impl From<IpAddr> for Host {
    fn from(ip: IpAddr) -> Self {
        Self::Ip(ip.to_canonical())
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A name behind its length, in canonical form only.
pub(super) fn read_name(r: &mut Reader<'_>) -> Result<HostName, Error> {
    r.check(|r| {
        let bytes = r.bytes8(NAME_MAX)?;
        let name = std::str::from_utf8(bytes).map_err(|_| r.error(ErrorKind::Text))?;
        HostName::canonical(name).map_err(|_| r.error(ErrorKind::Invalid))?;
        Ok(HostName(name.to_owned()))
    })
}
