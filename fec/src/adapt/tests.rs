use super::*;
use proptest::prelude::*;

/// A small generator: tests need dice, and the crate has none.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A Gilbert channel.
struct Channel {
    dice: Dice,
    loss: f64,
    burst: f64,
    losing: bool,
}

impl Channel {
    fn new(seed: u64, loss: f64, burst: f64) -> Channel {
        Channel { dice: Dice(seed | 1), loss, burst, losing: false }
    }

    fn arrives(&mut self) -> bool {
        let ends = 1.0 / self.burst;
        let begins = ends * self.loss / (1.0 - self.loss);
        self.losing = if self.losing { self.dice.roll() >= ends } else { self.dice.roll() < begins };
        !self.losing
    }
}

/// A link with `calls` calls, run for `seconds` on from `now`: how many symbols and how many repairs it sent.
fn run(
    adapt: &mut Adapt,
    channel: &mut Channel,
    now: &mut u64,
    counter: &mut u64,
    calls: u64,
    seconds: u64,
) -> (u32, u32) {
    let (mut symbols, mut repairs) = (0, 0);
    let interval = 20 * MILLISECOND / calls;
    let end = *now + seconds * 1_000 * MILLISECOND;
    let mut next_symbol = *now;
    while *now < end {
        *now = adapt.next_repair().map_or(next_symbol, |due| due.min(next_symbol));
        if *now == next_symbol {
            symbols += 1;
            next_symbol += interval;
            adapt.handle_source(*now);
        } else {
            assert!(adapt.poll_repair(*now));
            repairs += 1;
        }
        adapt.handle_outcome(*now, *counter, channel.arrives());
        *counter += 1;
    }
    (symbols, repairs)
}

fn overhead(calls: u64, loss: f64, burst: f64) -> f64 {
    let mut adapt = Adapt::new(AdaptConfig::default());
    let (mut now, mut counter) = (0, 0);
    let mut channel = Channel::new(77, loss, burst);
    run(&mut adapt, &mut channel, &mut now, &mut counter, calls, 20);
    let (symbols, repairs) = run(&mut adapt, &mut channel, &mut now, &mut counter, calls, 60);
    f64::from(repairs) / f64::from(symbols)
}

#[test]
fn silent_without_loss() {
    let mut adapt = Adapt::new(AdaptConfig::default());
    for step in 0..100_000 {
        let now = step * MILLISECOND;
        adapt.handle_source(now);
        adapt.handle_outcome(now, step, true);
        adapt.handle_queue(step % 7 * MILLISECOND);
        assert_eq!(adapt.next_repair(), None);
        assert!(!adapt.poll_repair(now));
    }
    assert_eq!(adapt.redundancy(), 0.0);
}

#[test]
fn a_stray_loss_costs_nothing() {
    let mut adapt = Adapt::new(AdaptConfig::default());
    for step in 0..50_000 {
        let now = step * 20 * MILLISECOND;
        adapt.handle_source(now);
        adapt.handle_outcome(now, step, step % 2_000 != 999);
        assert_eq!(adapt.next_repair(), None, "after {step} datagrams");
    }
}

#[test]
fn it_begins_soon_after_loss_does_and_ends_after_it() {
    let mut adapt = Adapt::new(AdaptConfig::default());
    let (mut now, mut counter) = (0, 0);
    run(&mut adapt, &mut Channel::new(5, 0.0, 1.0), &mut now, &mut counter, 1, 10);
    let (_, repairs) = run(&mut adapt, &mut Channel::new(5, 0.1, 2.0), &mut now, &mut counter, 1, 2);
    assert!(repairs > 50, "{repairs} repairs in the first 2 s of 10 % loss");
    run(&mut adapt, &mut Channel::new(5, 0.0, 1.0), &mut now, &mut counter, 1, 15);
    assert_eq!(adapt.redundancy(), 0.0, "silent again, loss is believed to be {}", adapt.loss());
    let (_, repairs) = run(&mut adapt, &mut Channel::new(5, 0.0, 1.0), &mut now, &mut counter, 1, 15);
    assert_eq!(repairs, 0);
}

#[test]
fn it_measures_share_and_burst() {
    for (loss, burst) in [(0.05, 1.5), (0.1, 2.0), (0.2, 4.0)] {
        let mut adapt = Adapt::new(AdaptConfig::default());
        let mut channel = Channel::new(31, loss, burst);
        let (mut shares, mut bursts) = (0.0, 0.0);
        for step in 0..100_000 {
            adapt.handle_outcome(step * 5 * MILLISECOND, step, channel.arrives());
            shares += adapt.loss() / 1e5;
            bursts += adapt.burst() / 1e5;
        }
        assert!((0.95..1.35).contains(&(shares / loss)), "loss {loss}: {shares}");
        assert!((0.85..1.25).contains(&(bursts / burst)), "burst {burst}: {bursts}");
    }
}

#[test]
fn more_loss_costs_more_and_many_calls_share_the_cost() {
    let (little, wifi, mobile) = (overhead(1, 0.01, 1.2), overhead(1, 0.05, 1.5), overhead(1, 0.1, 2.0));
    assert!(little < wifi && wifi <= mobile + 0.01, "{little} {wifi} {mobile}");
    let shared = overhead(10, 0.05, 1.5);
    assert!(shared < wifi / 2.0, "{shared} for each of ten calls, {wifi} for one alone");
}

#[test]
fn repairs_are_apart_from_their_source_and_from_each_other() {
    let mut adapt = Adapt::new(AdaptConfig::default());
    let (mut now, mut counter) = (0, 0);
    let mut channel = Channel::new(3, 0.1, 2.0);
    run(&mut adapt, &mut channel, &mut now, &mut counter, 1, 30);
    assert_eq!(adapt.redundancy(), 2.0);
    let mut times = Vec::new();
    let sent = now;
    adapt.handle_source(sent);
    while let Some(due) = adapt.next_repair() {
        assert!(!adapt.poll_repair(due - 1));
        assert!(adapt.poll_repair(due));
        times.push((due - sent) / MILLISECOND);
    }
    assert_eq!(times.len(), 2);
    assert!(times[0] >= 5 && times[1] >= times[0] + 5 && times[1] <= 20, "{times:?} ms after the source");
}

#[test]
fn inflated_loss_buys_no_more_than_the_ceiling() {
    for calls in [1, 5, 50] {
        let mut adapt = Adapt::new(AdaptConfig::default());
        let (mut now, mut counter) = (0, 0);
        // Everything is reported lost.
        let mut channel = Channel::new(3, 0.999_999, 1e9);
        let (symbols, repairs) = run(&mut adapt, &mut channel, &mut now, &mut counter, calls, 30);
        let bought = f64::from(repairs) / f64::from(symbols);
        assert!(bought <= adapt.ceiling() + 0.01, "{bought} of {}", adapt.ceiling());
        assert!(adapt.ceiling() <= 2.0);
    }
}

#[test]
fn redundancy_does_not_rise_while_queueing_delay_rises() {
    let mut adapt = Adapt::new(AdaptConfig::default());
    let (mut now, mut counter) = (0, 0);
    run(&mut adapt, &mut Channel::new(9, 0.02, 1.2), &mut now, &mut counter, 1, 20);
    let before = adapt.redundancy();
    // A queue that grows by 1 ms each sample.
    let mut queue = 0;
    let mut grow = |adapt: &mut Adapt, samples| {
        for _ in 0..samples {
            queue += MILLISECOND;
            adapt.handle_queue(queue);
        }
    };
    grow(&mut adapt, 20);
    let mut channel = Channel::new(9, 0.15, 2.0);
    for second in 0..5 {
        grow(&mut adapt, 20);
        run(&mut adapt, &mut channel, &mut now, &mut counter, 1, 1);
        assert!(adapt.redundancy() <= before, "{} after {second} s", adapt.redundancy());
    }
    for _ in 0..500 {
        adapt.handle_queue(120 * MILLISECOND);
    }
    run(&mut adapt, &mut channel, &mut now, &mut counter, 1, 5);
    assert!(adapt.redundancy() > before, "the queue stands still: it may rise");
}

#[test]
fn it_falls_only_with_patience() {
    let mut adapt = Adapt::new(AdaptConfig::default());
    let (mut now, mut counter) = (0, 0);
    run(&mut adapt, &mut Channel::new(9, 0.1, 2.0), &mut now, &mut counter, 1, 20);
    let before = adapt.redundancy();
    let mut fell = Vec::new();
    let mut last = before;
    let mut channel = Channel::new(9, 0.0, 1.0);
    while adapt.redundancy() > 0.0 {
        run(&mut adapt, &mut channel, &mut now, &mut counter, 1, 1);
        if adapt.redundancy() < last {
            fell.push(now);
            last = adapt.redundancy();
        }
    }
    assert!(fell.windows(2).all(|pair| pair[1] - pair[0] >= 1_000 * MILLISECOND), "{fell:?}");
}

proptest! {
    /// No sequence of reports, true or not, makes it panic, owe more than its bounds, or send more than its cap.
    #[test]
    fn any_reports_stay_within_bounds(
        steps in prop::collection::vec((0u8..4, any::<u64>(), any::<bool>(), 0u64..50_000_000), 1..400),
    ) {
        let mut adapt = Adapt::new(AdaptConfig::default());
        let (mut now, mut symbols, mut repairs) = (0u64, 0u32, 0u32);
        for (kind, value, flag, wait) in steps {
            now += wait;
            match kind {
                0 => {
                    symbols += 1;
                    adapt.handle_source(now);
                }
                1 => adapt.handle_outcome(now, value, flag),
                2 => (0..40).for_each(|i| adapt.handle_outcome(now, (value % 1_000).wrapping_add(i), flag)),
                _ => adapt.handle_queue(value),
            }
            while adapt.poll_repair(now) {
                repairs += 1;
            }
            prop_assert!(adapt.due.len() <= MOST_DUE);
            prop_assert!((0.0..=2.0).contains(&adapt.redundancy()));
            prop_assert!((0.0..=1.0).contains(&adapt.loss()) && adapt.burst() >= 1.0);
        }
        prop_assert!(f64::from(repairs) <= 2.0 * f64::from(symbols));
    }
}
