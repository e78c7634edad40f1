//! Figures of a call.

use crate::media::frame::VoiceFrame;
use crate::media::jitter::JitterCounts;
use crate::media::player::Player;
use crate::media::redundancy::LossReport;
use crate::media::{FRAME, micros};
use std::collections::VecDeque;
use std::time::Duration;

/// Round trips remembered: 5 s of them.
const ROUND_TRIPS: usize = 250;
/// Slots between two looks at the loss: one second.
const LOOK_EVERY: u32 = 50;
/// Looks remembered.
const LOOKS: usize = 5;
/// What Opus holds back to look ahead, at 48 kHz in its speech mode (RFC 6716, section 2.1.4: 6.5 ms).
pub(crate) const LOOK_AHEAD: Duration = Duration::from_micros(6_500);

/// Figures of a call so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct CallStats {
    /// Messages sent, one for each interval of the class.
    pub messages_sent: u64,
    /// Frames of sound sent.
    pub frames_sent: u64,
    /// Valid frames received.
    pub messages_received: u64,
    /// Datagrams that were not valid messages of this call.
    pub rejected: u64,
    /// Frames of sound that the other side sent, as far as heard of.
    pub frames_expected: u64,
    /// What happened to the frames of the other side.
    pub frames: JitterCounts,
    /// Share of the other side's messages that did not arrive, 0 to 1, over the whole call.
    pub loss: f64,
    /// The same over the last five seconds.
    pub recent_loss: f64,
    /// Share of this side's messages that the other side misses, as it says, over its last five seconds.
    pub peer_loss: f64,
    /// Median round trip of the last five seconds, between the two ends of the call.
    pub round_trip: Option<Duration>,
    /// How long frames are held back to even out jitter, right now.
    pub held_back: Duration,
    /// What the jitter buffer aims at.
    pub target: Duration,
}

impl CallStats {
    /// Mouth to ear, estimated without the sound devices: one frame, the look-ahead of Opus, half a round trip, the jitter buffer.
    #[must_use]
    pub fn mouth_to_ear(&self) -> Option<Duration> {
        Some(FRAME + LOOK_AHEAD + self.round_trip? / 2 + self.held_back)
    }
}

/// Messages that were sent to this side, messages that came, and gaps, up to one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    expected: u64,
    received: u64,
    gaps: u64,
}

/// Counts while a call runs.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) frames_sent: u64,
    pub(super) rejected: u64,
    pub(super) messages_sent: u64,
    messages_received: u64,
    peer: LossReport,
    round_trips: VecDeque<i64>,
    looks: VecDeque<Look>,
}

impl Tally {
    pub(super) fn received(&mut self, now: Duration, voice: &VoiceFrame) {
        self.messages_received += 1;
        self.peer =
            LossReport { share: f64::from(voice.loss) / 255.0, burst: (f64::from(voice.burst) / 16.0).max(1.0) };
        let Some(echo) = voice.echo else { return };
        // Both numbers are the other side's word: any value must do no harm.
        let trip = i64::try_from(echo.sent)
            .ok()
            .and_then(|sent| micros(now).checked_sub(sent)?.checked_sub(echo.held.into()))
            .filter(|trip| *trip >= 0);
        let Some(trip) = trip else { return };
        if self.round_trips.len() == ROUND_TRIPS {
            self.round_trips.pop_front();
        }
        self.round_trips.push_back(trip);
    }

    pub(super) fn slot(&mut self, player: &Player, slot: u32) {
        if slot.is_multiple_of(LOOK_EVERY) {
            if self.looks.len() > LOOKS {
                self.looks.pop_front();
            }
            let JitterCounts { received, gaps, .. } = player.counts();
            self.looks.push_back(Look { expected: player.expected(), received, gaps });
        }
    }

    fn recent_loss(&self) -> f64 {
        match (self.looks.front(), self.looks.back()) {
            (Some(old), Some(new)) => {
                share_missing(new.expected.saturating_sub(old.expected), new.received.saturating_sub(old.received))
            }
            _ => 0.0,
        }
    }

    /// Mean length of the gaps of the last five seconds in messages; 0 without any.
    fn recent_burst(&self) -> f64 {
        let (Some(old), Some(new)) = (self.looks.front(), self.looks.back()) else { return 0.0 };
        let expected = new.expected.saturating_sub(old.expected);
        let missing = expected.saturating_sub(new.received.saturating_sub(old.received));
        match new.gaps.saturating_sub(old.gaps) {
            0 => 0.0,
            gaps => missing as f64 / gaps as f64,
        }
    }

    /// What the other side says of the messages that it got.
    pub(super) fn peer(&self) -> LossReport {
        self.peer
    }

    /// Half the median round trip of the last five seconds, as far as known.
    pub(super) fn one_way(&self) -> Duration {
        self.round_trip().unwrap_or_default() / 2
    }

    fn round_trip(&self) -> Option<Duration> {
        let mut trips: Vec<_> = self.round_trips.iter().copied().collect();
        trips.sort_unstable();
        trips.get(trips.len() / 2).map(|trip| Duration::from_micros(trip.unsigned_abs()))
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the share lies between 0 and 1")]
    pub(super) fn loss_byte(&self) -> u8 {
        (self.recent_loss() * 255.0).round() as u8
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a byte")]
    pub(super) fn burst_byte(&self) -> u8 {
        (self.recent_burst() * 16.0).round().clamp(0.0, 255.0) as u8
    }

    pub(super) fn stats(&self, player: &Player) -> CallStats {
        CallStats {
            messages_sent: self.messages_sent,
            frames_sent: self.frames_sent,
            messages_received: self.messages_received,
            rejected: self.rejected,
            frames_expected: player.expected_frames(),
            frames: player.counts(),
            loss: share_missing(player.expected(), player.counts().received),
            recent_loss: self.recent_loss(),
            peer_loss: self.peer.share,
            round_trip: self.round_trip(),
            held_back: player.held_back(),
            target: player.target(),
        }
    }
}

fn share_missing(expected: u64, received: u64) -> f64 {
    if expected == 0 {
        return 0.0;
    }
    // Counts of a call stay far below 2⁵³.
    expected.saturating_sub(received) as f64 / expected as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::frame::Echo;

    #[test]
    fn no_echo_does_harm() {
        let mut tally = Tally::default();
        for sent in [0, 1, u64::from(u32::MAX), i64::MAX.unsigned_abs(), u64::MAX] {
            for held in [0, 1, u32::MAX - 1, u32::MAX] {
                for now in [Duration::ZERO, Duration::from_secs(1), Duration::MAX] {
                    tally.received(now, &VoiceFrame { echo: Some(Echo { sent, held }), ..VoiceFrame::default() });
                }
            }
        }
        assert!(tally.round_trips.iter().all(|trip| *trip >= 0));
    }
}
