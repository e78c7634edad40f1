//! Addresses by HTTP that a router names: of itself, and of nobody else.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::Error;

/// The longest path.
const PATH_MAX: usize = 512;
const SCHEME: &str = "http://";

/// Something at a router.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Url {
    pub(crate) at: SocketAddrV4,
    pub(crate) path: String,
}

impl Url {
    /// An absolute address; it has to be at this host, so that nobody on the network has this machine ask another one.
    pub(crate) fn parse(text: &str, host: Ipv4Addr) -> Result<Self, Error> {
        let rest = without_scheme(text).ok_or(Error::Address)?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (ip, port) = authority.split_once(':').unwrap_or((authority, "80"));
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port: u16 = port.parse().ok().filter(|port| digits && *port != 0).ok_or(Error::Address)?;
        if ip.parse() != Ok(host) {
            return Err(Error::Address);
        }
        Self::at(SocketAddrV4::new(host, port), if path.is_empty() { "/" } else { path })
    }

    /// What a document at this address calls by a name that may be relative to it; at the same host.
    pub(crate) fn join(&self, name: &str) -> Result<Self, Error> {
        if without_scheme(name).is_some() {
            return Self::parse(name, *self.at.ip());
        }
        if name.starts_with('/') {
            // Two of them would begin with another host.
            return if name.starts_with("//") { Err(Error::Address) } else { Self::at(self.at, name) };
        }
        let before = self.path.split('?').next().unwrap_or_default();
        let folder = before.rfind('/').map_or("/", |end| &before[..=end]);
        Self::at(self.at, &format!("{folder}{name}"))
    }

    fn at(at: SocketAddrV4, path: &str) -> Result<Self, Error> {
        let path = path.split('#').next().unwrap_or_default();
        // It goes into a request as it is.
        let clean = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
        if !clean || path.len() > PATH_MAX {
            return Err(Error::Address);
        }
        Ok(Self { at, path: path.to_owned() })
    }
}

fn without_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then_some(rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOST: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);

    fn parse(text: &str) -> Option<(u16, String)> {
        Url::parse(text, HOST).ok().map(|url| (url.at.port(), url.path))
    }

    #[test]
    fn only_addresses_of_the_host_itself_are_taken() {
        assert_eq!(parse("http://192.168.1.1:5000/rootDesc.xml"), Some((5_000, "/rootDesc.xml".to_owned())));
        assert_eq!(parse("HTTP://192.168.1.1"), Some((80, "/".to_owned())));
        for other in [
            "http://127.0.0.1:5000/a",
            "http://169.254.169.254/latest/meta-data",
            "http://192.168.1.1@127.0.0.1/a",
            "http://192.168.1.1:80@127.0.0.1/a",
            "http://192.168.1.1.example.org/a",
            "http://router/a",
            "http://192.168.1.1:0/a",
            "http://192.168.1.1:+80/a",
            "http://192.168.1.1:/a",
            "http://192.168.1.1/a b",
            "http://192.168.1.1/a\r\nX: y",
            "http://192.168.1.1?a",
            "https://192.168.1.1/a",
            "/a",
            "",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
        assert_eq!(parse(&format!("http://192.168.1.1/{}", "a".repeat(PATH_MAX))), None);
    }

    #[test]
    fn names_are_relative_to_where_they_stand() {
        let base = Url::parse("http://192.168.1.1:5000/upnp/root.xml?of=/a", HOST).expect("an address");
        let join = |name: &str| base.join(name).ok().map(|url| (url.at.port(), url.path));
        assert_eq!(join("/ctl/IPConn"), Some((5_000, "/ctl/IPConn".to_owned())));
        assert_eq!(join("ctl"), Some((5_000, "/upnp/ctl".to_owned())));
        assert_eq!(join("http://192.168.1.1:5001/ctl"), Some((5_001, "/ctl".to_owned())));
        for other in ["//127.0.0.1/ctl", "http://127.0.0.1/ctl", "a b"] {
            assert_eq!(join(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_named_is_at_the_host(first in ".{0,64}", second in ".{0,64}", after in "[ -~]{0,32}") {
            for text in [first.clone(), format!("http://{first}"), format!("http://192.168.1.1{after}")] {
                let Ok(url) = Url::parse(&text, HOST) else { continue };
                for name in [&second, &first, &format!("http://{second}")] {
                    let Ok(joined) = url.join(name) else { continue };
                    prop_assert_eq!(joined.at.ip(), &HOST);
                    prop_assert!(joined.path.bytes().all(|byte| byte.is_ascii_graphic()));
                }
                prop_assert_eq!(url.at.ip(), &HOST);
            }
        }
    }
}
