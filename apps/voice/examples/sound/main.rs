//! Measures what is done to a microphone's sound and prints the tables of `specs/10-sound.md`.
//!
//! `cargo run --release -p zmesh-voice --example sound [noise | echo | level | activity | delay | time | encoding]`
//!
//! Speech is the shipped sample, or all WAV files of the directory `ZMESH_SPEECH_DIR`. Noises are made here, babble by `espeak-ng` and `sox`;
//! recorded ones are taken from the directory `ZMESH_NOISE_DIR` as well: `noise*.wav` and, as the answer of a room, `rir*.wav`. WAV files
//! must be 48 kHz, mono, 16 bits.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]
#![allow(clippy::cast_possible_truncation, reason = "lengths and factors of a few seconds of sound")]

mod cost;
mod figures;
mod sounds;

use sounds::Material;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let material = Material::gather()?;
    println!("speech: {}", material.speech_name);
    let wanted = std::env::args().nth(1);
    type Measure = fn(&Material);
    let all: [(&str, Measure); 7] = [
        ("noise", figures::noise),
        ("echo", figures::echo),
        ("level", figures::level),
        ("activity", figures::activity),
        ("delay", cost::delay),
        ("time", cost::time),
        ("encoding", cost::encoding),
    ];
    for (name, measure) in all {
        if wanted.as_ref().is_none_or(|wanted| wanted == name) {
            measure(&material);
        }
    }
    Ok(())
}
