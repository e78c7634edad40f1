//! Datagrams on their way: what was sent under which counter, and what FEEDBACK says of it.
//!
//! A peer may lie in FEEDBACK. It cannot acknowledge what was never sent, nor anything twice, nor make the bytes in
//! flight negative; a delay that would make a round trip shorter than nothing is ignored. A peer that acknowledges what
//! it did not receive makes this node send faster, up to the largest window, and only to the address that it proved to
//! be its own: see `link/path.rs`.

use std::collections::VecDeque;

use super::clock::{MICRO, MILLI, Nanos, SECOND};
use crate::wire::frame::{FEEDBACK_BITS, Feedback};

/// A datagram counts as lost when one sent this much later has arrived …
const REORDER_COUNT: u64 = 48;
/// … or one sent this much later in time.
const REORDER_TIME: Nanos = 5 * MILLI;
/// Entries kept at most; beyond, the oldest counts as lost.
const MAX_ENTRIES: usize = 1 << 16;
/// Entries kept beyond which those that are not in flight are forgotten, from the oldest.
const MAX_SETTLED: usize = 4096;
/// No round trip counts for more: a peer may delay its report at will.
pub(super) const LONGEST_RTT: Nanos = 60 * SECOND;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// In flight.
    Open,
    /// Carries no data and is not counted in flight.
    Silent,
    /// Given up in a black-out, perhaps wrongly.
    GivenUp,
    /// Reported, or lost.
    Done,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    at: Nanos,
    len: u32,
    state: State,
}

/// What a FEEDBACK changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Report {
    /// Datagrams newly reported as received, and their bytes.
    pub(super) acked: u32,
    pub(super) acked_bytes: u64,
    /// Datagrams now taken for lost, and their bytes.
    pub(super) lost: u32,
    pub(super) lost_bytes: u64,
    /// Round-trip time of the highest one, without the peer's waiting, when it is newly reported.
    pub(super) rtt: Option<Nanos>,
    /// The peer's clock at its arrival minus ours at its sending, modulo 2³² µs.
    pub(super) one_way: Option<u32>,
    /// The highest counter reported.
    pub(super) largest: u64,
    /// Something arrived that had been given up in a black-out.
    pub(super) revived: bool,
}

/// A FEEDBACK that claims what cannot be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Absurd;

/// Datagrams sent on a link, by counter.
#[derive(Clone, Debug, Default)]
pub(super) struct Sent {
    first: u64,
    entries: VecDeque<Entry>,
    /// The last FEEDBACK's highest counter and bitmap, so that only news is looked at.
    known_highest: Option<u64>,
    known: u128,
}

impl Sent {
    /// The counter of the next datagram.
    pub(super) fn next_counter(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Notes a datagram under [`next_counter`](Self::next_counter). `len` counts in flight if it is eliciting.
    /// Returns bytes that are given up because the table is full.
    pub(super) fn note(&mut self, now: Nanos, len: u32, eliciting: bool) -> u64 {
        let mut dropped = 0;
        if self.entries.len() >= MAX_ENTRIES
            && let Some(old) = self.entries.pop_front()
        {
            self.first += 1;
            dropped = if old.state == State::Open { u64::from(old.len) } else { 0 };
        }
        while self.entries.len() >= MAX_SETTLED && self.entries.front().is_some_and(|old| old.state != State::Open) {
            self.entries.pop_front();
            self.first += 1;
        }
        let state = if eliciting { State::Open } else { State::Silent };
        self.entries.push_back(Entry { at: now, len, state });
        dropped
    }

    fn entry(&mut self, counter: u64) -> Option<&mut Entry> {
        let at = usize::try_from(counter.checked_sub(self.first)?).ok()?;
        self.entries.get_mut(at)
    }

    /// Takes a FEEDBACK.
    ///
    /// # Errors
    /// [`Absurd`] when it reports a counter that was never used.
    pub(super) fn feedback(&mut self, now: Nanos, feedback: &Feedback) -> Result<Report, Absurd> {
        let last = self.next_counter().checked_sub(1).ok_or(Absurd)?;
        let back = low32(last).wrapping_sub(feedback.highest);
        let highest = last.checked_sub(u64::from(back)).filter(|_| back < 1 << 31).ok_or(Absurd)?;
        // Bits below counter 0 stand for nothing that was sent.
        let in_life = u32::try_from(highest).unwrap_or(u32::MAX).min(FEEDBACK_BITS);
        let bitmap = feedback.bitmap & ((1 << FEEDBACK_BITS) - 1);
        if bitmap.checked_shr(in_life).unwrap_or(0) != 0 {
            return Err(Absurd);
        }
        let mut report = Report { largest: highest, ..Report::default() };
        let waited = Nanos::from(feedback.delay) * 8 * MICRO;
        if self.known_highest.is_none_or(|known| highest > known)
            && let Some(entry) = self.entry(highest)
            && entry.state != State::Done
        {
            let at = entry.at;
            report.rtt =
                now.saturating_sub(at).checked_sub(waited).filter(|rtt| *rtt > 0).map(|rtt| rtt.min(LONGEST_RTT));
            report.one_way = Some(feedback.arrived.wrapping_sub(super::clock::micros32(at)));
        }
        self.acknowledge(highest, &mut report);
        // Only bits that the last report did not have.
        let mut news = bitmap & !self.known_below(highest);
        while news != 0 {
            let bit = news.trailing_zeros();
            news &= news - 1;
            self.acknowledge(highest - 1 - u64::from(bit), &mut report);
        }
        if self.known_highest.is_none_or(|known| highest >= known) {
            self.known_highest = Some(highest);
            self.known = bitmap;
        }
        self.settle(&mut report);
        Ok(report)
    }

    /// What was known before, as a bitmap below `highest`.
    fn known_below(&self, highest: u64) -> u128 {
        match self.known_highest {
            Some(known) if known == highest => self.known,
            Some(known) if known < highest => match u32::try_from(highest - known) {
                Ok(step) if step <= 128 => self.known.checked_shl(step).unwrap_or(0) | 1 << (step - 1),
                _ => 0,
            },
            _ => 0,
        }
    }

    fn acknowledge(&mut self, counter: u64, report: &mut Report) {
        let Some(entry) = self.entry(counter) else {
            return;
        };
        match entry.state {
            State::Done => return,
            State::Open => report.acked_bytes += u64::from(entry.len),
            State::GivenUp => report.revived = true,
            State::Silent => {}
        }
        report.acked += 1;
        entry.state = State::Done;
    }

    /// Drops what is settled from the front, and what is lost.
    fn settle(&mut self, report: &mut Report) {
        let Some(known) = self.known_highest else {
            return;
        };
        let known_at = self.entry(known).map(|entry| entry.at);
        while let Some(front) = self.entries.front() {
            let late = self.first + REORDER_COUNT <= known
                || (self.first < known && known_at.is_some_and(|at| front.at + REORDER_TIME <= at));
            if front.state != State::Done && !late {
                return;
            }
            match front.state {
                State::Open => {
                    report.lost += 1;
                    report.lost_bytes += u64::from(front.len);
                }
                State::Silent => report.lost += 1,
                State::GivenUp | State::Done => {}
            }
            self.entries.pop_front();
            self.first += 1;
        }
    }

    /// Gives up all that is in flight: nothing has been heard for too long.
    pub(super) fn give_up(&mut self) {
        for entry in &mut self.entries {
            if entry.state == State::Open {
                entry.state = State::GivenUp;
            }
        }
    }
}

fn low32(counter: u64) -> u32 {
    let [_, _, _, _, a, b, c, d] = counter.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::super::received::Received;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever the peer claims, the bytes acknowledged and lost never exceed those sent.
        #[test]
        fn lies_do_not_break_the_books(
            lies in proptest::collection::vec(
                (any::<bool>(), 0u32..400, any::<u128>(), any::<u16>(), any::<u32>()), 1..80)
        ) {
            let (mut sent, mut in_flight, mut now) = (Sent::default(), 0u64, 0);
            for (send, highest, bitmap, delay, arrived) in lies {
                now += MILLI;
                if send {
                    for _ in 0..7 {
                        sent.note(now, 1200, true);
                        in_flight += 1200;
                    }
                }
                let feedback = Feedback { highest, received: 0, arrived, delay, bitmap };
                if let Ok(report) = sent.feedback(now, &feedback) {
                    prop_assert!(report.largest < sent.next_counter());
                    prop_assert!(report.acked_bytes + report.lost_bytes <= in_flight);
                    in_flight -= report.acked_bytes + report.lost_bytes;
                }
            }
        }

        /// An honest receiver's reports settle everything that arrived, over loss and reordering.
        #[test]
        fn honest_reports_account_for_everything(order in proptest::collection::vec(0u64..40, 200)) {
            let (mut sent, mut received) = (Sent::default(), Received::default());
            for _ in 0..order.len() {
                sent.note(0, 1200, true);
            }
            let (mut acked, mut lost, mut arrivals) = (0, 0, 0);
            let mut queue: Vec<_> = order.iter().enumerate()
                .filter(|(_, shift)| **shift != 0)
                .map(|(counter, shift)| (counter as u64 + shift, counter as u64)).collect();
            queue.sort_unstable();
            for (step, (_, counter)) in queue.into_iter().enumerate() {
                received.note(0, counter, true);
                arrivals += 1;
                if step % 8 == 0 {
                    let report = sent.feedback(0, &received.report(0)).expect("honest");
                    acked += report.acked;
                    lost += report.lost;
                }
            }
            let report = sent.feedback(0, &received.report(0)).expect("honest");
            prop_assert_eq!(acked + report.acked, arrivals);
            prop_assert!(lost + report.lost <= 200 - arrivals);
        }
    }

    #[test]
    fn counters_that_were_never_sent_are_absurd() {
        let mut sent = Sent::default();
        let claim = |highest, bitmap| Feedback { highest, bitmap, ..Feedback::default() };
        assert_eq!(sent.feedback(0, &claim(0, 0)), Err(Absurd));
        for _ in 0..10 {
            sent.note(0, 1200, true);
        }
        assert_eq!(sent.feedback(0, &claim(10, 0)), Err(Absurd));
        assert_eq!(sent.feedback(0, &claim(u32::MAX, 0)), Err(Absurd));
        assert_eq!(sent.feedback(0, &claim(3, 0b1000)), Err(Absurd), "counter −1");
        let report = sent.feedback(0, &claim(3, 0b111)).expect("all sent");
        assert_eq!((report.acked, report.acked_bytes), (4, 4800));
        assert_eq!(sent.feedback(0, &claim(3, 0b111)).expect("repeat").acked, 0);
    }

    #[test]
    fn a_gap_is_lost_only_after_reordering_had_its_chance() {
        let (mut sent, mut received) = (Sent::default(), Received::default());
        for counter in 0..60 {
            sent.note(0, 1200, true);
            if counter != 5 {
                received.note(0, counter, true);
            }
            let report = sent.feedback(MILLI, &received.report(0)).expect("honest");
            assert_eq!(report.lost, u32::from(counter == 5 + REORDER_COUNT), "at {counter}");
        }
    }

    #[test]
    fn what_is_not_in_flight_is_soon_forgotten() {
        let mut sent = Sent::default();
        for counter in 0..3 * MAX_SETTLED as u64 {
            assert_eq!(sent.next_counter(), counter);
            sent.note(0, 1200, counter % 2 == 0);
            if counter % 8 == 0 {
                sent.give_up();
            }
        }
        assert!(sent.entries.len() <= MAX_SETTLED + 8, "{}", sent.entries.len());
    }

    #[test]
    fn a_round_trip_has_a_longest_measure() {
        let mut sent = Sent::default();
        sent.note(0, 1200, true);
        let report = sent.feedback(3600 * SECOND, &Feedback::default()).expect("sent");
        assert_eq!(report.rtt, Some(LONGEST_RTT));
    }

    #[test]
    fn what_was_given_up_may_still_come() {
        let mut sent = Sent::default();
        sent.note(0, 1200, true);
        sent.give_up();
        let report = sent.feedback(MILLI, &Feedback::default()).expect("sent");
        assert!(report.revived && report.acked_bytes == 0 && report.lost == 0);
    }
}
