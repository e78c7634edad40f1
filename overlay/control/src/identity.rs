//! Who a node is on the control plane: an Ed25519 key, and the PeerId that libp2p makes of it.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use ed25519_dalek::SigningKey;
use libp2p::PeerId;
use libp2p::identity::{Keypair, PublicKey, ed25519};
use zeroize::Zeroizing;

use crate::entropy;

/// What a PeerId of an Ed25519 key holds before the key: "identity" multihash of 36 bytes, the protobuf of a public key
/// of type 1 and 32 bytes.
const PEER_ID_HEAD: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// The public half of a node's identity on the control plane. A relay's is the identity that signs its descriptor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerIdentity(pub [u8; 32]);

impl PeerIdentity {
    /// Of a PeerId; `None` for other keys than Ed25519, which zMesh does not talk to.
    pub(crate) fn of(peer: &PeerId) -> Option<Self> {
        let bytes = peer.to_bytes();
        let key = bytes.strip_prefix(&PEER_ID_HEAD)?;
        Some(Self(key.try_into().ok()?))
    }

    /// The PeerId; `None` if these bytes are no point of the curve.
    pub(crate) fn peer_id(&self) -> Option<PeerId> {
        let key = ed25519::PublicKey::try_from_bytes(&self.0).ok()?;
        Some(PublicKey::from(key).to_peer_id())
    }
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerIdentity([redacted])")
    }
}

impl FromStr for PeerIdentity {
    type Err = NoIdentity;

    fn from_str(text: &str) -> Result<Self, NoIdentity> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| NoIdentity)?;
        let identity = Self(bytes.try_into().map_err(|_| NoIdentity)?);
        identity.peer_id().map(|_| identity).ok_or(NoIdentity)
    }
}

/// A text is no identity.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an identity is 64 hexadecimal digits of an Ed25519 key")]
pub struct NoIdentity;

/// The key pair of a relay's lasting identity.
pub(crate) fn lasting(key: &SigningKey) -> Keypair {
    let mut seed = Zeroizing::new(key.to_bytes());
    Keypair::ed25519_from_bytes(seed.as_mut_slice()).expect("32 bytes are an Ed25519 seed")
}

/// A key pair for one session.
pub(crate) fn fresh() -> Keypair {
    let mut seed = entropy::seed();
    Keypair::ed25519_from_bytes(seed.as_mut_slice()).expect("32 bytes are an Ed25519 seed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_and_its_peer_id_are_two_forms_of_one_key() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let peer = lasting(&key).public().to_peer_id();
        let identity = PeerIdentity(key.verifying_key().to_bytes());
        assert_eq!(PeerIdentity::of(&peer), Some(identity));
        assert_eq!(identity.peer_id(), Some(peer));
        assert_eq!(identity.to_string().parse(), Ok(identity));
        assert_eq!("00".parse::<PeerIdentity>(), Err(NoIdentity));
        assert!(!format!("{identity:?}").contains(&identity.to_string()));
    }

    #[test]
    fn sessions_do_not_share_an_identity() {
        assert_ne!(fresh().public(), fresh().public());
    }

    #[test]
    fn a_hashed_peer_id_is_no_identity() {
        assert_eq!(
            PeerIdentity::of(&PeerId::from_bytes(&[&[0x12, 32][..], &[9; 32]].concat()).expect("SHA-256")),
            None
        );
    }
}
