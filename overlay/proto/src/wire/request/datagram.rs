//! UDP payloads of a flow.

use std::fmt;

use super::host::{Host, NAME_MAX};
use super::message::port;
use crate::wire::codec::{Error, ErrorKind, Reader, Writer};

/// Most bytes that a [`UdpDatagram`] adds to its payload: flow, the longest host, port.
pub const UDP_HEADER_MAX: usize = 4 + 2 + NAME_MAX + 2;
/// Bytes in front of a datagram that travels on the stream of its flow.
pub const RECORD_HEADER: usize = 2;

/// One UDP payload of a flow, in a QUIC DATAGRAM frame or in a record on a stream.
///
/// Towards the exit `host` and `port` are the destination, and may be a name; towards the origin they are the sender.
#[derive(Clone, PartialEq, Eq)]
pub struct UdpDatagram<'a> {
    /// The flow, as its `BindUdp` named it.
    pub flow: u32,
    /// The other end.
    pub host: Host,
    /// Its UDP port, never 0.
    pub port: u16,
    /// What it carries.
    pub payload: &'a [u8],
}

impl<'a> UdpDatagram<'a> {
    /// The bytes of this datagram.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u32(self.flow);
        self.host.write(&mut w);
        w.u16(self.port);
        w.put(self.payload);
        w.finish()
    }

    /// Reads a datagram; the payload is whatever follows its header, and may be empty.
    ///
    /// # Errors
    /// The header is malformed.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut r = Reader::new(bytes);
        Ok(Self { flow: r.u32()?, host: Host::read(&mut r)?, port: port(&mut r)?, payload: r.rest() })
    }
}

impl fmt::Debug for UdpDatagram<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpDatagram")
            .field("flow", &self.flow)
            .field("len", &self.payload.len())
            .finish_non_exhaustive()
    }
}

/// Appends a datagram to `out` as a record of a stream: its length in two bytes, then its bytes.
///
/// # Errors
/// [`ErrorKind::TooLong`] when the datagram is longer than 65,535 bytes; nothing is written then.
pub fn frame_record(datagram: &UdpDatagram<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
    let bytes = datagram.encode();
    let Ok(len) = u16::try_from(bytes.len()) else {
        return Err(Error { offset: 0, kind: ErrorKind::TooLong });
    };
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&bytes);
    Ok(())
}

/// Reads a record at the head of a stream: the datagram and how many bytes the record took, or `None` while more bytes
/// are needed.
///
/// # Errors
/// The record is whole and its datagram malformed.
pub fn read_record(bytes: &[u8]) -> Result<Option<(UdpDatagram<'_>, usize)>, Error> {
    let Some((head, rest)) = bytes.split_at_checked(RECORD_HEADER) else {
        return Ok(None);
    };
    let len = usize::from(u16::from_be_bytes([head[0], head[1]]));
    let Some(record) = rest.get(..len) else {
        return Ok(None);
    };
    let datagram = UdpDatagram::decode(record)
        .map_err(|error| Error { offset: RECORD_HEADER + error.offset, kind: error.kind })?;
    Ok(Some((datagram, RECORD_HEADER + len)))
}
