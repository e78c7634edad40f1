//! What a descriptor says for the control plane: its addresses there, and the part of the world that the relay stands in.

use std::fmt;
use std::net::SocketAddr;

use crate::wire::codec::{Error, ErrorKind, Reader, Writer};

/// What carries the control plane to an address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum ControlCarrier {
    /// TCP, with Noise inside.
    Tcp,
    /// QUIC over UDP.
    Quic,
}

/// Where the control plane of a relay is reached. Its peer identity is the relay's identity.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ControlAddress {
    /// Over what.
    pub carrier: ControlCarrier,
    /// Where.
    pub address: SocketAddr,
}

impl ControlAddress {
    pub(super) fn write(&self, w: &mut Writer) {
        w.u8(match self.carrier {
            ControlCarrier::Tcp => 1,
            ControlCarrier::Quic => 2,
        });
        w.ip(self.address.ip());
        w.u16(self.address.port());
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        let carrier = r.check(|r| match r.u8()? {
            1 => Ok(ControlCarrier::Tcp),
            2 => Ok(ControlCarrier::Quic),
            _ => Err(r.error(ErrorKind::Invalid)),
        })?;
        Ok(Self { carrier, address: SocketAddr::new(r.ip()?, r.u16()?) })
    }
}

/// Which part of the world a relay stands in. Coarse on purpose: it helps to spread things, and says little.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub enum Region {
    /// Africa.
    Africa,
    /// Asia.
    Asia,
    /// Europe.
    Europe,
    /// North and Central America.
    NorthAmerica,
    /// Australia, New Zealand and the islands of the Pacific.
    Oceania,
    /// South America.
    SouthAmerica,
}

impl Region {
    /// Every region, in the order of their codes.
    pub const ALL: [Self; 6] =
        [Self::Africa, Self::Asia, Self::Europe, Self::NorthAmerica, Self::Oceania, Self::SouthAmerica];

    /// Reads the two letters that `Display` writes, in any case.
    #[must_use]
    pub fn from_letters(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|region| region.letters().eq_ignore_ascii_case(text))
    }

    fn letters(self) -> &'static str {
        match self {
            Self::Africa => "AF",
            Self::Asia => "AS",
            Self::Europe => "EU",
            Self::NorthAmerica => "NA",
            Self::Oceania => "OC",
            Self::SouthAmerica => "SA",
        }
    }

    pub(super) fn code(self) -> u8 {
        match self {
            Self::Africa => 1,
            Self::Asia => 2,
            Self::Europe => 3,
            Self::NorthAmerica => 4,
            Self::Oceania => 5,
            Self::SouthAmerica => 6,
        }
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        r.check(|r| {
            let code = r.u8()?;
            Self::ALL.into_iter().find(|region| region.code() == code).ok_or_else(|| r.error(ErrorKind::Invalid))
        })
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.letters())
    }
}
