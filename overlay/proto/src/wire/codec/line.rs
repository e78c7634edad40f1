//! Lines to hand on: a head, a version in the clear, and base32 of bytes with a check, which finds typing errors.
//!
//! ```text
//! zmesh:call/2/‹base32 of body ‖ check (4), lower case, no padding›
//! ```
//!
//! Base32 survives being retyped, and chat programs that take `_` or `*` for formatting (decision 0061).

use data_encoding::BASE32_NOPAD;
use zeroize::Zeroizing;

/// Bytes of the check.
pub const CHECK_LEN: usize = 4;

/// One kind of line.
#[derive(Clone, Copy, Debug)]
pub struct LineKind {
    /// What every such line begins with, whatever its version, in lower case; it ends with a slash.
    pub head: &'static str,
    /// The version that this program reads and writes.
    pub version: &'static str,
    /// The longest text that is looked at, in bytes.
    pub text_max: usize,
    /// What is behind the body: a function of it.
    pub check: fn(&[u8]) -> [u8; CHECK_LEN],
}

/// Why a text is no line of the wanted kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LineError {
    /// It does not begin like one.
    Other,
    /// It is of another version: at most eight characters of it.
    Version(String),
    /// A part is missing or changed.
    Damaged,
}

impl LineKind {
    /// Writes a line. Bodies may hold secrets, so it is erased when dropped.
    #[must_use]
    pub fn encode(&self, body: &[u8]) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(body.len() + CHECK_LEN));
        bytes.extend_from_slice(body);
        bytes.extend_from_slice(&(self.check)(body));
        let code = Zeroizing::new(BASE32_NOPAD.encode(&bytes));
        let mut line = Zeroizing::new(String::with_capacity(self.head.len() + self.version.len() + 1 + code.len()));
        line.push_str(self.head);
        line.push_str(self.version);
        line.push('/');
        line.extend(code.chars().map(|c| c.to_ascii_lowercase()));
        line
    }

    /// Reads the body of a line. White space around it and capitals do no harm.
    ///
    /// # Errors
    /// See [`LineError`].
    pub fn decode(&self, text: &str) -> Result<Zeroizing<Vec<u8>>, LineError> {
        let text = text.trim();
        if text.len() > self.text_max {
            return Err(LineError::Other);
        }
        let lower = Zeroizing::new(text.to_ascii_lowercase());
        let rest = lower.strip_prefix(self.head).ok_or(LineError::Other)?;
        let (version, code) = rest.split_once('/').ok_or(LineError::Other)?;
        if version != self.version {
            let digits = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
            return Err(match digits {
                true => LineError::Version(version.chars().take(8).collect()),
                false => LineError::Other,
            });
        }
        let code = Zeroizing::new(code.to_ascii_uppercase());
        let mut bytes = Zeroizing::new(BASE32_NOPAD.decode(code.as_bytes()).map_err(|_| LineError::Damaged)?);
        let body = bytes.len().checked_sub(CHECK_LEN).ok_or(LineError::Damaged)?;
        if (self.check)(&bytes[..body]) != bytes[body..] {
            return Err(LineError::Damaged);
        }
        bytes.truncate(body);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KIND: LineKind = LineKind { head: "zmesh:test/", version: "3", text_max: 400, check: sum };

    fn sum(body: &[u8]) -> [u8; CHECK_LEN] {
        body.iter().fold(7u32, |sum, byte| sum.wrapping_mul(31) ^ u32::from(*byte)).to_be_bytes()
    }

    proptest! {
        #[test]
        fn a_body_comes_back(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let line = KIND.encode(&body);
            prop_assert_eq!(&*KIND.decode(&line).unwrap(), &body);
            prop_assert_eq!(&*KIND.decode(&format!(" {}\r\n", line.to_ascii_uppercase())).unwrap(), &body);
        }

        #[test]
        fn any_text_is_a_body_or_an_error(text in "\\PC{0,80}", code in "[a-z2-7]{0,60}") {
            let _ = KIND.decode(&text);
            let _ = KIND.decode(&format!("zmesh:test/3/{code}"));
        }
    }

    #[test]
    fn each_fault_has_its_name() {
        let line = KIND.encode(b"body");
        assert_eq!(KIND.decode("hello"), Err(LineError::Other));
        assert_eq!(KIND.decode("zmesh:test/x/aa"), Err(LineError::Other));
        assert_eq!(KIND.decode(&"z".repeat(401)), Err(LineError::Other));
        assert_eq!(KIND.decode(&line.replacen("/3/", "/12345678901/", 1)), Err(LineError::Version("12345678".into())));
        assert_eq!(KIND.decode(&line[..line.len() - 2]), Err(LineError::Damaged));
        assert_eq!(KIND.decode("zmesh:test/3/"), Err(LineError::Damaged));
        assert_eq!(KIND.decode("zmesh:test/3/ä"), Err(LineError::Damaged));
    }
}
