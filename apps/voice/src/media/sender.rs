//! The outward half: encodes frames, numbers them and adds copies of the ones before.

use super::Pcm;
use super::class::Class;
use super::codec::{CodecError, Encoded, Encoder, OpusFrame};
use super::frame::{BACK_MAX, Carried, PLACE_LEN, PLACES_MAX};
use super::redundancy::{LossReport, Means, Plan};
use std::collections::VecDeque;

/// Earlier frames that are kept for copies.
const KEPT: usize = 24;
/// Messages for which a plan against more loss is kept after the loss went down: 10 s at one every 20 ms.
const HOLD: u32 = 500;

/// Messages for which a call is protected before reports count: 3 s at one every 20 ms.
const YOUNG: u32 = 150;
/// The loss that is planned for meanwhile.
const UNKNOWN: LossReport = LossReport { share: 0.05, burst: 1.5 };

/// Encodes sound and keeps the last frames for their copies.
///
/// [`Sender::encode`] takes every 20 ms; [`Sender::pack`] gives what a message carries, after as many frames as the class has.
#[derive(Debug)]
pub struct Sender {
    encoder: Encoder,
    class: Class,
    means: Means,
    plan: Plan,
    /// The loss that the plan is for, and messages until less loss counts.
    planned: LossReport,
    hold: u32,
    next: u32,
    fresh: Vec<(u32, Encoded)>,
    earlier: VecDeque<(u32, OpusFrame)>,
}

impl Sender {
    /// A sender whose first frame has the number `first`.
    ///
    /// # Errors
    /// [`CodecError::Setup`] if Opus cannot be set up.
    pub fn new(first: u32, class: Class, means: Means) -> Result<Self, CodecError> {
        // Nothing is known yet: the first seconds are protected as against a bad wireless link.
        let planned = UNKNOWN;
        Ok(Self {
            encoder: Encoder::new()?,
            class,
            means,
            plan: Plan::new(class, means, planned),
            planned,
            hold: YOUNG,
            next: first,
            fresh: Vec::with_capacity(3),
            earlier: VecDeque::with_capacity(KEPT + 3),
        })
    }

    /// Takes in what the other side says about its losses. More loss counts at once, less only after a while.
    pub fn report(&mut self, loss: LossReport) {
        if loss.share > self.planned.share || self.hold == 0 {
            if loss.share >= self.planned.share / 2.0 {
                self.hold = HOLD;
            }
            self.planned = loss;
            self.plan = Plan::new(self.class, self.means, loss);
        } else if loss.share >= self.planned.share * 0.8 {
            self.hold = HOLD;
        }
    }

    /// What messages are made of right now.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Encodes the next 20 ms.
    ///
    /// # Errors
    /// [`CodecError`] if Opus fails; the number is used up, so that the timeline stays true.
    pub fn encode(&mut self, pcm: &Pcm) -> Result<(), CodecError> {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        let newest = self.fresh.len() + 1 >= usize::from(self.class.frames());
        let shape = if newest { self.plan.newest } else { self.plan.others };
        let encoded = self.encoder.encode(pcm, shape)?;
        self.fresh.push((number, encoded));
        Ok(())
    }

    /// What the next message carries in `room` bytes: the number of its newest frame, and its frames, newest first. `None` if there is no
    /// sound.
    pub fn pack(&mut self, room: usize) -> Option<(u32, Vec<Carried>)> {
        self.hold = self.hold.saturating_sub(1);
        let sequence = self.fresh.last().map(|(number, _)| *number)?;
        let mut left = room;
        let mut chosen: Vec<(u32, OpusFrame)> = Vec::with_capacity(PLACES_MAX);
        let mut put = |number: u32, opus: &OpusFrame| {
            let back = sequence.wrapping_sub(number);
            let fits = opus.len() + PLACE_LEN <= left && chosen.len() < PLACES_MAX && back <= u32::from(BACK_MAX);
            if fits && chosen.iter().all(|(other, _)| *other != number) {
                left -= opus.len() + PLACE_LEN;
                chosen.push((number, opus.clone()));
            }
        };
        for (place, (number, encoded)) in self.fresh.iter().rev().enumerate() {
            put(*number, if place == 0 { &encoded.packet } else { &encoded.frame });
        }
        if self.means.copies {
            let frames = u32::from(self.class.frames());
            for back in &self.plan.copies {
                let from = u32::from(*back) * frames;
                for number in (from..from + frames).filter_map(|back| sequence.checked_sub(back)) {
                    if let Some((_, opus)) = self.earlier.iter().find(|(other, _)| *other == number) {
                        put(number, opus);
                    }
                }
            }
            // What is left takes whatever fits.
            for (number, opus) in &self.earlier {
                put(*number, opus);
            }
        }
        for (number, encoded) in self.fresh.drain(..) {
            self.earlier.push_front((number, encoded.frame));
        }
        self.earlier.truncate(KEPT);
        chosen.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
        let carried = chosen
            .into_iter()
            .filter_map(|(number, opus)| {
                Some(Carried { back: u8::try_from(sequence.wrapping_sub(number)).ok()?, opus })
            })
            .collect();
        Some((sequence, carried))
    }

    /// Leaves out `count` numbers: that much time passed without sound being taken in (the machine slept).
    pub fn skip(&mut self, count: u32) {
        if count > 0 {
            self.next = self.next.wrapping_add(count);
            self.fresh.clear();
            self.earlier.clear();
        }
    }
}
