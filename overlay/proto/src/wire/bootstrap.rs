//! The bootstrap line: all that a newcomer needs to know of a network.
//!
//! ```text
//! zmesh:net/1/‹base32, lower case, no padding, of the bytes below and a check of 4›
//!
//!   0  network   32  the network's id: what its genesis hashes to
//!  32  count      1  entry relays, 1 to 8
//!      identity  32  Ed25519
//!      link key  32  X25519
//!      count      1  addresses, 1 to 4
//!      address    1 + 4 or 16, then 2
//! ```
//!
//! The id pins everything that a client believes later; an entry relay is a way in and nothing more. `specs/13-documents.md`.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::codec::line::{CHECK_LEN, LineError, LineKind};
use super::codec::{self, ErrorKind, Reader, Writer};
use super::document::NetworkId;
use crate::link::LinkPeer;

/// Most entry relays in a line.
pub const ENTRIES_MAX: usize = 8;
/// Most addresses of an entry relay in a line.
pub const ENTRY_ADDRESSES_MAX: usize = 4;

const LINE: LineKind = LineKind { head: "zmesh:net/", version: "1", text_max: 2_048, check };
const CHECK_CONTEXT: &[u8] = b"zmesh bootstrap line 1\0";

/// Why a text or a list of relays makes no bootstrap line.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootstrapError {
    /// It does not begin like one.
    #[error("this is no bootstrap line of a network: one begins with {head}", head = LINE.head)]
    NotALine,
    /// A newer kind.
    #[error("this bootstrap line is of version {found}, and this program knows version {known}: update the older of the two programs", known = LINE.version)]
    WrongVersion {
        /// The version that it names.
        found: String,
    },
    /// Cut off or mistyped.
    #[error("this bootstrap line is damaged (a part is missing or changed): copy the whole line again")]
    Damaged,
    /// No entry relay, or more than fit.
    #[error("a bootstrap line names 1 to {ENTRIES_MAX} relays, not {found}")]
    Entries {
        /// How many there are.
        found: usize,
    },
    /// An entry relay without an address that one could reach.
    #[error("an entry relay of a bootstrap line needs an address and a port")]
    NoAddress,
}

/// A network's id and some of its relays.
#[derive(Clone, PartialEq, Eq)]
pub struct Bootstrap {
    network: NetworkId,
    entries: Vec<LinkPeer>,
}

impl Bootstrap {
    /// A line for this network by way of these relays. Of each relay the first four addresses count.
    ///
    /// # Errors
    /// [`BootstrapError::Entries`], [`BootstrapError::NoAddress`].
    pub fn new(network: NetworkId, mut entries: Vec<LinkPeer>) -> Result<Self, BootstrapError> {
        if entries.is_empty() || entries.len() > ENTRIES_MAX {
            return Err(BootstrapError::Entries { found: entries.len() });
        }
        for entry in &mut entries {
            entry.addresses.truncate(ENTRY_ADDRESSES_MAX);
            if entry.addresses.is_empty() || !entry.addresses.iter().all(is_reachable) {
                return Err(BootstrapError::NoAddress);
            }
        }
        Ok(Self { network, entries })
    }

    /// The network's id.
    #[must_use]
    pub fn network(&self) -> NetworkId {
        self.network
    }

    /// The entry relays, in the order in which they are asked.
    #[must_use]
    pub fn entries(&self) -> &[LinkPeer] {
        &self.entries
    }

    /// The line without head and check.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.put(&self.network.0);
        w.count8(self.entries.len());
        for entry in &self.entries {
            w.put(&entry.identity);
            w.put(&entry.link_key);
            w.count8(entry.addresses.len());
            for address in &entry.addresses {
                w.ip(address.ip());
                w.u16(address.port());
            }
        }
        w.finish()
    }

    /// Reads what [`Bootstrap::encode`] wrote.
    ///
    /// # Errors
    /// The bytes are nothing else than that.
    pub fn decode(bytes: &[u8]) -> Result<Self, codec::Error> {
        let mut r = Reader::new(bytes);
        let network = NetworkId(r.array()?);
        let count = count(&mut r, ENTRIES_MAX)?;
        let entries = (0..count).map(|_| entry(&mut r)).collect::<Result<_, _>>()?;
        r.finish()?;
        Ok(Self { network, entries })
    }
}

fn entry(r: &mut Reader<'_>) -> Result<LinkPeer, codec::Error> {
    let (identity, link_key) = (r.array()?, r.array()?);
    let count = count(r, ENTRY_ADDRESSES_MAX)?;
    let address = |r: &mut Reader<'_>| {
        r.check(|r| {
            let address = SocketAddr::new(r.ip()?, r.u16()?);
            if is_reachable(&address) { Ok(address) } else { Err(r.error(ErrorKind::Invalid)) }
        })
    };
    let addresses = (0..count).map(|_| address(r)).collect::<Result<_, _>>()?;
    Ok(LinkPeer { identity, link_key, addresses })
}

/// A count from 1 to `cap`.
fn count(r: &mut Reader<'_>, cap: usize) -> Result<usize, codec::Error> {
    r.check(|r| match r.count8(cap)? {
        0 => Err(r.error(ErrorKind::Invalid)),
        count => Ok(count),
    })
}

/// Whether something could listen there.
fn is_reachable(address: &SocketAddr) -> bool {
    let ip = address.ip();
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast()
}

fn check(body: &[u8]) -> [u8; CHECK_LEN] {
    let digest: [u8; 32] = Sha256::new_with_prefix(CHECK_CONTEXT).chain_update(body).finalize().into();
    [digest[0], digest[1], digest[2], digest[3]]
}

/// The line.
impl fmt::Display for Bootstrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&LINE.encode(&self.encode()))
    }
}

/// Addresses stay out of logs.
impl fmt::Debug for Bootstrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bootstrap({:?}, {} relays)", self.network, self.entries.len())
    }
}

impl FromStr for Bootstrap {
    type Err = BootstrapError;

    /// Reads a line. White space around it and capitals do no harm.
    fn from_str(text: &str) -> Result<Self, BootstrapError> {
        let body = LINE.decode(text).map_err(|error| match error {
            LineError::Other => BootstrapError::NotALine,
            LineError::Version(found) => BootstrapError::WrongVersion { found },
            LineError::Damaged => BootstrapError::Damaged,
        })?;
        Self::decode(&body).map_err(|_| BootstrapError::Damaged)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn peer(seed: u8, addresses: &[&str]) -> LinkPeer {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        LinkPeer { identity: [seed; 32], link_key: [seed + 1; 32], addresses }
    }

    fn line(entries: Vec<LinkPeer>) -> Bootstrap {
        Bootstrap::new(NetworkId([7; 32]), entries).unwrap()
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            entries in proptest::collection::vec((any::<u8>(), any::<[u8; 4]>(), any::<[u8; 16]>(), 1u16..), 1..=ENTRIES_MAX),
        ) {
            let entries = entries.into_iter().map(|(seed, v4, v6, port)| {
                let four = SocketAddr::from((v4, port));
                let six = SocketAddr::from((std::net::Ipv6Addr::from(v6), port));
                let addresses = [four, six].into_iter().filter(is_reachable).chain([SocketAddr::from(([1, 2, 3, 4], 5))]);
                LinkPeer { identity: [seed; 32], link_key: [seed; 32], addresses: addresses.collect() }
            }).collect();
            let line = line(entries);
            prop_assert_eq!(line.to_string().parse::<Bootstrap>(), Ok(line));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(read) = Bootstrap::decode(&bytes) {
                prop_assert_eq!(read.encode(), bytes);
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,80}", code in "[a-z2-7]{0,300}") {
            let _ = text.parse::<Bootstrap>();
            let _ = format!("zmesh:net/1/{code}").parse::<Bootstrap>();
        }
    }

    #[test]
    fn one_relay_makes_a_short_line() {
        let text = line(vec![peer(1, &["192.0.2.7:9001"])]).to_string();
        assert!(text.starts_with("zmesh:net/1/") && text.bytes().all(|byte| byte.is_ascii_graphic()));
        assert_eq!(text.len(), 12 + 175);
        let longest = line((0..8).map(|seed| peer(seed, &["[2001:db8::1]:9001"; 4])).collect());
        assert_eq!(longest.to_string().parse(), Ok(longest));
    }

    #[test]
    fn each_fault_has_its_name() {
        let text = line(vec![peer(1, &["192.0.2.7:9001"])]).to_string();
        let read = |text: &str| text.parse::<Bootstrap>().unwrap_err();
        assert_eq!(read("hello"), BootstrapError::NotALine);
        assert_eq!(read(&text.replacen("/1/", "/2/", 1)), BootstrapError::WrongVersion { found: "2".into() });
        assert_eq!(read(&text[..100]), BootstrapError::Damaged);
        let new = |entries| Bootstrap::new(NetworkId([7; 32]), entries).unwrap_err();
        assert_eq!(new(Vec::new()), BootstrapError::Entries { found: 0 });
        assert_eq!(new(vec![peer(1, &["192.0.2.7:9001"]); 9]), BootstrapError::Entries { found: 9 });
        assert_eq!(new(vec![peer(1, &[])]), BootstrapError::NoAddress);
        assert_eq!(new(vec![peer(1, &["192.0.2.7:0"])]), BootstrapError::NoAddress);
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let text = line(vec![peer(1, &["192.0.2.7:9001"])]).to_string();
        for at in 12..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'a' { b'b' } else { b'a' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(changed.parse::<Bootstrap>(), Err(BootstrapError::Damaged), "at {at}");
        }
    }
}
