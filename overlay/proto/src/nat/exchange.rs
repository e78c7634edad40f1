//! Offers and answers: what two nodes tell each other, through others, before they probe.
//!
//! ```text
//! body    = Noise_NK_25519_ChaChaPoly_SHA256, message 1 or 2: 32 + 400 + 16
//! payload = version u8 ‖ tag u32 ‖ secret 32 ‖ mapping u8 ‖ filtering u8 ‖ count u8 ‖ count × candidate 19 ‖ zero …
//! ```
//!
//! The responder's key is its link key, so who carries the messages learns neither the addresses nor the secret, and
//! cannot answer in the responder's place. The initiator stays unknown, as on the link that follows if it is an origin's.

use snow::HandshakeState;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::candidate::{CANDIDATE_LEN, Candidate, MAX_CANDIDATES};
use super::observe::{Filtering, Mapping};
use crate::link::{LinkSecret, sealed_initiator, sealed_responder};
use crate::wire::frame::signal::BODY_LEN;

/// Bytes of a payload.
pub const PAYLOAD_LEN: usize = BODY_LEN - 48;
const CONTEXT: &[u8] = b"zmesh nat exchange v1";
const VERSION: u8 = 1;
const HEAD: usize = 40;

/// What one side says of itself.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Description {
    /// Its tag: what probes to it carry.
    #[zeroize(skip)]
    pub tag: u32,
    /// Its part of the secret that authenticates probes.
    pub secret: [u8; 32],
    /// How its translator gives out addresses.
    #[zeroize(skip)]
    pub mapping: Mapping,
    /// Whom its translator lets in.
    #[zeroize(skip)]
    pub filtering: Filtering,
    /// Where it may be reached, best first.
    #[zeroize(skip)]
    pub candidates: Vec<Candidate>,
}

impl Description {
    /// The payload's bytes; candidates beyond the bound are left out.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; PAYLOAD_LEN]> {
        let mut out = Zeroizing::new([0; PAYLOAD_LEN]);
        let candidates = &self.candidates[..self.candidates.len().min(MAX_CANDIDATES)];
        out[0] = VERSION;
        out[1..5].copy_from_slice(&self.tag.to_be_bytes());
        out[5..37].copy_from_slice(&self.secret);
        out[37] = self.mapping as u8;
        out[38] = self.filtering as u8;
        out[39] = u8::try_from(candidates.len()).unwrap_or(0);
        for (slot, candidate) in out[HEAD..].chunks_exact_mut(CANDIDATE_LEN).zip(candidates) {
            if let Ok(slot) = slot.try_into() {
                candidate.write(slot);
            }
        }
        out
    }

    /// Reads a payload; `None` when it is none of this version.
    #[must_use]
    pub fn read(bytes: &[u8; PAYLOAD_LEN]) -> Option<Self> {
        let (&[version], rest) = bytes.split_first_chunk::<1>()?;
        let (&tag, rest) = rest.split_first_chunk::<4>()?;
        let (&secret, rest) = rest.split_first_chunk::<32>()?;
        let (&[mapping, filtering, count], rest) = rest.split_first_chunk::<3>()?;
        let count = usize::from(count);
        if version != VERSION || count > MAX_CANDIDATES {
            return None;
        }
        let (candidates, zero) = rest.split_at_checked(count * CANDIDATE_LEN)?;
        let candidates = candidates.chunks_exact(CANDIDATE_LEN).map(|bytes| Candidate::read(bytes.try_into().ok()?));
        let clean = zero.iter().all(|byte| *byte == 0);
        let description = Self {
            tag: u32::from_be_bytes(tag),
            secret,
            mapping: Mapping::from_byte(mapping)?,
            filtering: Filtering::from_byte(filtering)?,
            candidates: candidates.collect::<Option<_>>()?,
        };
        clean.then_some(description)
    }
}

impl std::fmt::Debug for Description {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Description").field("candidates", &self.candidates.len()).finish_non_exhaustive()
    }
}

/// Public-key work of an exchange.
pub(crate) enum ExchangeWork {
    Offer { attempt: u32, identity: [u8; 32], key: [u8; 32], own: Box<Description>, seed: Zeroizing<[u8; 32]> },
    Answer(Box<AnswerWork>),
    Finish { attempt: u32, state: Box<HandshakeState>, body: Box<[u8; BODY_LEN]> },
}

pub(crate) struct AnswerWork {
    pub(crate) attempt: u32,
    pub(crate) identity: [u8; 32],
    pub(crate) secret: LinkSecret,
    pub(crate) body: Box<[u8; BODY_LEN]>,
    pub(crate) own: Description,
    pub(crate) seed: Zeroizing<[u8; 32]>,
}

/// What became of it.
pub(crate) enum ExchangeDone {
    Offered { attempt: u32, result: Option<(Box<HandshakeState>, Box<[u8; BODY_LEN]>)> },
    Answered { attempt: u32, result: Option<(Description, Box<[u8; BODY_LEN]>)> },
    Finished { attempt: u32, result: Option<Description> },
}

impl ExchangeWork {
    pub(crate) fn run(self) -> ExchangeDone {
        match self {
            Self::Offer { attempt, identity, key, own, seed } => {
                ExchangeDone::Offered { attempt, result: offer(&identity, &key, &own, &seed) }
            }
            Self::Answer(work) => ExchangeDone::Answered {
                attempt: work.attempt,
                result: answer(&work.identity, &work.secret, &work.body, &work.own, &work.seed),
            },
            Self::Finish { attempt, state, body } => ExchangeDone::Finished { attempt, result: finish(*state, &body) },
        }
    }
}

impl std::fmt::Debug for ExchangeWork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ExchangeWork")
    }
}

impl std::fmt::Debug for ExchangeDone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ExchangeDone")
    }
}

fn prologue(identity: &[u8; 32]) -> Vec<u8> {
    [CONTEXT, identity].concat()
}

/// Writes an offer to the relay with this identity and link key.
pub(crate) fn offer(
    identity: &[u8; 32],
    key: &[u8; 32],
    own: &Description,
    seed: &[u8; 32],
) -> Option<(Box<HandshakeState>, Box<[u8; BODY_LEN]>)> {
    let mut state = sealed_initiator(&prologue(identity), key, seed).ok()?;
    let mut body = Box::new([0; BODY_LEN]);
    let len = state.write_message(&own.to_bytes()[..], &mut body[..]).ok()?;
    (len == BODY_LEN).then(|| (Box::new(state), body))
}

/// Reads an offer and writes the answer.
pub(crate) fn answer(
    identity: &[u8; 32],
    secret: &LinkSecret,
    body: &[u8; BODY_LEN],
    own: &Description,
    seed: &[u8; 32],
) -> Option<(Description, Box<[u8; BODY_LEN]>)> {
    let mut state = sealed_responder(&prologue(identity), secret, seed).ok()?;
    let offered = read(&mut state, body)?;
    let mut answer = Box::new([0; BODY_LEN]);
    let len = state.write_message(&own.to_bytes()[..], &mut answer[..]).ok()?;
    (len == BODY_LEN).then_some((offered, answer))
}

/// Reads an answer.
pub(crate) fn finish(mut state: HandshakeState, body: &[u8; BODY_LEN]) -> Option<Description> {
    read(&mut state, body)
}

fn read(state: &mut HandshakeState, body: &[u8; BODY_LEN]) -> Option<Description> {
    let mut plain = Zeroizing::new([0; BODY_LEN]);
    let len = state.read_message(body, &mut *plain).ok()?;
    Description::read(plain.get(..len)?.try_into().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nat::candidate::CandidateKind;
    use proptest::prelude::*;

    fn description(tag: u32) -> Description {
        let candidate = Candidate { kind: CandidateKind::Host, address: "192.0.2.1:9".parse().expect("an address") };
        Description {
            tag,
            secret: [7; 32],
            mapping: Mapping::Independent,
            filtering: Filtering::Unknown,
            candidates: vec![candidate; 3],
        }
    }

    fn secret() -> LinkSecret {
        LinkSecret::from_bytes([3; 32])
    }

    proptest! {
        #[test]
        fn any_payload_gives_a_description_or_nothing(head in proptest::collection::vec(any::<u8>(), HEAD + 40)) {
            let mut bytes = [0; PAYLOAD_LEN];
            bytes[..head.len()].copy_from_slice(&head);
            bytes[0] = 1;
            if let Some(read) = Description::read(&bytes) {
                prop_assert_eq!(&read.to_bytes()[..], &bytes[..]);
            }
        }
    }

    #[test]
    fn both_learn_what_the_other_said() {
        let (state, body) = offer(&[1; 32], &secret().public(), &description(5), &[8; 32]).expect("an offer");
        let (offered, body) = answer(&[1; 32], &secret(), &body, &description(6), &[9; 32]).expect("an answer");
        let answered = finish(*state, &body).expect("it is for us");
        assert_eq!((offered.tag, answered.tag, answered.candidates.len()), (5, 6, 3));
    }

    #[test]
    fn nobody_else_reads_or_answers() {
        let (state, body) = offer(&[1; 32], &secret().public(), &description(5), &[8; 32]).expect("an offer");
        let other = LinkSecret::from_bytes([4; 32]);
        assert!(answer(&[1; 32], &other, &body, &description(6), &[9; 32]).is_none(), "another key");
        assert!(answer(&[2; 32], &secret(), &body, &description(6), &[9; 32]).is_none(), "another identity");
        let mut changed = body.clone();
        changed[200] ^= 1;
        assert!(answer(&[1; 32], &secret(), &changed, &description(6), &[9; 32]).is_none(), "tampered");
        let (_, late) = offer(&[1; 32], &secret().public(), &description(5), &[10; 32]).expect("an offer");
        let (_, answered) = answer(&[1; 32], &secret(), &late, &description(6), &[9; 32]).expect("an answer");
        assert!(finish(*state, &answered).is_none(), "the answer to another offer");
    }
}
