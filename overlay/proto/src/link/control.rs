//! Reliable control frames: retried until acknowledged, delivered once, in order for each circuit.
//!
//! Ids count up from 1 over a link's life. At most [`SPAN`] ids are open at once, so that one ACK (all ids up to here,
//! and a bitmap of the 64 after) describes everything the receiver has, and the receiver's memory is one number and 64
//! bits. A frame of a circuit whose earlier frame is unacknowledged waits, so that no DESTROY overtakes its SETUP.

use std::collections::VecDeque;

use super::clock::{Nanos, SECOND};
use super::types::Control;
use crate::wire::frame::Frame;

/// Ids that may be open at once.
const SPAN: u32 = 64;
/// Frames that may be on their way beyond what the congestion window allows.
const ALWAYS: usize = 4;
const SLOWEST_RETRY: Nanos = 2 * SECOND;

#[derive(Debug)]
struct Open {
    id: u32,
    control: Control,
    retry_at: Nanos,
    tries: u32,
}

/// Control frames to be sent, and sent but not acknowledged.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: VecDeque<Control>,
    /// In order of ids.
    open: VecDeque<Open>,
    last_id: u32,
}

impl Outbox {
    pub(super) fn push(&mut self, control: Control) {
        self.waiting.push_back(control);
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.open.len()
    }

    /// Whether [`next`](Self::next) would give a frame.
    pub(super) fn is_due(&self, now: Nanos, window_open: bool) -> bool {
        self.open.iter().any(|open| open.retry_at <= now) || self.candidate(window_open).is_some()
    }

    fn candidate(&self, window_open: bool) -> Option<usize> {
        let oldest = self.open.front().map_or(self.last_id + 1, |open| open.id);
        if self.last_id + 1 - oldest >= SPAN || (!window_open && self.open.len() >= ALWAYS) {
            return None;
        }
        let busy = |circuit| self.open.iter().any(|open| open.control.circuit() == circuit);
        let span = usize::try_from(SPAN).unwrap_or(usize::MAX);
        let at = self.waiting.iter().take(span).position(|control| !busy(control.circuit()))?;
        // Not past an earlier waiting frame of the same circuit: the first match is the earliest of its circuit.
        Some(at)
    }

    /// The next frame that is due and fits into `room` bytes, and whether it was sent before.
    pub(super) fn next(
        &mut self,
        now: Nanos,
        window_open: bool,
        retry_after: Nanos,
        room: usize,
    ) -> Option<(Frame<'_>, bool)> {
        if let Some(at) = self.open.iter().position(|open| open.retry_at <= now && wire_len(&open.control) <= room) {
            let open = &mut self.open[at];
            open.tries += 1;
            let wait = retry_after.saturating_mul(1 << open.tries.min(8)).min(SLOWEST_RETRY.max(retry_after));
            open.retry_at = now + wait;
            return Some((frame(open.id, &open.control), true));
        }
        let at = self.candidate(window_open).filter(|at| wire_len(&self.waiting[*at]) <= room)?;
        let control = self.waiting.remove(at)?;
        self.last_id += 1;
        self.open.push_back(Open { id: self.last_id, control, retry_at: now + retry_after, tries: 0 });
        self.open.back().map(|open| (frame(open.id, &open.control), false))
    }

    /// Takes an ACK. Ids that were never sent mean nothing.
    pub(super) fn acknowledge(&mut self, through: u32, beyond: u64) {
        self.open.retain(|open| {
            let ahead = open.id.wrapping_sub(through);
            open.id > through && (ahead > 64 || beyond >> (ahead - 1) & 1 == 0)
        });
    }

    /// When a frame must be sent again.
    pub(super) fn retry_at(&self) -> Option<Nanos> {
        self.open.iter().map(|open| open.retry_at).min()
    }
}

fn wire_len(control: &Control) -> usize {
    match control {
        Control::Setup { .. } => 489,
        Control::SetupReply { .. } => 201,
        Control::Destroy { .. } => 10,
        Control::Signal(_) => 492,
    }
}

fn frame(id: u32, control: &Control) -> Frame<'_> {
    match control {
        Control::Setup { circuit, packet } => Frame::Setup { id, circuit: *circuit, packet },
        Control::SetupReply { circuit, reply } => Frame::SetupReply { id, circuit: *circuit, reply },
        Control::Destroy { circuit, reason } => Frame::Destroy { id, circuit: *circuit, reason: *reason },
        Control::Signal(signal) => Frame::Signal { id, signal },
    }
}

/// What became of a received control frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Arrival {
    /// For the first time: deliver it.
    New,
    /// Again: acknowledge it only.
    Again,
    /// Further ahead than an honest peer goes: ignore it.
    TooFar,
}

/// Ids of control frames received.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Inbox {
    through: u32,
    beyond: u64,
}

impl Inbox {
    pub(super) fn note(&mut self, id: u32) -> Arrival {
        let Some(ahead) = id.checked_sub(self.through).filter(|ahead| *ahead > 0) else {
            return Arrival::Again;
        };
        if ahead > 64 {
            return Arrival::TooFar;
        }
        let bit = 1 << (ahead - 1);
        if self.beyond & bit != 0 {
            return Arrival::Again;
        }
        self.beyond |= bit;
        let done = self.beyond.trailing_ones();
        self.through += done;
        self.beyond = self.beyond.checked_shr(done).unwrap_or(0);
        Arrival::New
    }

    pub(super) fn ack(&self) -> Frame<'static> {
        Frame::Ack { through: self.through, beyond: self.beyond }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn destroy(circuit: u32, reason: u8) -> Control {
        Control::Destroy { circuit, reason }
    }

    fn read(frame: &Frame<'_>) -> (u32, u32, u8) {
        match frame {
            Frame::Destroy { id, circuit, reason } => (*id, *circuit, *reason),
            other => panic!("unexpected {other:?}"),
        }
    }

    proptest! {
        /// Over loss, repetition and reordering every frame arrives once, and a circuit's frames arrive in order.
        #[test]
        fn exactly_once_and_in_order_for_each_circuit(
            circuits in proptest::collection::vec(0u32..5, 1..120),
            fates in proptest::collection::vec(0u8..8, 4000),
        ) {
            let (mut outbox, mut inbox) = (Outbox::default(), Inbox::default());
            for (number, circuit) in circuits.iter().enumerate() {
                outbox.push(destroy(*circuit, u8::try_from(number).expect("below 120")));
            }
            let (mut delivered, mut in_air, mut now) = (Vec::new(), Vec::new(), 0);
            let mut fates = fates.into_iter().cycle();
            for _ in 0..3000 {
                now += SECOND / 10;
                while let Some((frame, _)) = outbox.next(now, true, SECOND / 20, 1000) {
                    let read = read(&frame);
                    match fates.next() {
                        Some(0 | 1) => {}
                        Some(2) => in_air.extend([read, read]),
                        Some(3) => in_air.insert(0, read),
                        _ => in_air.push(read),
                    }
                }
                for (id, circuit, reason) in in_air.drain(..) {
                    match inbox.note(id) {
                        Arrival::New => delivered.push((circuit, reason)),
                        Arrival::Again => {}
                        Arrival::TooFar => panic!("an honest peer stays within the span"),
                    }
                }
                if fates.next() != Some(0) && let Frame::Ack { through, beyond } = inbox.ack() {
                    outbox.acknowledge(through, beyond);
                }
                if outbox.len() == 0 {
                    break;
                }
            }
            prop_assert_eq!(outbox.len(), 0);
            prop_assert_eq!(delivered.len(), circuits.len());
            for circuit in 0..5 {
                let order: Vec<_> = delivered.iter().filter(|(c, _)| *c == circuit).map(|(_, r)| *r).collect();
                prop_assert!(order.is_sorted(), "{:?}", order);
            }
        }

        #[test]
        fn any_acks_and_ids_are_harmless(
            acks in proptest::collection::vec((any::<u32>(), any::<u64>()), 0..50),
            ids in proptest::collection::vec(any::<u32>(), 0..50),
        ) {
            let (mut outbox, mut inbox) = (Outbox::default(), Inbox::default());
            outbox.push(destroy(1, 0));
            outbox.next(0, true, 1, 1000);
            for (through, beyond) in acks {
                outbox.acknowledge(through, beyond);
            }
            for id in ids {
                inbox.note(id);
            }
        }
    }

    #[test]
    fn a_closed_window_lets_a_few_frames_pass_and_room_is_respected() {
        let mut outbox = Outbox::default();
        (0..10).for_each(|circuit| outbox.push(destroy(circuit, 0)));
        assert!(outbox.next(0, true, 1, 9).is_none());
        let sent = std::iter::from_fn(|| outbox.next(0, false, SECOND, 10).map(drop)).count();
        assert_eq!(sent, ALWAYS);
    }
}
