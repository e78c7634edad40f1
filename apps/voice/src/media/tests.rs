#![allow(clippy::print_stdout, reason = "the figures of the specification")]

use super::class::Class;
use super::codec::{OpusFrame, PACKET_MAX, PACKET_MIN};
use super::frame::{
    ASIDE_MAX, Aside, BODY_LEN, Carried, Echo, NONCE_LEN, OPUS_MAX, PLACES_MAX, PLAINTEXT_LEN, VoiceFrame,
};
use super::jitter::{CAPACITY, JitterBuffer, Step};
use super::level::{FLOOR_DBFS, Gain, Meter};
use super::player::Player;
use super::redundancy::{LossReport, Means, Plan};
use super::sender::Sender;
use super::window::{ReplayWindow, WINDOW};
use super::*;
use proptest::prelude::*;

mod codec;
mod delay;
mod drift;
mod stalls;

const MS: i64 = 1_000;

fn tone(start: usize, hertz: f32) -> Pcm {
    std::array::from_fn(|at| {
        let time = (start + at) as f32 / 48_000.0;
        to_sample(8_000.0 * (std::f32::consts::TAU * hertz * time).sin())
    })
}

fn marked(sequence: u32) -> OpusFrame {
    let mut frame = [0; 100];
    frame[..4].copy_from_slice(&sequence.to_be_bytes());
    frame.as_slice().into()
}

/// A voice frame with three copies, whose Opus frames carry their numbers.
fn voice(sequence: u32) -> VoiceFrame {
    let frames = (0..4_u8)
        .map_while(|back| Some(Carried { back, opus: marked(sequence.checked_sub(u32::from(back))?) }))
        .collect();
    VoiceFrame { sequence, frames, ..VoiceFrame::default() }
}

fn sender(first: u32) -> Sender {
    Sender::new(first, Class::Ms20, Means::default()).unwrap()
}

/// The next message of a sender of the quickest class.
fn message(sender: &mut Sender, pcm: &Pcm) -> VoiceFrame {
    sender.encode(pcm).unwrap();
    let (sequence, frames) = sender.pack(BODY_LEN).unwrap();
    VoiceFrame { sequence, frames, ..VoiceFrame::default() }
}

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Inserts frame after frame on time and plays each: the state after a clean start.
fn running(frames: u32) -> JitterBuffer {
    let mut jitter = JitterBuffer::new(Class::Ms20);
    for sequence in 0..frames {
        jitter.insert(at(u64::from(sequence) * 20 + 30), &voice(sequence));
        let step = jitter.step(i64::from(sequence) * FRAME_MICROS + 40 * MS);
        assert_eq!(step, Step::Play { sequence, frame: marked(sequence), recovered: false });
    }
    jitter
}

#[test]
fn a_voice_frame_survives_its_bytes() {
    let mut sender = sender(41);
    for count in 0..6_u32 {
        let frame = VoiceFrame {
            goodbye: count == 5,
            sent: 7_000_000,
            echo: (count > 2).then_some(Echo { sent: 5, held: 12 }),
            loss: 9,
            burst: 17,
            aside_next: 3,
            ..message(&mut sender, &tone(0, 200.0))
        };
        assert_eq!(frame.sequence, 41 + count);
        let bytes = frame.encode();
        assert_eq!(bytes.len(), PLAINTEXT_LEN);
        assert_eq!(VoiceFrame::decode(&bytes).unwrap(), frame);
    }
    let empty = VoiceFrame { goodbye: true, ..VoiceFrame::default() };
    assert_eq!(VoiceFrame::decode(&empty.encode()).unwrap(), empty);
    // A nonce and an aside take the place of the oldest copies and leave the others alone.
    for (nonce, length, places) in [(false, 0, 4), (true, 0, 3), (false, 64, 3), (false, 16, 4), (true, 64, 3)] {
        let mut full = voice(9);
        full.nonce = nonce.then_some([0xa5; NONCE_LEN]);
        full.aside = (length > 0).then(|| Aside { number: 255, bytes: vec![7; length].into() });
        let decoded = VoiceFrame::decode(&full.encode()).unwrap();
        full.frames.truncate(places);
        assert_eq!(decoded, full);
    }
}

#[test]
fn what_does_not_fit_or_has_no_order_is_not_written() {
    let carried = |back, length| Carried { back, opus: vec![1; length].into() };
    let written = |sequence, frames: Vec<Carried>| {
        let frame = VoiceFrame { sequence, frames, ..VoiceFrame::default() };
        VoiceFrame::decode(&frame.encode()).unwrap().frames.len()
    };
    assert_eq!(written(9, vec![carried(0, BODY_LEN - 2)]), 1);
    assert_eq!(written(9, vec![carried(0, BODY_LEN - 1)]), 0);
    assert_eq!(written(9, vec![carried(0, OPUS_MAX + 1)]), 0);
    assert_eq!(written(9, vec![carried(1, 10)]), 0, "the newest must be first");
    assert_eq!(written(9, vec![carried(0, 10), carried(3, 10), carried(3, 10)]), 2);
    assert_eq!(written(2, vec![carried(0, 10), carried(3, 10)]), 1, "before frame 0");
    assert_eq!(written(9, vec![carried(0, 10), carried(1, 0)]), 1);
    assert_eq!(written(900, (0..20).map(|back| carried(back, 10)).collect()), PLACES_MAX);
}

#[test]
fn malformed_voice_frames_are_refused() {
    let good = voice(9).encode();
    assert!(VoiceFrame::decode(&good[1..]).is_err());
    let changed = |at: usize, to: u8| {
        let mut bytes = good;
        bytes[at] = to;
        VoiceFrame::decode(&bytes)
    };
    assert!(changed(0, 0b1000_0000).is_err(), "a reserved flag");
    assert!(changed(1, 17).is_err(), "too many places");
    assert!(changed(1, 3).is_err(), "bytes that no place claims");
    assert!(changed(5, 2).is_err(), "earlier frames before frame 0");
    assert!(changed(0, 0b0000_0010).is_err(), "a nonce in the place of the frames");
    assert!(changed(0, 0b0000_0100).is_err(), "an aside in the place of the frames");
    assert!(changed(29, 2).is_err(), "the newest frame is not the first");
    assert!(changed(31, 0).is_err(), "two of one number");
    assert!(changed(30, 255).is_err(), "longer than the message");
    assert!(changed(PLAINTEXT_LEN - 1, 1).is_err(), "an unused byte that is not 0");
    assert!(changed(14, 1).is_err(), "an echo of nothing");
    let aside = VoiceFrame { aside: Some(Aside { number: 1, bytes: vec![9; ASIDE_MAX].into() }), ..voice(9) }.encode();
    for length in [0, ASIDE_MAX + 1] {
        let mut bytes = aside;
        bytes[30] = u8::try_from(length).unwrap();
        assert!(VoiceFrame::decode(&bytes).is_err(), "an aside of {length} bytes");
    }
}

#[test]
fn a_skipped_sender_claims_no_earlier_frames() {
    let mut sender = sender(0);
    message(&mut sender, &SILENCE);
    assert_eq!(message(&mut sender, &SILENCE).frames.len(), 2);
    sender.skip(30);
    let next = message(&mut sender, &SILENCE);
    assert_eq!((next.sequence, next.frames.len()), (32, 1));
}

#[test]
fn without_loss_all_goes_to_quality_and_with_loss_to_copies_and_dred() {
    let plan = |class, share, burst| Plan::new(class, Means::default(), LossReport { share, burst });
    for (class, bytes) in [(Class::Ms20, 320), (Class::Ms40, 162), (Class::Ms60, 107)] {
        let clean = plan(class, 0.0, 0.0);
        assert_eq!((clean.newest.bytes, clean.newest.dred, clean.copies.len()), (bytes, 0, 0));
    }
    assert_eq!(plan(Class::Ms20, 0.01, 1.0).copies, [1]);
    assert_eq!(plan(Class::Ms20, 0.05, 1.5).copies, [1, 3]);
    assert_eq!(plan(Class::Ms20, 0.10, 2.0).copies, [2, 4, 6]);
    assert_eq!(plan(Class::Ms20, 0.30, 1.0).copies, [1, 2, 3]);
    for class in Class::ALL {
        for loss in 0..100 {
            for burst in 0..20 {
                let plan = plan(class, f64::from(loss) / 100.0, f64::from(burst));
                let frames = usize::from(class.frames());
                assert!(plan.others.bytes >= PACKET_MIN && plan.newest.bytes <= PACKET_MAX);
                // New sound, a nonce and the longest aside always fit together.
                let sound = plan.newest.bytes + (frames - 1) * plan.others.bytes + 2 * frames;
                assert!(sound + NONCE_LEN + 2 + ASIDE_MAX <= BODY_LEN, "{class} {loss} {plan:?}");
            }
        }
    }
    let off = Plan::new(Class::Ms20, Means { copies: false, dred: false }, LossReport { share: 0.1, burst: 2.0 });
    assert_eq!((off.newest.bytes, off.newest.dred, off.copies.len()), (320, 0, 0));
}

#[test]
fn a_sender_answers_loss_at_once_and_forgets_it_slowly() {
    let mut sender = sender(0);
    let lossy = LossReport { share: 0.1, burst: 2.0 };
    sender.report(lossy);
    assert_eq!(sender.plan().copies.len(), 3);
    for count in 0..700 {
        sender.report(LossReport::default());
        assert_eq!(sender.plan().copies.is_empty(), count >= 500, "{count}");
        message(&mut sender, &SILENCE);
    }
}

#[test]
fn a_lost_frame_comes_back_from_the_next_message() {
    let mut jitter = running(50);
    // Frame 50 is lost; 51 arrives in time for 50's turn because the buffer holds once.
    assert_eq!(jitter.step(50 * FRAME_MICROS + 40 * MS), Step::Conceal);
    jitter.insert(at(51 * 20 + 30), &voice(51));
    assert_eq!(
        jitter.step(51 * FRAME_MICROS + 40 * MS),
        Step::Play { sequence: 50, frame: marked(50), recovered: true }
    );
    assert_eq!(
        jitter.step(52 * FRAME_MICROS + 40 * MS),
        Step::Play { sequence: 51, frame: marked(51), recovered: false }
    );
    let counts = jitter.counts();
    assert_eq!((counts.recovered, counts.concealed, counts.lost), (1, 1, 0));
}

#[test]
fn a_late_frame_still_plays_and_an_outage_is_not_waited_for() {
    let mut jitter = running(50);
    let mut position = 50 * FRAME_MICROS + 40 * MS;
    for _ in 0..3 {
        assert_eq!(jitter.step(position), Step::Conceal);
        position += FRAME_MICROS;
    }
    jitter.insert(at(50 * 20 + 30 + 60), &voice(50));
    assert!(matches!(jitter.step(position), Step::Play { sequence: 50, recovered: false, .. }));
    // Now nothing for 40 frames: it holds fifteen times, then lets the time pass.
    for _ in 0..40 {
        position += FRAME_MICROS;
        assert_eq!(jitter.step(position), Step::Conceal);
    }
    assert!(jitter.counts().lost >= 25, "{:?}", jitter.counts());
    // The sound resumes without the held time added to the delay.
    jitter.insert(at(91 * 20 + 30), &voice(91));
    position += FRAME_MICROS;
    assert!(matches!(jitter.step(position), Step::Play { sequence: 88.., .. }));
}

#[test]
fn duplicates_and_old_frames_are_counted_and_dropped() {
    let mut jitter = running(50);
    jitter.insert(at(1_100), &voice(49));
    jitter.insert(at(1_100), &voice(10));
    assert_eq!(jitter.counts().duplicates, 2);
    assert!(jitter.is_empty());
    let mut silent = voice(60);
    silent.frames.clear();
    jitter.insert(at(1_100), &silent);
    assert!(jitter.is_empty());
}

#[test]
fn a_jump_of_the_sender_drops_what_lies_between() {
    let mut jitter = running(50);
    jitter.insert(at(51_000), &voice(2_500));
    assert!(jitter.len() <= 4);
    let step = jitter.step(2_500 * FRAME_MICROS + 1_040 * MS);
    assert!(matches!(step, Step::Play { sequence: 2_497..=2_500, .. }), "{step:?}");
}

#[test]
fn a_stretched_tone_stays_a_tone_of_the_same_pitch() {
    for longer in [false, true] {
        let mut out = Vec::new();
        let mut changed = 0;
        for count in 0..20 {
            let pcm = tone(count * FRAME_SAMPLES, 200.0);
            changed +=
                if longer { stretch::lengthen(&pcm, 600, &mut out) } else { stretch::shorten(&pcm, 600, &mut out) };
        }
        assert!(changed > 20 * 200, "{changed}");
        let plain = 20 * FRAME_SAMPLES;
        assert_eq!(out.len(), if longer { plain + changed } else { plain - changed });
        let crossings = out.windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0).count();
        let hertz = crossings as f32 * 48_000.0 / out.len() as f32;
        assert!((195.0..205.0).contains(&hertz), "{hertz}");
        // No clicks: a sine of this height and pitch never moves faster than 210 a sample.
        let steepest = out.windows(2).map(|pair| (i32::from(pair[1]) - i32::from(pair[0])).abs()).max().unwrap();
        assert!(steepest < 500, "{steepest}");
    }
}

#[test]
fn sound_that_resembles_nothing_is_left_alone() {
    let mut noise = 7_u32;
    let hiss: Pcm = std::array::from_fn(|_| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        to_sample(((noise >> 16) as f32 - 32_768.0) / 4.0)
    });
    let mut out = Vec::new();
    assert_eq!(stretch::shorten(&hiss, 600, &mut out), 0);
    assert_eq!(out, hiss);
    assert_eq!(stretch::lengthen(&tone(0, 200.0), 100, &mut Vec::new()), 0, "less than the least");
}

#[test]
fn the_player_keeps_an_unbroken_timeline() {
    let mut sender = sender(0);
    let mut player = Player::new(Class::Ms20).unwrap();
    let mut out = Vec::new();
    let mut now = Duration::ZERO;
    for sequence in 0..200_u32 {
        let voice = message(&mut sender, &tone(usize::try_from(sequence).unwrap() * FRAME_SAMPLES, 220.0));
        now = FRAME * (sequence + 2);
        while player.position() <= now {
            player.play(&mut out);
        }
        player.insert(now, &voice);
    }
    assert_eq!(duration_of(out.len() as u64), player.position());
    assert!(player.position() - now < at(33));
    let counts = player.counts();
    assert!(counts.played >= 197 && counts.concealed == 0, "{counts:?}");
    // It began at one frame of delay and came down.
    assert!(player.held_back() < at(8), "{:?}", player.held_back());
    assert_eq!(player.damaged(), 0);
}

#[test]
fn levels_and_gain() {
    let mut meter = Meter::new();
    assert_eq!(meter.dbfs(), FLOOR_DBFS);
    meter.listen(&[32_767; 100]);
    assert!(meter.take().abs() < 0.01);
    meter.listen(&SILENCE);
    assert_eq!(meter.take(), FLOOR_DBFS);
    let mut loud = [3_000_i16, -3_000, 20_000, -20_000, i16::MAX, i16::MIN];
    Gain::new(6.02).apply(&mut loud);
    assert!((5_990..=6_010).contains(&loud[0]) && (-6_010..=-5_990).contains(&loud[1]));
    assert!(loud[2] > 26_000 && loud[2] < loud[4] && loud[3] == -loud[2]);
    let mut same = [1, -1, i16::MIN];
    Gain::new(0.0).apply(&mut same);
    Gain::new(f32::NAN).apply(&mut same);
    assert_eq!(same, [1, -1, i16::MIN]);
}

#[test]
fn the_window_lets_each_counter_in_once() {
    let mut window = ReplayWindow::new();
    assert!(window.insert(5) && !window.insert(5) && window.insert(4));
    assert!(window.insert(5 + WINDOW) && !window.insert(5) && !window.is_fresh(4));
    assert!(window.insert(6));
    assert!(window.insert(1 << 60) && !window.insert(1 << 60) && !window.insert(6));
    assert!(!window.is_fresh(u64::MAX));
}

proptest! {
    #[test]
    fn the_window_agrees_with_a_set(counters in prop::collection::vec(0_u64..3_000, 0..400)) {
        let mut window = ReplayWindow::new();
        let mut seen = std::collections::HashSet::new();
        let mut highest = 0;
        for counter in counters {
            let expected = !seen.contains(&counter) && counter + WINDOW > highest;
            prop_assert_eq!(window.insert(counter), expected, "{}", counter);
            seen.insert(counter);
            highest = highest.max(counter);
        }
    }

    #[test]
    fn any_bytes_are_a_voice_frame_or_an_error(bytes in prop::collection::vec(any::<u8>(), PLAINTEXT_LEN)) {
        if let Ok(frame) = VoiceFrame::decode(&bytes) {
            prop_assert_eq!(VoiceFrame::decode(&frame.encode()).unwrap(), frame);
        }
    }

    /// Whatever arrives, in whatever order, however often: order is kept, nothing plays twice, memory is bounded, counts add up.
    #[test]
    fn the_buffer_keeps_order_and_bounds(
        events in prop::collection::vec((0_u32..300, 0_u64..9_000, prop::bool::weighted(0.5)), 1..600),
        jump in prop::option::of(any::<u32>()),
    ) {
        let mut jitter = JitterBuffer::new(Class::Ms20);
        let mut last = None;
        let mut now = 0;
        let mut position = 0;
        for (count, (sequence, wait, play)) in events.into_iter().enumerate() {
            now += wait;
            let sequence = match jump { Some(to) if count % 50 == 49 => to, _ => sequence };
            jitter.insert(Duration::from_micros(now), &voice(sequence));
            prop_assert!(jitter.len() <= usize::try_from(CAPACITY).unwrap());
            if play {
                position += FRAME_MICROS;
                if let Step::Play { sequence, frame, .. } = jitter.step(position) {
                    prop_assert!(last.is_none_or(|last| sequence > last));
                    prop_assert_eq!(frame, marked(sequence));
                    last = Some(sequence);
                }
            }
        }
        let counts = jitter.counts();
        prop_assert!(counts.played + counts.lost <= jitter.expected() + u64::from(u16::MAX));
        prop_assert!(counts.recovered <= counts.played);
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The delay neither runs away nor goes under zero, and nothing panics, with loss, reorder, duplication and spikes.
    #[test]
    fn the_player_survives_any_network(
        arrivals in prop::collection::vec((0_u64..120, prop::bool::weighted(0.1), prop::bool::weighted(0.05)), 150),
    ) {
        let mut player = Player::new(Class::Ms20).unwrap();
        let mut sender = sender(0);
        sender.report(LossReport { share: 0.1, burst: 2.0 });
        let mut flying = std::collections::BTreeMap::new();
        for (number, (delay, lost, twice)) in arrivals.into_iter().enumerate() {
            let frame = message(&mut sender, &tone(number * FRAME_SAMPLES, 150.0));
            let sent = FRAME * (frame.sequence + 1);
            if twice {
                flying.insert((sent + at(delay + 7), number, 1), frame.clone());
            }
            if !lost {
                flying.insert((sent + at(delay), number, 0), frame);
            }
        }
        let mut out = Vec::new();
        for ((now, ..), frame) in flying {
            while player.position() <= now {
                player.play(&mut out);
            }
            player.insert(now, &frame);
            prop_assert!(player.held_back() <= at(600));
        }
        prop_assert_eq!(duration_of(out.len() as u64), player.position());
    }
}
