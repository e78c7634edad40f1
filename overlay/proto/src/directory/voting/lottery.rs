//! Who proposes first in a round.

use crate::keys::{SignerKey, VRF_PROOF_LEN, VrfOutput, vrf_verify};
use crate::wire::control::vote::Scope;
use crate::wire::document::SignerId;

const CONTEXT: &[u8] = b"zmesh proposer v1\0";

/// What the lottery of a round is over. The randomness of the document before was fixed when nobody could foresee it.
fn input(scope: &Scope, randomness: &[u8; 32], round: u32) -> Vec<u8> {
    [CONTEXT, &scope.network.0, &scope.previous.0, randomness, &round.to_be_bytes()].concat()
}

/// A voter's ticket: the proof, and its rank. The lowest rank goes first.
pub(super) fn draw(
    key: &SignerKey,
    scope: &Scope,
    randomness: &[u8; 32],
    round: u32,
) -> ([u8; VRF_PROOF_LEN], VrfOutput) {
    key.vrf_prove(&input(scope, randomness, round))
}

/// The rank of a voter's ticket, if its proof holds.
pub(super) fn rank(
    voter: &SignerId,
    scope: &Scope,
    randomness: &[u8; 32],
    round: u32,
    proof: &[u8; VRF_PROOF_LEN],
) -> Option<VrfOutput> {
    vrf_verify(&voter.0, &input(scope, randomness, round), proof)
}

/// How long a voter of this rank waits before it proposes, in a round that waits `patience`: so that most need not.
pub(super) fn delay(rank: &VrfOutput, patience: u64) -> u64 {
    let part = u64::from(u16::from_be_bytes([rank[0], rank[1]]));
    (patience / 2).saturating_mul(part) >> 16
}
