//! What a hostile other side of a call can send once it is let in: any voice frames at any times, with any Opus and DRED bytes.
//!
//! The player must keep its timeline and its bounds, whatever it is given.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use std::time::Duration;
use zmesh_voice::media::class::Class;
use zmesh_voice::media::codec::OpusFrame;
use zmesh_voice::media::frame::{Carried, VoiceFrame};
use zmesh_voice::media::player::Player;

#[derive(Arbitrary, Debug)]
enum Operation {
    /// A message with frames so many places back, of these bytes.
    Message { ahead: u8, far: bool, frames: Vec<(u8, Vec<u8>)> },
    /// Bytes as they lie in a message.
    Raw(Vec<u8>),
    /// Time passes, ms, and sound is played.
    Wait(u8),
}

fuzz_target!(|input: (u8, Vec<Operation>)| {
    let (class, operations) = input;
    let class = Class::from_byte(class % 3).expect("three classes");
    let mut player = Player::new(class).expect("Opus can be set up");
    let (mut now, mut number) = (Duration::ZERO, 100_u32);
    let mut out = Vec::new();
    for operation in operations.into_iter().take(200) {
        match operation {
            Operation::Message { ahead, far, frames } => {
                number = number.wrapping_add(if far { u32::from(ahead) << 20 } else { u32::from(ahead % 8) });
                let frames: Vec<Carried> = frames
                    .into_iter()
                    .take(16)
                    .map(|(back, bytes)| Carried { back, opus: OpusFrame::from(bytes) })
                    .collect();
                let sent = VoiceFrame { sequence: number, frames, ..VoiceFrame::default() };
                // Only what survives the wire can come.
                player.insert(now, &VoiceFrame::decode(&sent.encode()).expect("its own bytes"));
            }
            Operation::Raw(bytes) => {
                if let Ok(frame) = VoiceFrame::decode(&bytes) {
                    player.insert(now, &frame);
                }
            }
            Operation::Wait(millis) => {
                now += Duration::from_millis(u64::from(millis));
                while player.position() <= now {
                    let before = player.position();
                    out.clear();
                    player.play(&mut out);
                    assert!(!out.is_empty() && out.len() <= 120 * 48, "{} samples", out.len());
                    assert!(player.position() > before);
                }
            }
        }
        assert!(player.waiting() <= 80, "{} frames wait", player.waiting());
    }
});
