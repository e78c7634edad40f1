//! The target of the jitter buffer.

use super::*;
use crate::media::delay::DelayEstimate;

/// Feeds messages of one frame each: number and transit.
struct Feed {
    delay: DelayEstimate,
    next: u32,
}

impl Feed {
    fn new() -> Self {
        Self { delay: DelayEstimate::new(), next: 0 }
    }

    fn arrives(&mut self, transit: i64) {
        self.delay.message(self.next, transit);
        self.delay.exact(self.next, transit);
        self.delay.weigh();
        self.next += 1;
    }

    /// `missing` messages are lost; the frames come as copies in the message after them, if `copies`, or by DRED.
    fn gap(&mut self, missing: u32, copies: bool) {
        let newest = self.next + missing;
        self.delay.message(newest, 0);
        self.delay.exact(newest, 0);
        for number in self.next..newest {
            let transit = i64::from(newest - number) * FRAME_MICROS;
            if copies { self.delay.exact(number, transit) } else { self.delay.described(number, transit) }
        }
        self.delay.weigh();
        self.next = newest + 1;
    }
}

#[test]
fn the_target_follows_lateness_and_comes_back() {
    let mut feed = Feed::new();
    assert_eq!(feed.delay.target(), 20 * MS);
    for _ in 0..400 {
        feed.arrives(30 * MS);
    }
    assert!(feed.delay.target() <= 5 * MS, "{}", feed.delay.target());
    for count in 0..100 {
        feed.arrives(30 * MS + (count % 5) * 8 * MS);
    }
    assert!(feed.delay.target() >= 32 * MS, "{}", feed.delay.target());
    for _ in 0..400 {
        feed.arrives(30 * MS);
    }
    assert!(feed.delay.target() <= 5 * MS, "{}", feed.delay.target());
}

#[test]
fn one_stall_is_one_event_and_several_raise_the_target() {
    let mut feed = Feed::new();
    let stall = |feed: &mut Feed| {
        for late in (0..10).rev() {
            feed.arrives(30 * MS + late * 20 * MS);
        }
        for _ in 0..40 {
            feed.arrives(30 * MS);
        }
    };
    for _ in 0..100 {
        feed.arrives(30 * MS);
    }
    stall(&mut feed);
    assert!(feed.delay.target() <= 5 * MS, "{}", feed.delay.target());
    for _ in 0..4 {
        stall(&mut feed);
    }
    assert!(feed.delay.target() >= 150 * MS, "{}", feed.delay.target());
}

#[test]
fn waiting_for_copies_must_be_worth_it() {
    let with = |gaps: &[u32], path: i64| {
        let mut feed = Feed::new();
        feed.delay.set_path(path * MS);
        for round in 0..400 {
            feed.gap(gaps[round % gaps.len()], true);
        }
        feed.delay.target() / FRAME_MICROS
    };
    assert_eq!(with(&[0], 50), 0);
    assert_eq!(with(&[[0; 399].as_slice(), &[1]].concat(), 50), 0, "one loss in 400");
    assert_eq!(with(&[[0; 399].as_slice(), &[5]].concat(), 50), 0, "one burst in 400");
    assert_eq!(with(&[[0; 19].as_slice(), &[1]].concat(), 50), 1, "5 % singly");
    assert_eq!(with(&[[0; 19].as_slice(), &[2]].concat(), 50), 2, "in pairs");
    assert_eq!(with(&[[0; 180].as_slice(), &[1]].concat(), 50), 1, "0.5 % singly, on a short path");
    assert_eq!(with(&[[0; 180].as_slice(), &[1]].concat(), 300), 0, "and on a long one");
}

#[test]
fn dred_is_worth_less_waiting_than_a_copy() {
    let with = |copies| {
        let mut feed = Feed::new();
        feed.delay.set_path(177 * MS);
        for round in 0..400 {
            feed.gap(u32::from(round % 80 == 0), copies);
        }
        feed.delay.target() / FRAME_MICROS
    };
    assert_eq!((with(true), with(false)), (1, 0));
}

#[test]
fn repairs_of_a_link_count_by_when_they_come() {
    // Every 20th cell is lost and repaired 12 ms later than it should have come.
    let mut feed = Feed::new();
    for count in 0..400 {
        feed.arrives(30 * MS + if count % 20 == 7 { 12 * MS } else { 0 });
    }
    let target = feed.delay.target();
    assert!((12 * MS..=16 * MS).contains(&target), "{target}");
}

#[test]
fn a_step_of_the_whole_path_is_believed_after_a_second() {
    for (from, to) in [(30, 130), (130, 30)] {
        let mut feed = Feed::new();
        for _ in 0..300 {
            feed.arrives(from * MS);
        }
        for _ in 0..50 {
            feed.arrives(to * MS);
        }
        assert_eq!(feed.delay.base(), to * MS);
        assert!(feed.delay.target() <= 5 * MS, "{}", feed.delay.target());
    }
}

proptest! {
    #[test]
    fn the_target_is_bounded_whatever_comes(
        events in prop::collection::vec((any::<u32>(), any::<i32>(), 0_u8..3), 1..300),
        near in any::<bool>(),
    ) {
        let mut delay = DelayEstimate::new();
        for (number, transit, kind) in events {
            let (number, transit) = (if near { number % 1_000 } else { number }, i64::from(transit));
            delay.message(number, transit);
            match kind {
                0 => delay.described(number, transit),
                _ => delay.exact(number, transit),
            }
            delay.weigh();
            prop_assert!((0..=crate::media::delay::MAX_OF_LATE + 3 * MS).contains(&delay.target()));
        }
    }
}
