//! Proofs that whoever signs a descriptor holds the keys that it announces.
//!
//! Without them a relay could announce another's link or onion key as its own, and set-ups or handshakes meant for one
//! would be attributed to the other. Signing with the identity does not show it, and neither an X25519 nor a ristretto255
//! key can sign by itself. Both proofs are Schnorr proofs made non-interactive (Fiat and Shamir) and bound to the
//! identity, so they hold in a file, with nobody online:
//!
//! - **link key**: over edwards25519, on the point whose Montgomery form is the X25519 key and whose sign bit is 0, the
//!   idea of XEdDSA. Points outside the prime-order group are refused.
//! - **onion keys**: one proof for the whole schedule. The response is `k + Σ cⁱ·xᵢ` with powers of a single challenge;
//!   `n + 1` accepting answers to distinct challenges determine all `n` secrets, so it proves knowledge of every one
//!   (Gennaro, Leigh, Sundaram and Yerazunis, "Batching Schnorr Identification Scheme", 2004).
//!
//! Nonces are derived from the secrets and the statement (as EdDSA does), so no randomness is needed and a descriptor
//! is a function of its keys. Verification works on public data and takes variable time. Decision 0041.

use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::ristretto::CompressedRistretto;
use curve25519_dalek::traits::{IsIdentity, VartimeMultiscalarMul};
use curve25519_dalek::{EdwardsPoint, MontgomeryPoint, RistrettoPoint, Scalar};
use sha2::{Digest, Sha512};
use zeroize::{Zeroize, Zeroizing};
use zmesh_sphinx::OnionSecret;

/// Length of a proof in bytes: commitment 32, response 32.
pub const PROOF_LEN: usize = 64;

const LINK_CONTEXT: &[u8] = b"zmesh link key proof v1\0";
const LINK_NONCE: &[u8] = b"zmesh link key proof nonce v1\0";
const ONION_CONTEXT: &[u8] = b"zmesh onion keys proof v1\0";
const ONION_NONCE: &[u8] = b"zmesh onion keys proof nonce v1\0";

/// Proves that the relay with this identity holds the X25519 secret behind its link key.
#[must_use]
pub fn prove_link(identity: &[u8; 32], link_secret: &[u8; 32]) -> [u8; PROOF_LEN] {
    let mut clamped = Zeroizing::new(*link_secret);
    clamped[0] &= 248;
    clamped[31] &= 127;
    clamped[31] |= 64;
    let mut secret = Scalar::from_bytes_mod_order(*clamped);
    let mut point = EdwardsPoint::mul_base(&secret);
    if point.compress().0[31] & 0x80 != 0 {
        secret = -secret;
        point = -point;
    }
    let link_key = point.to_montgomery().to_bytes();

    let mut nonce =
        Scalar::from_bytes_mod_order_wide(&digest(&[LINK_NONCE, secret.as_bytes(), identity, &link_key], &[]));
    let commitment = EdwardsPoint::mul_base(&nonce).compress().to_bytes();
    let challenge = link_challenge(identity, &link_key, &commitment);
    let response = nonce + challenge * secret;
    nonce.zeroize();
    secret.zeroize();
    join(&commitment, &response)
}

/// Whether `proof` shows that the relay with this identity holds the secret behind `link_key`.
#[must_use]
pub fn link_proof_holds(identity: &[u8; 32], link_key: &[u8; 32], proof: &[u8; PROOF_LEN]) -> bool {
    // One form per key: X25519 ignores the top bit and reduces, so other byte strings would name the same key.
    let Some(point) = MontgomeryPoint(*link_key).to_edwards(0) else {
        return false;
    };
    if point.to_montgomery().0 != *link_key || point.is_small_order() || !point.is_torsion_free() {
        return false;
    }
    let (commitment, response) = split(proof);
    let Some(response) = response else {
        return false;
    };
    let challenge = link_challenge(identity, link_key, &commitment);
    let expected = EdwardsPoint::vartime_double_scalar_mul_basepoint(&-challenge, &point, &response);
    expected.compress() == CompressedEdwardsY(commitment)
}

/// Proves that the relay with this identity holds all onion keys of a schedule that starts at epoch `first`.
#[must_use]
pub fn prove_onion(identity: &[u8; 32], first: u32, secrets: &[OnionSecret]) -> [u8; PROOF_LEN] {
    let publics: Vec<[u8; 32]> = secrets.iter().map(|s| s.public().to_bytes()).collect();
    let scalars: Vec<Zeroizing<[u8; 32]>> = secrets.iter().map(OnionSecret::to_bytes).collect();
    let mut hidden = Sha512::new_with_prefix(ONION_NONCE);
    hidden.update(identity);
    hidden.update(first.to_be_bytes());
    for (scalar, public) in scalars.iter().zip(&publics) {
        hidden.update(**scalar);
        hidden.update(public);
    }
    let wide: Zeroizing<[u8; 64]> = Zeroizing::new(hidden.finalize().into());
    let mut nonce = Scalar::from_bytes_mod_order_wide(&wide);
    let commitment = RistrettoPoint::mul_base(&nonce).compress().to_bytes();
    let challenge = onion_challenge(identity, first, &publics, &commitment);
    // Horner's rule from the last key to the first: ((x₃·c + x₂)·c + x₁)·c + k.
    let mut response = Scalar::ZERO;
    for bytes in scalars.iter().rev() {
        let mut scalar = Scalar::from_bytes_mod_order(**bytes);
        response = (response + scalar) * challenge;
        scalar.zeroize();
    }
    response += nonce;
    nonce.zeroize();
    join(&commitment, &response)
}

/// Whether `proof` shows that the relay with this identity holds the secret of every one of `keys`, the schedule from
/// epoch `first` on. Keys that are not canonical, or the identity element, are refused.
#[must_use]
pub fn onion_proof_holds(identity: &[u8; 32], first: u32, keys: &[[u8; 32]], proof: &[u8; PROOF_LEN]) -> bool {
    let (commitment, response) = split(proof);
    let (Some(response), Some(committed)) = (response, CompressedRistretto(commitment).decompress()) else {
        return false;
    };
    let mut points = Vec::with_capacity(keys.len() + 2);
    for key in keys {
        match CompressedRistretto(*key).decompress() {
            Some(point) if !point.is_identity() => points.push(point),
            _ => return false,
        }
    }
    let challenge = onion_challenge(identity, first, keys, &commitment);
    let mut scalars = Vec::with_capacity(keys.len() + 2);
    let mut power = challenge;
    for _ in keys {
        scalars.push(power);
        power *= challenge;
    }
    points.push(committed);
    scalars.push(Scalar::ONE);
    points.push(curve25519_dalek::constants::RISTRETTO_BASEPOINT_POINT);
    scalars.push(-response);
    RistrettoPoint::vartime_multiscalar_mul(&scalars, &points).is_identity()
}

fn link_challenge(identity: &[u8; 32], link_key: &[u8; 32], commitment: &[u8; 32]) -> Scalar {
    Scalar::from_bytes_mod_order_wide(&digest(&[LINK_CONTEXT, identity, link_key, commitment], &[]))
}

fn onion_challenge(identity: &[u8; 32], first: u32, keys: &[[u8; 32]], commitment: &[u8; 32]) -> Scalar {
    let head = [ONION_CONTEXT, identity, &first.to_be_bytes(), commitment];
    Scalar::from_bytes_mod_order_wide(&digest(&head, keys))
}

/// Every part but the last list has a fixed length, so the concatenation is unambiguous.
fn digest(head: &[&[u8]], tail: &[[u8; 32]]) -> Zeroizing<[u8; 64]> {
    let mut hash = Sha512::new();
    for part in head {
        hash.update(part);
    }
    for part in tail {
        hash.update(part);
    }
    Zeroizing::new(hash.finalize().into())
}

fn join(commitment: &[u8; 32], response: &Scalar) -> [u8; PROOF_LEN] {
    let mut proof = [0; PROOF_LEN];
    proof[..32].copy_from_slice(commitment);
    proof[32..].copy_from_slice(response.as_bytes());
    proof
}

/// The commitment, and the response if it is canonical: a proof has one form.
fn split(proof: &[u8; PROOF_LEN]) -> ([u8; 32], Option<Scalar>) {
    let (mut commitment, mut response) = ([0; 32], [0; 32]);
    commitment.copy_from_slice(&proof[..32]);
    response.copy_from_slice(&proof[32..]);
    (commitment, Scalar::from_canonical_bytes(response).into())
}
