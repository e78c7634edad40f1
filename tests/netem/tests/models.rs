//! What the pipes do, against what the models say. Each figure has its tolerance beside it; seeds are fixed, so nothing here is by chance.

use std::time::Duration;

use zmesh_netem::{Conditions, Counters, HEADERS, Loss, Pipe, Timeline};

const COUNT: u32 = 200_000;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Sends datagrams of 576 bytes at this distance; gives each one's time of arrival, `None` for those that are lost.
fn run(conditions: Conditions, every: Duration, count: u32) -> (Vec<Option<Duration>>, Counters) {
    let mut pipe = Pipe::new(conditions, 7);
    let arrivals = (0..count).map(|number| pipe.send(every * number, 576).next()).collect();
    (arrivals, pipe.counters())
}

fn near(what: &str, found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance, "{what}: {found} instead of {expected} ± {tolerance}");
}

/// Lengths of the runs of losses: `found[n]` runs of n + 1 datagrams.
fn runs(arrivals: &[Option<Duration>]) -> Vec<u32> {
    let mut found = vec![0; 64];
    let mut length = 0;
    for arrival in arrivals {
        if arrival.is_none() {
            length += 1;
        } else if length > 0 {
            found[length.min(64) - 1] += 1;
            length = 0;
        }
    }
    found
}

#[test]
fn independent_loss_has_its_share_and_its_runs() {
    let loss = Loss::Independent(0.05);
    let (arrivals, counters) = run(Conditions { loss, ..Conditions::CLEAR }, ms(1), COUNT);
    let lost = arrivals.iter().filter(|arrival| arrival.is_none()).count() as f64;
    assert_eq!(counters.lost as f64, lost);
    // Standard deviation of the share: √(0.05 · 0.95 / 200,000) = 0.05 %. Four of them.
    near("share", lost / f64::from(COUNT), 0.05, 0.002);
    // Geometric: 1 / 0.95.
    near("mean run", lost / counters.loss_runs as f64, 1.0526, 0.02);
}

/// Share, mean run and the distribution of the lengths of runs, which is geometric with parameter r.
fn check_runs(loss: Loss, r: f64) {
    let (arrivals, counters) = run(Conditions { loss, ..Conditions::CLEAR }, ms(1), COUNT);
    near("share", counters.lost as f64 / f64::from(COUNT), loss.share(), loss.share() * 0.05);
    let mean = counters.lost as f64 / counters.loss_runs as f64;
    near("mean run", mean, 1.0 / r, 0.03 / r);
    let found = runs(&arrivals);
    let all = f64::from(found.iter().sum::<u32>());
    near("runs", all, counters.loss_runs as f64, 1.0);
    for (index, count) in found.iter().take(6).enumerate() {
        let expected = r * (1.0 - r).powi(i32::try_from(index).expect("a short run"));
        // Four standard deviations of a share of that many runs.
        let tolerance = 4.0 * (expected * (1.0 - expected) / all).sqrt();
        near(&format!("runs of {}", index + 1), f64::from(*count) / all, expected, tolerance);
    }
}

#[test]
fn runs_of_loss_have_the_asked_share_length_and_distribution() {
    check_runs(Loss::bursts(0.05, 1.5), 1.0 / 1.5);
    check_runs(Loss::bursts(0.10, 2.0), 0.5);
    check_runs(Loss::Gilbert { p: 0.03, r: 0.25, good: 0.0, bad: 1.0 }, 0.25);
}

#[test]
fn gaps_between_runs_are_geometric() {
    let (arrivals, _) = run(Conditions { loss: Loss::bursts(0.05, 1.5), ..Conditions::CLEAR }, ms(1), COUNT);
    let received = arrivals.iter().filter(|arrival| arrival.is_some()).count() as f64;
    let ended = arrivals.windows(2).filter(|pair| pair[0].is_some() && pair[1].is_none()).count() as f64;
    // p = share · r / (1 - share).
    near("good to bad", ended / received, 0.05 / 1.5 / 0.95, 0.002);
}

#[test]
fn elliotts_states_lose_their_shares() {
    let loss = Loss::Gilbert { p: 0.02, r: 0.1, good: 0.01, bad: 0.4 };
    let (_, counters) = run(Conditions { loss, ..Conditions::CLEAR }, ms(1), COUNT);
    // (0.01 · 0.1 + 0.4 · 0.02) / 0.12 = 7.5 %; runs of states correlate, hence the tolerance.
    near("share", counters.lost as f64 / f64::from(COUNT), 0.075, 0.004);
}

#[test]
fn jitter_has_its_mean_deviation_and_bound() {
    let conditions = Conditions { delay: ms(100), jitter: ms(30), in_order: false, ..Conditions::CLEAR };
    let (arrivals, _) = run(conditions, ms(20), COUNT);
    let delays: Vec<f64> =
        arrivals.iter().zip(0..).map(|(at, n)| (at.unwrap() - ms(20) * n).as_secs_f64() * 1e3).collect();
    let count = delays.len() as f64;
    let mean = delays.iter().sum::<f64>() / count;
    let deviation = (delays.iter().map(|delay| (delay - mean).powi(2)).sum::<f64>() / count).sqrt();
    // Standard error of the mean: 10 / √200,000 = 0.02 ms.
    near("mean", mean, 100.0, 0.1);
    near("deviation", deviation, 10.0, 0.1);
    assert!(delays.iter().all(|delay| (70.0..=130.0).contains(delay)), "beyond the bound");
    // The sum of three uniform draws lies in its middle third two times of three (a normal distribution: 68.3 %).
    let within = delays.iter().filter(|delay| (**delay - 100.0).abs() < 10.0).count() as f64 / count;
    near("within one deviation", within, 0.6667, 0.005);
}

#[test]
fn a_draw_of_jitter_holds_as_long_as_asked() {
    let conditions =
        Conditions { delay: ms(50), jitter: ms(10), jitter_every: ms(100), in_order: false, ..Conditions::CLEAR };
    let (arrivals, _) = run(conditions, ms(10), 10_000);
    let delays: Vec<Duration> = arrivals.iter().zip(0..).map(|(at, n)| at.unwrap() - ms(10) * n).collect();
    for held in delays.chunks(10) {
        assert!(held.iter().all(|delay| *delay == held[0]), "{held:?}");
    }
    assert!(delays.windows(2).filter(|pair| pair[0] != pair[1]).count() > 950);
}

#[test]
fn jitter_keeps_the_order_unless_told_otherwise() {
    let conditions = Conditions { delay: ms(100), jitter: ms(100), ..Conditions::CLEAR };
    let ordered = |in_order| run(Conditions { in_order, ..conditions }, ms(5), 10_000).0.is_sorted();
    assert!(ordered(true));
    assert!(!ordered(false));
}

#[test]
fn the_asked_share_is_overtaken() {
    let conditions = Conditions { delay: ms(20), reorder: 0.02, reorder_by: ms(25), ..Conditions::CLEAR };
    let (arrivals, counters) = run(conditions, ms(20), COUNT);
    let arrivals: Vec<Duration> = arrivals.into_iter().flatten().collect();
    // Of RFC 4737: arriving after one that was sent later. One whose successor is held back, too, is not overtaken.
    let mut earliest = Duration::MAX;
    let mut overtaken = 0;
    for arrival in arrivals.iter().rev() {
        overtaken += u32::from(*arrival > earliest);
        earliest = earliest.min(*arrival);
    }
    let share = f64::from(overtaken) / f64::from(COUNT);
    near("held back", counters.reordered as f64 / f64::from(COUNT), 0.02, 0.0015);
    near("overtaken", share, 0.02 * 0.98, 0.0015);
}

#[test]
fn the_asked_share_arrives_twice() {
    let mut pipe = Pipe::new(Conditions { duplicate: 0.03, ..Conditions::delay(ms(5)) }, 3);
    let copies: usize = (0..COUNT).map(|n| pipe.send(ms(1) * n, 100).count()).sum();
    near("copies", copies as f64 / f64::from(COUNT), 1.03, 0.002);
    assert_eq!(pipe.counters().duplicated, copies as u64 - u64::from(COUNT));
}

#[test]
fn a_bottleneck_spaces_delays_and_drops_as_a_queue_does() {
    // A packet takes 1 ms; two are offered each millisecond for a second; ten fit in the queue.
    let packet = 576 + HEADERS;
    let conditions = Conditions { rate: Some(packet as u64 * 1_000), queue: 10 * packet, ..Conditions::delay(ms(5)) };
    let mut pipe = Pipe::new(conditions, 1);
    let mut delays = Vec::new();
    let mut times = Vec::new();
    for number in 0..2_000 {
        let at = Duration::from_micros(500) * number;
        for arrival in pipe.send(at, 576) {
            delays.push(arrival - at);
            times.push(arrival);
        }
    }
    let counters = pipe.counters();
    assert_eq!(counters.sent, 2_000);
    // In a second the rate lets 1,000 pass, and what stands in the queue at the end.
    assert!((1_000..=1_010).contains(&counters.delivered()), "{counters:?}");
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= ms(1)));
    // A full queue: the wait is what stands in it, the delay comes on top.
    let steady = &delays[100..];
    assert!(steady.iter().all(|delay| (ms(14)..=ms(15)).contains(delay)), "{:?}", steady.iter().max());
    assert!(pipe.backlog(ms(1_000)) > ms(8) && pipe.backlog(ms(1_000)) <= ms(10));
}

#[test]
fn a_queue_at_half_load_hardly_delays() {
    let packet = 576 + HEADERS;
    let conditions = Conditions { rate: Some(packet as u64 * 1_000), queue: 10 * packet, ..Conditions::CLEAR };
    let (arrivals, counters) = run(conditions, ms(2), 1_000);
    assert_eq!(counters.queue_dropped, 0);
    for (arrival, number) in arrivals.iter().zip(0..) {
        assert_eq!(arrival.unwrap() - ms(2) * number, ms(1));
    }
}

#[test]
fn what_is_longer_than_the_mtu_is_dropped() {
    let mut pipe = Pipe::new(Conditions { mtu: Some(1_280), ..Conditions::CLEAR }, 1);
    assert_eq!(pipe.send(Duration::ZERO, 1_280 - HEADERS).count(), 1);
    assert!(pipe.send(Duration::ZERO, 1_281 - HEADERS).is_lost());
    assert_eq!(pipe.counters().too_big, 1);
}

#[test]
fn conditions_change_when_the_timeline_says() {
    let steps = vec![(ms(0), Conditions::delay(ms(1))), (ms(10), Conditions::delay(ms(50)))];
    let mut pipe = Pipe::new(Timeline::new(steps, Some(ms(20))).unwrap(), 1);
    let delays: Vec<Duration> = [0, 9, 10, 15, 70, 80].map(|at| pipe.send(ms(at), 100).next().unwrap() - ms(at)).into();
    // At 70 ms the third and fourth round are over: 70 = 3 · 20 + 10.
    assert_eq!(delays, [1, 1, 50, 50, 50, 40].map(ms));
}

#[test]
fn after_a_stall_what_waited_arrives_at_once() {
    let steps = vec![
        (ms(0), Conditions::delay(ms(10))),
        (ms(100), Conditions::delay(ms(200))),
        (ms(160), Conditions::delay(ms(10))),
    ];
    let mut pipe = Pipe::new(Timeline::new(steps, None).unwrap(), 1);
    let arrivals: Vec<Duration> = (0..30).flat_map(|n| pipe.send(ms(20) * n, 100)).collect();
    // Those of 100, 120 and 140 ms take 200 ms, the last of them until 340; what came after waits behind it.
    assert!(arrivals.is_sorted());
    assert_eq!(arrivals.iter().filter(|at| **at == ms(340)).count(), 1 + 9);
    assert_eq!(*arrivals.last().unwrap(), ms(590));
}

#[test]
fn a_seed_repeats_everything_and_mechanisms_do_not_disturb_each_other() {
    let base = Conditions { loss: Loss::bursts(0.1, 2.0), ..Conditions::delay(ms(50)) };
    let full = Conditions { jitter: ms(20), reorder: 0.1, reorder_by: ms(30), duplicate: 0.1, ..base };
    let lost = |conditions, seed| {
        let mut pipe = Pipe::new(conditions, seed);
        (0..2_000).map(|n| pipe.send(ms(20) * n, 576).is_lost()).collect::<Vec<_>>()
    };
    let all = |seed| {
        let mut pipe = Pipe::new(full, seed);
        (0..2_000).flat_map(|n| pipe.send(ms(20) * n, 576)).collect::<Vec<_>>()
    };
    assert_eq!(all(1), all(1));
    assert_ne!(all(1), all(2));
    assert_eq!(lost(base, 1), lost(full, 1));
}

#[test]
fn a_pipe_copes_with_whatever_it_is_given() {
    let wild = Conditions {
        delay: Duration::MAX,
        jitter: Duration::MAX,
        reorder: f64::NAN,
        reorder_by: Duration::MAX,
        duplicate: 7.0,
        loss: Loss::Gilbert { p: -1.0, r: f64::INFINITY, good: f64::NAN, bad: 2.0 },
        rate: Some(0),
        queue: usize::MAX,
        ..Conditions::CLEAR
    };
    let mut pipe = Pipe::new(wild, 1);
    for at in [Duration::MAX, Duration::ZERO, ms(5)] {
        assert!(pipe.send(at, usize::MAX).count() <= 2);
    }
}
