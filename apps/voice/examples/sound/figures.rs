//! What the stages do to sound.

use crate::sounds::{
    Material, Sound, add, at_level, dbfs, in_room, likeness, power, scale, speaking, speaking_power, white, with_noise,
};
use zmesh_voice::media::{FRAME_SAMPLES, to_sample};
use zmesh_voice::process::activity::{Activity, Found};
use zmesh_voice::process::echo::EchoCanceller;
use zmesh_voice::process::gain::GainControl;
use zmesh_voice::process::noise::{self, NoiseSuppressor};
use zmesh_voice::process::{STEP, echo};

/// Runs a stage over a sound; what comes out is moved back by the stage's own delay.
pub(crate) fn through(sound: &[f32], delay: usize, mut stage: impl FnMut(&mut [f32])) -> Sound {
    let mut out = [sound, &vec![0.0; (delay + STEP).next_multiple_of(STEP)]].concat();
    out.truncate(out.len() / STEP * STEP);
    for step in out.chunks_exact_mut(STEP) {
        // A device gives 16 bits.
        for value in step.iter_mut() {
            *value = f32::from(to_sample(*value));
        }
        stage(step);
    }
    out.drain(..delay);
    out.resize(sound.len(), 0.0);
    out
}

/// The second half: the first is for adapting.
fn settled(sound: &[f32]) -> &[f32] {
    &sound[sound.len() / 2 / FRAME_SAMPLES * FRAME_SAMPLES..]
}

/// Mean power of the frames that hold no speech.
fn pause_power(sound: &[f32], marks: &[bool]) -> f64 {
    let frames: Vec<f64> =
        sound.chunks_exact(FRAME_SAMPLES).zip(marks).filter(|(_, on)| !**on).map(|(frame, _)| power(frame)).collect();
    frames.iter().sum::<f64>() / frames.len().max(1) as f64
}

fn spoken(sound: &[f32], marks: &[bool]) -> Sound {
    sound.chunks_exact(FRAME_SAMPLES).zip(marks).filter(|(_, on)| **on).flat_map(|(frame, _)| frame.to_vec()).collect()
}

pub(crate) fn noise(material: &Material) {
    println!(
        "\nNoise suppression. SNR: speech against what differs from it, while somebody speaks. Pauses: noise taken away.\n"
    );
    println!("| noise | SNR before | after | gained | in pauses | speech level |");
    println!("|---|---|---|---|---|---|");
    let clean = settled(&material.speech);
    let marks = speaking(clean);
    let words = spoken(clean, &marks);
    for (name, noise) in &material.noises {
        for snr in [0.0, 5.0, 10.0, 20.0] {
            let noisy = with_noise(&material.speech, noise, snr);
            let mut stage = NoiseSuppressor::new();
            let out = through(&noisy, noise::DELAY, |step| stage.process(step));
            let (before, after) = (spoken(settled(&noisy), &marks), spoken(settled(&out), &marks));
            let (from, to) = (likeness(&words, &before), likeness(&words, &after));
            let quieter = dbfs(pause_power(settled(&noisy), &marks)) - dbfs(pause_power(settled(&out), &marks));
            let level = dbfs(power(&after)) - dbfs(power(&words));
            println!(
                "| {name} | {from:.1} dB | {to:.1} dB | {:+.1} dB | −{quieter:.1} dB | {level:+.1} dB |",
                to - from
            );
        }
    }
    let mut stage = NoiseSuppressor::new();
    let out = through(&material.speech, noise::DELAY, |step| stage.process(step));
    let after = spoken(settled(&out), &marks);
    println!(
        "| none | ∞ | {:.1} dB | | | {:+.1} dB |",
        likeness(&words, &after),
        dbfs(power(&after)) - dbfs(power(&words))
    );
}

/// Runs the canceller as a call does: a step is played, then the microphone is heard.
fn cancel(played: &[f32], microphone: &[f32]) -> Sound {
    let mut stage = EchoCanceller::new();
    let mut at = 0;
    through(microphone, echo::DELAY, |step| {
        let playing: Vec<i16> =
            (at..at + STEP).map(|at| to_sample(played.get(at).copied().unwrap_or_default())).collect();
        stage.rendered(&playing);
        stage.capture(step);
        at += STEP;
    })
}

pub(crate) fn echo(material: &Material) {
    println!("\nEcho cancellation. The far side speaks at −26 dBFS; the room hands back its voice so much quieter.\n");
    println!(
        "| room | echo | while only the far side speaks: ERLE | both speak: near voice against the rest, before | after | near voice's level |"
    );
    println!("|---|---|---|---|---|---|");
    let far = &material.other;
    let hush = scale(&white(far.len()), -70.0 - dbfs(power(&white(far.len()))));
    // The near side speaks in the second half only.
    let mut near = material.speech.clone();
    let half = near.len() / 2 / FRAME_SAMPLES * FRAME_SAMPLES;
    near[..half].fill(0.0);
    // What the filters of the canceller make of the near voice when there is no echo: the best that can come out.
    let silence = vec![0.0; near.len()];
    let untouched = cancel(&silence, &near);
    let marks = speaking(&near[half..]);
    let words = spoken(&untouched[half..], &marks);
    let said = spoken(&near[half..], &marks);
    for (name, answer) in &material.rooms {
        let echo = in_room(far, answer);
        for quieter in [-6.0, -20.0] {
            let echo = add(&scale(&echo, dbfs(power(far)) + quieter - dbfs(power(&echo))), &hush);
            let alone = cancel(far, &echo);
            // From the third second on, where the far side speaks.
            let loud = speaking(&echo[144_000..]);
            let erle = dbfs(power(&spoken(&echo[144_000..], &loud))) - dbfs(power(&spoken(&alone[144_000..], &loud)));
            let microphone = add(&near, &echo);
            let out = cancel(far, &microphone);
            let (before, after) = (spoken(&microphone[half..], &marks), spoken(&out[half..], &marks));
            println!(
                "| {name} | {quieter} dB | {erle:.1} dB | {:.1} dB | {:.1} dB | {:+.1} dB |",
                likeness(&said, &before),
                likeness(&words, &after),
                dbfs(power(&after)) - dbfs(power(&words)),
            );
        }
    }
    let microphone = add(&near, &hush);
    let out = cancel(far, &microphone);
    let after = spoken(&out[half..], &marks);
    let (like, level) = (likeness(&words, &after), dbfs(power(&after)) - dbfs(power(&words)));
    println!("| headphones | none | | ∞ | {like:.1} dB | {level:+.1} dB |");
}

pub(crate) fn level(material: &Material) {
    println!("\nGain control. Level of speaking; the first 3 s apart, for it has to adapt first.\n");
    println!(
        "| in | out, first 3 s | out, from then on | samples at full scale | noise in pauses at 20 dB SNR, in → out |"
    );
    println!("|---|---|---|---|---|");
    let white = &material.noises[0].1;
    for level in [-50.0, -40.0, -30.0, -26.0, -20.0, -12.0] {
        let speech = at_level(&[&material.speech[..], &material.speech].concat(), level);
        let mut stage = GainControl::new();
        let out = through(&speech, 0, |step| stage.process(step));
        let full = out.iter().filter(|value| value.abs() >= 32_767.0).count();
        let noisy = with_noise(&at_level(&material.speech, level), white, 20.0);
        let marks = speaking(&material.speech);
        let mut stage = GainControl::new();
        let raised = through(&noisy, 0, |step| stage.process(step));
        println!(
            "| {level} dBFS | {:.1} dBFS | {:.1} dBFS | {full} | {:.1} → {:.1} dBFS |",
            dbfs(speaking_power(&out[..144_000])),
            dbfs(speaking_power(&out[144_000..])),
            dbfs(pause_power(&noisy, &marks)),
            dbfs(pause_power(&raised, &marks)),
        );
    }
}

/// Hits among the frames of speech, false alarms from the fourth second of the silence after it.
fn rates(marks: &[bool], found: &[Found]) -> (f64, f64) {
    let said: Vec<_> = marks.iter().zip(found).filter(|(on, _)| **on).collect();
    let hits = said.iter().filter(|(_, found)| found.voice).count();
    let after = &found[marks.len() + 150..];
    let wrong = after.iter().filter(|found| found.voice).count();
    (hits as f64 / said.len().max(1) as f64, wrong as f64 / after.len().max(1) as f64)
}

fn listen(sound: &[f32], suppress: bool) -> Vec<Found> {
    let mut suppressor = NoiseSuppressor::new();
    let cleaned = if suppress { through(sound, noise::DELAY, |step| suppressor.process(step)) } else { sound.to_vec() };
    let mut activity = Activity::new();
    cleaned.chunks_exact(FRAME_SAMPLES).map(|frame| activity.hear(frame)).collect()
}

pub(crate) fn activity(material: &Material) {
    println!(
        "\nVoice activity: frames of speech let through, and frames let through in error while nobody speaks for as long again.\n"
    );
    println!("| noise | SNR | with noise suppression: speech | nobody speaks | without: speech | nobody speaks |");
    println!("|---|---|---|---|---|---|");
    let length = material.speech.len() / FRAME_SAMPLES * FRAME_SAMPLES;
    let speech = &material.speech[..length];
    let marks = speaking(speech);
    let row = |name: &str, snr: &str, noise: &[f32]| {
        let sound = add(&[speech, &vec![0.0; length]].concat(), &[&noise[..length], &noise[..length]].concat());
        let (hit, wrong) = rates(&marks, &listen(&sound, true));
        let (bare_hit, bare_wrong) = rates(&marks, &listen(&sound, false));
        println!(
            "| {name} | {snr} | {:.1} % | {:.1} % | {:.1} % | {:.1} % |",
            hit * 100.0,
            wrong * 100.0,
            bare_hit * 100.0,
            bare_wrong * 100.0
        );
    };
    row("none", "∞", &vec![0.0; length]);
    for (name, noise) in &material.noises {
        for snr in [0.0, 5.0, 10.0, 20.0] {
            row(name, &format!("{snr} dB"), &scale(noise, dbfs(speaking_power(speech)) - snr - dbfs(power(noise))));
        }
    }
}
