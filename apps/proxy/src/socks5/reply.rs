//! Answers to a request.

use std::net::{IpAddr, SocketAddr};

use super::{DecodeError, VERSION, encode_address};
use crate::connector::ConnectError;
use crate::target::{Host, Name};

/// RFC 1928 §6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ReplyCode {
    /// Done.
    Succeeded = 0,
    /// None of the others.
    GeneralFailure = 1,
    /// Refused by a policy.
    NotAllowed = 2,
    /// No way to the network.
    NetworkUnreachable = 3,
    /// No way to the host, or no such host.
    HostUnreachable = 4,
    /// The host said no.
    ConnectionRefused = 5,
    /// Nobody answered in time.
    TtlExpired = 6,
    /// The command is not offered.
    CommandNotSupported = 7,
    /// The kind of address is not offered.
    AddressTypeNotSupported = 8,
}

impl From<ConnectError> for ReplyCode {
    fn from(error: ConnectError) -> ReplyCode {
        match error {
            ConnectError::Policy => ReplyCode::NotAllowed,
            ConnectError::NameNotFound | ConnectError::HostUnreachable => ReplyCode::HostUnreachable,
            ConnectError::NetworkUnreachable => ReplyCode::NetworkUnreachable,
            ConnectError::Refused => ReplyCode::ConnectionRefused,
            ConnectError::Timeout => ReplyCode::TtlExpired,
            ConnectError::Unsupported => ReplyCode::CommandNotSupported,
            ConnectError::NoCircuit | ConnectError::Quota | ConnectError::Closed => ReplyCode::GeneralFailure,
        }
    }
}

impl From<DecodeError> for ReplyCode {
    fn from(error: DecodeError) -> ReplyCode {
        match error {
            DecodeError::Command => ReplyCode::CommandNotSupported,
            DecodeError::AddressType => ReplyCode::AddressTypeNotSupported,
            _ => ReplyCode::GeneralFailure,
        }
    }
}

/// A reply with the address that the proxy's side is bound to. A client learns nothing from the exit's address and so
/// is not told it: streams answer 0.0.0.0:0, UDP ASSOCIATE its relay, RESOLVE the answer with port 0.
#[must_use]
pub fn encode_reply(code: ReplyCode, bound: Option<SocketAddr>) -> Vec<u8> {
    let bound = bound.unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
    let mut out = vec![VERSION, code as u8, 0];
    let ip: IpAddr = bound.ip();
    encode_address(&Host::Ip(ip), bound.port(), &mut out);
    out
}

/// The answer to RESOLVE_PTR: a name in place of the address.
#[must_use]
pub fn encode_name_reply(name: &Name) -> Vec<u8> {
    let mut out = vec![VERSION, ReplyCode::Succeeded as u8, 0];
    encode_address(&Host::Name(name.clone()), 0, &mut out);
    out
}
