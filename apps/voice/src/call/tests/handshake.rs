//! The words, the commitment to them, and the limits in time of a handshake.

use super::*;
use crate::media::frame::NONCE_LEN;

/// The words that a side has shown, if it has.
fn words(call: &mut Call) -> Option<String> {
    std::iter::from_fn(|| call.poll_event()).find_map(|event| match event {
        CallEvent::Connected(words) => Some(words.to_string()),
        _ => None,
    })
}

fn ended(call: &mut Call) -> Option<EndReason> {
    std::iter::from_fn(|| call.poll_event()).find_map(|event| match event {
        CallEvent::Ended(reason) => Some(reason),
        CallEvent::Connected(_) => panic!("no words may be shown"),
        CallEvent::Ringing | CallEvent::Aside(_) => None,
    })
}

fn sealed_frame(session: &mut Session, nonce: Option<[u8; NONCE_LEN]>) -> Message {
    session.seal(&VoiceFrame { nonce, ..VoiceFrame::default() }.encode()).unwrap()
}

/// What somebody has who swapped the invite: the answerer's true one, and one of his own, with its key, that the caller takes for true.
struct Swapped {
    caller: Call,
    answerer: Call,
    true_invite: Invite,
    own_invite: Invite,
    own_key: AnswerKey,
}

impl Swapped {
    fn new() -> Self {
        let (true_invite, key) = invite(1);
        let (own_invite, own_key) = invite(2);
        Self {
            caller: Call::caller(own_invite.clone(), Patience::default()).unwrap(),
            answerer: Call::answerer(true_invite.clone(), key, Patience::default(), 0).unwrap(),
            true_invite,
            own_invite,
            own_key,
        }
    }

    /// Calls the answerer as `hello`; her answer.
    fn call_answerer(&mut self, hello: &Hello) -> Message {
        self.answerer.handle_datagram(FRAME, hello.message());
        self.answerer.poll_transmit(FRAME, &SILENCE).unwrap()
    }

    /// Answers the caller by `answer`; the nonce that the caller then shows.
    fn answer_caller(&mut self, accepted: &mut session::Accepted) -> [u8; NONCE_LEN] {
        self.caller.handle_datagram(FRAME, &accepted.answer);
        let frame = self.caller.poll_transmit(FRAME * 2, &SILENCE).unwrap();
        VoiceFrame::decode(&accepted.session.open(&frame).unwrap()).unwrap().nonce.unwrap()
    }
}

#[test]
fn a_middleman_with_own_keys_on_both_sides_gets_different_words() {
    let mut swapped = Swapped::new();
    let theirs = swapped.caller.poll_transmit(FRAME, &SILENCE).unwrap();
    let mut accepted = session::accept(&swapped.own_invite, &swapped.own_key, &theirs).unwrap();
    let own = new_hello(&swapped.true_invite);
    let answer = swapped.call_answerer(&own);
    let (mut session, nonce) = own.finish(&answer).ok().unwrap();
    swapped.answer_caller(&mut accepted);
    swapped.answerer.handle_datagram(FRAME, &sealed_frame(&mut session, Some(*nonce.bytes())));
    let shown = [words(&mut swapped.caller).unwrap(), words(&mut swapped.answerer).unwrap()];
    assert_ne!(shown[0], shown[1]);
}

#[test]
fn a_middleman_who_knows_the_callers_nonce_cannot_use_it_on_the_answerer() {
    // He lets the caller show its nonce first, but has to be committed towards the answerer before he sees her key. Had he been
    // committed to another nonce, showing this one would end the call.
    let mut swapped = Swapped::new();
    let theirs = swapped.caller.poll_transmit(FRAME, &SILENCE).unwrap();
    let mut accepted = session::accept(&swapped.own_invite, &swapped.own_key, &theirs).unwrap();
    let own = new_hello(&swapped.true_invite);
    let answer = swapped.call_answerer(&own);
    let (mut session, _) = own.finish(&answer).ok().unwrap();
    let theirs = swapped.answer_caller(&mut accepted);
    swapped.answerer.handle_datagram(FRAME, &sealed_frame(&mut session, Some(theirs)));
    assert!(words(&mut swapped.caller).is_some());
    assert_eq!(ended(&mut swapped.answerer), Some(EndReason::WrongNonce));
}

#[test]
fn searching_answers_does_not_lead_to_chosen_words() {
    // The search of old: know the answerer's words, then try one-time keys towards the caller until its words fit. Here only their first
    // letter is to fit. Whatever nonce the searcher supposes, the caller's own one decides, and it comes after his choice.
    let first = |words: &str| words.chars().next().unwrap();
    let mut hits = 0;
    for _ in 0..10 {
        let mut swapped = Swapped::new();
        let own = new_hello(&swapped.true_invite);
        let answer = swapped.call_answerer(&own);
        let (session, nonce) = own.finish(&answer).ok().unwrap();
        let wanted = first(&Words::new(session.hash(), nonce.bytes()).to_string());

        let theirs = swapped.caller.poll_transmit(FRAME, &SILENCE).unwrap();
        let mut found =
            std::iter::repeat_with(|| session::accept(&swapped.own_invite, &swapped.own_key, &theirs).unwrap())
                .find(|accepted| first(&Words::new(accepted.session.hash(), nonce.bytes()).to_string()) == wanted)
                .unwrap();
        swapped.answer_caller(&mut found);
        hits += u32::from(first(&words(&mut swapped.caller).unwrap()) == wanted);
    }
    assert!(hits < 10, "ten of ten: by chance in fewer than one of 10⁸ runs");
}

#[test]
fn a_nonce_that_is_lost_five_times_still_arrives() {
    let mut pair = Pair::new(1);
    let mut lost = 0;
    for _ in 0..12 {
        pair.now += FRAME;
        let from_caller = pair.caller.poll_transmit(pair.now, &tone()).unwrap();
        let from_answerer = pair.answerer.poll_transmit(pair.now, &tone()).unwrap();
        if from_caller[0] == SEALED && lost < 5 {
            lost += 1;
            assert!(!pair.answerer.is_connected() && pair.caller.nonce.is_some());
            assert_ne!(from_answerer[0], SEALED, "the answerer speaks only to somebody whose nonce it has");
        } else {
            pair.answerer.handle_datagram(pair.now, &from_caller);
        }
        pair.caller.handle_datagram(pair.now, &from_answerer);
    }
    assert!(lost == 5 && pair.answerer.is_connected());
    assert!(pair.caller.nonce.is_none(), "shown until the answerer's first frame, not longer");
    let shown = [words(&mut pair.caller).unwrap(), words(&mut pair.answerer).unwrap()];
    assert_eq!(shown[0], shown[1]);
    assert_eq!([pair.caller.stats().messages_sent, pair.answerer.stats().messages_sent], [12, 12]);
}

#[test]
fn a_wrong_nonce_ends_the_call_and_none_at_all_connects_nobody() {
    let (invite, key) = invite(1);
    let mut answerer = Call::answerer(invite.clone(), key, Patience::default(), 0).unwrap();
    let hello = new_hello(&invite);
    answerer.handle_datagram(FRAME, hello.message());
    let answer = answerer.poll_transmit(FRAME, &SILENCE).unwrap();
    let (mut session, nonce) = hello.finish(&answer).ok().unwrap();
    answerer.handle_datagram(FRAME, &sealed_frame(&mut session, None));
    assert!(!answerer.is_connected() && !answerer.has_ended());
    assert_eq!(answerer.poll_transmit(FRAME * 2, &SILENCE).unwrap(), answer);
    let mut wrong = *nonce.bytes();
    wrong[31] ^= 1;
    answerer.handle_datagram(FRAME * 2, &sealed_frame(&mut session, Some(wrong)));
    assert_eq!(ended(&mut answerer), Some(EndReason::WrongNonce));
    assert!(EndReason::WrongNonce.to_string().contains("commitment"));
    // The right one comes too late.
    answerer.handle_datagram(FRAME * 2, &sealed_frame(&mut session, Some(*nonce.bytes())));
    assert!(answerer.has_ended() && answerer.poll_transmit(FRAME * 3, &SILENCE).is_none());
}

#[test]
fn an_answerer_has_no_nonce_to_show() {
    let (invite, key) = invite(1);
    let mut caller = Call::caller(invite.clone(), Patience::default()).unwrap();
    let hello = caller.poll_transmit(FRAME, &SILENCE).unwrap();
    let mut accepted = session::accept(&invite, &key, &hello).unwrap();
    caller.handle_datagram(FRAME, &accepted.answer);
    caller.handle_datagram(FRAME, &sealed_frame(&mut accepted.session, Some([1; NONCE_LEN])));
    assert_eq!((caller.stats().rejected, caller.stats().messages_received), (1, 0));
    assert!(caller.nonce.is_some());
}

#[test]
fn asking_again_and_again_wins_no_time() {
    let (invite, key) = invite(1);
    let patience = Patience::default();
    let mut answerer = Call::answerer(invite.clone(), key, patience, 0).unwrap();
    let hello = new_hello(&invite);
    let mut now = Duration::ZERO;
    while !answerer.has_ended() {
        now += FRAME;
        answerer.handle_datagram(now, hello.message());
        answerer.poll_transmit(now, &SILENCE);
    }
    assert_eq!(now, FRAME + patience.silence + FRAME);
    assert_eq!(ended(&mut answerer), Some(EndReason::NoHandshake));
}

#[test]
fn nobody_is_answered_once_the_invite_has_expired() {
    let create = || Invite::create([1; 32], [2; 16], 1_000, &mut rng(1));
    for (unix_now, left) in [(998, 2), (1_000, 0), (2_000, 0)] {
        let (invite, key) = create();
        let mut answerer = Call::answerer(invite.clone(), key, Patience::default(), unix_now).unwrap();
        let end = Duration::from_secs(left);
        answerer.handle_datagram(end, new_hello(&invite).message());
        assert_eq!(answerer.stats().rejected, 1);
        assert!(answerer.poll_transmit(end + FRAME, &SILENCE).is_none());
        assert_eq!(ended(&mut answerer), Some(EndReason::InviteExpired));
    }
    // A caller who came in time may finish.
    let (invite, key) = create();
    let mut answerer = Call::answerer(invite.clone(), key, Patience::default(), 999).unwrap();
    let hello = new_hello(&invite);
    answerer.handle_datagram(FRAME * 49, hello.message());
    let answer = answerer.poll_transmit(FRAME * 51, &SILENCE).unwrap();
    let (mut session, nonce) = hello.finish(&answer).ok().unwrap();
    answerer.handle_datagram(FRAME * 52, &sealed_frame(&mut session, Some(*nonce.bytes())));
    assert!(answerer.is_connected());
}
