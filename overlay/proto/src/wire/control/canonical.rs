//! One byte string per value, with room for what later versions add.
//!
//! Protobuf allows many encodings of one value: fields out of order, twice, with their default spelt out, numbers longer
//! than needed. Here only one is allowed. What is read is written again, and the bytes have to begin with what was written.
//! After them there may be fields that this version does not know, if their numbers are [`EXTENSION_FIRST`] or more, ascend,
//! and are in their shortest form: that is how later versions add something without shutting out earlier ones. Signatures
//! are over the bytes as they came, extension included, and whoever passes a message on passes on these bytes.
//! Nobody *signs* an extension that it does not understand (decision 0182).

use prost::Message;

/// The first number of a field that an earlier version need not know.
pub const EXTENSION_FIRST: u32 = 32;

/// Why bytes are no value of the wanted kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormError {
    /// Longer than anything of this kind.
    #[error("{len} bytes are over the limit of {max}")]
    TooLarge {
        /// The length, in bytes.
        len: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// No protobuf message of this kind.
    #[error("the bytes are no such message")]
    Undecodable,
    /// A second encoding of a value.
    #[error("the bytes are not the one canonical form of the value")]
    NotCanonical,
    /// A field breaks its rule.
    #[error("the {field} {rule}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What it has to be.
        rule: &'static str,
    },
    /// The signature does not verify.
    #[error("the signature is forged or the message was altered")]
    ForgedSignature,
}

/// Refuses with the rule of a field unless it holds.
pub(crate) fn rule(holds: bool, field: &'static str, rule: &'static str) -> Result<(), FormError> {
    if holds { Ok(()) } else { Err(FormError::Field { field, rule }) }
}

/// A field of fixed length.
pub(crate) fn array<const N: usize>(bytes: &[u8], field: &'static str) -> Result<[u8; N], FormError> {
    bytes.try_into().map_err(|_| FormError::Field { field, rule: "has the wrong length" })
}

/// Reads a message in its canonical form, and tells whether fields follow that this version does not know.
pub(crate) fn read<M: Message + Default>(bytes: &[u8], max: usize) -> Result<(M, bool), FormError> {
    if bytes.len() > max {
        return Err(FormError::TooLarge { len: bytes.len(), max });
    }
    let message = M::decode(bytes).map_err(|_| FormError::Undecodable)?;
    let known = message.encode_to_vec();
    match bytes.strip_prefix(known.as_slice()) {
        Some([]) => Ok((message, false)),
        Some(extension) if is_extension(extension) => Ok((message, true)),
        _ => Err(FormError::NotCanonical),
    }
}

/// As [`read`], for what must not be extended.
pub(crate) fn read_strict<M: Message + Default>(bytes: &[u8], max: usize) -> Result<M, FormError> {
    match read(bytes, max)? {
        (message, false) => Ok(message),
        (_, true) => Err(FormError::NotCanonical),
    }
}

/// Whether these are whole fields in ascending order, all from [`EXTENSION_FIRST`] on, with every number in its shortest form.
fn is_extension(mut bytes: &[u8]) -> bool {
    let mut last = EXTENSION_FIRST;
    while !bytes.is_empty() {
        let Some(key) = varint(&mut bytes) else { return false };
        let (Ok(number), wire) = (u32::try_from(key >> 3), key & 7) else { return false };
        if number < last {
            return false;
        }
        last = number;
        let length = match wire {
            0 => match varint(&mut bytes) {
                Some(_) => 0,
                None => return false,
            },
            1 => 8,
            2 => match varint(&mut bytes).and_then(|length| usize::try_from(length).ok()) {
                Some(length) => length,
                None => return false,
            },
            5 => 4,
            _ => return false,
        };
        match bytes.get(length..) {
            Some(rest) => bytes = rest,
            None => return false,
        }
    }
    true
}

/// A number in its shortest form.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for at in 0..10 {
        let byte = *bytes.get(at)?;
        if at == 9 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            *bytes = &bytes[at + 1..];
            return (at == 0 || byte != 0).then_some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, PartialEq, Message)]
    struct Old {
        #[prost(uint32, tag = "1")]
        number: u32,
        #[prost(bytes = "vec", repeated, tag = "2")]
        parts: Vec<Vec<u8>>,
    }

    /// What a later version makes of it.
    #[derive(Clone, PartialEq, Message)]
    struct New {
        #[prost(uint32, tag = "1")]
        number: u32,
        #[prost(bytes = "vec", repeated, tag = "2")]
        parts: Vec<Vec<u8>>,
        #[prost(uint64, tag = "32")]
        added: u64,
        #[prost(bytes = "vec", repeated, tag = "33")]
        more: Vec<Vec<u8>>,
    }

    fn old(bytes: &[u8]) -> Result<bool, FormError> {
        read::<Old>(bytes, 100).map(|(_, extended)| extended)
    }

    #[test]
    fn what_a_later_version_adds_is_tolerated_and_told() {
        let new = New { number: 300, parts: vec![vec![1]], added: 1 << 60, more: vec![vec![2], vec![]] };
        let bytes = new.encode_to_vec();
        assert_eq!(old(&bytes), Ok(true));
        assert_eq!(read_strict::<Old>(&bytes, 100), Err(FormError::NotCanonical));
        assert_eq!(read_strict::<New>(&bytes, 100), Ok(new.clone()));
        for cut in 1..bytes.len() {
            let known = Old { number: 300, parts: vec![vec![1]] }.encode_to_vec().len();
            let whole_fields = [known, known + 11, known + 11 + 4];
            assert_eq!(old(&bytes[..cut]).is_ok(), whole_fields.contains(&cut) || cut == 3, "{cut}");
        }
        let plain = New { added: 0, more: Vec::new(), ..new };
        assert_eq!(old(&plain.encode_to_vec()), Ok(false));
    }

    #[test]
    fn second_forms_are_refused() {
        let good = [8, 1, 18, 1, 7];
        assert_eq!(old(&good), Ok(false));
        for bad in [
            &[18, 1, 7, 8, 1][..],                     // out of order
            &[8, 1, 8, 1, 18, 1, 7],                   // twice
            &[8, 0x81, 0, 18, 1, 7],                   // a number longer than needed
            &[8, 0, 18, 1, 7],                         // a default spelt out
            &[8, 1, 18, 1, 7, 8, 1],                   // a known field at the end
            &[8, 1, 18, 1, 7, 24, 1],                  // an unknown one below the range
            &[8, 1, 18, 1, 7, 0x88, 2, 1, 0x80, 2, 1], // not ascending
            &[8, 1, 18, 1, 7, 0x80, 2, 0x81, 0],       // not shortest
            &[8, 1, 18, 1, 7, 0x83, 2, 0x84, 2],       // a group
            &[0x80, 2, 1, 8, 1],                       // before the known ones
        ] {
            assert!(old(bad).is_err(), "{bad:?}");
        }
        assert_eq!(old(&[8, 1, 18, 1, 7, 0x80, 2, 1, 0x88, 2, 1]), Ok(true));
        assert_eq!(old(&[0; 101]), Err(FormError::TooLarge { len: 101, max: 100 }));
    }
}
