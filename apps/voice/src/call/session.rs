//! The end-to-end channel: a Noise handshake in two messages, then frames sealed one by one under explicit counters.
//!
//! Pattern `NKpsk0`: the caller knows the answerer's key and the shared secret from the invite and is itself unknown. Both one-time keys go
//! into the frame keys, so that revealing the invite's key later opens nothing. Messages may be lost, repeated and reordered: the handshake
//! is retried by its owner, and a frame's counter lies in the open beside it.

use super::commitment::{COMMITMENT_LEN, Commitment, Nonce};
use crate::invite::{AnswerKey, Invite};
use crate::media::frame::PLAINTEXT_LEN;
use crate::media::window::ReplayWindow;
use snow::{Builder, HandshakeState, StatelessTransportState};
use std::fmt;
use zeroize::Zeroize;

/// Length of every message of a call, whatever it is.
pub const MESSAGE_LEN: usize = 1 + COUNTER_LEN + PLAINTEXT_LEN + TAG_LEN;
const COUNTER_LEN: usize = 8;
const TAG_LEN: usize = 16;
/// A one-time public key and a tag surround the content of a handshake message.
const HANDSHAKE_CONTENT_LEN: usize = MESSAGE_LEN - 1 - 32 - TAG_LEN;
type HandshakeContent = [u8; HANDSHAKE_CONTENT_LEN];
const PATTERN: &str = "Noise_NKpsk0_25519_ChaChaPoly_SHA256";

// One message part of a cell holds 482 bytes.
const _: () = assert!(MESSAGE_LEN <= 482);

/// First byte of a message that only keeps the rate.
pub(crate) const WAITING: u8 = 0;
/// First byte of the caller's handshake message.
pub(crate) const HELLO: u8 = 1;
/// First byte of the answerer's handshake message.
pub(crate) const ANSWER: u8 = 2;
/// First byte of a sealed frame.
pub(crate) const FRAME: u8 = 3;

/// A message as it goes to the circuit.
pub type Message = [u8; MESSAGE_LEN];

/// The message cannot be accepted. Opaque on purpose: why is nobody's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid message of this call")]
pub(crate) struct Rejected;

impl From<snow::Error> for Rejected {
    fn from(_: snow::Error) -> Self {
        Self
    }
}

/// The caller's side of a handshake under way.
pub(crate) struct Hello {
    state: Box<HandshakeState>,
    message: Box<Message>,
    nonce: Nonce,
}

impl Hello {
    /// Starts a handshake with the holder of the invite's key, bound to `nonce`.
    ///
    /// # Errors
    /// [`Rejected`] if the invite's key is unusable.
    pub(crate) fn new(invite: &Invite, nonce: Nonce) -> Result<Self, Rejected> {
        let mut state = builder(invite, &invite.handshake_secret(), &invite.prologue(), None)?;
        let mut content = [0; HANDSHAKE_CONTENT_LEN];
        content[..COMMITMENT_LEN].copy_from_slice(&nonce.commitment().0);
        let message = write(&mut state, HELLO, &content)?;
        Ok(Self { state: Box::new(state), message: Box::new(message), nonce })
    }

    /// The message to send until it is answered.
    pub(crate) fn message(&self) -> &Message {
        &self.message
    }

    /// Takes in what may be the answer; the right one lets the nonce go. A wrong one changes nothing: the right one can still come.
    pub(crate) fn finish(mut self, answer: &Message) -> Result<(Session, Nonce), Self> {
        if read(&mut self.state, answer).is_ok() && self.state.is_handshake_finished() {
            Ok((Session::new(*self.state), self.nonce))
        } else {
            Err(self)
        }
    }
}

/// What the answerer has once it accepted a caller.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// The message to send until the caller's first frame comes.
    pub(crate) answer: Message,
    /// The channel to the caller.
    pub(crate) session: Session,
    /// What the caller's nonce must fit.
    pub(crate) commitment: Commitment,
}

/// Checks a caller's handshake message and answers it.
///
/// # Errors
/// [`Rejected`] unless the message was made with this very invite.
pub(crate) fn accept(invite: &Invite, key: &AnswerKey, hello: &Message) -> Result<Accepted, Rejected> {
    let mut state = builder(invite, &invite.handshake_secret(), &invite.prologue(), Some(key))?;
    let content = read(&mut state, hello)?;
    let commitment = Commitment(*content.first_chunk().ok_or(Rejected)?);
    let answer = write(&mut state, ANSWER, &[0; HANDSHAKE_CONTENT_LEN])?;
    if !state.is_handshake_finished() {
        return Err(Rejected);
    }
    Ok(Accepted { answer, session: Session::new(state), commitment })
}

fn builder(
    invite: &Invite,
    secret: &[u8; 32],
    prologue: &[u8],
    key: Option<&AnswerKey>,
) -> Result<HandshakeState, Rejected> {
    let builder = Builder::new(PATTERN.parse()?).psk(0, secret)?.prologue(prologue)?;
    Ok(match key {
        Some(key) => builder.local_private_key(key.bytes())?.build_responder()?,
        None => builder.remote_public_key(invite.key())?.build_initiator()?,
    })
}

fn write(state: &mut HandshakeState, kind: u8, content: &HandshakeContent) -> Result<Message, Rejected> {
    let mut message = [0; MESSAGE_LEN];
    message[0] = kind;
    let length = state.write_message(content, &mut message[1..])?;
    if length == MESSAGE_LEN - 1 { Ok(message) } else { Err(Rejected) }
}

fn read(state: &mut HandshakeState, message: &Message) -> Result<HandshakeContent, Rejected> {
    let mut content = [0; MESSAGE_LEN];
    let length = state.read_message(&message[1..], &mut content)?;
    // What is not used is for a later version; it is covered by the handshake hash all the same.
    content[..length].try_into().map_err(|_| Rejected)
}

/// An established channel. Its keys are overwritten on drop.
///
/// Each key lies inside a boxed cipher; setting the zero key through it overwrites it in place. What the handshake used on the way (its
/// chaining key, one-time key and pre-shared key) is out of reach inside `snow` and stays in freed memory until that is reused.
pub(crate) struct Session {
    transport: StatelessTransportState,
    hash: [u8; 32],
    next: u64,
    window: ReplayWindow,
}

impl Session {
    /// The channel that comes out of a finished handshake.
    fn new(state: HandshakeState) -> Self {
        let hash = state.get_handshake_hash().try_into().expect("SHA-256 has 32 bytes");
        let transport = state.into_stateless_transport_mode().expect("callers check that the handshake is finished");
        Self { transport, hash, next: 0, window: ReplayWindow::new() }
    }

    /// The hash of the handshake, equal on both sides.
    pub(crate) fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// Seals a frame under the next counter.
    ///
    /// # Errors
    /// [`Rejected`] once 2⁶⁴ − 1 frames were sealed.
    pub(crate) fn seal(&mut self, plaintext: &[u8; PLAINTEXT_LEN]) -> Result<Message, Rejected> {
        let counter = self.next;
        self.next = counter.checked_add(1).ok_or(Rejected)?;
        let mut message = [0; MESSAGE_LEN];
        message[0] = FRAME;
        message[1..1 + COUNTER_LEN].copy_from_slice(&counter.to_be_bytes());
        self.transport.write_message(counter, plaintext, &mut message[1 + COUNTER_LEN..])?;
        Ok(message)
    }

    /// Opens a frame, each once.
    ///
    /// # Errors
    /// [`Rejected`] if the message is forged, altered, repeated or older than the window.
    pub(crate) fn open(&mut self, message: &Message) -> Result<[u8; PLAINTEXT_LEN], Rejected> {
        let (head, sealed) = message.split_at(1 + COUNTER_LEN);
        let counter = u64::from_be_bytes(head[1..].try_into().expect("8 bytes after the first"));
        if head[0] != FRAME || !self.window.is_fresh(counter) {
            return Err(Rejected);
        }
        let mut plaintext = [0; PLAINTEXT_LEN];
        let length = self.transport.read_message(counter, sealed, &mut plaintext)?;
        if length != PLAINTEXT_LEN {
            return Err(Rejected);
        }
        self.window.insert(counter);
        Ok(plaintext)
    }

    /// Overwrites the keys of both directions.
    pub(super) fn erase(&mut self) {
        self.transport.rekey_manually(Some(&[0; 32]), Some(&[0; 32]));
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.erase();
        self.hash.zeroize();
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session([redacted])")
    }
}

impl fmt::Debug for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hello([redacted])")
    }
}
