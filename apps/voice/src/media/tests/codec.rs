//! Opus: packets of the length that was asked for, junk, DRED.

#![allow(clippy::print_stdout, reason = "a test that shows its figures with --nocapture")]

use super::*;
use crate::media::codec::{CodecError, Decoder, Encoder, Shape, has_dred};

const PLAIN: Shape = Shape { bytes: 107, dred: 0, loss_percent: 5 };

#[test]
fn every_packet_has_the_length_that_was_asked_for_in_speech_noise_and_silence() {
    let mut noise = 1_u32;
    for bytes in [PACKET_MIN, 91, 143, PACKET_MAX] {
        for dred in [0, 16] {
            let mut encoder = Encoder::new().unwrap();
            let shape = Shape { bytes, dred, loss_percent: 10 };
            for count in 0..25 {
                // `encode` refuses any other length.
                encoder.encode(&tone(count * FRAME_SAMPLES, 300.0), shape).unwrap();
                encoder.encode(&SILENCE, shape).unwrap();
                let hiss: Pcm = std::array::from_fn(|_| {
                    noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    to_sample((noise >> 16) as f32 - 32_768.0)
                });
                encoder.encode(&hiss, shape).unwrap();
                let encoded = encoder.encode(&[i16::MAX; FRAME_SAMPLES], shape).unwrap();
                assert_eq!(encoded.packet.len(), bytes);
                assert!(encoded.frame.len() <= bytes);
            }
            assert_eq!(encoder.look_ahead().unwrap(), crate::call::LOOK_AHEAD);
        }
    }
}

#[test]
fn a_decoder_refuses_junk_and_goes_on() {
    let mut decoder = Decoder::new().unwrap();
    let mut encoder = Encoder::new().unwrap();
    let mut pcm = SILENCE;
    // A table of contents that announces 60 ms.
    let mut long = [0; 107];
    long[0] = 3 << 3;
    assert!(decoder.decode(&long, &mut pcm).is_err());
    assert_eq!(decoder.decode(&[], &mut pcm), Err(CodecError::Damaged));
    for count in 0..10 {
        let encoded = encoder.encode(&tone(count * FRAME_SAMPLES, 300.0), PLAIN).unwrap();
        decoder.decode(&encoded.packet, &mut pcm).unwrap();
    }
    decoder.conceal(&mut pcm).unwrap();
    let mut meter = Meter::new();
    meter.listen(&pcm);
    assert!(meter.take() > -30.0);
    let mut out = Vec::new();
    for (distance, take) in [(0, 0), (1, 2), (2, 0), (7, 1)] {
        assert!(decoder.recover(&long, distance, take, &mut out).is_err());
    }
    assert!(out.is_empty());
}

#[test]
fn only_packets_with_dred_claim_it_and_copies_leave_it_out() {
    let speech = crate::audio::wav::decode_wav(crate::SPEECH_WAV, std::path::Path::new("speech.wav")).unwrap();
    let mut encoder = Encoder::new().unwrap();
    let mut plain = Encoder::new().unwrap();
    let shape = Shape { bytes: 143, dred: 16, loss_percent: 10 };
    let mut with = 0;
    for pcm in speech.as_chunks::<FRAME_SAMPLES>().0.iter().take(200) {
        let encoded = encoder.encode(pcm, shape).unwrap();
        with += u32::from(has_dred(&encoded.packet));
        assert!(!has_dred(&encoded.frame));
        if has_dred(&encoded.packet) {
            assert!(encoded.frame.len() < 125, "{}", encoded.frame.len());
        }
        let encoded = plain.encode(pcm, PLAIN).unwrap();
        assert!(!has_dred(&encoded.packet));
        assert_eq!(encoded.packet, encoded.frame);
    }
    // In the pauses there is nothing to describe.
    assert!(with > 100, "{with}");
}

#[test]
fn dred_brings_back_speech_that_concealment_cannot() {
    // Gaps of 100 ms in speech; how much of the energy of each gap comes back, by what fills it.
    let speech = crate::audio::wav::decode_wav(crate::SPEECH_WAV, std::path::Path::new("speech.wav")).unwrap();
    let frames: Vec<Pcm> = speech.as_chunks::<FRAME_SAMPLES>().0.to_vec();
    let energy = |pcm: &[i16]| pcm.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() + 1.0;
    let shape = Shape { bytes: 170, dred: 32, loss_percent: 15 };
    let error = |dred: bool| {
        let (mut encoder, mut decoder) = (Encoder::new().unwrap(), Decoder::new().unwrap());
        let packets: Vec<_> = frames.iter().map(|pcm| encoder.encode(pcm, shape).unwrap().packet).collect();
        let (mut pcm, mut errors) = (SILENCE, Vec::new());
        let mut at = 0;
        while at < packets.len() {
            if at % 20 == 10 && at + 5 < packets.len() {
                let mut out = Vec::new();
                if dred {
                    decoder.recover(&packets[at + 5], 5, 5, &mut out).unwrap();
                } else {
                    for _ in 0..5 {
                        decoder.conceal(&mut pcm).unwrap();
                        out.extend_from_slice(&pcm);
                    }
                }
                // Loudness of each 20 ms against the original's, in dB; the codec is 6.5 ms behind.
                for (step, made) in out.chunks_exact(FRAME_SAMPLES).enumerate().skip(2) {
                    let meant = energy(&frames[at + step]);
                    if meant > 1e8 {
                        errors.push((10.0 * (energy(made) / meant).log10()).abs());
                    }
                }
                at += 5;
            } else {
                decoder.decode(&packets[at], &mut pcm).unwrap();
                at += 1;
            }
        }
        errors.iter().sum::<f64>() / errors.len() as f64
    };
    let (with, without) = (error(true), error(false));
    println!("mean error of loudness after 40 ms of a gap: DRED {with:.1} dB, concealment {without:.1} dB");
    assert!(with < 0.5 * without, "{with} {without}");
}
