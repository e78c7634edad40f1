//! A small, total reader and writer that descriptors, documents and requests share.
//!
//! All integers are big-endian. A variable field is preceded by its length, in one or two bytes, and has a cap that the
//! caller names. The reader borrows from its input and never allocates, so nothing a peer writes can make it reserve
//! more than was received. Decoders built on it end with [`Reader::finish`], which refuses trailing bytes: together
//! with the refusal of every non-minimal form this makes encodings canonical, one byte string per value.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use zeroize::Zeroize;

pub mod armour;
pub mod line;

/// Why bytes could not be read, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{kind} at byte {offset}")]
pub struct Error {
    /// Offset from the start of the input, in bytes, of the field that failed.
    pub offset: usize,
    /// What was wrong there.
    pub kind: ErrorKind,
}

/// What was wrong with a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The input ended inside a field. A reader of a stream waits for more.
    #[error("the input ends inside a field")]
    Truncated,
    /// Bytes follow the last field.
    #[error("bytes follow the last field")]
    Trailing,
    /// A length or a count is over the cap of its field.
    #[error("a length is over its limit")]
    TooLong,
    /// A field holds a value that has no meaning, or is not in its one canonical form.
    #[error("a field holds a value that is not allowed")]
    Invalid,
    /// Text is not UTF-8, or has control characters.
    #[error("text is not clean UTF-8")]
    Text,
    /// The version byte names a version that this program does not know.
    #[error("unknown version {0}")]
    Version(u8),
}

/// A cursor over received bytes.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes were read so far.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The bytes between two offsets that this reader has passed.
    ///
    /// # Panics
    /// If `from` is beyond the offset of the reader: a fault of the caller, never of the input.
    #[must_use]
    pub fn passed(&self, from: usize) -> &'a [u8] {
        &self.bytes[from..self.at]
    }

    /// An error of this kind at the current offset.
    #[must_use]
    pub fn error(&self, kind: ErrorKind) -> Error {
        Error { offset: self.at, kind }
    }

    /// Takes `len` bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Truncated`] when fewer are left.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        if self.remaining() < len {
            return Err(self.error(ErrorKind::Truncated));
        }
        let taken = &self.bytes[self.at..self.at + len];
        self.at += len;
        Ok(taken)
    }

    /// Takes everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.at..];
        self.at = self.bytes.len();
        rest
    }

    /// Takes an array of fixed length.
    ///
    /// # Errors
    /// [`ErrorKind::Truncated`].
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    /// One byte.
    ///
    /// # Errors
    /// [`ErrorKind::Truncated`].
    pub fn u8(&mut self) -> Result<u8, Error> {
        Ok(self.array::<1>()?[0])
    }

    /// Two bytes, big-endian.
    ///
    /// # Errors
    /// [`ErrorKind::Truncated`].
    pub fn u16(&mut self) -> Result<u16, Error> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// Four bytes, big-endian.
    ///
    /// # Errors
    /// [`ErrorKind::Truncated`].
    pub fn u32(&mut self) -> Result<u32, Error> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// Eight bytes, big-endian.
    ///
    /// # Errors
    /// [`ErrorKind::Truncated`].
    pub fn u64(&mut self) -> Result<u64, Error> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// A version byte that must be `known`.
    ///
    /// # Errors
    /// [`ErrorKind::Version`], [`ErrorKind::Truncated`].
    pub fn version(&mut self, known: u8) -> Result<(), Error> {
        self.check(|r| {
            let found = r.u8()?;
            if found == known { Ok(()) } else { Err(r.error(ErrorKind::Version(found))) }
        })
    }

    /// A one-byte count of at most `cap`.
    ///
    /// # Errors
    /// [`ErrorKind::TooLong`], [`ErrorKind::Truncated`].
    pub fn count8(&mut self, cap: usize) -> Result<usize, Error> {
        self.check(|r| {
            let count = usize::from(r.u8()?);
            if count > cap {
                return Err(r.error(ErrorKind::TooLong));
            }
            Ok(count)
        })
    }

    /// A two-byte count of at most `cap`.
    ///
    /// # Errors
    /// [`ErrorKind::TooLong`], [`ErrorKind::Truncated`].
    pub fn count16(&mut self, cap: usize) -> Result<usize, Error> {
        self.check(|r| {
            let count = usize::from(r.u16()?);
            if count > cap {
                return Err(r.error(ErrorKind::TooLong));
            }
            Ok(count)
        })
    }

    /// Bytes behind a one-byte length of at most `cap`.
    ///
    /// # Errors
    /// [`ErrorKind::TooLong`], [`ErrorKind::Truncated`].
    pub fn bytes8(&mut self, cap: usize) -> Result<&'a [u8], Error> {
        let len = self.count8(cap)?;
        self.take(len)
    }

    /// Bytes behind a two-byte length of at most `cap`.
    ///
    /// # Errors
    /// [`ErrorKind::TooLong`], [`ErrorKind::Truncated`].
    pub fn bytes16(&mut self, cap: usize) -> Result<&'a [u8], Error> {
        let len = self.count16(cap)?;
        self.take(len)
    }

    /// UTF-8 without control characters behind a one-byte length of at most `cap` bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Text`], [`ErrorKind::TooLong`], [`ErrorKind::Truncated`].
    pub fn text8(&mut self, cap: usize) -> Result<&'a str, Error> {
        self.check(|r| {
            let bytes = r.bytes8(cap)?;
            match std::str::from_utf8(bytes) {
                Ok(text) if is_clean(text) => Ok(text),
                _ => Err(r.error(ErrorKind::Text)),
            }
        })
    }

    /// An address: a byte 4 or 6, then 4 or 16 bytes. An IPv6 form of an IPv4 address is refused: it has a shorter one.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`], [`ErrorKind::Truncated`].
    pub fn ip(&mut self) -> Result<IpAddr, Error> {
        self.check(|r| match r.u8()? {
            4 => Ok(IpAddr::V4(Ipv4Addr::from(r.array::<4>()?))),
            6 => {
                let ip = Ipv6Addr::from(r.array::<16>()?);
                if ip.to_ipv4_mapped().is_some() {
                    return Err(r.error(ErrorKind::Invalid));
                }
                Ok(IpAddr::V6(ip))
            }
            _ => Err(r.error(ErrorKind::Invalid)),
        })
    }

    /// Reads a field by `read` and, when the field is bad, reports the offset at which it began. A truncation keeps
    /// the offset at which the input ended.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn check<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        let start = self.at;
        read(self).map_err(|error| match error.kind {
            ErrorKind::Truncated => error,
            kind => Error { offset: start, kind },
        })
    }

    /// Ends the input.
    ///
    /// # Errors
    /// [`ErrorKind::Trailing`] when bytes are left.
    pub fn finish(self) -> Result<(), Error> {
        if self.remaining() == 0 { Ok(()) } else { Err(self.error(ErrorKind::Trailing)) }
    }
}

/// Whether text has no control characters and so can be shown on a terminal.
#[must_use]
pub fn is_clean(text: &str) -> bool {
    // Bidirectional overrides reorder what surrounds them on a screen: a name must not be able to.
    !text.chars().any(|c| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    })
}

/// The writing half of [`Reader`]: appends to a byte vector.
#[derive(Clone, Default, Debug)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Starts empty.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts empty, with room for `capacity` bytes: secrets written within it leave no copy behind.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity) }
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    /// Two bytes, big-endian.
    pub fn u16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }

    /// Four bytes, big-endian.
    pub fn u32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    /// Eight bytes, big-endian.
    pub fn u64(&mut self, value: u64) {
        self.put(&value.to_be_bytes());
    }

    /// Bytes as they are.
    pub fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// A one-byte count.
    ///
    /// # Panics
    /// If the count is over 255: callers hold values whose constructors cap them.
    pub fn count8(&mut self, count: usize) {
        self.u8(u8::try_from(count).expect("constructors cap counts below 256"));
    }

    /// A two-byte count.
    ///
    /// # Panics
    /// If the count is over 65,535: callers hold values whose constructors cap them.
    pub fn count16(&mut self, count: usize) {
        self.u16(u16::try_from(count).expect("constructors cap counts below 65,536"));
    }

    /// Bytes behind a one-byte length.
    ///
    /// # Panics
    /// As [`Writer::count8`].
    pub fn bytes8(&mut self, bytes: &[u8]) {
        self.count8(bytes.len());
        self.put(bytes);
    }

    /// Bytes behind a two-byte length.
    ///
    /// # Panics
    /// As [`Writer::count16`].
    pub fn bytes16(&mut self, bytes: &[u8]) {
        self.count16(bytes.len());
        self.put(bytes);
    }

    /// An address, an IPv4 address in its IPv6 form as IPv4.
    pub fn ip(&mut self, ip: IpAddr) {
        match ip.to_canonical() {
            IpAddr::V4(ip) => {
                self.u8(4);
                self.put(&ip.octets());
            }
            IpAddr::V6(ip) => {
                self.u8(6);
                self.put(&ip.octets());
            }
        }
    }

    /// Erases what was written. For writers of secrets, before they are dropped.
    pub fn erase(&mut self) {
        self.bytes.zeroize();
    }

    /// What was written so far.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// What was written.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_wrote_and_refuses_the_rest() {
        let mut w = Writer::new();
        w.u8(1);
        w.u16(2);
        w.u32(3);
        w.u64(4);
        w.bytes8(b"abc");
        w.bytes16(b"defg");
        w.ip("::ffff:192.0.2.1".parse().unwrap());
        w.ip("2001:db8::1".parse().unwrap());
        let bytes = w.finish();
        let mut r = Reader::new(&bytes);
        r.version(1).unwrap();
        assert_eq!(r.u16().unwrap(), 2);
        assert_eq!(r.u32().unwrap(), 3);
        assert_eq!(r.u64().unwrap(), 4);
        assert_eq!(r.text8(3).unwrap(), "abc");
        assert_eq!(r.bytes16(4).unwrap(), b"defg");
        assert_eq!(r.ip().unwrap(), "192.0.2.1".parse::<IpAddr>().unwrap());
        let mut open = r.clone();
        assert_eq!(r.ip().unwrap(), "2001:db8::1".parse::<IpAddr>().unwrap());
        assert_eq!(r.clone().u8().unwrap_err().kind, ErrorKind::Truncated);
        r.finish().unwrap();
        open.u8().unwrap();
        assert_eq!(open.finish().unwrap_err().kind, ErrorKind::Trailing);
    }

    #[test]
    fn errors_name_the_field_at_fault() {
        let mut r = Reader::new(&[9, 200, 1, 2]);
        assert_eq!(r.clone().version(1), Err(Error { offset: 0, kind: ErrorKind::Version(9) }));
        r.u8().unwrap();
        assert_eq!(r.bytes8(100), Err(Error { offset: 1, kind: ErrorKind::TooLong }));
        let mut r = Reader::new(&[2, b'a', 0x07]);
        assert_eq!(r.text8(9).unwrap_err().kind, ErrorKind::Text);
        let mut r = Reader::new(&[2, 0xc3]);
        assert_eq!(r.text8(9).unwrap_err().kind, ErrorKind::Truncated);
    }

    #[test]
    fn an_ipv4_address_has_one_form() {
        let mut mapped = vec![6];
        mapped.extend("::ffff:10.0.0.1".parse::<Ipv6Addr>().unwrap().octets());
        assert_eq!(Reader::new(&mapped).ip().unwrap_err().kind, ErrorKind::Invalid);
    }

    #[test]
    fn text_that_reorders_a_terminal_is_not_clean() {
        assert!(is_clean("Grüße 中継"));
        for bad in ["a\nb", "\u{202e}evil", "\u{feff}", "x\u{200b}y", "\u{1b}[31m"] {
            assert!(!is_clean(bad), "{bad:?}");
        }
    }
}
