//! Asides and classes: what rides beside the sound, and how often messages leave.

use super::*;
use crate::media::frame::ASIDE_MAX;

fn asides(call: &mut Call) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| call.poll_event())
        .filter_map(|event| match event {
            CallEvent::Aside(bytes) => Some(bytes.to_vec()),
            _ => None,
        })
        .collect()
}

#[test]
fn asides_come_once_in_order_whatever_is_lost_repeated_or_overtaken() {
    for seed in 0..8 {
        let mut pair = Pair::connected(1);
        let mut dice = rng(seed);
        let mut flying: Vec<(u64, bool, Message)> = Vec::new();
        let said: Vec<Vec<u8>> = (0..300_u16).map(|n| vec![n.to_le_bytes()[0]; usize::from(n % 64) + 1]).collect();
        let (mut next, mut heard) = (0, Vec::new());
        for round in 0..12_000_u64 {
            while next < said.len() && pair.caller.push_aside(&said[next]).is_ok() {
                next += 1;
            }
            pair.now += FRAME;
            for (call, to_answerer) in [(&mut pair.caller, true), (&mut pair.answerer, false)] {
                let message = call.poll_transmit(pair.now, &SILENCE).unwrap();
                // 30 % lost, 10 % twice, and late by up to ten slots.
                for _ in 0..[0, 0, 0, 1, 1, 1, 1, 1, 1, 2]
                    [usize::try_from(rand_core::Rng::next_u32(&mut dice) % 10).unwrap()]
                {
                    flying.push((round + u64::from(rand_core::Rng::next_u32(&mut dice) % 10), to_answerer, message));
                }
            }
            for (_, to_answerer, message) in flying.extract_if(.., |(due, ..)| *due <= round) {
                let to = if to_answerer { &mut pair.answerer } else { &mut pair.caller };
                to.handle_datagram(pair.now, &message);
            }
            heard.extend(asides(&mut pair.answerer));
            if heard.len() == said.len() && pair.caller.unconfirmed_asides() == 0 {
                break;
            }
        }
        assert!(heard == said, "seed {seed}: {} of {}", heard.len(), said.len());
        assert_eq!(pair.caller.unconfirmed_asides(), 0);
    }
}

#[test]
fn asides_are_bounded_and_wait_for_the_connection() {
    let mut pair = Pair::new(1);
    assert_eq!(pair.caller.push_aside(&[]), Err(AsideError::Length));
    assert_eq!(pair.caller.push_aside(&[0; ASIDE_MAX + 1]), Err(AsideError::Length));
    for count in 0..16 {
        pair.caller.push_aside(&[count; ASIDE_MAX]).unwrap();
    }
    assert_eq!(pair.caller.push_aside(&[1]), Err(AsideError::Full));
    for _ in 0..60 {
        pair.slot();
    }
    assert_eq!(asides(&mut pair.answerer).len(), 16);
    // Sound went on beside them.
    assert!(pair.answerer.stats().frames.received > 50);
    assert_eq!(pair.answerer.stats().frames.concealed, 0);
}

#[test]
fn one_message_leaves_in_each_interval_of_the_class() {
    for class in Class::ALL {
        let (invite, key) = Invite::create([1; 32], [2; 16], 1 << 40, &mut rng(5));
        let invite = invite.with_class(class);
        let read: Invite = invite.to_line().parse().unwrap();
        let mut caller = Call::caller(read, Patience::default()).unwrap();
        let mut answerer = Call::answerer(invite, key, Patience::default(), 0).unwrap();
        assert_eq!((caller.class(), answerer.class()), (class, class));
        let mut count = 0;
        let mut now = Duration::ZERO;
        let mut heard = Vec::new();
        let mut stats = answerer.stats();
        for slot in 1..=600_u32 {
            now += FRAME;
            if slot == 560 {
                stats = answerer.stats();
                caller.hang_up();
            }
            let to_answerer = caller.poll_transmit(now, &tone());
            let to_caller = answerer.poll_transmit(now, &tone());
            // Nothing but the number of the slot decides, from the handshake to the goodbye.
            if !caller.has_ended() {
                assert_eq!(to_answerer.is_some(), slot.is_multiple_of(class.frames().into()), "slot {slot}");
            }
            count += u32::from(to_answerer.is_some());
            if let Some(message) = to_answerer {
                answerer.handle_datagram(now, &message);
            }
            if let Some(message) = to_caller {
                caller.handle_datagram(now, &message);
            }
            while answerer.next_playout() <= now {
                answerer.play(&mut heard);
            }
        }
        assert!(caller.has_ended() && answerer.has_ended());
        assert!(count >= 560 / u32::from(class.frames()), "{count}");
        assert_eq!((stats.frames.concealed, stats.frames.lost, stats.loss), (0, 0, 0.0), "{class}: {stats:?}");
        assert!(stats.frames.played >= 530, "{class}: {stats:?}");
        assert!(stats.held_back < Duration::from_millis(10) + class.interval() - FRAME, "{class}: {stats:?}");
    }
}

#[test]
fn what_is_said_beside_the_sound_is_never_shown() {
    // The answerer says the keys of all legs so.
    let secret = crate::legs::Agree::Keys(crate::legs::Seed::new([171; 32])).encode();
    let mut asides = aside::Asides::default();
    asides.push(&secret).unwrap();
    let mut voice = VoiceFrame::default();
    asides.fill(&mut voice);
    let event = CallEvent::Aside(voice.aside.as_ref().unwrap().bytes.clone());
    for shown in [format!("{asides:?}"), format!("{voice:?}"), format!("{event:?}")] {
        assert!(!shown.contains("171"), "{shown}");
    }
}
