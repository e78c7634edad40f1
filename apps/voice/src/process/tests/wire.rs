//! Whatever the gate does, the wire stays as it is: the same messages at the same times.

use super::speech;
use crate::call::{Call, Patience};
use crate::invite::Invite;
use crate::media::{Pcm, SILENCE};
use crate::process::gate::TalkKey;
use crate::process::{Processor, Settings, Talk};
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;
use std::time::Duration;

/// When each message of the caller leaves and how long it is, over eight seconds of a call in which the caller's microphone hears `sound`.
fn wire(settings: Settings, sound: &[i16], mut each: impl FnMut(u64)) -> (Vec<(Duration, usize)>, u64) {
    let (invite, key) = Invite::create([1; 32], [2; 16], u64::MAX, &mut ChaCha12Rng::seed_from_u64(7));
    let mut caller = Call::caller(invite.clone(), Patience::default()).unwrap();
    let mut answerer = Call::answerer(invite, key, Patience::default(), 0).unwrap();
    let mut processor = Processor::new(settings);
    let (mut messages, mut opened) = (Vec::new(), 0);
    let mut frames = sound.chunks_exact(960).map(|chunk| Pcm::try_from(chunk).unwrap());
    let mut played = Vec::new();
    for slot in 0..400 {
        each(slot);
        let now = caller.next_slot().unwrap();
        let mut frame = frames.next().unwrap_or(SILENCE);
        processor.rendered(&played);
        opened += u64::from(processor.capture(&mut frame).open);
        if let Some(message) = caller.poll_transmit(now, &frame) {
            messages.push((now, message.len()));
            answerer.handle_datagram(now, &message);
        }
        while answerer.next_slot().is_some_and(|due| due <= now) {
            if let Some(message) = answerer.poll_transmit(now, &SILENCE) {
                caller.handle_datagram(now, &message);
            }
        }
        played.clear();
        while caller.next_playout() <= now {
            caller.play(&mut played);
        }
    }
    assert!(caller.is_connected() && answerer.is_connected());
    (messages, opened)
}

#[test]
fn neither_voice_activity_nor_push_to_talk_shows_on_the_wire() {
    let voice = speech();
    let (unprocessed, _) = wire(Settings::nothing(), &voice, |_| {});
    assert!(unprocessed.len() >= 399 && unprocessed.iter().all(|(_, length)| *length == unprocessed[0].1));

    let (spoken, opened) = wire(Settings::default(), &voice, |_| {});
    assert!((200..400).contains(&opened), "somebody speaks, with pauses: {opened}");
    let (silent, opened) = wire(Settings::default(), &[], |_| {});
    assert_eq!(opened, 0, "nobody speaks");
    let key = TalkKey::new();
    let talk = Settings { talk: Talk::Key(key.clone()), ..Settings::default() };
    let (keyed, opened) = wire(talk, &voice, |slot| key.set(slot / 50 % 2 == 1));
    assert_eq!(opened, 200, "the key is on half of the time");
    for messages in [spoken, silent, keyed] {
        assert_eq!(messages, unprocessed);
    }
}
