//! What somebody on the way, or with half an invite, can and cannot do.

mod asides;
mod handshake;

use super::commitment::Nonce;
use super::session::{self, ANSWER, FRAME as SEALED, HELLO, MESSAGE_LEN, Message, Session};
use super::*;
use crate::invite::{AnswerKey, Invite};
use crate::media::frame::PLAINTEXT_LEN;
use crate::media::{SILENCE, to_sample};
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;

fn rng(seed: u64) -> ChaCha12Rng {
    ChaCha12Rng::seed_from_u64(seed)
}

fn invite(seed: u64) -> (Invite, AnswerKey) {
    Invite::create([1; 32], [2; 16], 1 << 40, &mut rng(seed))
}

/// The same invite with some bytes of its line replaced, checksum made good: what somebody with half of it would have to guess.
fn altered(invite: &Invite, at: usize) -> Invite {
    use data_encoding::BASE32_NOPAD;
    use sha2::{Digest, Sha256};
    let line = invite.to_line().to_ascii_uppercase();
    let mut bytes = BASE32_NOPAD.decode(&line.as_bytes()[13..]).unwrap();
    bytes[at] ^= 1;
    let digest = Sha256::new().chain_update(b"zmesh call invite 2").chain_update(&bytes[..121]).finalize();
    bytes[121..].copy_from_slice(&digest[..4]);
    format!("zmesh:call/2/{}", BASE32_NOPAD.encode(&bytes)).parse().unwrap()
}

fn new_hello(invite: &Invite) -> Hello {
    Hello::new(invite, Nonce::random().unwrap()).unwrap()
}

fn sessions(seed: u64) -> (Session, Session) {
    let (invite, key) = invite(seed);
    let hello = new_hello(&invite);
    let accepted = session::accept(&invite, &key, hello.message()).unwrap();
    let (caller, _) = hello.finish(&accepted.answer).ok().unwrap();
    (caller, accepted.session)
}

fn tone() -> Pcm {
    std::array::from_fn(|at| to_sample(8_000.0 * (at as f32 / 20.0).sin()))
}

/// Two calls that pass every message at once; `record` sees them all.
struct Pair {
    caller: Call,
    answerer: Call,
    now: Duration,
    record: Vec<Message>,
}

impl Pair {
    fn new(seed: u64) -> Self {
        let (invite, key) = invite(seed);
        Self {
            caller: Call::caller(invite.clone(), Patience::default()).unwrap(),
            answerer: Call::answerer(invite, key, Patience::default(), 0).unwrap(),
            now: Duration::ZERO,
            record: Vec::new(),
        }
    }

    fn slot(&mut self) {
        self.now += FRAME;
        let from_caller = self.caller.poll_transmit(self.now, &tone()).unwrap();
        let from_answerer = self.answerer.poll_transmit(self.now, &tone()).unwrap();
        self.answerer.handle_datagram(self.now, &from_caller);
        self.caller.handle_datagram(self.now, &from_answerer);
        self.record.extend([from_caller, from_answerer]);
    }

    fn connected(seed: u64) -> Self {
        let mut pair = Self::new(seed);
        for _ in 0..4 {
            pair.slot();
        }
        assert!(pair.caller.is_connected() && pair.answerer.is_connected());
        pair
    }
}

#[test]
fn both_sides_derive_the_same_channel() {
    let (mut caller, mut answerer) = sessions(1);
    assert_eq!(caller.hash(), answerer.hash());
    for count in 0..5 {
        let plaintext = [count; PLAINTEXT_LEN];
        assert_eq!(answerer.open(&caller.seal(&plaintext).unwrap()).unwrap(), plaintext);
        assert_eq!(caller.open(&answerer.seal(&plaintext).unwrap()).unwrap(), plaintext);
    }
}

#[test]
fn a_message_bent_back_to_its_sender_is_refused() {
    let (mut caller, _) = sessions(1);
    let own = caller.seal(&[1; PLAINTEXT_LEN]).unwrap();
    assert!(caller.open(&own).is_err());
}

#[test]
fn every_altered_byte_of_a_frame_is_noticed() {
    let (mut caller, mut answerer) = sessions(1);
    let message = caller.seal(&[7; PLAINTEXT_LEN]).unwrap();
    for at in 0..MESSAGE_LEN {
        let mut altered = message;
        altered[at] ^= 0x40;
        assert!(answerer.open(&altered).is_err(), "byte {at}");
    }
    assert!(answerer.open(&message).is_ok(), "the forgeries did no harm");
}

#[test]
fn frames_open_once_in_any_order() {
    let (mut caller, mut answerer) = sessions(1);
    let messages: Vec<_> = (0..2_000_u16).map(|_| caller.seal(&[0; PLAINTEXT_LEN]).unwrap()).collect();
    for index in [3, 1, 2, 0, 1_500, 1_499, 900] {
        assert!(answerer.open(&messages[index]).is_ok(), "{index}");
        assert!(answerer.open(&messages[index]).is_err(), "{index} again");
    }
    assert!(answerer.open(&messages[400]).is_err(), "behind the window");
}

#[test]
fn a_wrong_secret_key_or_anything_else_in_the_invite_stops_the_handshake() {
    let (invite, key) = invite(1);
    // Network, relay, cookie, answerer's key, secret, expiry, class.
    for at in [0, 32, 48, 64, 96, 119, 120] {
        let Ok(hello) = Hello::new(&altered(&invite, at), Nonce::random().unwrap()) else { continue };
        assert!(session::accept(&invite, &key, hello.message()).is_err(), "byte {at}");
    }
    let (_, other_key) = super::tests::invite(2);
    let hello = new_hello(&invite);
    assert!(session::accept(&invite, &other_key, hello.message()).is_err());
    assert!(session::accept(&invite, &key, hello.message()).is_ok());
    assert!(matches!(Call::answerer(invite, other_key, Patience::default(), 0), Err(SetupError::Key)));
}

#[test]
fn somebody_without_the_answerers_key_cannot_answer() {
    // A meeting relay that somehow learnt the whole invite still lacks the private key: it puts its own answer in.
    let (invite, key) = invite(1);
    let hello = new_hello(&invite);
    let (_, own_key) = super::tests::invite(9);
    assert!(session::accept(&invite, &own_key, hello.message()).is_err());
    // The right answer, altered anywhere, changes nothing; the right one still connects.
    let answer = session::accept(&invite, &key, hello.message()).unwrap().answer;
    let mut waiting = hello;
    for at in 1..MESSAGE_LEN {
        let mut altered = answer;
        altered[at] ^= 1;
        waiting = waiting.finish(&altered).expect_err("an altered answer");
    }
    assert!(waiting.finish(&answer).is_ok());
}

#[test]
fn the_meeting_relay_reads_nothing_from_its_record() {
    let mut pair = Pair::connected(1);
    for _ in 0..50 {
        pair.slot();
    }
    // The frames that went out are known: look for them, and try keys of other handshakes, even of the same invite.
    let mut sender = crate::media::sender::Sender::new(0, Class::Ms20, Means::default()).unwrap();
    let spoken: Vec<_> = (0..50)
        .map(|_| {
            sender.encode(&tone()).unwrap();
            sender.pack(426).unwrap().1[0].opus.clone()
        })
        .collect();
    let (mut caller, mut answerer) = sessions(1);
    let frames: Vec<_> = pair.record.iter().filter(|message| message[0] == SEALED).collect();
    assert!(frames.len() > 90);
    for message in &frames {
        assert!(caller.open(message).is_err() && answerer.open(message).is_err());
        for opus in &spoken {
            assert!(!message.windows(24).any(|part| part == &opus[..24]));
        }
    }
    // Speech looks like any other bytes: all values occur about equally often.
    let mut counts = [0_u32; 256];
    for message in &frames {
        for byte in &message[9..] {
            counts[usize::from(*byte)] += 1;
        }
    }
    let mean = frames.len() as f64 * (MESSAGE_LEN - 9) as f64 / 256.0;
    let chi: f64 = counts.iter().map(|count| (f64::from(*count) - mean).powi(2) / mean).sum();
    assert!(chi < 400.0, "{chi}");
}

#[test]
fn recorded_calls_stay_closed_when_the_invite_and_its_key_are_revealed() {
    // Somebody recorded everything and later gets invite and key: the one-time keys are gone, so only a new handshake can be made.
    let (invite, key) = invite(1);
    let hello = new_hello(&invite);
    let mut accepted = session::accept(&invite, &key, hello.message()).unwrap();
    let (mut caller, _) = hello.finish(&accepted.answer).ok().unwrap();
    let frame = caller.seal(&[5; PLAINTEXT_LEN]).unwrap();
    assert!(accepted.session.open(&frame).is_ok());
    let again = new_hello(&invite);
    let mut later = session::accept(&invite, &key, again.message()).unwrap();
    assert!(later.session.open(&frame).is_err());
}

#[test]
fn one_invite_serves_one_caller() {
    let (invite, key) = invite(1);
    let mut answerer = Call::answerer(invite.clone(), key, Patience::default(), 0).unwrap();
    let first = new_hello(&invite);
    let second = new_hello(&invite);
    answerer.handle_datagram(FRAME, first.message());
    let answer = answerer.poll_transmit(FRAME, &SILENCE).unwrap();
    assert_eq!(answer[0], ANSWER);
    // The first caller's repetition is welcome and gets the same answer; the second caller gets nothing of its own.
    answerer.handle_datagram(FRAME, first.message());
    assert_eq!(answerer.stats().rejected, 0);
    answerer.handle_datagram(FRAME, second.message());
    assert_eq!(answerer.stats().rejected, 1);
    let still = answerer.poll_transmit(FRAME * 2, &SILENCE).unwrap();
    assert_eq!(still, answer);
    assert!(second.finish(&still).is_err());
    let (mut session, nonce) = first.finish(&still).ok().unwrap();
    let frame = VoiceFrame { nonce: Some(*nonce.bytes()), ..VoiceFrame::default() };
    answerer.handle_datagram(FRAME * 2, &session.seal(&frame.encode()).unwrap());
    assert!(answerer.is_connected());
}

#[test]
fn junk_is_counted_and_changes_nothing() {
    let mut pair = Pair::connected(1);
    let before = pair.answerer.stats();
    let record = pair.record.clone();
    let mut count = 0;
    let mut offer = |call: &mut Call, datagram: &[u8]| {
        call.handle_datagram(Duration::from_millis(90), datagram);
        count += 1;
    };
    for kind in 0..=255 {
        let mut junk = [0xa5; MESSAGE_LEN];
        junk[0] = kind;
        if kind != session::WAITING {
            offer(&mut pair.answerer, &junk);
        }
    }
    offer(&mut pair.answerer, &[]);
    offer(&mut pair.answerer, &[0; 2_000]);
    // Truncated, extended, repeated.
    for message in record.iter().filter(|message| message[0] == SEALED) {
        offer(&mut pair.answerer, &message[..MESSAGE_LEN - 1]);
        offer(&mut pair.answerer, &[&message[..], &[0]].concat());
        offer(&mut pair.answerer, message);
    }
    assert_eq!(pair.answerer.stats().rejected - before.rejected, count);
    assert_eq!(pair.answerer.stats().messages_received, before.messages_received);
    pair.slot();
    assert_eq!(pair.answerer.stats().messages_received, before.messages_received + 1);
}

#[test]
fn forged_handshakes_cost_a_bounded_number_of_key_operations() {
    let (invite, key) = invite(1);
    let mut answerer = Call::answerer(invite.clone(), key, Patience::default(), 0).unwrap();
    let mut forged = [9; MESSAGE_LEN];
    forged[0] = HELLO;
    let good = new_hello(&invite);
    for _ in 0..TRIALS_PER_SLOT {
        answerer.handle_datagram(FRAME, &forged);
    }
    // The budget of this slot is used up: even the good one must be said again.
    answerer.handle_datagram(FRAME, good.message());
    assert_eq!(answerer.poll_transmit(FRAME, &SILENCE).unwrap()[0], session::WAITING);
    answerer.handle_datagram(FRAME, good.message());
    assert_eq!(answerer.poll_transmit(FRAME * 2, &SILENCE).unwrap()[0], ANSWER);
}

#[test]
fn both_sides_show_the_same_words_and_other_calls_show_others() {
    let words = |seed| {
        let mut pair = Pair::connected(seed);
        let mut seen = Vec::new();
        for call in [&mut pair.caller, &mut pair.answerer] {
            while let Some(event) = call.poll_event() {
                if let CallEvent::Connected(words) = event {
                    seen.push(words.to_string());
                }
            }
        }
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0], seen[1]);
        seen.remove(0)
    };
    // One-time keys differ, so the words differ even for one invite.
    assert_ne!(words(1), words(1));
}

#[test]
fn short_stalls_are_caught_up_and_long_ones_skipped() {
    let mut pair = Pair::connected(1);
    let start = pair.caller.stats().messages_sent;
    let now = pair.now + FRAME * 10;
    assert_eq!(pair.caller.skip_missed(now), 0);
    let burst = std::iter::from_fn(|| pair.caller.poll_transmit(now, &SILENCE)).count();
    assert_eq!(burst, 10);
    let later = now + Duration::from_secs(3_600);
    let missed = pair.caller.skip_missed(later);
    assert!(missed > 170_000);
    assert!(std::iter::from_fn(|| pair.caller.poll_transmit(later, &SILENCE)).count() <= 1);
    assert!(pair.caller.stats().messages_sent - start <= 11);
}

#[test]
fn nothing_secret_is_printed() {
    let (invite, key) = invite(1);
    let cookie = format!("{:?}", invite.cookie());
    let call = Call::answerer(invite, key, Patience::default(), 0).unwrap();
    let text = format!("{call:?}");
    assert!(text.contains("[redacted]") && !text.contains(&cookie), "{text}");
    let connected = format!("{:?}", Pair::connected(1).answerer);
    assert!(!connected.contains("transport"), "{connected}");
}

#[test]
fn erased_keys_are_gone_in_both_directions() {
    let (mut caller, mut answerer) = sessions(1);
    let [to, from] = [caller.seal(&[1; PLAINTEXT_LEN]).unwrap(), answerer.seal(&[1; PLAINTEXT_LEN]).unwrap()];
    caller.erase();
    assert!(caller.open(&from).is_err());
    let (mut other, _) = sessions(2);
    other.seal(&[1; PLAINTEXT_LEN]).unwrap();
    other.erase();
    // Nothing of the handshake is left: two erased callers of different calls seal alike.
    let sealed = [&mut caller, &mut other].map(|session| session.seal(&[1; PLAINTEXT_LEN]).unwrap());
    assert_eq!(sealed[0], sealed[1]);
    assert!(answerer.open(&sealed[0]).is_err() && answerer.open(&to).is_ok());
}
