//! A verifiable random function: a number that only the holder of a key can compute and that everybody can check.
//!
//! ECVRF-EDWARDS25519-SHA512-TAI of RFC 9381, over the Ed25519 keys that voters have anyway. Its nonces hash a point of 32 bytes under
//! the key's prefix, Ed25519's hash messages that begin with one of our contexts and are longer: no nonce serves both. Verification is
//! on public data and takes variable time. Decision 0183 says why this is not a crate's.

use curve25519_dalek::EdwardsPoint;
use curve25519_dalek::Scalar;
use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::scalar::clamp_integer;
use curve25519_dalek::traits::IsIdentity;
use ed25519_dalek::SigningKey;
use sha2::{Digest, Sha512};
use zeroize::{Zeroize, Zeroizing};

/// Length of a proof, in bytes: point 32, challenge 16, response 32.
pub const VRF_PROOF_LEN: usize = 80;

const SUITE: u8 = 0x03;
const CHALLENGE_LEN: usize = 16;

/// The output of the function: 64 bytes, as good as random to everybody but the holder of the key.
pub type VrfOutput = [u8; 64];

/// The proof for an input, and the output that it proves.
///
/// # Panics
/// Never: that none of 256 tries gives a point has a chance of 2⁻²⁵⁶.
#[must_use]
pub fn vrf_prove(key: &SigningKey, input: &[u8]) -> ([u8; VRF_PROOF_LEN], VrfOutput) {
    let wide: Zeroizing<[u8; 64]> = Zeroizing::new(Sha512::digest(key.as_bytes()).into());
    let mut half = Zeroizing::new([0; 32]);
    half.copy_from_slice(&wide[..32]);
    let mut secret = Scalar::from_bytes_mod_order(clamp_integer(*half));
    let public = key.verifying_key().to_bytes();
    let point = to_curve(&public, input).expect("one of 256 hashes is a point");
    let hashed = point.compress();
    let gamma = (point * secret).compress();
    let nonce_hash: Zeroizing<[u8; 64]> =
        Zeroizing::new(Sha512::new().chain_update(&wide[32..]).chain_update(hashed.0).finalize().into());
    let mut nonce = Scalar::from_bytes_mod_order_wide(&nonce_hash);
    let short = challenge(&public, &hashed, &gamma, &EdwardsPoint::mul_base(&nonce), &(point * nonce));
    let response = nonce + wide_challenge(&short) * secret;
    secret.zeroize();
    nonce.zeroize();
    let mut proof = [0; VRF_PROOF_LEN];
    proof[..32].copy_from_slice(&gamma.0);
    proof[32..48].copy_from_slice(&short);
    proof[48..].copy_from_slice(response.as_bytes());
    let gamma = gamma.decompress().expect("a point that was just compressed");
    (proof, output(&gamma))
}

/// The output for an input under a public key, if the proof holds.
#[must_use]
pub fn vrf_verify(public: &[u8; 32], input: &[u8], proof: &[u8; VRF_PROOF_LEN]) -> Option<VrfOutput> {
    let key = point_of(public)?;
    if key.is_small_order() {
        return None;
    }
    let (mut gamma_bytes, mut short, mut response) = ([0; 32], [0; CHALLENGE_LEN], [0; 32]);
    gamma_bytes.copy_from_slice(&proof[..32]);
    short.copy_from_slice(&proof[32..48]);
    response.copy_from_slice(&proof[48..]);
    let gamma = point_of(&gamma_bytes)?;
    // A second form of a proof would be a second proof.
    let response: Scalar = Option::from(Scalar::from_canonical_bytes(response))?;
    let point = to_curve(public, input)?;
    let minus = -wide_challenge(&short);
    let left = EdwardsPoint::vartime_double_scalar_mul_basepoint(&minus, &key, &response);
    let right = point * response + gamma * minus;
    let expected = challenge(public, &point.compress(), &CompressedEdwardsY(gamma_bytes), &left, &right);
    (expected == short).then(|| output(&gamma))
}

/// A point in its one canonical form.
fn point_of(bytes: &[u8; 32]) -> Option<EdwardsPoint> {
    let point = CompressedEdwardsY(*bytes).decompress()?;
    (point.compress().0 == *bytes).then_some(point)
}

/// RFC 9381 section 5.4.1.1, try and increment.
fn to_curve(public: &[u8; 32], input: &[u8]) -> Option<EdwardsPoint> {
    (0..=u8::MAX).find_map(|count| {
        let hash: [u8; 64] = Sha512::new()
            .chain_update([SUITE, 1])
            .chain_update(public)
            .chain_update(input)
            .chain_update([count, 0])
            .finalize()
            .into();
        let mut half = [0; 32];
        half.copy_from_slice(&hash[..32]);
        let point = CompressedEdwardsY(half).decompress()?.mul_by_cofactor();
        (!point.is_identity()).then_some(point)
    })
}

/// RFC 9381 section 5.4.3.
fn challenge(
    public: &[u8; 32],
    hashed: &CompressedEdwardsY,
    gamma: &CompressedEdwardsY,
    left: &EdwardsPoint,
    right: &EdwardsPoint,
) -> [u8; CHALLENGE_LEN] {
    let hash: [u8; 64] = Sha512::new()
        .chain_update([SUITE, 2])
        .chain_update(public)
        .chain_update(hashed.0)
        .chain_update(gamma.0)
        .chain_update(left.compress().0)
        .chain_update(right.compress().0)
        .chain_update([0])
        .finalize()
        .into();
    let mut short = [0; CHALLENGE_LEN];
    short.copy_from_slice(&hash[..CHALLENGE_LEN]);
    short
}

fn wide_challenge(short: &[u8; CHALLENGE_LEN]) -> Scalar {
    Scalar::from(u128::from_le_bytes(*short))
}

/// RFC 9381 section 5.2.
fn output(gamma: &EdwardsPoint) -> VrfOutput {
    Sha512::new()
        .chain_update([SUITE, 3])
        .chain_update(gamma.mul_by_cofactor().compress().0)
        .chain_update([0])
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    /// RFC 9381 appendix B.3: seed, public key, input, proof, output.
    const VECTORS: [[&str; 5]; 3] = [
        [
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "8657106690b5526245a92b003bb079ccd1a92130477671f6fc01ad16f26f723f26f8a57ccaed74ee1b190bed1f479d9727d2d0f9b005a6e456a35d4fb0daab1268a1b0db10836d9826a528ca76567805",
            "90cf1df3b703cce59e2a35b925d411164068269d7b2d29f3301c03dd757876ff66b71dda49d2de59d03450451af026798e8f81cd2e333de5cdf4f3e140fdd8ae",
        ],
        [
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "f3141cd382dc42909d19ec5110469e4feae18300e94f304590abdced48aed5933bf0864a62558b3ed7f2fea45c92a465301b3bbf5e3e54ddf2d935be3b67926da3ef39226bbc355bdc9850112c8f4b02",
            "eb4440665d3891d668e7e0fcaf587f1b4bd7fbfe99d0eb2211ccec90496310eb5e33821bc613efb94db5e5b54c70a848a0bef4553a41befc57663b56373a5031",
        ],
        [
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "9bc0f79119cc5604bf02d23b4caede71393cedfbb191434dd016d30177ccbf8096bb474e53895c362d8628ee9f9ea3c0e52c7a5c691b6c18c9979866568add7a2d41b00b05081ed0f58ee5e31b3a970e",
            "645427e5d00c62a23fb703732fa5d892940935942101e456ecca7bb217c61c452118fec1219202a0edcf038bb6373241578be7217ba85a2687f7a0310b2df19f",
        ],
    ];

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        HEXLOWER.decode(hex.as_bytes()).unwrap().try_into().unwrap()
    }

    #[test]
    fn the_vectors_of_the_rfc_hold() {
        for [seed, public, input, proof, output] in VECTORS {
            let key = SigningKey::from_bytes(&bytes(seed));
            let input = HEXLOWER.decode(input.as_bytes()).unwrap();
            assert_eq!(key.verifying_key().to_bytes(), bytes(public));
            assert_eq!(vrf_prove(&key, &input), (bytes(proof), bytes(output)));
            assert_eq!(vrf_verify(&bytes(public), &input, &bytes(proof)), Some(bytes(output)));
        }
    }

    #[test]
    fn nothing_altered_is_accepted() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let public = key.verifying_key().to_bytes();
        let (proof, _) = vrf_prove(&key, b"input");
        assert!(vrf_verify(&public, b"inpux", &proof).is_none());
        assert!(vrf_verify(&SigningKey::from_bytes(&[8; 32]).verifying_key().to_bytes(), b"input", &proof).is_none());
        for at in 0..proof.len() {
            let mut bad = proof;
            bad[at] ^= 1;
            assert!(vrf_verify(&public, b"input", &bad).is_none(), "byte {at}");
        }
        // The response plus the order of the group is the same number in a second form.
        let mut second = proof;
        let order: [u8; 32] = bytes("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
        let mut carry = 0;
        for (byte, more) in second[48..].iter_mut().zip(order) {
            let sum = u16::from(*byte) + u16::from(more) + carry;
            *byte = u8::try_from(sum & 0xff).unwrap();
            carry = sum >> 8;
        }
        assert!(vrf_verify(&public, b"input", &second).is_none());
        // Keys of small order prove nothing.
        let neutral = {
            let mut one = [0; 32];
            one[0] = 1;
            one
        };
        assert!(vrf_verify(&neutral, b"input", &proof).is_none());
    }
}
