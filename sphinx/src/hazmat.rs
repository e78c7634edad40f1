//! Insides for test vectors and benchmarks: the wide-block cipher, and the key schedule step by step.
//!
//! Everything here can be computed by whoever holds the onion key and the ephemeral secret that are its arguments; it gives no access
//! to a circuit's keys otherwise.

use crate::{
    Error, OnionSecret, Packet, RelayId,
    group::{self, SecretScalar},
    header::SphinxKeys,
    kdf::KeySource,
    secret::Secret,
    setup::CircuitKeys,
};

pub use crate::wide_block::WideBlock;

/// Named values of the key schedule, in the order in which they are derived.
pub type Steps = Vec<(&'static str, Vec<u8>)>;

/// What a hop derives from a set-up packet by its onion key alone.
///
/// # Errors
/// [`Error::InvalidElement`] if the packet does not begin with a group element.
pub fn sphinx_steps(packet: &Packet, id: &RelayId, onion: &OnionSecret) -> Result<Steps, Error> {
    let (alpha, element) = alpha(packet)?;
    let shared = onion.agree(&element);
    let keys = SphinxKeys::new(&shared, id, &onion.public(), &alpha);
    let mut steps = vec![("alpha", alpha.to_vec()), ("shared", shared.expose().to_vec())];
    steps.extend(keys.steps());
    Ok(steps)
}

/// What a hop derives once it has drawn its ephemeral secret from these 64 uniform bytes.
///
/// # Errors
/// [`Error::InvalidElement`] if the packet does not begin with a group element, [`Error::InvalidSecret`] if the bytes reduce to zero.
pub fn circuit_steps(packet: &Packet, id: &RelayId, onion: &OnionSecret, uniform: &[u8; 64]) -> Result<Steps, Error> {
    let (alpha, element) = alpha(packet)?;
    let shared = onion.agree(&element);
    let ephemeral = SecretScalar::from_uniform(&Secret::from_bytes(uniform)).ok_or(Error::InvalidSecret)?;
    let (share, _) = ephemeral.public();
    let fresh = ephemeral.agree(&element);
    let packet_hash = packet.hash();
    let keys = CircuitKeys::derive(&fresh, &shared, id, &onion.public(), &alpha, &share, &packet_hash);
    let mut steps = vec![
        ("share", share.to_vec()),
        ("fresh", fresh.expose().to_vec()),
        ("packet hash", packet_hash.to_vec()),
        ("reply authenticator", keys.authentication.expose().to_vec()),
        ("forward", keys.forward.expose().to_vec()),
    ];
    let names = ["backward 0", "backward 1", "backward 2", "backward 3"];
    steps.extend(names.into_iter().zip(&keys.backward).map(|(name, key)| (name, key.expose().to_vec())));
    Ok(steps)
}

/// The keys of the first phases of a chain, and the secret behind the last of them.
#[must_use]
pub fn phase_steps(root: &[u8; 32], phases: usize) -> (Vec<[u8; 32]>, [u8; 32]) {
    let mut root = Secret::from_bytes(root);
    let keys = (0..phases)
        .map(|_| {
            let source = KeySource::from_root(&root);
            root = source.derive("next phase");
            *source.derive("phase key").expose()
        })
        .collect();
    (keys, *root.expose())
}

fn alpha(packet: &Packet) -> Result<([u8; 32], curve25519_dalek::RistrettoPoint), Error> {
    let mut alpha = [0; 32];
    alpha.copy_from_slice(&packet.as_bytes()[..32]);
    Ok((alpha, group::decode(&alpha)?))
}
