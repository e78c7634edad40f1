//! Handshake messages, and the public-key work on them as jobs that may run on another thread.
//!
//! ```text
//! Init      header (index = initiator's)  ‖ Noise message 1, 1152 ‖ mac1 16 ‖ mac2 16
//! Response  header (index = initiator's)  ‖ Noise message 2, 1152 ‖ mac1 16 ‖ zero 16
//! ```
//!
//! The Noise payloads fill the messages, so that everything up to `mac1` is authentic. The initiator's static key in
//! message 1 of IK is encrypted to the responder's static key only: who later steals the responder's link secret and
//! has recorded message 1 learns which relay it was. (No keys of sessions are learned: those need both ephemerals.)

use snow::HandshakeState;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::suite::{Pattern, SessionKeys, Suite};
use super::types::LinkSecret;
use crate::wire::datagram::{HEADER_LEN, L_LEN, TAG_LEN};

/// Bytes of a Noise message in a handshake datagram.
pub(super) const NOISE_LEN: usize = L_LEN - HEADER_LEN - 32;
const RESPONSE_PAYLOAD: usize = NOISE_LEN - 32 - TAG_LEN;

/// A Noise message, padded to its fixed length by its payload.
pub(super) type NoiseMessage = Box<[u8; NOISE_LEN]>;

/// What the initiator says in message 1: timestamp 8 ‖ flags 1 ‖ old index 4 ‖ token 32 ‖ identity 32 ‖ zero.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(super) struct InitPayload {
    /// Unix time in nanoseconds, always growing; zero from an origin, whose clock is nobody's business.
    pub(super) timestamp: u64,
    /// Renews a link: the responder's index of its session, and the token that the responder gave with it.
    pub(super) renews: Option<(u32, [u8; 32])>,
    /// The Ed25519 identity that the initiator claims (IK).
    pub(super) identity: Option<[u8; 32]>,
}

const RENEWS: u8 = 1;
const CLAIMS: u8 = 2;

impl InitPayload {
    fn write(&self, out: &mut [u8]) {
        out[..8].copy_from_slice(&self.timestamp.to_be_bytes());
        if let Some((index, token)) = &self.renews {
            out[8] |= RENEWS;
            out[9..13].copy_from_slice(&index.to_be_bytes());
            out[13..45].copy_from_slice(token);
        }
        if let Some(identity) = &self.identity {
            out[8] |= CLAIMS;
            out[45..77].copy_from_slice(identity);
        }
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (&timestamp, rest) = bytes.split_first_chunk::<8>()?;
        let (&[flags], rest) = rest.split_first_chunk::<1>()?;
        let (&index, rest) = rest.split_first_chunk::<4>()?;
        let (&token, rest) = rest.split_first_chunk::<32>()?;
        let (&identity, rest) = rest.split_first_chunk::<32>()?;
        let clean = flags & !(RENEWS | CLAIMS) == 0 && rest.iter().all(|byte| *byte == 0);
        clean.then_some(Self {
            timestamp: u64::from_be_bytes(timestamp),
            renews: (flags & RENEWS != 0).then_some((u32::from_be_bytes(index), token)),
            identity: (flags & CLAIMS != 0).then_some(identity),
        })
    }
}

/// What the responder says in message 2: index 4 ‖ flags 1 ‖ token 32 ‖ zero.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(super) struct ResponsePayload {
    /// The responder's index of the new session.
    pub(super) index: u32,
    /// Whether the session renews the link that message 1 named.
    pub(super) renewed: bool,
    /// The token that renews the new session.
    pub(super) token: [u8; 32],
}

impl ResponsePayload {
    fn write(&self, out: &mut [u8]) {
        out[..4].copy_from_slice(&self.index.to_be_bytes());
        out[4] = u8::from(self.renewed);
        out[5..37].copy_from_slice(&self.token);
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (&index, rest) = bytes.split_first_chunk::<4>()?;
        let (&[flags], rest) = rest.split_first_chunk::<1>()?;
        let (&token, rest) = rest.split_first_chunk::<32>()?;
        let clean = flags <= 1 && rest.iter().all(|byte| *byte == 0);
        clean.then_some(Self { index: u32::from_be_bytes(index), renewed: flags == 1, token })
    }
}

/// Public-key work that may run on another thread. Every job that was taken from [`Links`](super::Links) must be run
/// and its outcome given back, in any order.
#[derive(Debug)]
pub struct HandshakeJob(pub(super) Work);

/// The outcome of a [`HandshakeJob`].
#[derive(Debug)]
pub struct HandshakeDone(pub(super) Outcome);

pub(super) enum Work {
    /// Writes message 1.
    Initiate {
        index: u32,
        suite: Suite,
        local: Option<LinkSecret>,
        responder: [u8; 32],
        responder_key: [u8; 32],
        payload: InitPayload,
        seed: Zeroizing<[u8; 32]>,
    },
    /// Reads message 1.
    Read {
        ticket: u64,
        suite: Suite,
        identity: [u8; 32],
        secret: LinkSecret,
        message: NoiseMessage,
        seed: Zeroizing<[u8; 32]>,
    },
    /// Writes message 2.
    Answer { ticket: u64, state: Box<HandshakeState>, payload: ResponsePayload },
    /// Reads message 2.
    Finish { index: u32, state: Box<HandshakeState>, message: NoiseMessage },
}

/// Message 1 as the responder read it.
pub(super) struct ReadInit {
    pub(super) state: Box<HandshakeState>,
    pub(super) link_key: Option<[u8; 32]>,
    pub(super) payload: InitPayload,
}

pub(super) enum Outcome {
    Initiated {
        index: u32,
        result: Option<(Box<HandshakeState>, NoiseMessage)>,
    },
    Read {
        ticket: u64,
        result: Option<ReadInit>,
    },
    Answered {
        ticket: u64,
        result: Option<(SessionKeys, NoiseMessage)>,
    },
    /// A message 2 that fails leaves the handshake as it was: a forged one must not end it.
    Finished {
        index: u32,
        result: Result<(SessionKeys, ResponsePayload), Box<HandshakeState>>,
    },
}

impl HandshakeJob {
    /// Does the work. Pure: no clock, and no randomness but what the job carries.
    #[must_use]
    pub fn run(self) -> HandshakeDone {
        HandshakeDone(match self.0 {
            Work::Initiate { index, suite, local, responder, responder_key, payload, seed } => {
                let state = suite.initiator(local.as_ref(), &responder, &responder_key, &seed);
                let result = state.ok().and_then(|state| write_init(state, suite, &payload));
                Outcome::Initiated { index, result }
            }
            Work::Read { ticket, suite, identity, secret, message, seed } => {
                let state = suite.responder(&identity, &secret, &seed);
                let result = state.ok().and_then(|state| read_init(state, suite, &message));
                Outcome::Read { ticket, result }
            }
            Work::Answer { ticket, state, payload } => {
                Outcome::Answered { ticket, result: write_response(*state, &payload) }
            }
            Work::Finish { index, state, message } => {
                Outcome::Finished { index, result: read_response(state, &message) }
            }
        })
    }

    /// How many scalar multiplications the work costs; one takes about 35 µs on a 2.5 GHz core.
    #[must_use]
    pub fn multiplications(&self) -> u32 {
        match &self.0 {
            Work::Initiate { suite: Suite { pattern: Pattern::Ik, .. }, .. } => 4,
            Work::Read { suite: Suite { pattern: Pattern::Ik, .. }, .. } | Work::Answer { .. } => 3,
            Work::Initiate { .. } | Work::Read { .. } | Work::Finish { .. } => 2,
        }
    }
}

fn init_payload_len(suite: Suite) -> usize {
    match suite.pattern {
        Pattern::Ik => NOISE_LEN - 32 - 48 - TAG_LEN,
        Pattern::Nk => NOISE_LEN - 32 - TAG_LEN,
    }
}

fn write_init(
    mut state: HandshakeState,
    suite: Suite,
    payload: &InitPayload,
) -> Option<(Box<HandshakeState>, NoiseMessage)> {
    let mut plain = Zeroizing::new([0; NOISE_LEN]);
    payload.write(&mut *plain);
    let mut message = Box::new([0; NOISE_LEN]);
    state.write_message(&plain[..init_payload_len(suite)], &mut message[..]).ok()?;
    Some((Box::new(state), message))
}

fn read_init(mut state: HandshakeState, suite: Suite, message: &NoiseMessage) -> Option<ReadInit> {
    let mut plain = Zeroizing::new([0; NOISE_LEN]);
    let len = state.read_message(&message[..], &mut *plain).ok()?;
    let payload = InitPayload::read(plain.get(..len)?)?;
    let link_key = match suite.pattern {
        Pattern::Ik => Some(*state.get_remote_static()?.first_chunk::<32>()?),
        Pattern::Nk => None,
    };
    Some(ReadInit { state: Box::new(state), link_key, payload })
}

fn write_response(mut state: HandshakeState, payload: &ResponsePayload) -> Option<(SessionKeys, NoiseMessage)> {
    let mut plain = Zeroizing::new([0; RESPONSE_PAYLOAD]);
    payload.write(&mut *plain);
    let mut message = Box::new([0; NOISE_LEN]);
    state.write_message(&*plain, &mut message[..]).ok()?;
    Some((SessionKeys::new(state).ok()?, message))
}

fn read_response(
    mut state: Box<HandshakeState>,
    message: &NoiseMessage,
) -> Result<(SessionKeys, ResponsePayload), Box<HandshakeState>> {
    let mut plain = Zeroizing::new([0; NOISE_LEN]);
    let Ok(len) = state.read_message(&message[..], &mut *plain) else {
        return Err(state);
    };
    let payload = plain.get(..len).and_then(ResponsePayload::read);
    let Some(payload) = payload else {
        return Err(state);
    };
    let keys = SessionKeys::new(*state).expect("Noise has read the last message of the pattern");
    Ok((keys, payload))
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Initiate { .. } => "Initiate",
            Self::Read { .. } => "Read",
            Self::Answer { .. } => "Answer",
            Self::Finish { .. } => "Finish",
        })
    }
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Initiated { .. } => "Initiated",
            Self::Read { .. } => "Read",
            Self::Answered { .. } => "Answered",
            Self::Finished { .. } => "Finished",
        })
    }
}
