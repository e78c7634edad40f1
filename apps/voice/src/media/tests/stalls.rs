//! Lines that stall: what comes late is played late, and what recurs is bridged.

use super::*;
use crate::media::stalls::{LONGEST_BRIDGE, Stalls};

/// Messages from `from` to `to`, each as late as `lateness` says.
fn feed(stalls: &mut Stalls, from: u32, to: u32, lateness: impl Fn(u32) -> i64) {
    for number in from..to {
        stalls.message(number, lateness(number));
    }
}

/// A stall of 250 ms every `apart` frames, the first at frame 150, until frame `until`.
fn recurring(apart: u32, until: u32) -> Stalls {
    let mut stalls = Stalls::default();
    feed(&mut stalls, 0, until, |number| {
        let since = number.checked_sub(150).map_or(u32::MAX, |since| since % apart);
        if since < 12 { 250 * MS - i64::from(since) * FRAME_MICROS } else { 3 * MS }
    });
    stalls
}

#[test]
fn a_stall_is_bridged_when_it_has_come_back_and_until_it_stays_away() {
    assert_eq!(recurring(250, 399).bridge(100.0), 0, "one stall");
    assert_eq!(recurring(250, 403).bridge(100.0), 250 * MS, "the second");
    let mut stalls = recurring(250, 1_149);
    assert_eq!(stalls.bridge(100.0), 250 * MS);
    // The last one began at frame 900: for twice 5 s it is expected again.
    feed(&mut stalls, 1_149, 1_401, |_| 0);
    assert_eq!(stalls.bridge(100.0), 250 * MS);
    feed(&mut stalls, 1_401, 1_402, |_| 0);
    assert_eq!(stalls.bridge(100.0), 0);
    // Then it begins again from nothing: one is one.
    feed(&mut stalls, 1_402, 1_420, |_| 250 * MS);
    assert_eq!(stalls.bridge(100.0), 0);
}

#[test]
fn stalls_far_apart_do_not_recur() {
    assert_eq!(recurring(500, 653).bridge(100.0), 250 * MS, "10 s");
    assert_eq!(recurring(501, 654).bridge(100.0), 0, "more");
}

#[test]
fn late_messages_here_and_there_are_no_stall() {
    let mut stalls = Stalls::default();
    feed(&mut stalls, 0, 2_000, |number| if number % 50 < 2 { 200 * MS } else { 0 });
    assert_eq!(stalls.bridge(0.0), 0, "two in a row");
    feed(&mut stalls, 2_000, 4_000, |number| i64::from(number % 4) * 25 * MS);
    assert_eq!(stalls.bridge(0.0), 0, "jitter");
}

#[test]
fn a_bridge_ends_where_conversation_does() {
    let stalls = recurring(250, 800);
    assert_eq!(stalls.bridge(150.0), 250 * MS);
    assert_eq!(stalls.bridge(250.0), 150 * MS, "400 ms in all");
    assert_eq!(stalls.bridge(280.0), 0, "less than half of the hole would go");
    assert_eq!(stalls.bridge(1_000.0), 0);
}

#[test]
fn the_highest_of_the_last_stalls_counts() {
    let mut stalls = Stalls::default();
    for (round, height) in [300, 120, 120, 120, 120].into_iter().enumerate() {
        let from = u32::try_from(round).unwrap() * 200;
        feed(&mut stalls, from, from + 10, |_| height * MS);
        feed(&mut stalls, from + 10, from + 200, |_| 0);
        assert_eq!(stalls.bridge(50.0), [0, 300, 300, 120, 120][round] * MS, "{round}");
    }
}

/// A line like the profile `spiky`: every 5 s what is sent in the next 300 ms comes 250 ms later, in order with all that follows.
fn arrival(number: u32) -> u64 {
    let sent = u64::from(number) * 20;
    let since = (sent + 2_000) % 5_000;
    sent + 30 + if since < 300 { 250 } else { 550_u64.saturating_sub(since).min(250) }
}

/// What the buffer did until frame `frames`, with the sound played as the player would: up to 8 ms faster or slower each frame.
fn over_stalls(frames: u32) -> (JitterBuffer, Vec<(i64, Step)>) {
    let mut jitter = JitterBuffer::new(Class::Ms20);
    let (mut position, mut next, mut steps) = (50 * MS, 0, Vec::new());
    jitter.set_path(Duration::from_millis(100));
    while position < i64::from(frames) * FRAME_MICROS {
        while micros(at(arrival(next))) <= position {
            jitter.insert(at(arrival(next)), &voice(next));
            next += 1;
        }
        let step = jitter.step(position);
        let stretch = match step {
            Step::Play { .. } => (-jitter.excess(position)).clamp(-8 * MS, 8 * MS),
            _ => 0,
        };
        steps.push((position, step));
        position += FRAME_MICROS + stretch;
    }
    (jitter, steps)
}

#[test]
fn what_a_stall_delays_is_played_late_and_not_thrown_away() {
    // One stall, which begins at 3 s.
    let (jitter, _) = over_stalls(390);
    let counts = jitter.counts();
    assert!((11..=14).contains(&counts.concealed), "as long as the stall, and no longer: {counts:?}");
    assert_eq!((counts.lost, counts.late), (0, 0), "{counts:?}");
    assert!(jitter.excess(390 * FRAME_MICROS).abs() < 30 * MS, "the delay is made up for by playing faster");
}

#[test]
fn stalls_that_recur_are_heard_twice_and_then_no_more() {
    let (early, _) = over_stalls(450);
    let (late, steps) = over_stalls(3_000);
    let [early, late_counts] = [early.counts(), late.counts()];
    assert!(early.concealed <= 27, "two stalls: {early:?}");
    assert_eq!(late_counts.concealed, early.concealed, "eleven more of them: {late_counts:?}");
    assert_eq!((late_counts.lost, late_counts.late), (0, 0), "{late_counts:?}");
    assert!(late.lag(3_000 * FRAME_MICROS) <= 280 * MS, "{}", late.lag(3_000 * FRAME_MICROS));
    assert!(steps.iter().filter(|(at, _)| *at > 10_000 * MS).all(|(_, step)| matches!(step, Step::Play { .. })));
}

proptest! {
    /// Whatever comes, the bridge is bounded, mouth to ear with it too, and the memory is.
    #[test]
    fn a_bridge_is_bounded(
        events in prop::collection::vec((any::<u32>(), any::<i32>(), 1_u32..20), 1..200),
        near in any::<bool>(),
        path in 0.0_f64..2_000.0,
    ) {
        let mut stalls = Stalls::default();
        for (number, lateness, times) in events {
            for more in 0..times {
                let number = if near { number % 3_000 + more } else { number.saturating_add(more) };
                stalls.message(number, i64::from(lateness));
                let bridge = stalls.bridge(path);
                prop_assert!((0..=LONGEST_BRIDGE).contains(&bridge));
                prop_assert!(bridge == 0 || path + bridge as f64 / 1_000.0 <= 400.001);
            }
        }
    }
}
