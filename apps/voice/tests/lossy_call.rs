//! Whole calls in virtual time: what is heard at 0, 5 and 10 % loss, how fast the delay adapts, and that the rate never changes.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that shows its figures with --nocapture")]

mod common;

use common::{Pipe, World, per_second, speech};
use std::time::Duration;
use zmesh_voice::call::{CallEvent, EndReason, MESSAGE_LEN};
use zmesh_voice::measure::{MouthToEar, Track, mouth_to_ear};
use zmesh_voice::media::class::Class;
use zmesh_voice::media::redundancy::Means;

const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Copy)]
struct Outcome {
    played: f64,
    concealed: f64,
    recovered: f64,
    described: f64,
    held_back_p50: Duration,
    held_back_p99: Duration,
}

/// A call of 60 s; the figures of what the answerer heard.
fn call(pipe: Pipe) -> Outcome {
    call_with(pipe, Class::Ms20, Means::default(), 60)
}

fn call_with(pipe: Pipe, class: Class, means: Means, seconds: u32) -> Outcome {
    let name = format!("{pipe:?}");
    let mut world = World::with(pipe, speech(), class, means);
    world.run_until(SECOND * seconds);
    let stats = world.ends[1].call.stats();
    let expected = stats.frames_expected as f64;
    assert!(expected > 48.0 * f64::from(seconds), "{expected}");
    let mut held: Vec<_> = world.ends[1].held_back[150..].to_vec();
    held.sort();
    let outcome = Outcome {
        played: stats.frames.played as f64 / expected,
        concealed: stats.frames.concealed as f64 / expected,
        recovered: stats.frames.recovered as f64 / expected,
        described: stats.frames.described as f64 / expected,
        held_back_p50: held[held.len() / 2],
        held_back_p99: held[held.len() * 99 / 100],
    };
    // Everything in the timeline is accounted for, and every frame once.
    let frames = stats.frames;
    let waiting = stats.frames_expected - frames.played - frames.lost;
    assert!(waiting <= 8, "{waiting} frames neither played nor lost: {frames:?}");
    let behind = world.now.saturating_sub(world.ends[1].call.next_playout());
    assert_eq!(behind, Duration::ZERO);
    assert!(world.ends[1].heard.len() >= seconds as usize * 48_000);
    println!(
        "{name}\n  played {:.2} %  recovered {:.2} %  DRED {:.2} %  concealed {:.2} %  lost {}  held back p50 {:?} p99 {:?}",
        100.0 * outcome.played,
        100.0 * outcome.recovered,
        100.0 * outcome.described,
        100.0 * outcome.concealed,
        frames.lost,
        outcome.held_back_p50,
        outcome.held_back_p99
    );
    outcome
}

#[test]
fn without_loss_every_frame_is_played_and_the_delay_comes_down() {
    let outcome = call(Pipe::default());
    assert!(outcome.played > 0.998, "{}", outcome.played);
    assert_eq!(outcome.concealed, 0.0);
    assert!(outcome.held_back_p50 < Duration::from_millis(10), "{:?}", outcome.held_back_p50);
    assert!(outcome.held_back_p99 < Duration::from_millis(21), "{:?}", outcome.held_back_p99);
}

/// What a listener's ear gets, measured on the sound. The answerer's call begins 7 ms later, so that the ends' slots do not coincide.
fn ear(pipe: Pipe) -> MouthToEar {
    let mut world = World::new(pipe, speech());
    world.ends[1].offset = Duration::from_millis(7);
    world.run_until(SECOND * 24);
    let spoken: Vec<i16> = world.ends[0].voice.iter().copied().cycle().take(22 * 48_000).collect();
    // The first two seconds belong to the start.
    let mouth = Track { samples: &spoken[96_000..], start_unix_micros: 2_000_000 };
    let ear = Track { samples: &world.ends[1].heard, start_unix_micros: 7_000 };
    let found = mouth_to_ear(mouth, ear).unwrap();
    println!("{:?}\n  {found:?}", world.pipe);
    assert!(found.matched * 10 > found.windows * 7, "{found:?}");
    found
}

#[test]
fn mouth_to_ear_stays_in_its_budget() {
    let zero = Pipe { delay: Duration::ZERO, ..Pipe::default() };
    let clean = ear(zero.clone());
    // 20 ms frame + 6.5 ms look-ahead of the codec + what the jitter buffer holds back.
    assert!(clean.p50_ms > 26.5 && clean.p50_ms < 36.0, "{clean:?}");
    assert!(clean.p99_ms < 40.0, "{clean:?}");
    let lossy = ear(Pipe { loss: 0.05, ..zero.clone() });
    assert!(lossy.p99_ms < clean.p99_ms + 25.0, "{lossy:?}");
    let jittery = ear(Pipe { jitter: Duration::from_millis(10), ..zero });
    assert!(jittery.p50_ms < 46.0 && jittery.p99_ms < 50.0, "{jittery:?}");
}

#[test]
fn at_five_percent_loss_in_short_bursts_nearly_all_is_recovered() {
    let outcome = call(Pipe { loss: 0.05, burst: 1.5, ..Pipe::default() });
    assert!(outcome.played > 0.985, "{}", outcome.played);
    assert!(outcome.concealed < 0.02, "{}", outcome.concealed);
}

#[test]
fn at_five_percent_loss_nearly_all_is_recovered_for_one_frame_of_delay() {
    let outcome = call(Pipe { loss: 0.05, ..Pipe::default() });
    assert!(outcome.played > 0.99, "{}", outcome.played);
    assert!(outcome.concealed < 0.012, "{}", outcome.concealed);
    assert!(outcome.recovered > 0.03, "{}", outcome.recovered);
    assert!(outcome.held_back_p99 < Duration::from_millis(70), "{:?}", outcome.held_back_p99);
}

#[test]
fn at_ten_percent_loss_in_bursts_speech_goes_on() {
    let outcome = call(Pipe { loss: 0.10, burst: 2.0, ..Pipe::default() });
    assert!(outcome.played > 0.97, "{}", outcome.played);
    assert!(outcome.concealed < 0.04, "{}", outcome.concealed);
}

#[test]
fn jitter_and_reordering_are_evened_out() {
    // Up to 45 ms of jitter: neighbours overtake each other.
    let outcome = call(Pipe { jitter: Duration::from_millis(45), repeat: 0.05, ..Pipe::default() });
    assert!(outcome.played > 0.985, "{}", outcome.played);
    assert!(outcome.concealed < 0.02, "{}", outcome.concealed);
    assert!(outcome.held_back_p50 < Duration::from_millis(55), "{:?}", outcome.held_back_p50);
}

#[test]
fn after_a_stall_the_delay_shrinks_again() {
    let stalls = vec![(SECOND * 10, Duration::from_millis(180))];
    let mut world = World::new(Pipe { stalls, ..Pipe::default() }, speech());
    world.run_until(SECOND * 10);
    let before = world.ends[1].call.stats();
    assert!(before.held_back < Duration::from_millis(10), "{before:?}");
    world.run_until(SECOND * 10 + Duration::from_millis(400));
    let during = world.ends[1].call.stats();
    assert!(during.frames.concealed >= 5, "{during:?}");
    world.run_until(SECOND * 14);
    let after = world.ends[1].call.stats();
    assert!(after.held_back < Duration::from_millis(15), "{after:?}");
    assert!(after.frames.concealed <= 10 && after.frames.lost <= 8, "{after:?}");
}

#[test]
fn stalls_that_come_back_are_bridged_and_the_delay_comes_down_when_they_stay_away() {
    let quarter = Duration::from_millis(250);
    let stalls = (0..8).map(|round| (SECOND * 10 + SECOND * 5 * round, quarter)).collect();
    let mut world = World::new(Pipe { stalls, ..Pipe::default() }, speech());
    // Two stalls are heard, and not more than as long as they are.
    world.run_until(SECOND * 19);
    let learnt = world.ends[1].call.stats();
    println!("held back by the second, ms: {:?}", delays(&world));
    assert!(learnt.frames.concealed <= 26 && learnt.frames.lost == 0, "{learnt:?}");
    world.run_until(SECOND * 49);
    let bridged = world.ends[1].call.stats();
    assert_eq!(bridged.frames.concealed, learnt.frames.concealed, "six more stalls: {bridged:?}");
    assert!(bridged.mouth_to_ear().unwrap() < Duration::from_millis(340), "{bridged:?}");
    // 10 s after the next stall would have come, the delay goes, and no word with it.
    world.run_until(SECOND * 65);
    let after = world.ends[1].call.stats();
    println!("held back by the second, ms: {:?}", delays(&world));
    assert!(after.held_back < Duration::from_millis(15), "{after:?}");
    assert_eq!((after.frames.concealed, after.frames.lost), (bridged.frames.concealed, 0), "{after:?}");
}

#[test]
fn the_rate_is_the_same_in_speech_silence_handshake_and_loss() {
    let talking = {
        let mut world = World::new(Pipe::default(), speech());
        world.run_until(SECOND * 20);
        world
    };
    let silent = {
        let mut world = World::new(Pipe { loss: 0.3, ..Pipe::default() }, Vec::new());
        world.run_until(SECOND * 20);
        world
    };
    for end in talking.ends.iter().chain(&silent.ends) {
        let counts = per_second(&end.sent);
        assert!(counts.len() >= 19);
        // The first slot is due at 20 ms, so the first second holds one less.
        assert!(counts.iter().skip(1).all(|count| *count == 50) && counts[0] == 49, "{counts:?}");
        assert!(end.sent.windows(2).all(|pair| pair[1].0 - pair[0].0 == Duration::from_millis(20)));
        assert!(end.sent.iter().all(|(_, message)| message.len() == MESSAGE_LEN));
    }
}

#[test]
fn the_first_frame_follows_one_round_trip_after_joining() {
    let mut world = World::new(Pipe::default(), speech());
    world.run_until(SECOND);
    let [caller, answerer] = world.words();
    assert!(caller.is_some());
    assert_eq!(caller, answerer);
    let connected = |side: usize| {
        world.ends[side].events.iter().find(|(_, event)| matches!(event, CallEvent::Connected(_))).unwrap().0
    };
    // Slot at 20 ms, 30 ms there, the next slot at 60 ms, 30 ms back.
    assert_eq!(connected(0), Duration::from_millis(90));
    // The next slot at 100 ms, 30 ms there.
    assert_eq!(connected(1), Duration::from_millis(130));
    assert_eq!(world.ends[0].events[0].1, CallEvent::Ringing);
}

#[test]
fn the_handshake_survives_heavy_loss() {
    for seed in 0..20 {
        let mut world = World::new(Pipe { loss: 0.4, seed, ..Pipe::default() }, Vec::new());
        world.run_until(SECOND * 2);
        let [caller, answerer] = world.words();
        assert!(caller.is_some() && caller == answerer, "seed {seed}");
    }
}

#[test]
fn hanging_up_ends_both_sides_even_under_loss() {
    for seed in 0..10 {
        let mut world = World::new(Pipe { loss: 0.2, seed, ..Pipe::default() }, Vec::new());
        world.run_until(SECOND * 2);
        world.ends[0].call.hang_up();
        world.run_until(SECOND * 3);
        assert_eq!(world.ends[0].events.last().unwrap().1, CallEvent::Ended(EndReason::HungUp));
        assert_eq!(world.ends[1].events.last().unwrap().1, CallEvent::Ended(EndReason::PeerHungUp), "seed {seed}");
        assert!(world.ends.iter().all(|end| end.call.has_ended()));
        let sent = world.ends[0].sent.len();
        world.run_until(SECOND * 4);
        assert_eq!(world.ends[0].sent.len(), sent);
    }
}

#[test]
fn a_peer_that_falls_silent_ends_the_call_after_five_seconds() {
    let mut world = World::new(Pipe::default(), Vec::new());
    world.run_until(SECOND * 2);
    world.pipe.cut = true;
    world.run_until(SECOND * 2 + Duration::from_millis(4_900));
    assert!(world.ends.iter().all(|end| !end.call.has_ended()));
    world.run_until(SECOND * 2 + Duration::from_millis(5_200));
    for end in &world.ends {
        assert_eq!(end.events.last().unwrap().1, CallEvent::Ended(EndReason::PeerSilent));
    }
}

#[test]
fn nobody_answering_ends_the_attempt() {
    let mut world = World::new(Pipe { cut: true, ..Pipe::default() }, Vec::new());
    world.run_until(SECOND * 21);
    for end in &world.ends {
        assert_eq!(end.events.last().unwrap().1, CallEvent::Ended(EndReason::NoHandshake));
        // The rate held to the end.
        assert!(per_second(&end.sent).iter().skip(1).all(|count| *count == 50));
    }
}

const MEANS: [(&str, Means); 4] = [
    ("none", Means { copies: false, dred: false }),
    ("copies", Means { copies: true, dred: false }),
    ("DRED", Means { copies: false, dred: true }),
    ("both", Means { copies: true, dred: true }),
];

/// Shares concealed, never played and filled by DRED, and p50 of what is held back: both ends of some calls of a minute.
fn row(loss: f64, burst: f64, class: Class, means: Means, calls: u64) -> (f64, f64, f64, Duration) {
    let (mut concealed, mut lost, mut described, mut expected, mut held) = (0, 0, 0, 0, Vec::new());
    for seed in 1..=calls {
        let mut world = World::with(Pipe { loss, burst, seed, ..Pipe::default() }, speech(), class, means);
        world.run_until(SECOND * 60);
        for end in &world.ends {
            let stats = end.call.stats();
            concealed += stats.frames.concealed;
            lost += stats.frames.lost;
            described += stats.frames.described;
            expected += stats.frames_expected;
            held.extend_from_slice(&end.held_back[150..]);
        }
    }
    held.sort_unstable();
    let share = |count: u64| count as f64 / expected as f64;
    (share(concealed), share(lost), share(described), held[held.len() / 2])
}

#[test]
fn copies_and_dred_each_lower_what_is_made_up() {
    for (loss, burst, most) in [(0.05, 1.5, [0.075, 0.01, 0.01, 0.008]), (0.10, 2.0, [0.14, 0.016, 0.03, 0.014])] {
        for ((name, means), most) in MEANS.into_iter().zip(most) {
            let (concealed, ..) = row(loss, burst, Class::Ms20, means, 1);
            assert!(concealed <= most, "{loss} {name}: {concealed}");
        }
    }
}

/// The table of `specs/08-voice.md`, section 6: what each means is worth, by loss and class.
/// `cargo test -p zmesh-voice --test lossy_call -- --ignored table --nocapture`
#[test]
#[ignore = "prints a table in a few minutes"]
fn table_of_means() {
    for (loss, burst) in [(0.05, 1.5), (0.10, 2.0)] {
        for class in Class::ALL {
            for (name, means) in MEANS {
                if class != Class::Ms20 && means != Means::default() {
                    continue;
                }
                let (concealed, lost, described, held) = row(loss, burst, class, means, 1);
                println!(
                    "| {:.0} % / {burst} | {class} | {name} | {:.2} % | {:.2} % | {:.2} % | {:.0} ms |",
                    loss * 100.0,
                    concealed * 100.0,
                    lost * 100.0,
                    described * 100.0,
                    held.as_secs_f64() * 1_000.0
                );
            }
        }
    }
}

/// The held-back delay of the answerer at each playout, by the second.
fn delays(world: &World) -> Vec<u128> {
    let held = &world.ends[1].held_back;
    held.chunks(50).map(|second| second.iter().max().unwrap().as_millis()).collect()
}

#[test]
fn the_delay_falls_again_after_a_spike_and_after_a_bad_minute() {
    // 20 s clean, 20 s with jitter of 80 ms, 30 s clean.
    let mut world = World::new(Pipe::default(), speech());
    world.run_until(SECOND * 20);
    world.pipe.jitter = Duration::from_millis(80);
    world.run_until(SECOND * 40);
    let during = world.ends[1].call.stats();
    world.pipe.jitter = Duration::ZERO;
    world.run_until(SECOND * 70);
    let after = world.ends[1].call.stats();
    println!("held back by the second, ms: {:?}", delays(&world));
    assert!(during.held_back > Duration::from_millis(60), "{during:?}");
    assert!(after.held_back < Duration::from_millis(10), "{after:?}");
    assert_eq!(after.frames.lost, during.frames.lost, "nothing is dropped to get down");
    let at_50 = delays(&world)[52];
    assert!(at_50 < 15, "{at_50} ms twelve seconds after the jitter ended");
}

#[test]
fn a_move_to_another_circuit_costs_no_lasting_delay() {
    for (from, to) in [(30, 110), (110, 30)] {
        let [from, to] = [from, to].map(Duration::from_millis);
        let mut world = World::new(Pipe { delay: from, moves: vec![(SECOND * 20, to)], ..Pipe::default() }, speech());
        world.run_until(SECOND * 20);
        let before = world.ends[1].call.stats();
        world.run_until(SECOND * 30);
        let after = world.ends[1].call.stats();
        println!(
            "{from:?} → {to:?}: held back {:?}, made up {}",
            delays(&world),
            after.frames.concealed - before.frames.concealed
        );
        assert!(after.held_back < Duration::from_millis(10), "{after:?}");
        // The longer path leaves one hole as long as the difference; the shorter one leaves none.
        let hole = to.saturating_sub(from).as_millis() / 20;
        assert!(u128::from(after.frames.concealed - before.frames.concealed) <= hole + 1, "{after:?}");
    }
}

#[test]
fn doubled_paths_bring_duplicates_and_reordering_and_no_gap() {
    // Everything arrives twice, each copy with a jitter of its own.
    let outcome = call(Pipe { repeat: 1.0, jitter: Duration::from_millis(35), ..Pipe::default() });
    assert!(outcome.concealed < 0.002 && outcome.played > 0.998, "{}", outcome.concealed);
}

#[test]
fn ten_minutes_between_clocks_that_differ_neither_glitch_nor_grow_delay() {
    // The caller's machine is 300 parts in a million fast, so each side hears the other 300 off, one way and the other.
    let mut world = World::new(Pipe::default(), speech());
    world.ends[0].skew = 300e-6;
    world.run_until(SECOND * 600);
    for end in &world.ends {
        let stats = end.call.stats();
        assert_eq!((stats.frames.concealed, stats.frames.lost, stats.frames.late), (0, 0, 0), "{stats:?}");
        let most = end.held_back[500..].iter().max().unwrap();
        println!("held back at most {most:?} in ten minutes");
        assert!(*most < Duration::from_millis(15), "{most:?}");
    }
    // 300 parts in a million of ten minutes are 180 ms, and all of them were made up for by stretching.
    let [caller, answerer] = [0, 1].map(|side| world.ends[side].heard.len() as f64 / 48_000.0);
    println!("heard {caller:.3} s and {answerer:.3} s");
    assert!((caller - answerer - 0.18).abs() < 0.05, "{caller} {answerer}");
}

#[test]
fn a_loudspeaker_with_a_clock_of_its_own_neither_glitches_nor_grows_delay() {
    // As the runner does: 1 ms each time the device is 1 ms ahead or behind, 300 parts in a million for two minutes.
    for ppm in [-300, 300] {
        let mut world = World::new(Pipe::default(), speech());
        for second in 1..=120 {
            world.run_until(SECOND * second);
            if second > 2 && (second * 300 / 1_000) > ((second - 1) * 300 / 1_000) {
                world.ends[1].call.nudge_playout(if ppm > 0 { 48 } else { -48 });
            }
        }
        let stats = world.ends[1].call.stats();
        assert_eq!((stats.frames.concealed, stats.frames.lost), (0, 0), "{ppm}: {stats:?}");
        assert!(stats.held_back < Duration::from_millis(10), "{ppm}: {stats:?}");
    }
}
