//! Text armour: binary as lines of base64 between a BEGIN and an END line, so that it survives mail and editors.
//!
//! ```text
//! -----BEGIN ZMESH NETWORK-----
//! AQAEdGVzdA…
//! -----END ZMESH NETWORK-----
//! ```
//!
//! Blank lines around the block and white space at the ends of lines are ignored; any other text is refused, and so is
//! a second block. Lines may have any length; [`encode`] writes 64 characters.

use data_encoding::BASE64;
use zeroize::Zeroizing;

const LINE: usize = 64;

/// What a block of armour holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Label {
    /// A network document with enough signatures.
    Network,
    /// A network document that still lacks signatures.
    NetworkDraft,
    /// A relay's descriptor.
    Descriptor,
    /// A relay's secret keys.
    RelayKeys,
    /// A relay's lasting keys, sealed under a passphrase.
    KeyBackup,
    /// A signer's secret key.
    SignerKey,
    /// What a network whose voters agree on documents begins with.
    Genesis,
    /// A service's secret key.
    ServiceKey,
}

impl Label {
    /// The words between the dashes.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Network => "ZMESH NETWORK",
            Self::NetworkDraft => "ZMESH NETWORK DRAFT",
            Self::Descriptor => "ZMESH DESCRIPTOR",
            Self::RelayKeys => "ZMESH RELAY KEYS",
            Self::KeyBackup => "ZMESH KEY BACKUP",
            Self::SignerKey => "ZMESH SIGNER KEY",
            Self::Genesis => "ZMESH GENESIS",
            Self::ServiceKey => "ZMESH SERVICE KEY",
        }
    }

    /// What it is, for people.
    #[must_use]
    pub fn noun(self) -> &'static str {
        match self {
            Self::Network => "a network document",
            Self::NetworkDraft => "the draft of a network document",
            Self::Descriptor => "the descriptor of a relay",
            Self::RelayKeys => "the key file of a relay",
            Self::KeyBackup => "the backup of a relay's keys",
            Self::SignerKey => "the key file of a signer",
            Self::Genesis => "the genesis of a network",
            Self::ServiceKey => "the key file of a service",
        }
    }

    fn from_words(words: &str) -> Option<Self> {
        const ALL: [Label; 8] = [
            Label::Network,
            Label::NetworkDraft,
            Label::Descriptor,
            Label::RelayKeys,
            Label::KeyBackup,
            Label::SignerKey,
            Label::Genesis,
            Label::ServiceKey,
        ];
        ALL.into_iter().find(|label| label.words() == words)
    }
}

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.words())
    }
}

/// Why text is no armour of the wanted kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArmourError {
    /// No BEGIN line: this is another kind of file.
    #[error("there is no \"-----BEGIN {0}-----\" line: this is another kind of file")]
    Missing(Label),
    /// A block, but of another kind.
    #[error("this is {}, not {}", found.noun(), wanted.noun())]
    Kind {
        /// What the caller wanted.
        wanted: Label,
        /// What the file holds.
        found: Label,
    },
    /// A line that is not base64, or text outside the block.
    #[error("line {0} does not belong there")]
    Line(usize),
    /// The END line is missing: the file is cut short.
    #[error("the END line is missing: the file is cut short")]
    Cut,
    /// The text is longer than anything of this kind.
    #[error("the file is {len} bytes long, over the limit of {max}")]
    TooLarge {
        /// Length in bytes.
        len: usize,
        /// Limit in bytes.
        max: usize,
    },
}

/// Writes the armour of `bytes`. The result may hold secrets and is erased when dropped.
#[must_use]
pub fn encode(label: Label, bytes: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(BASE64.encode(bytes));
    let mut out = Zeroizing::new(String::with_capacity(body.len() + body.len() / LINE + 2 * label.words().len() + 64));
    out.push_str("-----BEGIN ");
    out.push_str(label.words());
    out.push_str("-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(LINE));
        out.push_str(line);
        out.push('\n');
        rest = tail;
    }
    out.push_str("-----END ");
    out.push_str(label.words());
    out.push_str("-----\n");
    out
}

/// Which kind of block the text begins with, if any.
#[must_use]
pub fn kind(text: &[u8]) -> Option<Label> {
    lines(text).find(|(_, line)| !line.is_empty()).and_then(|(_, line)| boundary(line, "BEGIN"))
}

/// Reads a block of this kind; text longer than `max` bytes is refused unread. The result may hold secrets and is
/// erased when dropped.
///
/// # Errors
/// See [`ArmourError`].
pub fn decode(label: Label, text: &[u8], max: usize) -> Result<Zeroizing<Vec<u8>>, ArmourError> {
    if text.len() > max {
        return Err(ArmourError::TooLarge { len: text.len(), max });
    }
    let mut lines = lines(text).filter(|(_, line)| !line.is_empty());
    match lines.next().and_then(|(_, line)| boundary(line, "BEGIN")) {
        Some(found) if found == label => {}
        Some(found) => {
            return Err(ArmourError::Kind { wanted: label, found });
        }
        None => return Err(ArmourError::Missing(label)),
    }
    let mut body = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut last = 1;
    loop {
        let Some((number, line)) = lines.next() else {
            return Err(ArmourError::Cut);
        };
        if boundary(line, "END") == Some(label) {
            break;
        }
        if !line.iter().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(b)) {
            return Err(ArmourError::Line(number));
        }
        body.extend_from_slice(line);
        last = number;
    }
    if let Some((number, _)) = lines.next() {
        return Err(ArmourError::Line(number));
    }
    BASE64.decode(&body).map(Zeroizing::new).map_err(|_| ArmourError::Line(last))
}

/// Lines with their numbers, from 1, without white space at their ends.
fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    text.split(|b| *b == b'\n').enumerate().map(|(at, line)| (at + 1, line.trim_ascii()))
}

fn boundary(line: &[u8], verb: &str) -> Option<Label> {
    std::str::from_utf8(line)
        .ok()?
        .strip_prefix("-----")?
        .strip_suffix("-----")?
        .strip_prefix(verb)?
        .strip_prefix(' ')
        .and_then(Label::from_words)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 10_000;

    proptest! {
        #[test]
        fn round_trip(bytes: Vec<u8>) {
            let text = encode(Label::Network, &bytes);
            prop_assert_eq!(&*decode(Label::Network, text.as_bytes(), MAX).unwrap(), &bytes);
            let windows = text.replace('\n', "\r\n");
            prop_assert_eq!(&*decode(Label::Network, windows.as_bytes(), MAX).unwrap(), &bytes);
        }

        #[test]
        fn any_text_is_read_or_refused(bytes: Vec<u8>) {
            let _ = decode(Label::Network, &bytes, MAX);
            let _ = kind(&bytes);
        }
    }

    #[test]
    fn each_fault_has_its_name() {
        let text = encode(Label::Descriptor, &[7; 100]);
        let text = text.as_str();
        let read = |text: &str| decode(Label::Descriptor, text.as_bytes(), MAX).map(|_| ());
        assert_eq!(read(&format!("\n\n  {text}\n\n")), Ok(()));
        assert_eq!(read("hello"), Err(ArmourError::Missing(Label::Descriptor)));
        assert_eq!(read(""), Err(ArmourError::Missing(Label::Descriptor)));
        assert_eq!(
            decode(Label::Network, text.as_bytes(), MAX).map(|_| ()),
            Err(ArmourError::Kind { wanted: Label::Network, found: Label::Descriptor })
        );
        assert_eq!(read(&text[..80]), Err(ArmourError::Cut));
        assert_eq!(read(&format!("{text}\nmore")), Err(ArmourError::Line(7)));
        assert_eq!(read(&format!("{text}{text}")), Err(ArmourError::Line(6)));
        assert_eq!(read(&text.replacen("Bwc", "B!c", 1)), Err(ArmourError::Line(2)));
        assert_eq!(read(&text.replacen('=', "", 1)), Err(ArmourError::Line(4)));
        assert_eq!(
            decode(Label::Descriptor, text.as_bytes(), 10).map(|_| ()),
            Err(ArmourError::TooLarge { len: text.len(), max: 10 })
        );
        assert_eq!(kind(text.as_bytes()), Some(Label::Descriptor));
    }
}
