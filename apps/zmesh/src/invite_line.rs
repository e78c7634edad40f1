//! The line that one person hands to the other: an invite, and behind a `#` the network document where it is small
//! enough, so that the line is all that is needed.
//!
//! ```text
//! zmesh:call/2/‹invite›#‹base32 of the network document, lower case, no padding›
//! ```
//!
//! The invite pins the network's id, which is a hash over its name and signers, and the document has to carry their
//! signatures: nobody on the way can exchange one network for another.

use data_encoding::BASE32_NOPAD;
use zmesh_voice::invite::{Invite, InviteError};

/// The largest network document that goes into a line, in bytes: four relays with descriptors of 35 days, fifteen of a week.
pub const DOCUMENT_MAX: usize = 12 * 1024;
/// The longest line that is looked at.
const LINE_MAX: usize = 64 * 1024;

/// What a line holds.
#[derive(Debug)]
pub struct InviteLine {
    /// The invite.
    pub invite: Invite,
    /// The network document that came with it, not verified.
    pub document: Option<Vec<u8>>,
}

/// Writes the line; the document is left out if it is too large.
pub fn write(invite: &Invite, document: Option<&[u8]>) -> String {
    let mut line = invite.to_line().to_string();
    if let Some(document) = document.filter(|document| document.len() <= DOCUMENT_MAX) {
        line.push('#');
        line.push_str(&BASE32_NOPAD.encode(document).to_ascii_lowercase());
    }
    line
}

/// Reads a line. Whether the invite has expired is looked at, whether the document holds is not.
///
/// # Errors
/// See [`InviteError`].
pub fn read(text: &str, unix_now: u64) -> Result<InviteLine, InviteError> {
    if text.len() > LINE_MAX {
        return Err(InviteError::NotAnInvite);
    }
    let (invite, document) = match text.trim().split_once('#') {
        None => (text, None),
        Some((invite, document)) => (invite, Some(document)),
    };
    let invite = Invite::parse(invite, unix_now)?;
    let document = document.map(decode).transpose()?;
    Ok(InviteLine { invite, document })
}

fn decode(text: &str) -> Result<Vec<u8>, InviteError> {
    BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes()).map_err(|_| InviteError::Damaged)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_chacha::ChaCha12Rng;
    use rand_core::SeedableRng;

    use super::*;

    fn invite() -> Invite {
        Invite::create([1; 32], [2; 16], 2_000, &mut ChaCha12Rng::from_seed([3; 32])).0
    }

    #[test]
    fn a_line_comes_back_with_and_without_a_network() {
        let document = vec![7; 1_000];
        let line = write(&invite(), Some(&document));
        let back = read(&format!(" {line}\n"), 1_000).expect("valid");
        assert!(back.invite == invite());
        assert_eq!(back.document, Some(document));
        let shouted = line.to_ascii_uppercase();
        assert!(read(&shouted, 1_000).expect("valid").document.is_some());
        let short = read(&write(&invite(), None), 1_000).expect("valid");
        assert!(short.document.is_none());
        assert!(!write(&invite(), Some(&vec![7; DOCUMENT_MAX + 1])).contains('#'), "too large to go along");
    }

    #[test]
    fn bad_lines_are_refused() {
        assert_eq!(read("hello", 0).expect_err("refused"), InviteError::NotAnInvite);
        assert_eq!(read(&write(&invite(), None), 3_000).expect_err("refused"), InviteError::Expired { ago: 1_000 });
        assert_eq!(read(&format!("{}#!", write(&invite(), None)), 0).expect_err("refused"), InviteError::Damaged);
        assert_eq!(read(&"x".repeat(LINE_MAX + 1), 0).expect_err("refused"), InviteError::NotAnInvite);
    }

    proptest! {
        #[test]
        fn any_text(text in "\\PC{0,80}", tail in "\\PC{0,40}") {
            let _ = read(&text, 0);
            let _ = read(&format!("{}{tail}", write(&invite(), None)), 0);
        }
    }
}
