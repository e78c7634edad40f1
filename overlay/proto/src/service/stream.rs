//! The head of a stream to a service: which port is wanted, and the answer.

use crate::wire::codec::{Error, ErrorKind, Reader, Writer};

/// Length of a request in bytes.
pub const WANT_LEN: usize = 3;
/// Length of an answer in bytes.
pub const ANSWER_LEN: usize = 2;

const VERSION: u8 = 1;

/// The first bytes of a stream from a client: a port that is not 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Want(pub u16);

impl Want {
    /// The bytes.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let mut w = Writer::with_capacity(WANT_LEN);
        w.u8(VERSION);
        w.u16(self.0);
        w.finish()
    }

    /// Reads them.
    ///
    /// # Errors
    /// Another length or version, or port 0.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(bytes);
        r.version(VERSION)?;
        let port = r.check(|r| match r.u16()? {
            0 => Err(r.error(ErrorKind::Invalid)),
            port => Ok(port),
        })?;
        r.finish()?;
        Ok(Self(port))
    }
}

/// What the service says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Answer {
    /// The stream is the application's from here on.
    Accepted,
    /// The service has nothing at this port.
    NoSuchPort,
    /// The service takes no more streams now.
    Busy,
}

impl Answer {
    const ALL: [Self; 3] = [Self::Accepted, Self::NoSuchPort, Self::Busy];

    /// The bytes.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let code = Self::ALL.iter().position(|answer| *answer == self).unwrap_or_default();
        let mut w = Writer::with_capacity(ANSWER_LEN);
        w.u8(VERSION);
        w.count8(code);
        w.finish()
    }

    /// Reads them.
    ///
    /// # Errors
    /// Another length or version, or an unknown code.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(bytes);
        r.version(VERSION)?;
        let answer = r.check(|r| {
            let code = usize::from(r.u8()?);
            Self::ALL.get(code).copied().ok_or_else(|| r.error(ErrorKind::Invalid))
        })?;
        r.finish()?;
        Ok(answer)
    }
}
