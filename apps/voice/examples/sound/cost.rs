//! What the stages cost: delay and time.

use crate::sounds::{Material, add, scale, with_noise};
use std::time::Instant;
use zmesh_voice::media::codec::{Encoder, Shape};
use zmesh_voice::media::{FRAME_SAMPLES, Pcm, SILENCE, to_sample};
use zmesh_voice::process::gate::TalkKey;
use zmesh_voice::process::{Processor, Settings, Talk};

fn frames(sound: &[f32]) -> Vec<Pcm> {
    sound
        .chunks_exact(FRAME_SAMPLES)
        .map(|chunk| {
            let mut frame = SILENCE;
            for (sample, value) in frame.iter_mut().zip(chunk) {
                *sample = to_sample(*value);
            }
            frame
        })
        .collect()
}

fn variants() -> Vec<(&'static str, Settings)> {
    let nothing = Settings::nothing();
    vec![
        ("echo cancellation", Settings { echo: true, ..nothing.clone() }),
        ("noise suppression", Settings { noise: true, ..nothing.clone() }),
        ("gain control", Settings { gain: true, ..nothing.clone() }),
        ("voice activity and gate", Settings { talk: Talk::Voice, ..nothing }),
        ("all", Settings::default()),
    ]
}

/// Where a sound comes out again: the lag of the best match.
pub(crate) fn delay(material: &Material) {
    println!("\nDelay.\n\n| stage | stated | measured |\n|---|---|---|");
    for (name, settings) in variants() {
        let mut processor = Processor::new(settings);
        let mut out = Vec::new();
        for mut frame in frames(&material.speech) {
            processor.capture(&mut frame);
            out.extend(frame.iter().map(|sample| f32::from(*sample)));
        }
        let from = material.speech.len() / 2;
        let window = &material.speech[from..from + 96_000];
        let best = (0..2_000)
            .map(|lag| (lag, window.iter().zip(&out[from + lag..]).map(|(a, b)| f64::from(a * b)).sum::<f64>()))
            .max_by(|a, b| a.1.total_cmp(&b.1));
        let (stated, found) = (processor.delay() as f64 / 48.0, best.map_or(0, |(lag, _)| lag) as f64 / 48.0);
        println!("| {name} | {stated:.2} ms | {found:.2} ms |");
    }
}

fn quantiles(mut micros: Vec<f64>) -> (f64, f64) {
    micros.sort_by(f64::total_cmp);
    (micros[micros.len() / 2], micros[micros.len() * 99 / 100])
}

/// Time for a frame, played sound included.
pub(crate) fn time(material: &Material) {
    println!("\nTime for a frame of 20 ms, both directions (what is played is heard by the canceller).\n");
    println!("| stage | speech, p50 | p99 | pauses, p50 | p99 | share of a core |\n|---|---|---|---|---|---|");
    let echo = scale(&material.other, -20.0);
    let speech = frames(&add(&with_noise(&material.speech, &material.noises[1].1, 20.0), &echo));
    let pauses = frames(&add(&scale(&material.noises[1].1, -20.0), &echo));
    let played = frames(&material.other);
    for (name, settings) in variants() {
        let measure = |microphone: &[Pcm]| {
            let mut processor = Processor::new(settings.clone());
            let mut times = Vec::new();
            for (frame, played) in microphone.iter().zip(&played) {
                let mut frame = *frame;
                let start = Instant::now();
                processor.rendered(played);
                processor.capture(&mut frame);
                times.push(start.elapsed().as_secs_f64() * 1e6);
            }
            quantiles(times)
        };
        let (spoken, quiet) = (measure(&speech), measure(&pauses));
        println!(
            "| {name} | {:.0} µs | {:.0} µs | {:.0} µs | {:.0} µs | {:.2} % |",
            spoken.0,
            spoken.1,
            quiet.0,
            quiet.1,
            spoken.0 / 200.0
        );
    }
}

/// Whether the time for encoding tells what the gate does.
pub(crate) fn encoding(material: &Material) {
    println!("\nTime for encoding a frame, by what the gate makes of a pause.\n\n| sound | p50 | p99 |\n|---|---|---|");
    let speech = frames(&material.speech);
    let gated = |talk: Talk| {
        let mut processor = Processor::new(Settings { talk, ..Settings::nothing() });
        let mut out = frames(&scale(&material.noises[1].1, -30.0));
        for frame in &mut out {
            processor.capture(frame);
        }
        out
    };
    let (paused, key_off) = (gated(Talk::Voice), gated(Talk::Key(TalkKey::new())));
    for (name, sound) in [
        ("speech", speech),
        ("pause, voice activity", paused),
        ("key off", key_off),
        ("digital silence, for comparison", vec![SILENCE; 1_000]),
    ] {
        let mut encoder = Encoder::new().expect("Opus is there");
        let mut times = Vec::new();
        for frame in sound.iter().cycle().take(2_000) {
            let start = Instant::now();
            encoder.encode(frame, Shape { bytes: 160, dred: 0, loss_percent: 0 }).expect("20 ms");
            times.push(start.elapsed().as_secs_f64() * 1e6);
        }
        let (median, most) = quantiles(times);
        println!("| {name} | {median:.0} µs | {most:.0} µs |");
    }
}
