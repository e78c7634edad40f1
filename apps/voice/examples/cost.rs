//! What the voice engine costs, without any network: CPU for each frame, and memory.
//!
//! `cargo run -p zmesh-voice --example cost` (libopus is optimised in every profile)
//!
//! Prints the mean CPU time to encode and to decode 20 ms of the shipped speech, for the shapes of the plans and some efforts of encoder and
//! decoder, as a share of one core; what concealment and DRED cost where they happen; and what the process holds in memory.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that measures and prints")]

use std::time::Duration;
use zmesh_voice::media::class::Class;
use zmesh_voice::media::codec::{Decoder, Encoder, Shape};
use zmesh_voice::media::redundancy::{LossReport, Means, Plan};
use zmesh_voice::media::{FRAME_SAMPLES, Pcm, SILENCE};

/// CPU time of this thread so far, by the scheduler: what other programs take does not count.
fn busy() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

fn speech() -> Vec<Pcm> {
    let samples: Vec<i16> =
        hound::WavReader::new(zmesh_voice::SPEECH_WAV).unwrap().samples::<i16>().map(Result::unwrap).collect();
    samples.as_chunks::<FRAME_SAMPLES>().0.to_vec()
}

fn share(total: Duration, frames: usize) -> (f64, f64) {
    let each = total.as_secs_f64() / frames as f64;
    (each * 1e6, each / 0.02 * 100.0)
}

fn main() {
    let frames = speech();
    println!("| packet | DRED | encoder effort | encode µs | decoder effort | decode µs | both, share of a core |");
    println!("|---|---|---|---|---|---|---|");
    for (loss, burst) in [(0.0, 0.0), (0.01, 1.0), (0.05, 1.5), (0.10, 2.0)] {
        for dred in [false, true] {
            let plan = Plan::new(Class::Ms20, Means { copies: true, dred }, LossReport { share: loss, burst });
            if dred && plan.newest.dred == 0 {
                continue;
            }
            for (effort, decoder_effort) in [(5, 0), (7, 0), (7, 5), (9, 5)] {
                cost(&frames, plan.newest, effort, decoder_effort);
            }
        }
    }
    gaps(&frames);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    for line in status.lines().filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM")) {
        println!("{line}");
    }
}

fn cost(frames: &[Pcm], shape: Shape, effort: u8, decoder_effort: u8) {
    let (mut encoder, mut decoder) = (Encoder::new().unwrap(), Decoder::new().unwrap());
    encoder.set_complexity(effort).unwrap();
    decoder.set_complexity(decoder_effort).unwrap();
    let start = busy();
    let packets: Vec<_> = frames.iter().map(|pcm| encoder.encode(pcm, shape).unwrap().packet).collect();
    let (encode, encode_share) = share(busy() - start, frames.len());
    let mut pcm = SILENCE;
    let start = busy();
    for packet in &packets {
        decoder.decode(packet, &mut pcm).unwrap();
    }
    let (decode, decode_share) = share(busy() - start, frames.len());
    println!(
        "| {} B | {} | {effort} | {encode:.0} | {decoder_effort} | {decode:.0} | {:.2} % |",
        shape.bytes,
        if shape.dred > 0 { "on" } else { "off" },
        encode_share + decode_share
    );
}

/// What 20 ms of a gap cost by what fills them: three frames of ten are missing, less the time for the others.
fn gaps(frames: &[Pcm]) {
    let shape = Shape { bytes: 160, dred: 32, loss_percent: 15 };
    let mut encoder = Encoder::new().unwrap();
    let packets: Vec<_> = frames.iter().map(|pcm| encoder.encode(pcm, shape).unwrap().packet).collect();
    let fills = [("concealment", false, 0), ("neural concealment", false, 5), ("DRED", true, 0), ("DRED", true, 5)];
    for (name, dred, effort) in fills {
        let mut took = [Duration::ZERO; 2];
        let mut missing = 0;
        for (gaps, took) in [false, true].into_iter().zip(&mut took) {
            let mut decoder = Decoder::new().unwrap();
            decoder.set_complexity(effort).unwrap();
            let (mut pcm, mut out) = (SILENCE, Vec::new());
            let start = busy();
            for _ in 0..4 {
                for (at, packet) in packets.iter().enumerate() {
                    match (at % 10, packets.get(at + 3)) {
                        (5, Some(later)) if gaps && dred => {
                            out.clear();
                            decoder.recover(later, 3, 3, &mut out).unwrap();
                        }
                        (5, Some(_)) if gaps => (0..3).for_each(|_| decoder.conceal(&mut pcm).unwrap()),
                        (5..8, _) if gaps => {}
                        _ => decoder.decode(packet, &mut pcm).unwrap(),
                    }
                    missing += usize::from(gaps && (5..8).contains(&(at % 10)));
                }
            }
            *took = busy() - start;
        }
        let all = packets.len() * 4;
        let others = took[0].mul_f64((all - missing) as f64 / all as f64);
        println!(
            "a gap by {name} (decoder effort {effort}): {:.0} µs for each 20 ms",
            share(took[1].saturating_sub(others), missing).0
        );
    }
}
