//! The line that one person hands to the other: an invite, and behind a `#` the way into its network, so that the line is all
//! that is needed: a bootstrap line, or the network document where there is none and it is small enough.
//!
//! ```text
//! zmesh:call/2/‹invite›#zmesh:net/1/‹bootstrap line›
//! zmesh:call/2/‹invite›#‹base32 of the network document, lower case, no padding›
//! ```
//!
//! The invite pins the network's id, which is a hash over its genesis, or over its name and signers; a bootstrap line has to be
//! of that network, and a document has to carry the signatures: nobody on the way can exchange one network for another.

use data_encoding::BASE32_NOPAD;
use zmesh_overlay::Bootstrap;
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
    /// The way into its network.
    pub network: Carried,
}

/// What an invite carries besides itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Carried {
    /// Nothing: the other side knows the network.
    Nothing,
    /// The network document, not verified.
    Document(Vec<u8>),
    /// A bootstrap line.
    Bootstrap(Bootstrap),
}

/// Writes the line; a document that is too large is left out.
pub fn write(invite: &Invite, network: &Carried) -> String {
    let mut line = invite.to_line().to_string();
    match network {
        Carried::Bootstrap(bootstrap) => {
            line.push('#');
            line.push_str(&bootstrap.to_string());
        }
        Carried::Document(document) if document.len() <= DOCUMENT_MAX => {
            line.push('#');
            line.push_str(&BASE32_NOPAD.encode(document).to_ascii_lowercase());
        }
        Carried::Nothing | Carried::Document(_) => {}
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
    let (invite, network) = match text.trim().split_once('#') {
        None => (text, None),
        Some((invite, network)) => (invite, Some(network)),
    };
    let invite = Invite::parse(invite, unix_now)?;
    let network = network.map_or(Ok(Carried::Nothing), |network| decode(&invite, network))?;
    Ok(InviteLine { invite, network })
}

fn decode(invite: &Invite, text: &str) -> Result<Carried, InviteError> {
    // No base32 has a colon.
    if text.contains(':') {
        let bootstrap: Bootstrap = text.parse().map_err(|_| InviteError::Damaged)?;
        invite.check_network(&bootstrap.network().0)?;
        return Ok(Carried::Bootstrap(bootstrap));
    }
    let document = BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes());
    document.map(Carried::Document).map_err(|_| InviteError::Damaged)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_chacha::ChaCha12Rng;
    use rand_core::SeedableRng;
    use zmesh_proto::link::LinkPeer;
    use zmesh_proto::wire::document::NetworkId;

    use super::*;

    fn invite() -> Invite {
        Invite::create([1; 32], [2; 16], 2_000, &mut ChaCha12Rng::from_seed([3; 32])).0
    }

    fn bootstrap(network: u8) -> Bootstrap {
        let entry = LinkPeer {
            identity: [4; 32],
            link_key: [5; 32],
            addresses: vec!["192.0.2.7:9001".parse().expect("an address")],
        };
        Bootstrap::new(NetworkId([network; 32]), vec![entry]).expect("a line")
    }

    #[test]
    fn a_line_comes_back_with_and_without_a_network() {
        let document = Carried::Document(vec![7; 1_000]);
        let line = write(&invite(), &document);
        let back = read(&format!(" {line}\n"), 1_000).expect("valid");
        assert!(back.invite == invite());
        assert_eq!(back.network, document);
        let shouted = line.to_ascii_uppercase();
        assert_eq!(read(&shouted, 1_000).expect("valid").network, document);
        let short = read(&write(&invite(), &Carried::Nothing), 1_000).expect("valid");
        assert_eq!(short.network, Carried::Nothing);
        assert!(
            !write(&invite(), &Carried::Document(vec![7; DOCUMENT_MAX + 1])).contains('#'),
            "too large to go along"
        );
        let way = Carried::Bootstrap(bootstrap(1));
        let line = write(&invite(), &way);
        assert!(line.len() < 420, "{}", line.len());
        assert_eq!(read(&line, 1_000).expect("valid").network, way);
        assert_eq!(read(&line.to_ascii_uppercase(), 1_000).expect("valid").network, way);
    }

    #[test]
    fn bad_lines_are_refused() {
        let bare = write(&invite(), &Carried::Nothing);
        assert_eq!(read("hello", 0).expect_err("refused"), InviteError::NotAnInvite);
        assert_eq!(read(&bare, 3_000).expect_err("refused"), InviteError::Expired { ago: 1_000 });
        assert_eq!(read(&format!("{bare}#!"), 0).expect_err("refused"), InviteError::Damaged);
        assert_eq!(read(&format!("{bare}#zmesh:net/1/a"), 0).expect_err("refused"), InviteError::Damaged);
        let other = write(&invite(), &Carried::Bootstrap(bootstrap(2)));
        assert_eq!(read(&other, 0).expect_err("refused"), InviteError::OtherNetwork);
        assert_eq!(read(&"x".repeat(LINE_MAX + 1), 0).expect_err("refused"), InviteError::NotAnInvite);
    }

    proptest! {
        #[test]
        fn any_text(text in "\\PC{0,80}", tail in "\\PC{0,40}") {
            let _ = read(&text, 0);
            let _ = read(&format!("{}{tail}", write(&invite(), &Carried::Nothing)), 0);
        }
    }
}
