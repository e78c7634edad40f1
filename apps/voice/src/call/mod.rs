//! One call, as a sans-IO state machine.

mod session;
mod stats;
mod words;

#[cfg(test)]
mod tests;

pub use session::{MESSAGE_LEN, Message};
pub use stats::CallStats;
pub(crate) use stats::LOOK_AHEAD;
pub use words::Words;

use crate::invite::{AnswerKey, Invite};
use crate::media::codec::CodecError;
use crate::media::frame::{Echo, VoiceFrame};
use crate::media::player::Player;
use crate::media::sender::Sender;
use crate::media::{FRAME, Pcm};
use session::{ANSWER, FRAME as SEALED_FRAME, HELLO, Hello, Session, WAITING};
use stats::Tally;
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// Messages that say goodbye when a call ends, so that one of them arrives.
const GOODBYES: u8 = 5;
/// Handshake messages that are tried between two slots: each costs a public-key operation.
const TRIALS_PER_SLOT: u8 = 4;
/// A pause longer than this is skipped instead of being sent later: the machine slept.
const MAX_CATCH_UP: Duration = Duration::from_millis(500);

/// How patient a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long to wait for the other side to prove that it holds the invite.
    pub handshake: Duration,
    /// How long the other side may be silent before the call ends.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { handshake: Duration::from_secs(20), silence: Duration::from_secs(5) }
    }
}

/// Which end of the call this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The side that was given the invite.
    Caller,
    /// The side that made the invite.
    Answerer,
}

/// Why a call is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EndReason {
    /// This side hung up.
    HungUp,
    /// The other side hung up.
    PeerHungUp,
    /// Nothing valid came from the other side for too long.
    PeerSilent,
    /// The other side never proved that it holds the invite.
    NoHandshake,
    /// The circuit under the call broke.
    CircuitLost,
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HungUp => "you hung up",
            Self::PeerHungUp => "the other side hung up",
            Self::PeerSilent => "nothing was heard from the other side any more",
            Self::NoHandshake => "the other side did not answer with this invite",
            Self::CircuitLost => "the circuit was lost",
        })
    }
}

/// What a call has to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallEvent {
    /// The caller's first message went out.
    Ringing,
    /// Both sides hold the same keys; sound flows. Both people should see the same words.
    Connected(Words),
    /// The call is over.
    Ended(EndReason),
}

/// A call between two people, from the moment at which the meeting relay has joined their circuits.
///
/// Sans-IO. Time is the [`Duration`] since that moment. The driver
/// - hands every received datagram to [`Call::handle_datagram`];
/// - at [`Call::next_slot`], and for each slot that is due, calls [`Call::poll_transmit`] with the 20 ms of sound that ended then, and
///   sends what comes back: exactly one message of [`MESSAGE_LEN`] bytes for each slot, in every state until the call has ended;
/// - at [`Call::next_playout`] calls [`Call::play`] and plays what comes back;
/// - takes [`Call::poll_event`] until it is empty after each of these.
///
/// All waiting is counted in slots, so there is no further timer.
#[derive(Debug)]
pub struct Call {
    role: Role,
    patience: Patience,
    phase: Phase,
    player: Player,
    slot: u32,
    trials: u8,
    last_heard: Duration,
    /// The newest message of the other side, for its echo: its `sent`, and when it came.
    heard: Option<(u64, Duration)>,
    tally: Tally,
    events: VecDeque<CallEvent>,
}

#[derive(Debug)]
enum Phase {
    Calling {
        invite: Invite,
        hello: Hello,
    },
    Waiting {
        invite: Invite,
        key: AnswerKey,
    },
    /// The answerer has accepted `hello` and repeats `answer` until the caller's first frame shows that it arrived.
    Answered {
        hello: Box<Message>,
        answer: Box<Message>,
        session: Box<Session>,
    },
    Talking {
        session: Box<Session>,
        sender: Sender,
    },
    Closing {
        session: Box<Session>,
        left: u8,
    },
    Ended,
}

/// A call could not be set up on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// Opus could not be set up.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The key in the invite is not usable.
    #[error("the key in the invite is not usable")]
    Key,
}

impl Call {
    /// The side that was given the invite.
    ///
    /// # Errors
    /// [`SetupError`] if Opus or the invite's key is unusable.
    pub fn caller(invite: Invite, patience: Patience) -> Result<Self, SetupError> {
        let hello = Hello::new(&invite).map_err(|_| SetupError::Key)?;
        Self::new(Role::Caller, Phase::Calling { invite, hello }, patience)
    }

    /// The side that made the invite. The key is used up: one call, one caller.
    ///
    /// # Errors
    /// [`SetupError`] if Opus is unusable or the key is not the invite's.
    pub fn answerer(invite: Invite, key: AnswerKey, patience: Patience) -> Result<Self, SetupError> {
        if key.public() != *invite.key() {
            return Err(SetupError::Key);
        }
        Self::new(Role::Answerer, Phase::Waiting { invite, key }, patience)
    }

    fn new(role: Role, phase: Phase, patience: Patience) -> Result<Self, SetupError> {
        Ok(Self {
            role,
            patience,
            phase,
            player: Player::new()?,
            slot: 0,
            trials: TRIALS_PER_SLOT,
            last_heard: Duration::ZERO,
            heard: None,
            tally: Tally::default(),
            events: VecDeque::new(),
        })
    }

    /// Which end this is.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Takes in a datagram. Whatever it holds, at worst it is counted as rejected.
    pub fn handle_datagram(&mut self, now: Duration, datagram: &[u8]) {
        let accepted = match datagram.try_into() {
            Ok(message) => self.handle_message(now, message),
            Err(_) => false,
        };
        if !accepted {
            self.tally.rejected += 1;
        }
    }

    fn handle_message(&mut self, now: Duration, message: &Message) -> bool {
        match message[0] {
            WAITING => true,
            HELLO => self.handle_hello(now, message),
            ANSWER => self.handle_answer(now, message),
            SEALED_FRAME => self.handle_frame(now, message),
            _ => false,
        }
    }

    fn handle_hello(&mut self, now: Duration, message: &Message) -> bool {
        match &self.phase {
            Phase::Waiting { invite, key } if self.trials > 0 => {
                self.trials -= 1;
                let Ok((answer, session)) = session::accept(invite, key, message) else { return false };
                self.last_heard = now;
                self.phase =
                    Phase::Answered { hello: Box::new(*message), answer: Box::new(answer), session: Box::new(session) };
                true
            }
            // The same caller asks again because the answer has not arrived yet. Anybody else comes too late.
            Phase::Answered { hello, .. } if **hello == *message => {
                self.last_heard = now;
                true
            }
            _ => false,
        }
    }

    fn handle_answer(&mut self, now: Duration, message: &Message) -> bool {
        if !matches!(self.phase, Phase::Calling { .. }) {
            // An answer that was repeated or overtaken by frames is nothing to worry about.
            return matches!(self.phase, Phase::Talking { .. }) && self.role == Role::Caller;
        }
        if self.trials == 0 {
            return false;
        }
        self.trials -= 1;
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Calling { invite, hello } => match hello.finish(message) {
                Ok(session) => self.connect(now, Box::new(session)),
                Err(hello) => {
                    self.phase = Phase::Calling { invite, hello };
                    false
                }
            },
            other => {
                self.phase = other;
                false
            }
        }
    }

    fn handle_frame(&mut self, now: Duration, message: &Message) -> bool {
        let session = match &mut self.phase {
            Phase::Answered { session, .. } | Phase::Talking { session, .. } | Phase::Closing { session, .. } => {
                session
            }
            Phase::Calling { .. } | Phase::Waiting { .. } | Phase::Ended => return false,
        };
        let Ok(plaintext) = session.open(message) else { return false };
        let Ok(voice) = VoiceFrame::decode(&plaintext) else { return false };
        if matches!(self.phase, Phase::Answered { .. }) {
            let Phase::Answered { session, .. } = std::mem::replace(&mut self.phase, Phase::Ended) else {
                return false;
            };
            if !self.connect(now, session) {
                return false;
            }
        }
        self.take_in(now, &voice);
        true
    }

    fn connect(&mut self, now: Duration, session: Box<Session>) -> bool {
        let Ok(sender) = Sender::new(self.slot) else { return false };
        self.events.push_back(CallEvent::Connected(Words::new(session.hash())));
        self.last_heard = now;
        self.phase = Phase::Talking { session, sender };
        true
    }

    fn take_in(&mut self, now: Duration, voice: &VoiceFrame) {
        self.last_heard = now;
        if self.heard.is_none_or(|(sent, _)| voice.sent > sent) {
            self.heard = Some((voice.sent, now));
        }
        self.tally.received(now, voice);
        self.player.insert(now, voice);
        if voice.goodbye && !matches!(self.phase, Phase::Closing { .. }) {
            self.end(EndReason::PeerHungUp);
        }
    }

    /// When the next message is due; `None` once the call has ended.
    #[must_use]
    pub fn next_slot(&self) -> Option<Duration> {
        (!self.has_ended()).then(|| FRAME * (self.slot + 1))
    }

    /// Skips the slots that were missed because the machine stood still for longer than half a second. Returns how many; the driver leaves
    /// out as many frames of its input. Slots missed by less are caught up, so that the number of messages stays exact.
    pub fn skip_missed(&mut self, now: Duration) -> u32 {
        let Some(behind) = self.next_slot().and_then(|due| now.checked_sub(due)) else { return 0 };
        if behind < MAX_CATCH_UP {
            return 0;
        }
        let missed = u32::try_from(behind.as_micros() / FRAME.as_micros()).unwrap_or(u32::MAX);
        self.slot = self.slot.saturating_add(missed);
        if let Phase::Talking { sender, .. } = &mut self.phase {
            sender.skip(missed);
        }
        missed
    }

    /// The message of the slot that is due at `now`, with the 20 ms of `sound` that ended then; `None` if no slot is due.
    pub fn poll_transmit(&mut self, now: Duration, sound: &Pcm) -> Option<Message> {
        let due = self.next_slot().filter(|due| *due <= now)?;
        self.trials = TRIALS_PER_SLOT;
        self.check_patience(now);
        let message = self.message(now, due, sound)?;
        if self.slot == 0 && self.role == Role::Caller {
            self.events.push_back(CallEvent::Ringing);
        }
        self.slot += 1;
        self.tally.slot(&self.player, self.slot);
        Some(message)
    }

    fn check_patience(&mut self, now: Duration) {
        let silent = now.saturating_sub(self.last_heard);
        match self.phase {
            Phase::Calling { .. } | Phase::Waiting { .. } if now > self.patience.handshake => {
                self.end(EndReason::NoHandshake)
            }
            Phase::Answered { .. } | Phase::Talking { .. } if silent > self.patience.silence => {
                self.end(EndReason::PeerSilent)
            }
            _ => {}
        }
    }

    fn message(&mut self, now: Duration, due: Duration, sound: &Pcm) -> Option<Message> {
        let mut voice = VoiceFrame {
            sent: u64::try_from(due.as_micros()).unwrap_or(u64::MAX),
            echo: self.echo(now),
            loss: self.tally.loss_byte(),
            ..VoiceFrame::default()
        };
        match &mut self.phase {
            Phase::Calling { hello, .. } => Some(*hello.message()),
            Phase::Waiting { .. } => {
                let mut message = [0; MESSAGE_LEN];
                message[0] = WAITING;
                Some(message)
            }
            Phase::Answered { answer, .. } => Some(**answer),
            Phase::Talking { session, sender } => {
                if let Ok((sequence, frames)) = sender.frame(sound) {
                    (voice.sequence, voice.frames) = (sequence, frames);
                    self.tally.frames_sent += 1;
                }
                session.seal(&voice.encode()).ok()
            }
            Phase::Closing { session, left } => {
                voice.goodbye = true;
                let message = session.seal(&voice.encode()).ok();
                *left -= 1;
                if *left == 0 {
                    self.end(EndReason::HungUp);
                }
                message
            }
            Phase::Ended => None,
        }
    }

    fn echo(&self, now: Duration) -> Option<Echo> {
        let (sent, at) = self.heard?;
        let held = u32::try_from(now.saturating_sub(at).as_micros()).ok().filter(|held| *held != u32::MAX)?;
        Some(Echo { sent, held })
    }

    /// Ends the call from this side. The goodbyes take the next slots; before the handshake there is nobody to say goodbye to.
    pub fn hang_up(&mut self) {
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Talking { session, .. } => self.phase = Phase::Closing { session, left: GOODBYES },
            closing @ Phase::Closing { .. } => self.phase = closing,
            Phase::Ended => {}
            Phase::Calling { .. } | Phase::Waiting { .. } | Phase::Answered { .. } => {
                self.events.push_back(CallEvent::Ended(EndReason::HungUp));
            }
        }
    }

    /// Ends the call because the circuit under it is gone. While goodbyes go out that is no loss: the other side has heard one.
    pub fn circuit_lost(&mut self) {
        match self.phase {
            Phase::Ended => {}
            Phase::Closing { .. } => self.end(EndReason::HungUp),
            _ => self.end(EndReason::CircuitLost),
        }
    }

    fn end(&mut self, reason: EndReason) {
        self.phase = Phase::Ended;
        self.events.push_back(CallEvent::Ended(reason));
    }

    /// Whether the call is over.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    /// Whether sound flows.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Talking { .. })
    }

    /// The instant at which the next sound is to be played.
    #[must_use]
    pub fn next_playout(&self) -> Duration {
        self.player.position()
    }

    /// Appends the sound that follows [`Call::next_playout`] to `out`: about 20 ms, silence while there is nothing to hear.
    pub fn play(&mut self, out: &mut Vec<i16>) {
        self.player.play(out);
    }

    /// Moves the playout by `samples` because the sound device is faster or slower than the clock.
    pub fn nudge_playout(&mut self, samples: i64) {
        self.player.nudge(samples);
    }

    /// The next thing to tell.
    pub fn poll_event(&mut self) -> Option<CallEvent> {
        self.events.pop_front()
    }

    /// Figures of the call so far.
    #[must_use]
    pub fn stats(&self) -> CallStats {
        self.tally.stats(&self.player)
    }
}
