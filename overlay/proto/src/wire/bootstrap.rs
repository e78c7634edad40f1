//! The bootstrap line: all that a newcomer needs to know of a network.
//!
//! ```text
//! zmesh:net/1/‹base32, lower case, no padding, of the bytes below and a check of 4›
//! zmesh:net/2/‹the same with a checkpoint›
//!
//!   0  network   32  the network's id: what its genesis hashes to
//!  32  checkpoint, in version 2 only: epoch 8, hash of its header 32, hash of the voters who sign what follows 32
//!      count      1  entry relays, 1 to 8
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
use super::control::HeaderHash;
use super::document::NetworkId;
use crate::link::LinkPeer;

/// Most entry relays in a line.
pub const ENTRIES_MAX: usize = 8;
/// Most addresses of an entry relay in a line.
pub const ENTRY_ADDRESSES_MAX: usize = 4;

const LINE: LineKind = LineKind { head: "zmesh:net/", version: "1", text_max: 2_048, check };
const LINE_2: LineKind = LineKind { head: LINE.head, version: "2", text_max: LINE.text_max, check: check_2 };
const CHECK_CONTEXT: &[u8] = b"zmesh bootstrap line 1\0";
const CHECK_CONTEXT_2: &[u8] = b"zmesh bootstrap line 2\0";

/// Why a text or a list of relays makes no bootstrap line.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootstrapError {
    /// It does not begin like one.
    #[error("this is no bootstrap line of a network: one begins with {head}", head = LINE.head)]
    NotALine,
    /// A newer kind.
    #[error("this bootstrap line is of version {found}, and this program knows versions up to {known}: update the older of the two programs", known = LINE_2.version)]
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

/// A document that whoever made a line knew. The keys of the genesis's voters may be anybody's after a while; who joins by a line with a
/// checkpoint believes no history that does not lead through it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// The epoch of the document.
    pub epoch: u64,
    /// The hash of its header.
    pub hash: HeaderHash,
    /// The hash of the voters who sign what follows it.
    pub voters: [u8; 32],
}

/// A network's id and some of its relays.
#[derive(Clone, PartialEq, Eq)]
pub struct Bootstrap {
    network: NetworkId,
    checkpoint: Option<Checkpoint>,
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
        Ok(Self { network, checkpoint: None, entries })
    }

    /// The same line with this checkpoint, or without any.
    #[must_use]
    pub fn with_checkpoint(mut self, checkpoint: Option<Checkpoint>) -> Self {
        self.checkpoint = checkpoint;
        self
    }

    /// The document that every history has to lead through.
    #[must_use]
    pub fn checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoint.as_ref()
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
        if let Some(Checkpoint { epoch, hash, voters }) = &self.checkpoint {
            w.u64(*epoch);
            w.put(&hash.0);
            w.put(voters);
        }
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

    /// Reads what [`Bootstrap::encode`] wrote of a line without a checkpoint.
    ///
    /// # Errors
    /// The bytes are nothing else than that.
    pub fn decode(bytes: &[u8]) -> Result<Self, codec::Error> {
        Self::read(bytes, |_| Ok(None))
    }

    /// Reads what [`Bootstrap::encode`] wrote of a line with a checkpoint.
    ///
    /// # Errors
    /// The bytes are nothing else than that.
    pub fn decode_with_checkpoint(bytes: &[u8]) -> Result<Self, codec::Error> {
        Self::read(bytes, |r| {
            Ok(Some(Checkpoint { epoch: r.u64()?, hash: HeaderHash(r.array()?), voters: r.array()? }))
        })
    }

    fn read(
        bytes: &[u8],
        checkpoint: impl FnOnce(&mut Reader<'_>) -> Result<Option<Checkpoint>, codec::Error>,
    ) -> Result<Self, codec::Error> {
        let mut r = Reader::new(bytes);
        let network = NetworkId(r.array()?);
        let checkpoint = checkpoint(&mut r)?;
        let count = count(&mut r, ENTRIES_MAX)?;
        let entries = (0..count).map(|_| entry(&mut r)).collect::<Result<_, _>>()?;
        r.finish()?;
        Ok(Self { network, checkpoint, entries })
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
    check_of(CHECK_CONTEXT, body)
}

fn check_2(body: &[u8]) -> [u8; CHECK_LEN] {
    check_of(CHECK_CONTEXT_2, body)
}

fn check_of(context: &[u8], body: &[u8]) -> [u8; CHECK_LEN] {
    let digest: [u8; 32] = Sha256::new_with_prefix(context).chain_update(body).finalize().into();
    [digest[0], digest[1], digest[2], digest[3]]
}

/// The line.
impl fmt::Display for Bootstrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.checkpoint.is_some() { LINE_2 } else { LINE };
        f.write_str(&kind.encode(&self.encode()))
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
        let read = match LINE.decode(text) {
            Ok(body) => Self::decode(&body),
            Err(LineError::Version(_)) => Self::decode_with_checkpoint(&LINE_2.decode(text)?),
            Err(error) => return Err(error.into()),
        };
        read.map_err(|_| BootstrapError::Damaged)
    }
}

impl From<LineError> for BootstrapError {
    fn from(error: LineError) -> Self {
        match error {
            LineError::Other => Self::NotALine,
            LineError::Version(found) => Self::WrongVersion { found },
            LineError::Damaged => Self::Damaged,
        }
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

    fn checkpoint() -> Checkpoint {
        Checkpoint { epoch: 9, hash: HeaderHash([3; 32]), voters: [4; 32] }
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
            let two = line.clone().with_checkpoint(Some(checkpoint()));
            prop_assert_eq!(line.to_string().parse::<Bootstrap>(), Ok(line));
            prop_assert_eq!(two.to_string().parse::<Bootstrap>(), Ok(two));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for read in [Bootstrap::decode(&bytes), Bootstrap::decode_with_checkpoint(&bytes)].into_iter().flatten() {
                prop_assert_eq!(read.encode(), bytes.clone());
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
        assert_eq!(longest.to_string().parse(), Ok(longest.clone()));
        let longest = longest.with_checkpoint(Some(checkpoint()));
        assert_eq!(longest.to_string().parse(), Ok(longest));
    }

    #[test]
    fn each_fault_has_its_name() {
        let text = line(vec![peer(1, &["192.0.2.7:9001"])]).to_string();
        let read = |text: &str| text.parse::<Bootstrap>().unwrap_err();
        assert_eq!(read("hello"), BootstrapError::NotALine);
        assert_eq!(read(&text.replacen("/1/", "/3/", 1)), BootstrapError::WrongVersion { found: "3".into() });
        assert_eq!(read(&text.replacen("/1/", "/2/", 1)), BootstrapError::Damaged, "the check covers the version");
        assert_eq!(read(&text[..100]), BootstrapError::Damaged);
        let new = |entries| Bootstrap::new(NetworkId([7; 32]), entries).unwrap_err();
        assert_eq!(new(Vec::new()), BootstrapError::Entries { found: 0 });
        assert_eq!(new(vec![peer(1, &["192.0.2.7:9001"]); 9]), BootstrapError::Entries { found: 9 });
        assert_eq!(new(vec![peer(1, &[])]), BootstrapError::NoAddress);
        assert_eq!(new(vec![peer(1, &["192.0.2.7:0"])]), BootstrapError::NoAddress);
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let line = line(vec![peer(1, &["192.0.2.7:9001"])]);
        for text in [line.to_string(), line.with_checkpoint(Some(checkpoint())).to_string()] {
            for at in 12..text.len() {
                let mut bytes = text.clone().into_bytes();
                bytes[at] = if bytes[at] == b'a' { b'b' } else { b'a' };
                let changed = String::from_utf8(bytes).unwrap();
                assert_eq!(changed.parse::<Bootstrap>(), Err(BootstrapError::Damaged), "at {at}");
            }
        }
    }
}
