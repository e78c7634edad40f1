//! SOCKS5 (RFC 1928), its user name and password method (RFC 1929), and the look-up commands that Tor added
//! (RESOLVE, RESOLVE_PTR): bytes to values and back, nothing else.
//!
//! Every decoder looks at the front of the bytes received so far and answers [`Incremental`]: an error, "more bytes
//! are needed" (`Ok(None)`), or a value and how many bytes it took. Decoders keep no state, so feeding them byte by
//! byte gives what feeding them at once gives.

mod auth;
mod datagram;
mod greeting;
mod reply;
mod request;
#[cfg(test)]
mod tests;

pub use auth::{decode_password, encode_password_accepted};
pub use datagram::{Datagram, encode_datagram};
pub use greeting::{Greeting, Method};
pub use reply::{ReplyCode, encode_name_reply, encode_reply};
pub use request::{Command, Request};

use std::net::IpAddr;

use crate::target::{Host, Name, Target};

/// The version byte of SOCKS5, by which the protocol is recognised.
pub const VERSION: u8 = 5;
/// The version byte of SOCKS4, which is refused: its clients look names up by themselves.
pub const VERSION_4: u8 = 4;
/// The answer to any SOCKS4 request: "rejected or failed".
pub const SOCKS4_REFUSED: [u8; 8] = [0, 0x5b, 0, 0, 0, 0, 0, 0];

pub(crate) const ATYP_V4: u8 = 1;
pub(crate) const ATYP_NAME: u8 = 3;
pub(crate) const ATYP_V6: u8 = 4;

/// A value from the front of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed<T> {
    /// The value.
    pub value: T,
    /// How many bytes of the input it took.
    pub used: usize,
}

/// What a decoder says: an error, `None` when the input is too short to tell, or a value.
pub type Incremental<T> = Result<Option<Parsed<T>>, DecodeError>;

/// Why bytes are no SOCKS5 message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The first byte is not the version that belongs there.
    #[error("not a SOCKS5 message")]
    Version,
    /// A greeting that offers no authentication method.
    #[error("no authentication method offered")]
    NoMethods,
    /// A byte that must be zero is not.
    #[error("a reserved byte is set")]
    Reserved,
    /// An unknown command, or one that is not offered (BIND).
    #[error("the command is not supported")]
    Command,
    /// An address type other than IPv4, IPv6 or a name, or one that does not go with the command.
    #[error("the address type is not supported")]
    AddressType,
    /// A name that is no host name.
    #[error("not a host name")]
    Name,
    /// A fragment of a datagram.
    #[error("fragments are not supported")]
    Fragment,
    /// A datagram that ends inside its header.
    #[error("the datagram is too short")]
    Short,
}

/// The address type, address and port at the front of `input`.
pub(crate) fn decode_address(input: &[u8]) -> Incremental<Target> {
    let Some((&kind, rest)) = input.split_first() else {
        return Ok(None);
    };
    let (host, length) = match kind {
        ATYP_V4 => {
            let Some(bytes) = rest.first_chunk::<4>() else {
                return Ok(None);
            };
            (Host::Ip(IpAddr::from(*bytes)), 4)
        }
        ATYP_V6 => {
            let Some(bytes) = rest.first_chunk::<16>() else {
                return Ok(None);
            };
            (Host::Ip(IpAddr::from(*bytes)), 16)
        }
        ATYP_NAME => {
            let Some((&length, name)) = rest.split_first() else {
                return Ok(None);
            };
            let Some(name) = name.get(..usize::from(length)) else {
                return Ok(None);
            };
            // Clients do send addresses as names. They are addresses all the same.
            let host = Host::parse(name).ok_or(DecodeError::Name)?;
            (host, 1 + usize::from(length))
        }
        _ => return Err(DecodeError::AddressType),
    };
    let Some(port) = rest.get(length..).and_then(|after| after.first_chunk::<2>()) else {
        return Ok(None);
    };
    Ok(Some(Parsed { value: Target { host, port: u16::from_be_bytes(*port) }, used: 1 + length + 2 }))
}

/// Appends address type, address and port.
pub(crate) fn encode_address(host: &Host, port: u16, out: &mut Vec<u8>) {
    match host {
        Host::Ip(IpAddr::V4(ip)) => {
            out.push(ATYP_V4);
            out.extend_from_slice(&ip.octets());
        }
        Host::Ip(IpAddr::V6(ip)) => {
            out.push(ATYP_V6);
            out.extend_from_slice(&ip.octets());
        }
        Host::Name(name) => encode_name(name, out),
    }
    out.extend_from_slice(&port.to_be_bytes());
}

fn encode_name(name: &Name, out: &mut Vec<u8>) {
    let bytes = name.as_str().as_bytes();
    out.push(ATYP_NAME);
    out.push(u8::try_from(bytes.len()).expect("a Name has at most 255 bytes"));
    out.extend_from_slice(bytes);
}
