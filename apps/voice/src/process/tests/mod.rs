//! What the stages do to sound. `examples/sound` measures the same more widely; here are the bounds that must hold.

mod wire;

use super::*;
use crate::audio::tone::sine;
use crate::audio::wav::decode_wav;
use crate::media::SILENCE;
use crate::media::level::FLOOR_DBFS;
use proptest::prelude::*;
use std::path::Path;

pub(super) fn speech() -> Vec<i16> {
    decode_wav(crate::SPEECH_WAV, Path::new("speech.wav")).unwrap()
}

fn frames(sound: &[i16]) -> impl Iterator<Item = Pcm> + '_ {
    sound.chunks_exact(960).map(|chunk| Pcm::try_from(chunk).unwrap())
}

/// The sound after a processor, and what was found out about each frame.
fn through(processor: &mut Processor, sound: &[i16]) -> (Vec<i16>, Vec<Captured>) {
    let mut out = Vec::with_capacity(sound.len());
    let mut found = Vec::new();
    for mut frame in frames(sound) {
        found.push(processor.capture(&mut frame));
        out.extend(frame);
    }
    (out, found)
}

/// The same, while `played` goes to the loudspeaker.
fn beside(processor: &mut Processor, sound: &[i16], played: &[i16]) -> Vec<i16> {
    let mut out = Vec::with_capacity(sound.len());
    for (mut frame, played) in frames(sound).zip(frames(played)) {
        processor.rendered(&played);
        processor.capture(&mut frame);
        out.extend(frame);
    }
    out
}

fn only(change: impl FnOnce(&mut Settings)) -> Processor {
    let mut settings = Settings::nothing();
    change(&mut settings);
    Processor::new(settings)
}

fn level(sound: &[i16]) -> f32 {
    let mut meter = Meter::new();
    meter.listen(sound);
    meter.dbfs()
}

fn scaled(sound: &[i16], decibels: f32) -> Vec<i16> {
    let factor = 10.0_f32.powf(decibels / 20.0);
    sound.iter().map(|sample| to_sample(f32::from(*sample) * factor)).collect()
}

fn sum(a: &[i16], b: &[i16]) -> Vec<i16> {
    a.iter().zip(b).map(|(a, b)| a.saturating_add(*b)).collect()
}

/// White noise at about `dbfs`.
fn hiss(length: usize, dbfs: f32) -> Vec<i16> {
    let height = 32_768.0 * 10.0_f32.powf(dbfs / 20.0) * 3.0_f32.sqrt();
    let mut state = 1_u32;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            to_sample(((state >> 16) as f32 / 32_768.0 - 1.0) * height)
        })
        .collect()
}

/// What a small room hands back: four paths, the first after 10 ms, together 10 dB quieter.
fn in_room(sound: &[i16]) -> Vec<i16> {
    let paths = [(480, 0.25), (777, -0.15), (1_503, 0.1), (3_011, 0.05)];
    (0..sound.len())
        .map(|at| {
            to_sample(
                paths
                    .iter()
                    .filter(|(delay, _)| *delay <= at)
                    .map(|(delay, part)| f32::from(sound[at - delay]) * part)
                    .sum(),
            )
        })
        .collect()
}

/// Correlation of `out` with what went in `lag` samples before, −1 to 1.
fn likeness(sound: &[i16], out: &[i16], lag: usize) -> f64 {
    let (mut product, mut a, mut b) = (0.0, 0.0, 0.0);
    for (from, to) in sound.iter().zip(&out[lag..]) {
        let (from, to) = (f64::from(*from), f64::from(*to));
        product += from * to;
        a += from * from;
        b += to * to;
    }
    product / (a * b).sqrt().max(1.0)
}

#[test]
fn with_nothing_on_sound_passes_as_it_is() {
    let mut processor = Processor::new(Settings::nothing());
    let voice = speech();
    processor.rendered(&voice);
    let (out, found) = through(&mut processor, &voice);
    assert!(out == voice && found.iter().all(|found| found.open && found.voice));
    assert_eq!(processor.delay(), 0);
}

#[test]
fn sound_is_held_back_as_long_as_stated() {
    let voice = &speech()[..6 * 48_000];
    for (settings, delay) in [
        (Settings { noise: true, ..Settings::nothing() }, 480),
        (Settings { echo: true, ..Settings::nothing() }, echo::DELAY),
        (Settings { echo: true, noise: true, ..Settings::nothing() }, echo::DELAY + 480),
        (Settings { gain: true, ..Settings::nothing() }, 0),
    ] {
        let mut processor = Processor::new(settings.clone());
        assert_eq!(processor.delay(), delay);
        let (out, _) = through(&mut processor, voice);
        let best = (0..1_000).max_by(|a, b| likeness(voice, &out, *a).total_cmp(&likeness(voice, &out, *b))).unwrap();
        assert!(best.abs_diff(delay) <= 5, "{settings:?}: {best} instead of {delay}");
        let alike = likeness(voice, &out, best);
        // The canceller's filters turn phases, so that shapes differ while the sound is the same.
        assert!(alike > 0.65, "{settings:?}: and it is the same sound: {alike}");
    }
}

#[test]
fn noise_is_taken_out_and_the_voice_stays() {
    let voice = [speech(), vec![0; 4 * 48_000]].concat();
    let noise = hiss(voice.len(), -35.0);
    let (out, _) = through(&mut only(|on| on.noise = true), &sum(&voice, &noise));
    let pause = 13 * 48_000..;
    let (before, after) = (level(&noise[pause.clone()]), level(&out[pause]));
    assert!(after < before - 15.0, "{before} → {after} dBFS in the pause");
    assert!((level(&out) - level(&voice)).abs() < 1.5, "{} → {}", level(&voice), level(&out));
    assert!(likeness(&voice, &out, 480) > 0.95);
}

#[test]
fn an_echo_is_taken_out_and_the_near_voice_stays() {
    let far: Vec<i16> = [speech(), speech()].concat();
    let echo = sum(&in_room(&far), &hiss(far.len(), -75.0));
    let tail = 12 * 48_000..;
    let out = beside(&mut only(|on| on.echo = true), &echo, &far);
    let (before, after) = (level(&echo[tail.clone()]), level(&out[tail.clone()]));
    assert!(after < before - 20.0, "{before} → {after} dBFS while only the far side speaks");

    // Without the reference nothing can be taken out.
    let mut unaware = only(|on| on.echo = true);
    let (kept, _) = through(&mut unaware, &echo);
    assert!((level(&kept[tail.clone()]) - before).abs() < 1.0);

    // Both speak at once, from the twelfth second on.
    let mut near = speech();
    near.rotate_left(5 * 48_000);
    let near = [vec![0; 12 * 48_000], near].concat();
    let out = beside(&mut only(|on| on.echo = true), &sum(&near, &echo), &far);
    let (wanted, heard) = (level(&near[tail.clone()]), level(&out[tail]));
    assert!((heard - wanted).abs() < 4.0, "{wanted} → {heard} dBFS");
}

#[test]
fn quiet_and_loud_voices_come_out_alike_and_do_not_clip() {
    let voice = [speech(), speech()].concat();
    let tail = 12 * 48_000 + 24_000..21 * 48_000;
    let mut out_levels = Vec::new();
    for change in [-25.0, -10.0, 0.0, 6.0] {
        let (out, _) = through(&mut only(|on| on.gain = true), &scaled(&voice, change));
        out_levels.push(level(&out[tail.clone()]));
    }
    let least = out_levels.iter().copied().fold(f32::MAX, f32::min);
    let most = out_levels.iter().copied().fold(f32::MIN, f32::max);
    assert!(most - least < 10.0, "31 dB apart before: {out_levels:?}");
    assert!(least > -32.0 && most < -10.0, "{out_levels:?}");
    // A loud noise alone is not raised.
    let noise = hiss(6 * 48_000, -40.0);
    let (out, _) = through(&mut only(|on| on.gain = true), &noise);
    assert!(level(&out[4 * 48_000..]) < -33.0, "{}", level(&out[4 * 48_000..]));
}

#[test]
fn voices_are_told_from_noise_and_the_threshold_follows_the_noise() {
    let voice = speech();
    let quiet = [vec![0; 4 * 48_000], voice, vec![0; 3 * 48_000]].concat();
    for noise_dbfs in [-90.0, -60.0, -45.0] {
        let noisy = sum(&quiet, &hiss(quiet.len(), noise_dbfs));
        for suppress in [false, true] {
            let (_, found) = through(&mut only(|on| (on.noise, on.talk) = (suppress, Talk::Voice)), &noisy);
            let of = |range: std::ops::Range<usize>| {
                let voices = found[range.clone()].iter().filter(|found| found.voice).count();
                voices as f64 / range.len() as f64
            };
            assert_eq!(of(0..200), 0.0, "nobody speaks in four seconds of noise at {noise_dbfs} dBFS");
            // The first sentence of the sample and most of the second.
            assert!(of(230..290) > 0.9, "{noise_dbfs} dBFS, {suppress}: {}", of(230..290));
            assert_eq!(of(830..950), 0.0, "nor after the last word");
            if !suppress && noise_dbfs > -90.0 {
                let floor = found[150].floor_dbfs;
                // The tracker sees the part of the noise below 7 kHz: a third of it, 5 dB less.
                assert!((floor - (noise_dbfs - 5.0)).abs() < 4.0, "{floor} for {noise_dbfs}");
            }
        }
    }
}

#[test]
fn a_voice_in_the_background_stays_there() {
    let voice = speech();
    let mut processor = only(|on| on.talk = Talk::Voice);
    let (_, near) = through(&mut processor, &voice);
    assert!(near.iter().filter(|found| found.voice).count() > 250);
    let (_, far) = through(&mut processor, &scaled(&voice, -24.0));
    let heard = far[..300].iter().filter(|found| found.voice).count();
    assert!(heard < 30, "somebody else in the room: {heard} frames of 300");
    // Without a nearer voice it is the voice.
    let (_, alone) = through(&mut only(|on| on.talk = Talk::Voice), &scaled(&voice, -24.0));
    assert!(alone.iter().filter(|found| found.voice).count() > 250);
}

#[test]
fn a_tone_is_no_voice() {
    let (_, found) = through(&mut only(|on| on.talk = Talk::Voice), &sine(440.0, 0.3, 4 * 48_000));
    assert!(found[50..].iter().all(|found| !found.voice));
}

#[test]
fn with_push_to_talk_nothing_is_heard_until_the_key_is_on() {
    let key = TalkKey::new();
    let mut processor = only(|on| on.talk = Talk::Key(key.clone()));
    let voice = &speech()[24_000..24_000 + 96_000];
    let (out, found) = through(&mut processor, voice);
    assert!(found.iter().all(|found| !found.open) && found.iter().any(|found| found.voice));
    assert!(level(&out) < -70.0, "{}", level(&out));
    assert!(likeness(voice, &out, 0).abs() < 0.05, "what is left has nothing of the voice");
    assert!(key.toggle());
    let (out, found) = through(&mut processor, voice);
    assert!(found.iter().all(|found| found.open));
    assert!(likeness(&voice[960..], &out[960..], 0) > 0.999);
    assert!(!key.toggle());
    let (out, _) = through(&mut processor, voice);
    assert!(level(&out[960..]) < -70.0);
    key.set(true);
    assert!(key.is_on());
}

#[test]
fn the_encoder_never_gets_digital_silence_from_a_closed_gate() {
    for talk in [Talk::Voice, Talk::Key(TalkKey::new())] {
        let mut processor = only(|on| on.talk = talk);
        for _ in 0..50 {
            let mut frame = SILENCE;
            let captured = processor.capture(&mut frame);
            assert!(!captured.open && captured.level_dbfs == FLOOR_DBFS);
            let level = level(&frame);
            assert!(frame != SILENCE && level < -70.0, "{level}");
        }
    }
}

#[test]
fn opening_and_closing_do_not_click() {
    let key = TalkKey::new();
    let mut gate = Gate::new();
    let mut out = Vec::new();
    for turn in 0..10 {
        key.set(turn % 2 == 1);
        let mut sound = [10_000.0; 2 * STEP];
        gate.apply(key.is_on(), true, &mut sound);
        out.extend(sound);
    }
    let step = out.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max);
    assert!(step < 100.0, "a step of {step} in 10,000");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whatever a microphone and the other side make up: no panic, and the sound goes on.
    #[test]
    fn any_sound_is_survived(
        captured in prop::collection::vec((any::<i16>(), 1_usize..2_000), 1..40),
        played in prop::collection::vec((any::<i16>(), 0_usize..3_000), 1..40),
    ) {
        let mut processor = Processor::new(Settings::default());
        let mut sound = captured.iter().flat_map(|(value, count)| std::iter::repeat_n(*value, *count));
        for (value, count) in &played {
            processor.rendered(&vec![*value; *count]);
            let mut frame: Pcm = std::array::from_fn(|_| sound.next().unwrap_or(i16::MIN));
            let found = processor.capture(&mut frame);
            prop_assert!(found.level_dbfs.is_finite() && found.floor_dbfs.is_finite());
        }
        prop_assert!(format!("{processor:?}").matches("falls: 0").count() == 4, "{processor:?}");
    }
}
