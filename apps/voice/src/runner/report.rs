//! What a call tells while it runs and when it is over.

use crate::call::{CallStats, EndReason, LOOK_AHEAD, Role, Words};
use crate::runner::{OUTPUT_LEAD, PathNews};
use serde::Serialize;
use std::time::Duration;

/// Something to show to the person on the line.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "update")]
#[non_exhaustive]
pub enum CallUpdate {
    /// Waiting for the other side at the meeting relay.
    Joining,
    /// The other side is there and has been asked to answer.
    Ringing,
    /// Sound flows.
    Connected {
        /// Four words that both people should see alike.
        words: String,
    },
    /// Once a second.
    Reading(Reading),
    /// The paths under the call changed.
    Path(PathNews),
    /// It is over.
    Ended {
        /// Why.
        reason: EndReason,
    },
}

/// The meter: the last second of a call.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Reading {
    /// Level of what was said, dBFS.
    pub level_in_dbfs: f32,
    /// Level of what was heard, dBFS.
    pub level_out_dbfs: f32,
    /// Mouth to ear as estimated, ms.
    pub delay_ms: Option<f64>,
    /// Round trip between the two ends, ms.
    pub round_trip_ms: Option<f64>,
    /// Held back against jitter, ms.
    pub held_back_ms: f64,
    /// Share of messages that did not arrive here in the last five seconds, 0 to 1.
    pub loss: f64,
    /// The same at the other side, as it says.
    pub peer_loss: f64,
}

impl Reading {
    pub(super) fn new(stats: &CallStats, level_in_dbfs: f32, level_out_dbfs: f32) -> Self {
        Self {
            level_in_dbfs,
            level_out_dbfs,
            delay_ms: delay(stats),
            round_trip_ms: stats.round_trip.map(millis),
            held_back_ms: millis(stats.held_back),
            loss: stats.recent_loss,
            peer_loss: stats.peer_loss,
        }
    }
}

/// A finished call.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CallReport {
    /// Which end this was.
    pub role: Role,
    /// Why it ended.
    pub ended: EndReason,
    /// The words that were shown.
    pub words: String,
    /// From joining to being connected, s.
    pub connect_seconds: f64,
    /// From being connected to the end, s.
    pub seconds: f64,
    /// Messages sent, one every 20 ms from joining on.
    pub messages_sent: u64,
    /// Valid messages received.
    pub messages_received: u64,
    /// Datagrams that were no valid messages.
    pub datagrams_rejected: u64,
    /// Frames of sound sent.
    pub frames_sent: u64,
    /// Frames of sound that the other side sent, as far as heard of.
    pub frames_expected: u64,
    /// Frames played, recovered ones included.
    pub frames_played: u64,
    /// Steps of 20 ms made up because a frame was missing.
    pub frames_concealed: u64,
    /// Frames played from the copy in a later message.
    pub frames_recovered: u64,
    /// Frames that came after their turn.
    pub frames_late: u64,
    /// Frames that were never played.
    pub frames_lost: u64,
    /// Share of messages that did not arrive, 0 to 1.
    pub loss: f64,
    /// The share of what was heard that was made up, 0 to 1.
    pub concealed: f64,
    /// Median round trip of the last five seconds, ms.
    pub round_trip_ms: Option<f64>,
    /// Held back against jitter at the end, ms.
    pub held_back_ms: f64,
    /// What the codec holds back, ms.
    pub codec_ms: f64,
    /// What is allowed for the output, ms.
    pub output_ms: f64,
    /// Mouth to ear as estimated, ms.
    pub delay_ms: Option<f64>,
    /// Mean level of what was said, dBFS.
    pub level_in_dbfs: f32,
    /// Mean level of what was heard, dBFS.
    pub level_out_dbfs: f32,
    /// Wall-clock instant of the first sample taken in, Unix µs.
    pub first_input_unix_micros: u64,
    /// Wall-clock instant at which the first sample given out is heard, Unix µs.
    pub first_output_unix_micros: u64,
    /// Times that sound was handed out later than its output could bear.
    pub late_playouts: u64,
}

impl CallReport {
    pub(super) fn new(role: Role, stats: &CallStats, words: Words, ended: EndReason) -> Self {
        let frames = stats.frames;
        let heard = frames.played + frames.concealed;
        Self {
            role,
            ended,
            words: words.to_string(),
            connect_seconds: 0.0,
            seconds: 0.0,
            messages_sent: stats.messages_sent,
            messages_received: stats.messages_received,
            datagrams_rejected: stats.rejected,
            frames_sent: stats.frames_sent,
            frames_expected: stats.frames_expected,
            frames_played: frames.played,
            frames_concealed: frames.concealed,
            frames_recovered: frames.recovered,
            frames_late: frames.late,
            frames_lost: frames.lost,
            loss: stats.loss,
            concealed: if heard == 0 { 0.0 } else { frames.concealed as f64 / heard as f64 },
            round_trip_ms: stats.round_trip.map(millis),
            held_back_ms: millis(stats.held_back),
            codec_ms: millis(LOOK_AHEAD),
            output_ms: millis(OUTPUT_LEAD),
            delay_ms: delay(stats),
            level_in_dbfs: 0.0,
            level_out_dbfs: 0.0,
            first_input_unix_micros: 0,
            first_output_unix_micros: 0,
            late_playouts: 0,
        }
    }

    /// Whether the call ended because somebody wanted it to.
    #[must_use]
    pub fn ended_well(&self) -> bool {
        matches!(self.ended, EndReason::HungUp | EndReason::PeerHungUp)
    }
}

fn delay(stats: &CallStats) -> Option<f64> {
    Some(millis(stats.mouth_to_ear()? + OUTPUT_LEAD))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
