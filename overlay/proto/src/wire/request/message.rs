//! Requests and responses at the head of a stream.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::VERSION;
use super::chunk::{ChunkRef, SymbolRun, read_count};
use super::document::{DocumentAsk, Head, read_len};
use super::host::{Host, HostName, NAME_MAX, read_name};
use crate::service::introduce::{IntroName, IntroSecret};
use crate::service::key::BlindedKey;
use crate::wire::codec::{Error, ErrorKind, Reader, Writer};

/// Longest request, in bytes. A stream that has sent this many without a whole request is faulty.
pub const REQUEST_MAX: usize = 2 + 2 + NAME_MAX + 2;
/// Most addresses in an answer; an exit cuts longer lists.
pub const ADDRESSES_MAX: usize = 32;
/// Most names in an answer to a reverse look-up; an exit cuts longer lists.
pub const NAMES_MAX: usize = 8;
/// Longest response, in bytes.
pub const RESPONSE_MAX: usize = 3 + NAMES_MAX * (1 + NAME_MAX);

const CONNECT: u8 = 1;
const RESOLVE: u8 = 2;
const RESOLVE_PTR: u8 = 3;
const BIND_UDP: u8 = 4;
const GIVE: u8 = 5;
const KEEP: u8 = 6;
const FIND_SERVICE: u8 = 16;
const PLACE_SERVICE: u8 = 17;
const ESTABLISH: u8 = 18;
const INTRODUCE: u8 = 19;
const DOCUMENT: u8 = 20;
const LOAD: u8 = 21;

const FAILED: u8 = 0;
const CONNECTED: u8 = 1;
const ADDRESSES: u8 = 2;
const NAMES: u8 = 3;
const BOUND: u8 = 4;
const SYMBOLS: u8 = 5;
const SEND: u8 = 6;
const HELD: u8 = 7;
const STORED: u8 = 8;
const FOUND: u8 = 16;
const ESTABLISHED: u8 = 17;
const INTRODUCED: u8 = 18;
const HEAD: u8 = 19;
const DOCUMENT_FOLLOWS: u8 = 20;

/// What an origin asks at the start of a stream. Its `Debug` names the kind only.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Request {
    /// Open a TCP connection and carry it on this stream.
    Connect {
        /// Where to.
        host: Host,
        /// TCP port, never 0.
        port: u16,
    },
    /// Give the addresses of a name.
    Resolve {
        /// The name.
        host: HostName,
    },
    /// Give the names of an address.
    ResolvePtr {
        /// The address.
        ip: IpAddr,
    },
    /// Open a UDP flow that lives as long as this stream.
    BindUdp {
        /// Chosen by the origin, unused by any other open flow of this QUIC connection; names the flow in
        /// [`UdpDatagram`](super::UdpDatagram)s, so that the first datagram need not wait for the response.
        flow: u32,
    },
    /// Give symbols of a chunk.
    Symbols(SymbolRun),
    /// Keep a chunk. Its bytes follow once the relay asks for them.
    Keep(ChunkRef),
    /// Give the descriptor of the service with this name.
    FindService(BlindedKey),
    /// Keep a service's descriptor, whose bytes follow at once.
    PlaceService,
    /// Pass introductions on for as long as this stream lives, to this service.
    Establish(IntroSecret),
    /// Pass an introduction on, whose bytes follow at once, to the service known by this name.
    Introduce(IntroName),
    /// Give a document of the network, or a part of one.
    Document(DocumentAsk),
    /// Give as many bytes as the relay wrote this ticket for, once: it asks itself, by way of another one that it measures.
    Load([u8; 16]),
}

impl Request {
    /// The bytes of this request.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(VERSION);
        match self {
            Self::Connect { host, port } => {
                w.u8(CONNECT);
                host.write(&mut w);
                w.u16(*port);
            }
            Self::Resolve { host } => {
                w.u8(RESOLVE);
                w.bytes8(host.as_str().as_bytes());
            }
            Self::ResolvePtr { ip } => {
                w.u8(RESOLVE_PTR);
                w.ip(*ip);
            }
            Self::BindUdp { flow } => {
                w.u8(BIND_UDP);
                w.u32(*flow);
            }
            Self::Symbols(run) => {
                w.u8(GIVE);
                run.write(&mut w);
            }
            Self::Keep(chunk) => {
                w.u8(KEEP);
                chunk.write(&mut w);
            }
            Self::FindService(blinded) => {
                w.u8(FIND_SERVICE);
                w.put(&blinded.0);
            }
            Self::PlaceService => w.u8(PLACE_SERVICE),
            Self::Establish(secret) => {
                w.u8(ESTABLISH);
                w.put(secret.as_bytes());
            }
            Self::Introduce(name) => {
                w.u8(INTRODUCE);
                w.put(&name.0);
            }
            Self::Document(ask) => {
                w.u8(DOCUMENT);
                ask.write(&mut w);
            }
            Self::Load(ticket) => {
                w.u8(LOAD);
                w.put(ticket);
            }
        }
        w.finish()
    }

    /// Reads a request at the head of a stream: the request and how many bytes it took, or `None` while more bytes are
    /// needed.
    ///
    /// # Errors
    /// No continuation of these bytes is a request.
    pub fn decode_prefix(bytes: &[u8]) -> Result<Option<(Self, usize)>, Error> {
        prefix(bytes, Self::read)
    }

    /// Reads exactly one request.
    ///
    /// # Errors
    /// The bytes are no request, or more follow.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        exactly(bytes, Self::read)
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        r.version(VERSION)?;
        let kind_at = r.clone();
        match r.u8()? {
            CONNECT => {
                let host = Host::read(r)?;
                let port = port(r)?;
                Ok(Self::Connect { host, port })
            }
            RESOLVE => read_name(r).map(|host| Self::Resolve { host }),
            RESOLVE_PTR => r.ip().map(|ip| Self::ResolvePtr { ip }),
            BIND_UDP => r.u32().map(|flow| Self::BindUdp { flow }),
            GIVE => SymbolRun::read(r).map(Self::Symbols),
            KEEP => ChunkRef::read(r).map(Self::Keep),
            FIND_SERVICE => r.array().map(BlindedKey).map(Self::FindService),
            PLACE_SERVICE => Ok(Self::PlaceService),
            ESTABLISH => r.array().map(|bytes| Self::Establish(IntroSecret::from_bytes(&bytes))),
            INTRODUCE => r.array().map(IntroName).map(Self::Introduce),
            DOCUMENT => DocumentAsk::read(r).map(Self::Document),
            LOAD => r.array().map(Self::Load),
            _ => Err(kind_at.error(ErrorKind::Invalid)),
        }
    }
}

/// What an exit answers. Its `Debug` names the kind only.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Response {
    /// The connection is up; its bytes follow.
    Connected,
    /// The addresses of a name, best first, one to [`ADDRESSES_MAX`].
    Addresses(Vec<IpAddr>),
    /// The names of an address, one to [`NAMES_MAX`].
    Names(Vec<HostName>),
    /// The UDP flow is open. SOCKS wants an address to show; an exit behind a translator may give a private one.
    Bound(SocketAddr),
    /// So many symbols of [`SYMBOL_LEN`](zmesh_fec::chunk::SYMBOL_LEN) bytes follow, as many as were asked for.
    Symbols {
        /// How many, 1 to [`SYMBOLS_MAX`](super::SYMBOLS_MAX).
        count: u16,
    },
    /// Send the chunk.
    Send,
    /// The relay has the chunk: nothing is to be sent.
    Held,
    /// The chunk or the descriptor came whole and is kept.
    Stored,
    /// The service's descriptor follows.
    Found,
    /// The relay passes introductions on; they follow, one after the other.
    Established,
    /// The introduction was passed on.
    Introduced,
    /// What the relay takes for the newest document.
    Head(Head),
    /// So many bytes of a document follow.
    Document {
        /// How many, 1 to [`DOCUMENT_MAX`](super::DOCUMENT_MAX).
        len: u32,
    },
    /// It could not be done.
    Failed(Failure),
}

/// Why an exit, or another relay that was asked for something, could not do it. Nothing else about the failure travels.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// Refused by the exit's policy.
    #[error("the exit's policy refuses this destination")]
    Refused = 1,
    /// No route.
    #[error("the destination is unreachable from the exit")]
    Unreachable = 2,
    /// The destination refused the connection.
    #[error("the destination refused the connection")]
    ConnectionRefused = 3,
    /// The destination or a name server did not answer in time.
    #[error("the destination did not answer in time")]
    Timeout = 4,
    /// No such name, or no address for it.
    #[error("the name has no address")]
    NameNotFound = 5,
    /// This circuit used up what the relay grants it.
    #[error("the relay's quota for this circuit is used up")]
    QuotaExceeded = 6,
    /// The relay does not do this kind of request.
    #[error("the relay does not offer this kind of request")]
    Unsupported = 7,
    /// The request was malformed.
    #[error("the relay could not read the request")]
    Malformed = 8,
    /// Something at the relay failed.
    #[error("the relay failed")]
    Internal = 9,
    /// The relay does not hold the chunk, or the document.
    #[error("the relay does not hold it")]
    Absent = 10,
    /// The relay takes no more chunks from this circuit, or none at all now.
    #[error("the relay has no room for the chunk now")]
    Full = 11,
    /// The chunk's place is at other relays.
    #[error("the chunk belongs to other relays")]
    Elsewhere = 12,
    /// The bytes that came are not the chunk that was announced.
    #[error("the bytes are not the chunk that was announced")]
    Mismatch = 13,
    /// A descriptor that is at least as new has been here.
    #[error("the relay has had a descriptor that is at least as new")]
    Stale = 32,
}

impl Failure {
    /// The failure for a code on the wire.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Refused,
            2 => Self::Unreachable,
            3 => Self::ConnectionRefused,
            4 => Self::Timeout,
            5 => Self::NameNotFound,
            6 => Self::QuotaExceeded,
            7 => Self::Unsupported,
            8 => Self::Malformed,
            9 => Self::Internal,
            10 => Self::Absent,
            11 => Self::Full,
            12 => Self::Elsewhere,
            13 => Self::Mismatch,
            32 => Self::Stale,
            _ => return None,
        })
    }

    /// The code on the wire.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl Response {
    /// The bytes of this response. Lists over their maximum are cut to it; an empty list becomes
    /// [`Failure::NameNotFound`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(VERSION);
        match self {
            Self::Addresses(ips) if !ips.is_empty() => {
                let ips = &ips[..ips.len().min(ADDRESSES_MAX)];
                w.u8(ADDRESSES);
                w.count8(ips.len());
                for ip in ips {
                    w.ip(*ip);
                }
            }
            Self::Names(names) if !names.is_empty() => {
                let names = &names[..names.len().min(NAMES_MAX)];
                w.u8(NAMES);
                w.count8(names.len());
                for name in names {
                    w.bytes8(name.as_str().as_bytes());
                }
            }
            Self::Connected => w.u8(CONNECTED),
            Self::Bound(address) => {
                w.u8(BOUND);
                w.ip(address.ip());
                w.u16(address.port());
            }
            Self::Symbols { count } => {
                w.u8(SYMBOLS);
                w.u16(*count);
            }
            Self::Send => w.u8(SEND),
            Self::Held => w.u8(HELD),
            Self::Stored => w.u8(STORED),
            Self::Found => w.u8(FOUND),
            Self::Established => w.u8(ESTABLISHED),
            Self::Introduced => w.u8(INTRODUCED),
            Self::Head(head) => {
                w.u8(HEAD);
                head.write(&mut w);
            }
            Self::Document { len } => {
                w.u8(DOCUMENT_FOLLOWS);
                w.u32(*len);
            }
            Self::Addresses(_) | Self::Names(_) => {
                w.u8(FAILED);
                w.u8(Failure::NameNotFound.code());
            }
            Self::Failed(failure) => {
                w.u8(FAILED);
                w.u8(failure.code());
            }
        }
        w.finish()
    }

    /// Reads a response at the head of a stream: the response and how many bytes it took, or `None` while more bytes
    /// are needed.
    ///
    /// # Errors
    /// No continuation of these bytes is a response.
    pub fn decode_prefix(bytes: &[u8]) -> Result<Option<(Self, usize)>, Error> {
        prefix(bytes, Self::read)
    }

    /// Reads exactly one response.
    ///
    /// # Errors
    /// The bytes are no response, or more follow.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        exactly(bytes, Self::read)
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        r.version(VERSION)?;
        let kind_at = r.clone();
        match r.u8()? {
            FAILED => r.check(|r| {
                let code = r.u8()?;
                Failure::from_code(code).map(Self::Failed).ok_or_else(|| r.error(ErrorKind::Invalid))
            }),
            CONNECTED => Ok(Self::Connected),
            ADDRESSES => {
                let count = count(r, ADDRESSES_MAX)?;
                (0..count).map(|_| r.ip()).collect::<Result<_, _>>().map(Self::Addresses)
            }
            NAMES => {
                let count = count(r, NAMES_MAX)?;
                (0..count).map(|_| read_name(r)).collect::<Result<_, _>>().map(Self::Names)
            }
            BOUND => {
                let ip = r.ip()?;
                Ok(Self::Bound(SocketAddr::new(ip, r.u16()?)))
            }
            SYMBOLS => read_count(r).map(|count| Self::Symbols { count }),
            SEND => Ok(Self::Send),
            HELD => Ok(Self::Held),
            STORED => Ok(Self::Stored),
            FOUND => Ok(Self::Found),
            ESTABLISHED => Ok(Self::Established),
            INTRODUCED => Ok(Self::Introduced),
            HEAD => Head::read(r).map(Self::Head),
            DOCUMENT_FOLLOWS => read_len(r).map(|len| Self::Document { len }),
            _ => Err(kind_at.error(ErrorKind::Invalid)),
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect { .. } => "Connect([redacted])",
            Self::Resolve { .. } => "Resolve([redacted])",
            Self::ResolvePtr { .. } => "ResolvePtr([redacted])",
            Self::BindUdp { .. } => "BindUdp",
            Self::Symbols(_) => "Symbols([redacted])",
            Self::Keep(_) => "Keep([redacted])",
            Self::FindService(_) => "FindService([redacted])",
            Self::PlaceService => "PlaceService",
            Self::Establish(_) => "Establish([redacted])",
            Self::Introduce(_) => "Introduce([redacted])",
            Self::Document(_) => "Document",
            Self::Load(_) => "Load([redacted])",
        })
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected => f.write_str("Connected"),
            Self::Addresses(_) => f.write_str("Addresses([redacted])"),
            Self::Names(_) => f.write_str("Names([redacted])"),
            Self::Bound(_) => f.write_str("Bound([redacted])"),
            Self::Symbols { count } => write!(f, "Symbols({count})"),
            Self::Send => f.write_str("Send"),
            Self::Held => f.write_str("Held"),
            Self::Stored => f.write_str("Stored"),
            Self::Found => f.write_str("Found"),
            Self::Established => f.write_str("Established"),
            Self::Introduced => f.write_str("Introduced"),
            Self::Head(head) => write!(f, "Head({})", head.epoch),
            Self::Document { len } => write!(f, "Document({len})"),
            Self::Failed(failure) => write!(f, "Failed({failure:?})"),
        }
    }
}

/// A port that is not 0.
pub(super) fn port(r: &mut Reader<'_>) -> Result<u16, Error> {
    r.check(|r| match r.u16()? {
        0 => Err(r.error(ErrorKind::Invalid)),
        port => Ok(port),
    })
}

/// A count from 1 to `cap`.
fn count(r: &mut Reader<'_>, cap: usize) -> Result<usize, Error> {
    r.check(|r| match r.count8(cap)? {
        0 => Err(r.error(ErrorKind::Invalid)),
        count => Ok(count),
    })
}

fn prefix<T>(
    bytes: &[u8],
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, Error>,
) -> Result<Option<(T, usize)>, Error> {
    let mut r = Reader::new(bytes);
    match read(&mut r) {
        Ok(value) => Ok(Some((value, r.offset()))),
        Err(error) if error.kind == ErrorKind::Truncated => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn exactly<T>(bytes: &[u8], read: impl FnOnce(&mut Reader<'_>) -> Result<T, Error>) -> Result<T, Error> {
    let mut r = Reader::new(bytes);
    let value = read(&mut r)?;
    r.finish()?;
    Ok(value)
}
