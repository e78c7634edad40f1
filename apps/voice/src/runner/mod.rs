//! Runs a call: reads sound, keeps the slots, sends, receives, plays, reports.
//!
//! One task does it all. Slots and playouts stand on an absolute schedule from the start of the call, so that nothing drifts: a turn that
//! wakes late catches up with exactly the slots that it missed.

mod legs;
mod overlay;
mod report;
mod transport;

#[cfg(test)]
mod tests;

pub use legs::{LegCircuits, PathNews};
pub use report::{CallReport, CallUpdate, Reading};
pub use transport::{DatagramTransport, TransportError};

pub use crate::audio::AudioEnds;

use crate::audio::AudioError;
use crate::call::{Call, CallEvent, EndReason, Patience, SetupError, Words};
use crate::invite::{AnswerKey, Invite};
use crate::media::level::Meter;
use crate::media::{Pcm, SILENCE};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until, timeout};

/// Sound is handed to its output this long before it is due, as any device demands. Counted into the delay that is reported.
pub const OUTPUT_LEAD: Duration = Duration::from_millis(5);
/// Datagrams taken in between two looks at the clock.
const DATAGRAMS_A_TURN: usize = 64;
/// Time between two readings of the meter.
const READING_EVERY: Duration = Duration::from_secs(1);

/// Which end of the call to be.
#[derive(Debug)]
pub enum Party {
    /// The one who was given the invite.
    Caller(Invite),
    /// The one who made the invite, with its key. Waits until the invite expires, and refuses callers from then on.
    Answerer(Invite, AnswerKey),
}

/// Ends a call from elsewhere: clone it, keep one, put the other into [`CallOptions`].
#[derive(Clone, Debug, Default)]
pub struct HangUp(Arc<Notify>);

impl HangUp {
    /// A handle for one call.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Hangs up. Works also before the call has begun.
    pub fn hang_up(&self) {
        self.0.notify_one();
    }

    async fn wanted(&self) {
        self.0.notified().await;
    }
}

/// How a call is to be run.
#[derive(Clone, Debug, Default)]
pub struct CallOptions {
    /// How long to wait for the other side to come to the meeting relay. If `None`, a caller waits for ever. An answerer never waits for
    /// longer than the invite is good for.
    pub join_within: Option<Duration>,
    /// How patient the call is.
    pub patience: Patience,
    /// Hang up this long after the connection was made.
    pub talk_for: Option<Duration>,
    /// Hangs up when told to.
    pub hang_up: HangUp,
}

/// A call could not be made, or its recording could not be kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// Nobody came to the meeting relay in time.
    #[error("nobody came to the call within {} seconds", .0.as_secs())]
    NobodyCame(Duration),
    /// The call was given up before it was connected.
    #[error("the call was not connected: {0}")]
    NotConnected(EndReason),
    /// The circuit failed before the call began.
    #[error("the circuit to the meeting relay failed: {0}")]
    Transport(#[from] TransportError),
    /// The call could not be set up here.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// Sound could not be taken in or given out.
    #[error(transparent)]
    Audio(#[from] AudioError),
}

/// Runs a call over `transport` until it ends, and reports. Updates go to `updates` as they come; those that find it full are left out.
///
/// # Errors
/// [`CallError`] if the call never connected, or if the output could not be written. A call that was connected and then ended, for whatever
/// reason, is a report: see [`CallReport::ended`].
///
/// # Cancel safety
/// Dropping the future ends the call without a goodbye; the other side notices after five seconds. Use [`HangUp`].
pub async fn run_call<T: DatagramTransport>(
    transport: T,
    party: Party,
    audio: AudioEnds,
    options: CallOptions,
    updates: mpsc::Sender<CallUpdate>,
) -> Result<CallReport, CallError> {
    let _ = updates.try_send(CallUpdate::Joining);
    let call = match party {
        Party::Caller(invite) => {
            let call = Call::caller(invite, options.patience)?;
            join(&transport, &options, None).await?;
            call
        }
        Party::Answerer(invite, key) => {
            let left = Duration::from_secs(invite.expires().saturating_sub(unix_now().as_secs()));
            join(&transport, &options, Some(left)).await?;
            // The clock is asked again: the machine may have slept while it waited.
            Call::answerer(invite, key, options.patience, unix_now().as_secs())?
        }
    };
    Runner::new(transport, call, audio, options, updates).run().await
}

/// Waits for the other side, no longer than `options` say and no longer than the invite is good for.
async fn join(
    transport: &impl DatagramTransport,
    options: &CallOptions,
    good_for: Option<Duration>,
) -> Result<(), CallError> {
    let joined = async {
        match options.join_within {
            Some(limit) => timeout(limit, transport.joined()).await.map_err(|_| CallError::NobodyCame(limit))?,
            None => transport.joined().await,
        }
        .map_err(CallError::from)
    };
    let expired = async {
        match good_for {
            Some(left) => tokio::time::sleep(left).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = expired => Err(CallError::NotConnected(EndReason::InviteExpired)),
        joined = joined => joined,
        () = options.hang_up.wanted() => Err(CallError::NotConnected(EndReason::HungUp)),
    }
}

fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

struct Runner<T> {
    transport: T,
    call: Call,
    audio: AudioEnds,
    options: CallOptions,
    updates: mpsc::Sender<CallUpdate>,
    start: Instant,
    start_unix_micros: u64,
    sound: Vec<i16>,
    mouth: Levels,
    ear: Levels,
    next_reading: Duration,
    words: Option<Words>,
    connected_at: Option<Duration>,
    ended: Option<EndReason>,
    late_playouts: u64,
    /// What the transport has to say, for which there was no room.
    unsaid: Option<Vec<u8>>,
}

/// Levels of one direction: since the last reading, and over the whole call.
#[derive(Default)]
struct Levels {
    recent: Meter,
    whole: Meter,
}

impl Levels {
    fn listen(&mut self, samples: &[i16]) {
        self.recent.listen(samples);
        self.whole.listen(samples);
    }
}

impl<T: DatagramTransport> Runner<T> {
    fn new(
        transport: T,
        call: Call,
        mut audio: AudioEnds,
        options: CallOptions,
        updates: mpsc::Sender<CallUpdate>,
    ) -> Self {
        audio.start();
        Self {
            transport,
            call,
            audio,
            options,
            updates,
            start: Instant::now(),
            start_unix_micros: u64::try_from(unix_now().as_micros()).unwrap_or(u64::MAX),
            sound: Vec::with_capacity(2_048),
            mouth: Levels::default(),
            ear: Levels::default(),
            next_reading: READING_EVERY,
            words: None,
            connected_at: None,
            ended: None,
            late_playouts: 0,
            unsaid: None,
        }
    }

    async fn run(mut self) -> Result<CallReport, CallError> {
        while self.ended.is_none() {
            self.take_datagrams().await;
            let now = self.start.elapsed();
            self.keep_slots(now);
            self.keep_playout(now)?;
            self.keep_time(now);
            self.tell();
            if self.ended.is_none() {
                self.wait().await;
            }
        }
        self.finish()
    }

    /// Takes in what has arrived, without waiting, so that a turn that wakes late plays what came meanwhile.
    async fn take_datagrams(&mut self) {
        for _ in 0..DATAGRAMS_A_TURN {
            tokio::select! {
                biased;
                received = self.transport.recv() => match received {
                    Ok(datagram) => self.call.handle_datagram(self.start.elapsed(), &datagram),
                    Err(error) => return self.lose_circuit(&error),
                },
                () = std::future::ready(()) => return,
            }
        }
    }

    async fn wait(&mut self) {
        let playout = self.call.next_playout();
        let next = self.call.next_slot().map_or(playout, |slot| slot.min(playout));
        tokio::select! {
            biased;
            () = self.options.hang_up.wanted() => self.call.hang_up(),
            received = self.transport.recv() => match received {
                Ok(datagram) => self.call.handle_datagram(self.start.elapsed(), &datagram),
                Err(error) => self.lose_circuit(&error),
            },
            () = sleep_until(self.start + next) => {}
        }
    }

    fn lose_circuit(&mut self, error: &TransportError) {
        tracing::debug!(%error, "the circuit of a call is gone");
        self.call.circuit_lost();
    }

    fn keep_slots(&mut self, now: Duration) {
        for _ in 0..self.call.skip_missed(now) {
            let mut unheard = SILENCE;
            self.audio.read(&mut unheard);
        }
        while self.call.next_slot().is_some_and(|due| due <= now) {
            let mut pcm = SILENCE;
            if !self.read_input(&mut pcm) {
                self.call.hang_up();
            }
            let Some(message) = self.call.poll_transmit(now, &pcm) else { continue };
            if let Err(error) = self.transport.send(&message) {
                self.lose_circuit(&error);
            }
        }
    }

    fn read_input(&mut self, pcm: &mut Pcm) -> bool {
        let goes_on = self.audio.read(pcm);
        self.mouth.listen(pcm);
        goes_on || !self.call.is_connected()
    }

    fn keep_playout(&mut self, now: Duration) -> Result<(), CallError> {
        while self.call.next_playout() <= now {
            self.late_playouts += u64::from(now - self.call.next_playout() > OUTPUT_LEAD);
            self.sound.clear();
            self.call.play(&mut self.sound);
            self.ear.listen(&self.sound);
            self.audio.write(&self.sound)?;
            let drift = self.audio.output.drift();
            if drift != 0 {
                self.call.nudge_playout(drift);
            }
        }
        Ok(())
    }

    fn keep_time(&mut self, now: Duration) {
        if let (Some(since), Some(limit)) = (self.connected_at, self.options.talk_for)
            && now - since >= limit
        {
            self.call.hang_up();
        }
        if now >= self.next_reading {
            self.next_reading += READING_EVERY;
            if self.call.is_connected() {
                let reading = Reading::new(&self.call.stats(), self.mouth.recent.take(), self.ear.recent.take());
                let _ = self.updates.try_send(CallUpdate::Reading(reading));
            }
        }
    }

    fn tell(&mut self) {
        while let Some(event) = self.call.poll_event() {
            let update = match event {
                CallEvent::Ringing => CallUpdate::Ringing,
                CallEvent::Aside(said) => {
                    self.transport.handle_aside(&said);
                    continue;
                }
                CallEvent::Connected(words) => {
                    self.transport.connected(self.call.class().interval());
                    self.words = Some(words);
                    self.connected_at = Some(self.start.elapsed());
                    CallUpdate::Connected { words: words.to_string() }
                }
                CallEvent::Ended(reason) => {
                    self.ended = Some(reason);
                    CallUpdate::Ended { reason }
                }
            };
            let _ = self.updates.try_send(update);
        }
        self.speak_of_paths();
    }

    /// Moves what the two transports say to each other, and tells what happened to the paths.
    fn speak_of_paths(&mut self) {
        while let Some(said) = self.unsaid.take().or_else(|| self.transport.poll_aside()) {
            if self.call.push_aside(&said).is_err() {
                // There is no room now; in a slot or two there will be.
                self.unsaid = Some(said);
                break;
            }
        }
        while let Some(news) = self.transport.poll_news() {
            let _ = self.updates.try_send(CallUpdate::Path(news));
        }
    }

    fn finish(self) -> Result<CallReport, CallError> {
        let reason = self.ended.unwrap_or(EndReason::HungUp);
        self.audio.output.finish()?;
        let (Some(words), Some(connected_at)) = (self.words, self.connected_at) else {
            return Err(CallError::NotConnected(reason));
        };
        let lead = u64::try_from(OUTPUT_LEAD.as_micros()).unwrap_or(0);
        let mut report = CallReport::new(self.call.role(), &self.call.stats(), words, reason);
        report.seconds = (self.start.elapsed() - connected_at).as_secs_f64();
        report.connect_seconds = connected_at.as_secs_f64();
        report.level_in_dbfs = self.mouth.whole.dbfs();
        report.level_out_dbfs = self.ear.whole.dbfs();
        report.first_input_unix_micros = self.start_unix_micros;
        report.first_output_unix_micros = self.start_unix_micros + lead;
        report.late_playouts = self.late_playouts;
        Ok(report)
    }
}
