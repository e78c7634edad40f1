//! The request: what to do, and with which host and port.

use super::{ATYP_NAME, DecodeError, Incremental, Parsed, VERSION, decode_address};
use crate::target::{Host, Target};

/// What a client may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// A stream to the target.
    Connect,
    /// A relay for datagrams, for as long as this connection stands.
    UdpAssociate,
    /// The address of a name (Tor's extension, 0xF0).
    Resolve,
    /// The name of an address (Tor's extension, 0xF1).
    ResolvePtr,
}

/// A command and the target that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What to do.
    pub command: Command,
    /// With whom. For UDP ASSOCIATE this is where the client says it will send from, which is not relied on.
    pub target: Target,
}

impl Request {
    /// Reads version, command, reserved byte, address and port.
    ///
    /// # Errors
    /// [`DecodeError`] says which field is wrong; [`DecodeError::Command`] and [`DecodeError::AddressType`] have reply
    /// codes of their own.
    pub fn decode(input: &[u8]) -> Incremental<Request> {
        let Some((&version, rest)) = input.split_first() else {
            return Ok(None);
        };
        if version != VERSION {
            return Err(DecodeError::Version);
        }
        let Some((&command, rest)) = rest.split_first() else {
            return Ok(None);
        };
        let command = match command {
            1 => Command::Connect,
            3 => Command::UdpAssociate,
            0xf0 => Command::Resolve,
            0xf1 => Command::ResolvePtr,
            _ => return Err(DecodeError::Command),
        };
        let Some((&reserved, rest)) = rest.split_first() else {
            return Ok(None);
        };
        if reserved != 0 {
            return Err(DecodeError::Reserved);
        }
        let Some((&kind, _)) = rest.split_first() else {
            return Ok(None);
        };
        if command == Command::ResolvePtr && kind == ATYP_NAME {
            return Err(DecodeError::AddressType);
        }
        let Some(parsed) = decode_address(rest)? else {
            return Ok(None);
        };
        Ok(Some(Parsed { value: Request { command, target: parsed.value }, used: 3 + parsed.used }))
    }

    /// Whether the client looked the name up by itself, or had none: a sign of DNS outside the circuit.
    #[must_use]
    pub fn names_an_address(&self) -> bool {
        self.command == Command::Connect && matches!(self.target.host, Host::Ip(_))
    }
}
