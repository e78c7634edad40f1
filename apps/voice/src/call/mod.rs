//! One call, as a sans-IO state machine.

mod aside;
mod commitment;
mod session;
mod stats;
mod types;
mod words;

#[cfg(test)]
mod tests;

pub use aside::AsideError;
pub use session::{MESSAGE_LEN, Message};
pub use stats::CallStats;
pub(crate) use stats::LOOK_AHEAD;
pub use types::{CallEvent, EndReason, Patience, Role, SetupError};
pub use words::Words;

use crate::invite::{AnswerKey, Invite};
use crate::media::class::Class;
use crate::media::frame::{Echo, NONCE_LEN, VoiceFrame};
use crate::media::player::Player;
use crate::media::redundancy::Means;
use crate::media::sender::Sender;
use crate::media::{FRAME, Pcm};
use aside::Asides;
use commitment::Nonce;
use session::{ANSWER, Accepted, FRAME as SEALED_FRAME, HELLO, Hello, Session, WAITING};
use stats::Tally;
use std::collections::VecDeque;
use std::time::Duration;

/// Messages that say goodbye when a call ends, so that one of them arrives.
const GOODBYES: u8 = 5;
/// Handshake messages that are tried between two slots: each costs a public-key operation.
const TRIALS_PER_SLOT: u8 = 4;
/// Slots between two looks at how long the path is: one second.
const LOOK_AT_PATH: u32 = 50;
/// A pause longer than this is skipped instead of being sent later: the machine slept.
const MAX_CATCH_UP: Duration = Duration::from_millis(500);

/// A call between two people, from the moment at which the meeting relay has joined their circuits.
///
/// Sans-IO. Time is the [`Duration`] since that moment. The driver
/// - hands every received datagram to [`Call::handle_datagram`];
/// - at [`Call::next_slot`], every 20 ms, and for each slot that is due, calls [`Call::poll_transmit`] with the 20 ms of sound that ended
///   then, and sends what comes back: exactly one message of [`MESSAGE_LEN`] bytes at the end of each interval of the call's class, in every
///   state until the call has ended;
/// - at [`Call::next_playout`] calls [`Call::play`] and plays what comes back;
/// - takes [`Call::poll_event`] until it is empty after each of these.
///
/// All waiting is counted in slots, so there is no further timer.
#[derive(Debug)]
pub struct Call {
    role: Role,
    patience: Patience,
    class: Class,
    means: Means,
    phase: Phase,
    player: Player,
    slot: u32,
    trials: u8,
    last_heard: Duration,
    /// The newest message of the other side, for its echo: its `sent`, and when it came.
    heard: Option<(u64, Duration)>,
    /// The caller's nonce, shown in every frame until one of the answerer comes: that side sends none before it has the nonce.
    nonce: Option<Nonce>,
    asides: Asides,
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
        /// When the invite expires.
        expires: Duration,
    },
    /// The answerer has accepted `hello` and repeats the answer until a frame of the caller shows that it arrived, and the nonce.
    Answered {
        hello: Box<Message>,
        accepted: Box<Accepted>,
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

impl Call {
    /// The side that was given the invite.
    ///
    /// # Errors
    /// [`SetupError`] if Opus, the system's randomness or the invite's key is unusable.
    pub fn caller(invite: Invite, patience: Patience) -> Result<Self, SetupError> {
        let nonce = Nonce::random().map_err(|_| SetupError::Randomness)?;
        let hello = Hello::new(&invite, nonce).map_err(|_| SetupError::Key)?;
        Self::new(Role::Caller, invite.class(), Phase::Calling { invite, hello }, patience)
    }

    /// The side that made the invite. The key is used up: one call, one caller, who must come before the invite expires. `unix_now` is the
    /// wall clock at the beginning of the call, Unix seconds.
    ///
    /// # Errors
    /// [`SetupError`] if Opus is unusable or the key is not the invite's.
    pub fn answerer(invite: Invite, key: AnswerKey, patience: Patience, unix_now: u64) -> Result<Self, SetupError> {
        if key.public() != *invite.key() {
            return Err(SetupError::Key);
        }
        let expires = Duration::from_secs(invite.expires().saturating_sub(unix_now));
        Self::new(Role::Answerer, invite.class(), Phase::Waiting { invite, key, expires }, patience)
    }

    fn new(role: Role, class: Class, phase: Phase, patience: Patience) -> Result<Self, SetupError> {
        Ok(Self {
            role,
            patience,
            class,
            means: Means::default(),
            phase,
            player: Player::new(class)?,
            slot: 0,
            trials: TRIALS_PER_SLOT,
            last_heard: Duration::ZERO,
            heard: None,
            nonce: None,
            asides: Asides::default(),
            tally: Tally::default(),
            events: VecDeque::new(),
        })
    }

    /// Which end this is.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// How often its messages leave, as the invite says.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// The same call, with other means against loss: for measurements.
    #[must_use]
    pub fn with_means(mut self, means: Means) -> Self {
        self.means = means;
        self
    }

    /// Sends a few bytes to the other side's program beside the sound: they take the place of copies until they have come, in order and
    /// each once. What is not sent when the call ends is lost.
    ///
    /// # Errors
    /// [`AsideError`] if there are none or more than 64, or if 16 asides wait already.
    pub fn push_aside(&mut self, bytes: &[u8]) -> Result<(), AsideError> {
        self.asides.push(bytes)
    }

    /// Asides of this side that the other has not confirmed yet.
    #[must_use]
    pub fn unconfirmed_asides(&self) -> usize {
        self.asides.unconfirmed()
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
            Phase::Waiting { invite, key, expires } if self.trials > 0 && now < *expires => {
                self.trials -= 1;
                let Ok(accepted) = session::accept(invite, key, message) else { return false };
                self.last_heard = now;
                self.phase = Phase::Answered { hello: Box::new(*message), accepted: Box::new(accepted) };
                true
            }
            // The same caller asks again because the answer has not arrived yet. Anybody else comes too late. It wins no time by asking:
            // nobody is to be held here while he works on the other side.
            Phase::Answered { hello, .. } => **hello == *message,
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
                Ok((session, nonce)) => {
                    // The answer is fixed, so the nonce may be seen from here on.
                    let connected = self.connect(now, Box::new(session), nonce.bytes());
                    self.nonce = Some(nonce);
                    connected
                }
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
            Phase::Answered { accepted, .. } => &mut accepted.session,
            Phase::Talking { session, .. } | Phase::Closing { session, .. } => session,
            Phase::Calling { .. } | Phase::Waiting { .. } | Phase::Ended => return false,
        };
        let Ok(plaintext) = session.open(message) else { return false };
        let Ok(voice) = VoiceFrame::decode(&plaintext) else { return false };
        match (self.role, voice.nonce) {
            // Only callers have a nonce to show.
            (Role::Caller, Some(_)) => return false,
            (Role::Caller, None) => self.nonce = None,
            (Role::Answerer, nonce) => {
                if matches!(self.phase, Phase::Answered { .. }) && !nonce.is_some_and(|nonce| self.admit(now, &nonce)) {
                    return false;
                }
            }
        }
        self.take_in(now, &voice);
        true
    }

    /// The answerer sees the caller's nonce for the first time. One that breaks the commitment ends the call: whoever sent it tried to
    /// choose the words.
    fn admit(&mut self, now: Duration, nonce: &[u8; NONCE_LEN]) -> bool {
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Answered { accepted, .. } if accepted.commitment.fits(nonce) => {
                self.connect(now, Box::new(accepted.session), nonce)
            }
            _ => {
                self.end(EndReason::WrongNonce);
                false
            }
        }
    }

    fn connect(&mut self, now: Duration, session: Box<Session>, nonce: &[u8; NONCE_LEN]) -> bool {
        let Ok(sender) = Sender::new(self.slot, self.class, self.means) else { return false };
        self.events.push_back(CallEvent::Connected(Words::new(session.hash(), nonce)));
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
        if let Phase::Talking { sender, .. } = &mut self.phase {
            sender.report(self.tally.peer());
        }
        if let Some(bytes) = self.asides.listen(voice) {
            self.events.push_back(CallEvent::Aside(bytes));
        }
        self.player.insert(now, voice);
        if voice.goodbye && !matches!(self.phase, Phase::Closing { .. }) {
            self.end(EndReason::PeerHungUp);
        }
    }

    /// When the next 20 ms of sound are due; `None` once the call has ended. A message leaves at the last slot of each interval.
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

    /// Takes the 20 ms of `sound` that ended at the slot that is due at `now`, and gives the message of that slot; `None` if no slot is
    /// due, or if the interval of the class goes on.
    pub fn poll_transmit(&mut self, now: Duration, sound: &Pcm) -> Option<Message> {
        let due = self.next_slot().filter(|due| *due <= now)?;
        self.trials = TRIALS_PER_SLOT;
        self.check_patience(now);
        if self.has_ended() {
            return None;
        }
        if self.slot == 0 && self.role == Role::Caller {
            self.events.push_back(CallEvent::Ringing);
        }
        if let Phase::Talking { sender, .. } = &mut self.phase {
            self.tally.frames_sent += u64::from(sender.encode(sound).is_ok());
        }
        self.slot += 1;
        self.tally.slot(&self.player, self.slot);
        if self.slot.is_multiple_of(LOOK_AT_PATH) {
            self.player.set_path(self.class.interval() + LOOK_AHEAD + self.tally.one_way());
        }
        if !self.slot.is_multiple_of(u32::from(self.class.frames())) {
            return None;
        }
        let message = self.message(now, due)?;
        self.tally.messages_sent += 1;
        Some(message)
    }

    fn check_patience(&mut self, now: Duration) {
        let silent = now.saturating_sub(self.last_heard);
        match self.phase {
            Phase::Waiting { expires, .. } if now >= expires => self.end(EndReason::InviteExpired),
            Phase::Calling { .. } | Phase::Waiting { .. } if now > self.patience.handshake => {
                self.end(EndReason::NoHandshake)
            }
            Phase::Answered { .. } if silent > self.patience.silence => self.end(EndReason::NoHandshake),
            Phase::Talking { .. } if silent > self.patience.silence => self.end(EndReason::PeerSilent),
            _ => {}
        }
    }

    fn message(&mut self, now: Duration, due: Duration) -> Option<Message> {
        let mut voice = VoiceFrame {
            sent: u64::try_from(due.as_micros()).unwrap_or(u64::MAX),
            echo: self.echo(now),
            loss: self.tally.loss_byte(),
            burst: self.tally.burst_byte(),
            nonce: self.nonce.as_ref().map(|nonce| *nonce.bytes()),
            ..VoiceFrame::default()
        };
        match &mut self.phase {
            Phase::Calling { hello, .. } => Some(*hello.message()),
            Phase::Waiting { .. } => {
                let mut message = [0; MESSAGE_LEN];
                message[0] = WAITING;
                Some(message)
            }
            Phase::Answered { accepted, .. } => Some(accepted.answer),
            Phase::Talking { session, sender } => {
                self.asides.fill(&mut voice);
                if let Some((sequence, frames)) = sender.pack(voice.room()) {
                    (voice.sequence, voice.frames) = (sequence, frames);
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
