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
const REORDER_COUNT: u64 = 8;
/// … or one sent this much later in time. What counts as lost is sent again, so it pays to know soon; …
const REORDER_TIME: Nanos = MILLI;
/// … on a path that reorders, both grow by a half for each round trip in which something that had counted as lost came
/// after all, up to 38 times as much, …
const MOST_PATIENCE: u32 = 9;
/// … and go back a step after so many datagrams without that.
const PATIENCE_KEPT: u32 = 1024;
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
    /// Of these, how many followed one that was not lost: bursts that began.
    pub(super) bursts: u32,
    /// Datagrams that had counted as lost, or were forgotten, and were reported after all.
    pub(super) late: u32,
    /// Round-trip time of the highest one, without the peer's waiting, when it is newly reported.
    pub(super) rtt: Option<Nanos>,
    /// The peer's clock at its arrival minus ours at its sending, modulo 2³² µs.
    pub(super) one_way: Option<u32>,
    /// The highest counter reported.
    pub(super) largest: u64,
    /// Something arrived that had been given up in a black-out.
    pub(super) revived: bool,
}

/// What is now known of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// It has arrived.
    Arrived,
    /// It is taken for lost.
    Lost,
    /// It is known to have arrived, after its fate was told before.
    Late,
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
    /// The last one that was taken for lost.
    last_lost: Option<u64>,
    /// Steps by which the patience with what is late is above the least, and datagrams since one was too late.
    patience: u32,
    in_time: u32,
    /// Only what was sent from here on has been judged by the present patience.
    judged_from: u64,
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

    /// Takes a FEEDBACK, and tells `see` what has become of which datagram.
    ///
    /// # Errors
    /// [`Absurd`] when it reports a counter that was never used.
    pub(super) fn feedback(
        &mut self,
        now: Nanos,
        feedback: &Feedback,
        mut see: impl FnMut(u64, Fate),
    ) -> Result<Report, Absurd> {
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
        if self.known_highest != Some(highest) {
            self.acknowledge(highest, &mut report, &mut see);
        }
        // Only bits that the last report did not have. One that was overtaken tells nothing about what came too late.
        let overtaken = self.known_highest.is_some_and(|known| highest < known);
        let mut news = bitmap & !self.known_below(highest);
        while news != 0 {
            let bit = news.trailing_zeros();
            news &= news - 1;
            self.acknowledge(highest - 1 - u64::from(bit), &mut report, &mut see);
        }
        if self.known_highest.is_none_or(|known| highest >= known) {
            self.known_highest = Some(highest);
            self.known = bitmap;
        }
        self.settle(&mut report, &mut see);
        if overtaken {
            report.late = 0;
        }
        self.learn(&report);
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

    fn acknowledge(&mut self, counter: u64, report: &mut Report, see: &mut impl FnMut(u64, Fate)) {
        let Some(entry) = self.entry(counter) else {
            if counter < self.first {
                report.late += u32::from(counter >= self.judged_from);
                see(counter, Fate::Late);
            }
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
        see(counter, Fate::Arrived);
    }

    /// Learns how far the path reorders.
    fn learn(&mut self, report: &Report) {
        if report.late > 0 {
            self.patience = (self.patience + 1).min(MOST_PATIENCE);
            self.judged_from = self.next_counter();
            self.in_time = 0;
        }
        self.in_time = self.in_time.saturating_add(report.acked);
        if self.in_time >= PATIENCE_KEPT {
            self.patience = self.patience.saturating_sub(1);
            self.in_time = 0;
        }
    }

    /// Drops what is settled from the front, and what is lost.
    fn settle(&mut self, report: &mut Report, see: &mut impl FnMut(u64, Fate)) {
        let Some(known) = self.known_highest else {
            return;
        };
        let known_at = self.entry(known).map(|entry| entry.at);
        let stretched = |least: u64| (least * 3u64.pow(self.patience)) >> self.patience;
        let (count, time) = (stretched(REORDER_COUNT), stretched(REORDER_TIME));
        while let Some(front) = self.entries.front() {
            let late =
                self.first + count <= known || (self.first < known && known_at.is_some_and(|at| front.at + time <= at));
            if front.state != State::Done && !late {
                return;
            }
            let lost = matches!(front.state, State::Open | State::Silent);
            if front.state == State::Open {
                report.lost_bytes += u64::from(front.len);
            }
            if lost {
                report.lost += 1;
                report.bursts += u32::from(self.last_lost.is_none_or(|last| last + 1 != self.first));
                self.last_lost = Some(self.first);
                see(self.first, Fate::Lost);
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
                if let Ok(report) = sent.feedback(now, &feedback, |_, _| ()) {
                    prop_assert!(report.largest < sent.next_counter());
                    prop_assert!(report.acked_bytes + report.lost_bytes <= in_flight);
                    in_flight -= report.acked_bytes + report.lost_bytes;
                }
            }
        }

        /// An honest receiver's reports settle everything that arrived, over loss and reordering.
        #[test]
        fn honest_reports_account_for_everything(order in proptest::collection::vec(0..REORDER_COUNT, 200)) {
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
                    let report = sent.feedback(0, &received.report(0), |_, _| ()).expect("honest");
                    acked += report.acked;
                    lost += report.lost;
                }
            }
            let report = sent.feedback(0, &received.report(0), |_, _| ()).expect("honest");
            prop_assert_eq!(acked + report.acked, arrivals);
            prop_assert!(lost + report.lost <= 200 - arrivals);
        }
    }

    #[test]
    fn counters_that_were_never_sent_are_absurd() {
        let mut sent = Sent::default();
        let claim = |highest, bitmap| Feedback { highest, bitmap, ..Feedback::default() };
        assert_eq!(sent.feedback(0, &claim(0, 0), |_, _| ()), Err(Absurd));
        for _ in 0..10 {
            sent.note(0, 1200, true);
        }
        assert_eq!(sent.feedback(0, &claim(10, 0), |_, _| ()), Err(Absurd));
        assert_eq!(sent.feedback(0, &claim(u32::MAX, 0), |_, _| ()), Err(Absurd));
        assert_eq!(sent.feedback(0, &claim(3, 0b1000), |_, _| ()), Err(Absurd), "counter −1");
        let report = sent.feedback(0, &claim(3, 0b111), |_, _| ()).expect("all sent");
        assert_eq!((report.acked, report.acked_bytes), (4, 4800));
        assert_eq!(sent.feedback(0, &claim(3, 0b111), |_, _| ()).expect("repeat").acked, 0);
    }

    #[test]
    fn a_gap_is_lost_only_after_reordering_had_its_chance() {
        let (mut sent, mut received) = (Sent::default(), Received::default());
        for counter in 0..60 {
            sent.note(0, 1200, true);
            if counter != 5 {
                received.note(0, counter, true);
            }
            let report = sent.feedback(MILLI, &received.report(0), |_, _| ()).expect("honest");
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
        let report = sent.feedback(3600 * SECOND, &Feedback::default(), |_, _| ()).expect("sent");
        assert_eq!(report.rtt, Some(LONGEST_RTT));
    }

    #[test]
    fn what_was_given_up_may_still_come() {
        let mut sent = Sent::default();
        sent.note(0, 1200, true);
        sent.give_up();
        let report = sent.feedback(MILLI, &Feedback::default(), |_, _| ()).expect("sent");
        assert!(report.revived && report.acked_bytes == 0 && report.lost == 0);
    }
}
