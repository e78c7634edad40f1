//! Where a client wants to go: a name or an address, and a port.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The longest host name, in bytes (RFC 1035 §2.3.4, and one length byte in SOCKS5).
pub const MAX_NAME: usize = 255;

/// A host name that is safe to hand on: ASCII letters, digits, `-`, `_` and `.`, in labels of 1 to 63 bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Name(String);

impl Name {
    /// Checks `bytes` and makes a name of them, or `None` if they are no host name. A trailing dot is accepted and
    /// kept: it stops search lists. Names beyond ASCII must arrive in their `xn--` form.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Name> {
        if bytes.is_empty() || bytes.len() > MAX_NAME {
            return None;
        }
        let labels = bytes.strip_suffix(b".").unwrap_or(bytes);
        let fine = labels.split(|&b| b == b'.').all(|label| {
            (1..=63).contains(&label.len())
                && label.iter().all(|&b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        });
        if !fine {
            return None;
        }
        std::str::from_utf8(bytes).ok().map(|s| Name(s.to_owned()))
    }

    /// The name as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A host: a name that the exit looks up, or an address.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// To be looked up at the exit.
    Name(Name),
    /// Given as a number by the client.
    Ip(IpAddr),
}

impl Host {
    /// Reads a host as people write it: an address, an address in square brackets, or a name.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Host> {
        let text = std::str::from_utf8(bytes).ok()?;
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']')?;
            return inner.parse().ok().map(|v6| Host::Ip(IpAddr::V6(v6)));
        }
        match text.parse() {
            Ok(IpAddr::V4(v4)) => Some(Host::Ip(IpAddr::V4(v4))),
            Ok(IpAddr::V6(v6)) => Some(Host::Ip(IpAddr::V6(v6))),
            Err(_) => Name::parse(bytes).map(Host::Name),
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Host::Name(_) => "Name([redacted])",
            Host::Ip(_) => "Ip([redacted])",
        })
    }
}

/// A host and a port. [`Debug`](fmt::Debug) shows neither.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// Which machine.
    pub host: Host,
    /// Which port on it.
    pub port: u16,
}

impl Target {
    /// A target given by address.
    #[must_use]
    pub fn ip(address: SocketAddr) -> Target {
        Target { host: Host::Ip(address.ip()), port: address.port() }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Target([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["a", "example.org", "example.org.", "xn--bcher-kva.example", "_sip._udp.example", "1-2.3x"] {
            assert_eq!(Name::parse(good.as_bytes()).map(|n| n.as_str().to_owned()), Some(good.to_owned()));
        }
        let long_label = format!("{}.org", "a".repeat(64));
        let long = "a.".repeat(128);
        for bad in ["", ".", "a..b", ".a", "a b", "a\0b", "a/b", "a:b", "bücher", "a\r\nb", &long_label, &long] {
            assert!(Name::parse(bad.as_bytes()).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        assert_eq!(Host::parse(b"192.0.2.1"), Some(Host::Ip([192, 0, 2, 1].into())));
        assert_eq!(Host::parse(b"[2001:db8::1]"), Host::parse(b"2001:db8::1"));
        assert!(matches!(Host::parse(b"example.org"), Some(Host::Name(_))));
        for bad in [&b"[192.0.2.1]"[..], b"[::1", b"::1]", b"[fe80::1%eth0]", b"\xff"] {
            assert!(Host::parse(bad).is_none());
        }
    }

    #[test]
    fn nothing_is_shown() {
        let target = Target { host: Host::parse(b"secret.example").expect("a name"), port: 4242 };
        let shown = format!("{target:?} {:?}", target.host);
        assert!(!shown.contains("secret") && !shown.contains("4242"));
    }
}
