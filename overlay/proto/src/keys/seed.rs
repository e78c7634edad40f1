//! Key files that hold one seed of 32 bytes: version, seed, checksum, as text armour.

use zeroize::Zeroizing;

use super::{CHECK_LEN, Error, TEXT_MAX, VERSION, checksum};
use crate::wire::codec::armour::{self, Label};
use crate::wire::codec::{Reader, Writer};

/// The file under this label.
pub(crate) fn to_text(label: Label, seed: &[u8; 32]) -> Zeroizing<String> {
    let mut w = Writer::with_capacity(1 + 32 + CHECK_LEN);
    w.u8(VERSION);
    w.put(seed);
    let check = checksum(w.as_slice());
    w.put(&check);
    let text = armour::encode(label, w.as_slice());
    w.erase();
    text
}

/// Reads a file under this label.
///
/// # Errors
/// It is none, or a damaged one.
pub(crate) fn from_text(label: Label, text: &[u8]) -> Result<Zeroizing<[u8; 32]>, Error> {
    let bytes = armour::decode(label, text, TEXT_MAX)?;
    let mut r = Reader::new(&bytes);
    r.version(VERSION)?;
    let seed = Zeroizing::new(r.array::<32>()?);
    let want = checksum(r.passed(0));
    let found = r.array::<CHECK_LEN>()?;
    r.finish()?;
    if found == want { Ok(seed) } else { Err(Error::Checksum) }
}
