//! What the bytes of a message are spent on: sound, copies of earlier frames, DRED.
//!
//! A message has room for [`BODY_LEN`] bytes whatever happens. Without loss all that Opus can use goes to quality. With loss the frames become
//! smaller and copies of earlier ones go along, spaced so that the farthest copy lies beyond nearly all bursts; from [`DRED_FROM`] on the
//! newest packet describes the last moments besides (decision 0110).

use super::class::Class;
use super::codec::{PACKET_MAX, PACKET_MIN, Shape};
use super::frame::{ASIDE_MAX, BODY_LEN, NONCE_LEN, PLACE_LEN};

/// Share of loss from which on one, two and three copies go along. The first is less than one message in 5 s, the least that is reported:
/// what remains after repair on the links is mostly single messages, and one copy brings them back.
const COPIES_FROM: [f64; 3] = [0.002, 0.02, 0.06];
/// Share of loss from which on DRED goes along.
pub const DRED_FROM: f64 = 0.02;
/// Bytes that DRED takes of the newest packet.
const DRED_BYTES: usize = 60;
/// What DRED may describe, in units of 10 ms. More than can be played from it (120 ms), because libopus keeps bytes free for DRED by this
/// figure, and fills them with as much of the past as fits.
const DRED_SPAN: u8 = 32;
/// The loss in percent that the encoder is told at least when it makes DRED: under it libopus gives DRED too little to reach 100 ms.
const DRED_LOSS_PERCENT: u8 = 15;
/// Share of frames whose farthest copy may be lost in the same burst.
const RESIDUAL: f64 = 0.002;
/// The farthest that a copy lies behind its frame, in frames.
const REACH_MAX: f64 = 6.0;
/// Bytes that must stay free of new sound, so that a nonce and an aside always find room.
const RESERVE: usize = NONCE_LEN + 2 + ASIDE_MAX;

/// Which means against loss are used. All of them, but for measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Means {
    /// Copies of earlier frames.
    pub copies: bool,
    /// Deep redundancy.
    pub dred: bool,
}

impl Default for Means {
    fn default() -> Self {
        Self { copies: true, dred: true }
    }
}

/// What the other side says about the messages that it got.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossReport {
    /// Share of messages that did not arrive, 0 to 1.
    pub share: f64,
    /// Mean length of the gaps in messages, at least 1 if there is loss.
    pub burst: f64,
}

/// How the next messages are filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The newest frame of a message.
    pub newest: Shape,
    /// The other new frames of a message, in classes that have them.
    pub others: Shape,
    /// How many messages back the copies are, rising.
    pub copies: Vec<u8>,
}

impl Plan {
    /// The plan for a class and what is known of the loss.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share in percent, 0 to 100")]
    pub fn new(class: Class, means: Means, loss: LossReport) -> Self {
        let frames = usize::from(class.frames());
        let with_dred = means.dred && loss.share >= DRED_FROM;
        let dred_bytes = match class {
            _ if !with_dred => 0,
            Class::Ms20 | Class::Ms40 => DRED_BYTES,
            // Six frames of the least size fit beside it: one copy of each.
            Class::Ms60 => DRED_BYTES - 6,
        };
        let mut copies = if means.copies { COPIES_FROM.iter().filter(|from| loss.share >= **from).count() } else { 0 };
        let frame = |copies: usize| {
            let places = frames * (1 + copies);
            let newest_fits = (BODY_LEN - RESERVE - dred_bytes) / frames - PLACE_LEN;
            ((BODY_LEN - dred_bytes) / places - PLACE_LEN).min(newest_fits).min(PACKET_MAX)
        };
        while copies > 0 && frame(copies) < PACKET_MIN {
            copies -= 1;
        }
        let bytes = frame(copies).max(PACKET_MIN);
        let loss_percent = (loss.share * 100.0).clamp(0.0, 100.0) as u8;
        let dred = if with_dred { DRED_SPAN } else { 0 };
        Self {
            newest: Shape {
                bytes: (bytes + dred_bytes).min(PACKET_MAX),
                dred,
                loss_percent: if with_dred { loss_percent.max(DRED_LOSS_PERCENT) } else { loss_percent },
            },
            // A frame that is not the newest has DRED too, as libopus goes, but for loss 0 it gets next to nothing, and it is cut off.
            others: Shape { bytes, dred, loss_percent: if with_dred { 0 } else { loss_percent } },
            copies: spacing(copies, reach(loss).min(REACH_MAX / f64::from(class.frames()))),
        }
    }
}

/// How many messages in a row must be bridged so that all but [`RESIDUAL`] of the messages are, in a Gilbert channel.
fn reach(loss: LossReport) -> f64 {
    let stay = 1.0 - 1.0 / loss.burst.max(1.0);
    if loss.share <= RESIDUAL || stay < 0.05 {
        return 1.0;
    }
    ((RESIDUAL / loss.share).ln() / stay.ln()).max(1.0)
}

/// `copies` distances, the last of them `reach` messages or as near as it can be.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 6")]
fn spacing(copies: usize, reach: f64) -> Vec<u8> {
    let mut last = 0;
    (1..=copies)
        .map(|copy| {
            let wanted = (reach * copy as f64 / copies as f64).round() as u8;
            last = wanted.max(last + 1);
            last
        })
        .collect()
}
