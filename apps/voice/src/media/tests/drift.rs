//! Clocks that differ.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    reason = "a test on numbers of samples, which shows its figures"
)]

use super::*;
use crate::media::drift::{Follower, FollowerCounts, HALF, interpolate, weights};

/// A microphone that runs `ppm` parts in a million fast, in blocks, for so many seconds of the machine's time. What comes out, and the
/// largest wait after the first ten seconds.
fn run(ppm: f64, block: usize, seconds: usize, follower: &mut Follower) -> (Vec<i16>, usize, usize) {
    let rate = 48_000.0 * (1.0 + ppm * 1e-6);
    let (mut taken, mut out) = (0_usize, Vec::new());
    let (mut least, mut most) = (usize::MAX, 0);
    for slot in 1..=seconds * 50 {
        let reached = (slot as f64 * 0.02 * rate) as usize / block * block;
        // The microphone hears a tone of 1,000 Hz of the world's time.
        let sound: Vec<i16> = (taken..reached)
            .map(|at| to_sample((10_000.0 * (std::f64::consts::TAU * 1_000.0 * at as f64 / rate).sin()).round() as f32))
            .collect();
        taken = reached;
        follower.push(&sound);
        let mut pcm = SILENCE;
        follower.pull(&mut pcm);
        out.extend_from_slice(&pcm);
        if slot > 500 {
            (least, most) = (least.min(follower.waiting()), most.max(follower.waiting()));
        }
    }
    (out, least, most)
}

#[test]
fn ten_minutes_of_a_fast_or_slow_microphone_leave_no_mark() {
    for ppm in [-300.0, -50.0, 0.0, 120.0, 300.0] {
        let mut follower = Follower::new(480);
        let (out, least, most) = run(ppm, 96, 600, &mut follower);
        assert_eq!(follower.counts(), FollowerCounts::default(), "{ppm}");
        assert!((follower.difference() - ppm * 1e-6).abs() < 5e-5, "{ppm}: {}", follower.difference());
        // The wait stays within 4 ms around its aim: no delay grows.
        println!("{ppm} ppm: waiting {least}–{most} samples");
        assert!(most - least < 250 && most < 1_500, "{ppm}: {least}–{most}");
        // No step anywhere: a sine of this height and pitch never moves faster than 1,309 a sample.
        let tail = &out[48_000..];
        let steepest = tail.windows(2).map(|pair| (i32::from(pair[1]) - i32::from(pair[0])).abs()).max().unwrap();
        assert!(steepest <= 1_320, "{ppm}: {steepest}");
    }
}

#[test]
fn the_interpolation_is_clean_up_to_the_highest_voices() {
    let weights = weights();
    for (hertz, most) in [(440.0, -80.0), (3_000.0, -80.0), (8_000.0, -80.0), (16_000.0, -70.0)] {
        let sine = |at: f64| 20_000.0 * (std::f64::consts::TAU * hertz * at / 48_000.0).sin();
        let samples: Vec<i16> = (0..4_000).map(|at| to_sample(sine(f64::from(at)).round() as f32)).collect();
        let (mut error, mut power) = (0.0, 0.0);
        for at in 0..3_000 {
            let place = f64::from(at) * 1.000_3;
            let meant = sine(place + (HALF - 1) as f64);
            error += (f64::from(interpolate(&weights, &samples, place)) - meant).powi(2);
            power += meant.powi(2);
        }
        let rest = 10.0 * (error / power).log10();
        println!("{hertz} Hz: error {rest:.1} dB");
        assert!(rest < most, "{hertz}: {rest}");
    }
}

#[test]
fn a_pause_of_the_machine_is_forgotten_and_a_silent_device_gives_silence() {
    let mut follower = Follower::new(480);
    let mut pcm = [1; FRAME_SAMPLES];
    assert!(!follower.pull(&mut pcm));
    assert_eq!(pcm, SILENCE);
    follower.push(&[5; 500_000]);
    assert!(follower.waiting() < 2_000 && follower.counts().dropped > 0);
    assert!(follower.pull(&mut pcm));
    for _ in 0..5 {
        follower.pull(&mut pcm);
    }
    assert_eq!(follower.counts().starved, 1);
    assert_eq!(pcm, SILENCE);
}

#[test]
fn large_blocks_of_a_device_raise_the_wait_until_no_frame_runs_short() {
    for block in [960, 1_024, 2_048] {
        let mut follower = Follower::new(480);
        run(200.0, block, 60, &mut follower);
        let early = follower.counts().starved;
        run(200.0, block, 60, &mut follower);
        // The second run begins with a step of its own; after that nothing runs short any more.
        assert!(early <= 6 && follower.counts().starved - early <= 2, "{block}: {early} {:?}", follower.counts());
    }
}

proptest! {
    #[test]
    fn any_order_of_pushes_and_pulls_is_bounded(events in prop::collection::vec((0_usize..3_000, prop::bool::ANY), 1..200)) {
        let mut follower = Follower::new(480);
        let mut pcm = SILENCE;
        for (length, pull) in events {
            follower.push(&vec![1_000; length]);
            prop_assert!(follower.waiting() <= 7 * FRAME_SAMPLES);
            if pull {
                follower.pull(&mut pcm);
            }
            prop_assert!(follower.difference().abs() <= 0.001);
        }
    }
}
