//! Speech, noises, rooms, and arithmetic on them.

use std::error::Error;
use std::f32::consts::TAU;
use std::path::{Path, PathBuf};
use std::process::Command;
use zmesh_voice::SPEECH_WAV;
use zmesh_voice::audio::wav::{decode_wav, read_wav};
use zmesh_voice::media::SAMPLE_RATE;

/// Samples, 16-bit values as `f32`.
pub(crate) type Sound = Vec<f32>;

/// What is measured with.
pub(crate) struct Material {
    pub(crate) speech_name: String,
    /// At −26 dBFS while somebody speaks.
    pub(crate) speech: Sound,
    /// Another person.
    pub(crate) other: Sound,
    /// By name, each at least as long as the speech.
    pub(crate) noises: Vec<(String, Sound)>,
    /// Answers of rooms by name, the loudest path 1.
    pub(crate) rooms: Vec<(String, Sound)>,
}

/// Sentences of the crowd.
const CROWD: [(&str, &str, &str); 6] = [
    ("en-us", "30", "The market opens at eight, and by nine the best of it is gone."),
    ("en-gb", "60", "She asked whether the train was late again, and of course it was."),
    ("en-gb-scotland", "80", "Nobody had told them that the bridge was closed on Sundays."),
    ("en-us", "55", "If you look to the left you can see the river, and the hills beyond."),
    ("en-gb-x-rp", "45", "We ordered two of these and one of those, and a pot of tea."),
    ("en-029", "70", "My brother says that the old one was better, but he always does."),
];

impl Material {
    pub(crate) fn gather() -> Result<Material, Box<dyn Error>> {
        let shipped = decode(&decode_wav(SPEECH_WAV, Path::new("speech.wav"))?);
        let (speech_name, speech) = match std::env::var_os("ZMESH_SPEECH_DIR") {
            Some(directory) => {
                let mut all = Sound::new();
                for path in wavs(Path::new(&directory), "")? {
                    all.extend(vec![0.0; 24_000]);
                    all.extend(at_level(&decode(&read_wav(&path)?), -26.0));
                }
                (format!("recordings, {:.1} s", all.len() as f32 / 48_000.0), all)
            }
            None => ("the shipped sample, synthesised".to_owned(), shipped.clone()),
        };
        // Twice, so that whatever adapts has heard it once.
        let speech = at_level(&[speech.clone(), speech].concat(), -26.0);
        // The other person speaks the shipped sample, begun elsewhere.
        let other = at_level(&repeat(&[&shipped[150_000..], &shipped[..150_000]].concat(), speech.len()), -26.0);
        let length = speech.len();
        let mut noises = vec![
            ("white".to_owned(), white(length)),
            ("pink".to_owned(), pink(length)),
            ("mains hum and fan".to_owned(), hum(length)),
            ("keys".to_owned(), keys(length)),
            ("babble, 6 voices".to_owned(), babble(length)?),
        ];
        let mut rooms =
            vec![("small room, 0.2 s".to_owned(), room(0.2, 240)), ("living room, 0.5 s".to_owned(), room(0.5, 960))];
        if let Some(directory) = std::env::var_os("ZMESH_NOISE_DIR") {
            for path in wavs(Path::new(&directory), "noise")? {
                let recorded = decode(&read_wav(&path)?);
                noises.push((format!("recorded: {}", stem(&path)), repeat(&recorded, length)));
            }
            for path in wavs(Path::new(&directory), "rir")? {
                let answer = decode(&read_wav(&path)?);
                let most = answer.iter().fold(1.0_f32, |most, value| most.max(value.abs()));
                rooms.push((format!("given: {}", stem(&path)), answer.iter().map(|value| value / most).collect()));
            }
        }
        Ok(Material { speech_name, speech, other, noises, rooms })
    }
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().chars().take(24).collect()
}

fn wavs(directory: &Path, prefix: &str) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory)?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wav"))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)))
        .collect();
    paths.sort();
    Ok(paths)
}

pub(crate) fn decode(samples: &[i16]) -> Sound {
    samples.iter().map(|sample| f32::from(*sample)).collect()
}

fn repeat(sound: &[f32], length: usize) -> Sound {
    sound.iter().copied().cycle().take(length).collect()
}

pub(crate) fn power(sound: &[f32]) -> f64 {
    sound.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>() / sound.len().max(1) as f64
}

/// Power in dBFS.
pub(crate) fn dbfs(power: f64) -> f64 {
    10.0 * (power / 32_768.0_f64.powi(2)).max(1e-12).log10()
}

/// Mean power of the 20 ms frames that hold speech: those within 30 dB of the loudest.
pub(crate) fn speaking_power(sound: &[f32]) -> f64 {
    let marks = speaking(sound);
    let frames: Vec<f64> =
        sound.chunks_exact(960).zip(marks).filter(|(_, on)| *on).map(|(frame, _)| power(frame)).collect();
    frames.iter().sum::<f64>() / frames.len().max(1) as f64
}

/// Which 20 ms frames of clean speech hold speech.
pub(crate) fn speaking(sound: &[f32]) -> Vec<bool> {
    let powers: Vec<f64> = sound.chunks_exact(960).map(power).collect();
    let most = powers.iter().copied().fold(1.0, f64::max);
    powers.iter().map(|power| *power > most * 10.0_f64.powf(-3.0)).collect()
}

pub(crate) fn at_level(sound: &[f32], level: f64) -> Sound {
    scale(sound, level - dbfs(speaking_power(sound)))
}

pub(crate) fn scale(sound: &[f32], decibels: f64) -> Sound {
    let factor = 10.0_f64.powf(decibels / 20.0) as f32;
    sound.iter().map(|value| value * factor).collect()
}

pub(crate) fn add(a: &[f32], b: &[f32]) -> Sound {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// Speech with noise so many dB under the level of speaking.
pub(crate) fn with_noise(speech: &[f32], noise: &[f32], snr: f64) -> Sound {
    let raise = dbfs(speaking_power(speech)) - snr - dbfs(power(noise));
    add(speech, &scale(noise, raise))
}

/// A generator of its own, so that every run measures the same.
struct Dice(u64);

impl Dice {
    /// Evenly in ±1.
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

pub(crate) fn white(length: usize) -> Sound {
    let mut dice = Dice(1);
    (0..length).map(|_| dice.next() * 1_000.0).collect()
}

/// Equal power in every octave: a sum of noises that change at 1, 1/2, 1/4 … of the rate.
fn pink(length: usize) -> Sound {
    let mut dice = Dice(2);
    let mut rows = [0.0_f32; 14];
    (0..length)
        .map(|at| {
            let row = (at.trailing_zeros() as usize).min(rows.len() - 1);
            rows[row] = dice.next();
            (rows.iter().sum::<f32>() + dice.next()) * 300.0
        })
        .collect()
}

fn hum(length: usize) -> Sound {
    let mut low = 0.0;
    let noise = white(length);
    (0..length)
        .map(|at| {
            let time = at as f32 / SAMPLE_RATE as f32;
            low += (noise[at] - low) * 0.05;
            let tones: f32 = [(50.0, 1.0), (100.0, 0.7), (150.0, 0.5), (250.0, 0.3), (1_150.0, 0.1)]
                .iter()
                .map(|(hertz, height)| height * (TAU * hertz * time).sin())
                .sum();
            tones * 400.0 + low * 3.0
        })
        .collect()
}

/// Someone types: short bursts, about six a second, at uneven times.
fn keys(length: usize) -> Sound {
    let mut dice = Dice(3);
    let mut sound = vec![0.0; length];
    let mut at = 3_000;
    while at + 2_400 < length {
        let height = 3_000.0 * (1.2 + dice.next());
        for offset in 0..2_400 {
            sound[at + offset] += height * dice.next() * (-(offset as f32) / 250.0).exp();
        }
        at += (8_000.0 * (1.1 + dice.next())) as usize;
    }
    sound
}

/// Six people at once.
fn babble(length: usize) -> Result<Sound, Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let mut crowd = vec![0.0; length];
    for (index, (voice, pitch, text)) in CROWD.iter().enumerate() {
        let spoken = directory.path().join(format!("{index}.wav"));
        let ready = directory.path().join(format!("{index}-48k.wav"));
        let say = Command::new("espeak-ng").args(["-v", voice, "-p", pitch, "-w"]).arg(&spoken).arg(text).status();
        if !say.is_ok_and(|status| status.success()) {
            return Err("espeak-ng is needed for the babble: apt-get install espeak-ng".into());
        }
        let convert =
            Command::new("sox").arg(&spoken).args(["-r", "48000", "-c", "1", "-b", "16"]).arg(&ready).status();
        if !convert.is_ok_and(|status| status.success()) {
            return Err("sox is needed for the babble: apt-get install sox".into());
        }
        let one = at_level(&decode(&read_wav(&ready)?), -26.0);
        let shift = index * 31_000 % one.len();
        crowd = add(&crowd, &repeat(&[&one[shift..], &one[..shift]].concat(), length));
    }
    Ok(crowd)
}

/// The answer of a room whose echoes fall by 60 dB in `seconds`, the first after `first` samples.
fn room(seconds: f32, first: usize) -> Sound {
    let mut dice = Dice(4);
    let length = (seconds * SAMPLE_RATE as f32) as usize;
    let mut answer = vec![0.0; first];
    answer.push(1.0);
    answer.extend((1..length).map(|at| 0.25 * dice.next() * 10.0_f32.powf(-3.0 * at as f32 / length as f32)));
    answer
}

/// What a room makes of a sound: convolution, by splitting into blocks and adding up in the plain way on a thinned answer would be
/// inexact, so it is done exactly and takes a moment.
pub(crate) fn in_room(sound: &[f32], answer: &[f32]) -> Sound {
    let mut out = vec![0.0; sound.len()];
    for (delay, weight) in answer.iter().enumerate().filter(|(_, weight)| weight.abs() > 1e-4) {
        if delay >= sound.len() {
            break;
        }
        for (there, here) in out[delay..].iter_mut().zip(sound) {
            *there += here * weight;
        }
    }
    out
}

/// How far `found` is like `wanted`, up to a factor: the power of the part that is, over the rest, dB (SI-SDR).
pub(crate) fn likeness(wanted: &[f32], found: &[f32]) -> f64 {
    let product: f64 = wanted.iter().zip(found).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    let own: f64 = wanted.iter().map(|value| f64::from(*value).powi(2)).sum();
    let factor = product / own.max(1e-9);
    let rest: f64 = wanted.iter().zip(found).map(|(a, b)| (f64::from(*b) - factor * f64::from(*a)).powi(2)).sum();
    10.0 * (factor * factor * own / rest.max(1e-9)).log10()
}
