//! What the two sides say to each other about legs, over the call's own channel beside the sound.
//!
//! ```text
//! kind u8 = 1  keys    seed 32                          answerer → caller: derive the keys of all legs
//!             2  offer   leg u8 ‖ relay 16 ‖ cookie 16     answerer → caller: join me there
//!             3  gone    leg u8                           either: this leg has ended here
//!             4  unwanted                                 caller → answerer: no more legs than one
//! ```

use super::LegId;
use super::seal::{SEED_LEN, Seed};
use std::fmt;

/// The longest of these messages in bytes: what a voice frame has room for.
pub const AGREE_MAX: usize = 64;

/// One thing said about legs.
#[derive(Clone)]
pub enum Agree {
    /// What the keys of all legs come from.
    Keys(Seed),
    /// A leg waits at a meeting relay.
    Offer {
        /// Its number.
        leg: LegId,
        /// The meeting relay's identifier.
        relay: [u8; 16],
        /// What the meeting relay knows it by.
        cookie: [u8; 16],
    },
    /// A leg has ended.
    Gone(LegId),
    /// The caller wants one leg and no more.
    Unwanted,
}

impl Agree {
    /// The bytes of it, at most [`AGREE_MAX`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(AGREE_MAX);
        match self {
            Self::Keys(seed) => {
                bytes.push(1);
                bytes.extend_from_slice(seed.bytes());
            }
            Self::Offer { leg, relay, cookie } => {
                bytes.extend_from_slice(&[2, leg.0]);
                bytes.extend_from_slice(relay);
                bytes.extend_from_slice(cookie);
            }
            Self::Gone(leg) => bytes.extend_from_slice(&[3, leg.0]),
            Self::Unwanted => bytes.push(4),
        }
        bytes
    }

    /// Reads one. Nothing for anything that is not exactly one of them; later versions may say more.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        match (kind, rest) {
            (1, seed) => Some(Self::Keys(Seed::new(<[u8; SEED_LEN]>::try_from(seed).ok()?))),
            (2, [leg, place @ ..]) if place.len() == 32 => {
                Some(Self::Offer { leg: LegId(*leg), relay: *place.first_chunk()?, cookie: *place.last_chunk()? })
            }
            (3, [leg]) => Some(Self::Gone(LegId(*leg))),
            (4, []) => Some(Self::Unwanted),
            _ => None,
        }
    }
}

impl fmt::Debug for Agree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keys(_) => f.write_str("Keys([redacted])"),
            Self::Offer { leg, .. } => write!(f, "Offer({leg:?}, [redacted])"),
            Self::Gone(leg) => write!(f, "Gone({leg:?})"),
            Self::Unwanted => f.write_str("Unwanted"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_reads_back_and_fits() {
        let offer = Agree::Offer { leg: LegId(3), relay: [4; 16], cookie: [5; 16] };
        for said in [Agree::Keys(Seed::new([6; 32])), offer, Agree::Gone(LegId(255)), Agree::Unwanted] {
            let bytes = said.encode();
            assert!(bytes.len() <= AGREE_MAX);
            assert_eq!(Agree::decode(&bytes).expect("its own bytes").encode(), bytes);
            assert!(Agree::decode(&bytes[..bytes.len() - 1]).is_none());
            assert!(Agree::decode(&[&bytes[..], &[0]].concat()).is_none());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_exactly_or_not_at_all(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Some(said) = Agree::decode(&bytes) {
                prop_assert_eq!(said.encode(), bytes);
            }
        }
    }
}
