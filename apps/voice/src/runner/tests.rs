use super::*;
use crate::audio::wav::{decode_wav, read_wav};
use crate::audio::{AtEnd, Input, Output};
use crate::measure::{Track, mouth_to_ear};
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// One end of a pipe in memory that loses every n-th message.
struct Pipe {
    out: Sender<Vec<u8>>,
    inward: tokio::sync::Mutex<Receiver<Vec<u8>>>,
    lose_every: u32,
    sent: AtomicU32,
}

fn pipe(lose_every: u32) -> (Pipe, Pipe) {
    let (a_out, b_in) = channel(1_024);
    let (b_out, a_in) = channel(1_024);
    let end = |out, inward| Pipe { out, inward: tokio::sync::Mutex::new(inward), lose_every, sent: AtomicU32::new(0) };
    (end(a_out, a_in), end(b_out, b_in))
}

impl DatagramTransport for Pipe {
    async fn joined(&self) -> Result<(), TransportError> {
        Ok(())
    }

    fn send(&self, message: &[u8]) -> Result<(), TransportError> {
        if (self.sent.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(self.lose_every) {
            return Ok(());
        }
        self.out.try_send(message.to_vec()).map_err(|_| TransportError("closed".into()))
    }

    async fn recv(&self) -> Result<Vec<u8>, TransportError> {
        self.inward.lock().await.recv().await.ok_or_else(|| TransportError("closed".into()))
    }
}

fn invite() -> (Invite, AnswerKey) {
    Invite::create([1; 32], [2; 16], u64::MAX, &mut ChaCha12Rng::seed_from_u64(3))
}

fn updates() -> (Sender<CallUpdate>, Receiver<CallUpdate>) {
    channel(64)
}

fn quiet() -> AudioEnds {
    AudioEnds::new(Input::silence(), Output::Discard)
}

fn all(mut receiver: Receiver<CallUpdate>) -> Vec<CallUpdate> {
    std::iter::from_fn(|| receiver.try_recv().ok()).collect()
}

#[tokio::test]
async fn two_ends_talk_and_the_delay_can_be_measured_on_the_sound() {
    let dir = tempfile::tempdir().unwrap();
    let (invite, key) = invite();
    let (a, b) = pipe(u32::MAX);
    let speech = decode_wav(crate::SPEECH_WAV, std::path::Path::new("speech.wav")).unwrap();
    let voice = speech[..4 * 48_000].to_vec();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let caller =
        AudioEnds::new(Input::recording(voice.clone(), AtEnd::HangUp), Output::wav(&dir.path().join("a.wav")).unwrap());
    let answerer = AudioEnds::new(Input::recording(voice.clone(), AtEnd::Repeat), Output::Memory(Arc::clone(&heard)));
    let (sender, receiver) = updates();
    let (other, _rest) = updates();
    let (caller, answerer) = tokio::join!(
        run_call(a, Party::Caller(invite.clone()), caller, CallOptions::default(), sender),
        run_call(b, Party::Answerer(invite, key), answerer, CallOptions::default(), other),
    );
    let (caller, answerer) = (caller.unwrap(), answerer.unwrap());
    let report = serde_json::to_value(&answerer).unwrap();
    assert_eq!((&report["role"], &report["ended"]), (&"answerer".into(), &"peer_hung_up".into()));

    assert_eq!((caller.ended, answerer.ended), (EndReason::HungUp, EndReason::PeerHungUp));
    assert_eq!(caller.words, answerer.words);
    // Of 200; a machine that stalls skips some.
    assert!(caller.frames_sent >= 100 && answerer.frames_played >= 50, "{caller:?} {answerer:?}");
    // A slot every 20 ms: 4 s of sound, then up to five goodbyes, until the other side has closed the pipe.
    assert!((caller.frames_sent..=205).contains(&caller.messages_sent), "{}", caller.messages_sent);
    let seen = all(receiver);
    assert_eq!(seen[..2], [CallUpdate::Joining, CallUpdate::Ringing]);
    assert!(matches!(&seen[2], CallUpdate::Connected { words } if *words == caller.words));
    assert!(seen.iter().filter(|update| matches!(update, CallUpdate::Reading(_))).count() >= 2);
    assert_eq!(seen.last(), Some(&CallUpdate::Ended { reason: EndReason::HungUp }));

    let heard = heard.lock().unwrap().clone();
    let mouth = Track { samples: &voice, start_unix_micros: caller.first_input_unix_micros };
    let ear = Track { samples: &heard, start_unix_micros: answerer.first_output_unix_micros };
    let delay = mouth_to_ear(mouth, ear).unwrap();
    assert!(delay.matched > 5, "{delay:?}");
    // What physics demands: a frame, the codec and the output. Upper bounds are for benchmarks.
    assert!(delay.p50_ms > 30.0, "{delay:?}");
    let recorded = read_wav(&dir.path().join("a.wav")).unwrap();
    assert!(recorded.len() > 4 * 47_000);
}

#[tokio::test]
async fn hanging_up_and_time_limits_end_calls() {
    let (invite, key) = invite();
    let (a, b) = pipe(7);
    let limited = CallOptions { talk_for: Some(Duration::from_millis(600)), ..CallOptions::default() };
    let (caller, answerer) = tokio::join!(
        run_call(a, Party::Caller(invite.clone()), quiet(), limited, updates().0),
        run_call(b, Party::Answerer(invite.clone(), key), quiet(), CallOptions::default(), updates().0),
    );
    assert!(caller.unwrap().ended_well() && answerer.unwrap().ended_well());

    let options = CallOptions::default();
    options.hang_up.hang_up();
    let (a, _b) = pipe(u32::MAX);
    let result = run_call(a, Party::Caller(invite), quiet(), options, updates().0).await;
    assert!(matches!(result, Err(CallError::NotConnected(EndReason::HungUp))), "{result:?}");
}

#[tokio::test]
async fn a_lost_circuit_ends_the_call_at_once() {
    let (invite, key) = invite();
    let (a, b) = pipe(u32::MAX);
    let options = CallOptions { talk_for: Some(Duration::from_millis(300)), ..CallOptions::default() };
    let caller = tokio::spawn(run_call(a, Party::Caller(invite.clone()), quiet(), CallOptions::default(), updates().0));
    let answerer = run_call(b, Party::Answerer(invite, key), quiet(), options.clone(), updates().0);
    // The answerer's task is dropped in mid-call: the pipe breaks.
    assert!(timeout(Duration::from_millis(250), answerer).await.is_err());
    let report = timeout(Duration::from_secs(4), caller).await.unwrap().unwrap();
    match report {
        Ok(report) => assert_eq!(report.ended, EndReason::CircuitLost),
        Err(error) => assert!(matches!(error, CallError::NotConnected(EndReason::CircuitLost)), "{error}"),
    }
}

#[tokio::test]
async fn nobody_there_is_an_error() {
    struct Nobody;
    impl DatagramTransport for Nobody {
        async fn joined(&self) -> Result<(), TransportError> {
            std::future::pending().await
        }
        fn send(&self, _: &[u8]) -> Result<(), TransportError> {
            panic!("nothing may be sent before the other side is there")
        }
        async fn recv(&self) -> Result<Vec<u8>, TransportError> {
            std::future::pending().await
        }
    }
    let (invite, key) = invite();
    let options = CallOptions { join_within: Some(Duration::from_millis(50)), ..CallOptions::default() };
    let result = run_call(Nobody, Party::Answerer(invite.clone(), key), quiet(), options, updates().0).await;
    assert!(matches!(result, Err(CallError::NobodyCame(_))), "{result:?}");
    let patience = Patience { handshake: Duration::from_millis(200), ..Patience::default() };
    let (a, _b) = pipe(u32::MAX);
    let options = CallOptions { patience, ..CallOptions::default() };
    let result = run_call(a, Party::Caller(invite), quiet(), options, updates().0).await;
    assert!(matches!(result, Err(CallError::NotConnected(EndReason::NoHandshake))), "{result:?}");
}

#[tokio::test]
async fn an_answerer_stops_waiting_when_the_invite_expires() {
    struct Nobody;
    impl DatagramTransport for Nobody {
        async fn joined(&self) -> Result<(), TransportError> {
            std::future::pending().await
        }
        fn send(&self, _: &[u8]) -> Result<(), TransportError> {
            panic!("nothing may be sent before the other side is there")
        }
        async fn recv(&self) -> Result<Vec<u8>, TransportError> {
            std::future::pending().await
        }
    }
    let expiring = |expires| Invite::create([1; 32], [2; 16], expires, &mut ChaCha12Rng::seed_from_u64(3));
    let now = unix_now().as_secs();
    for expires in [0, now, now + 1] {
        let (invite, key) = expiring(expires);
        let call = run_call(Nobody, Party::Answerer(invite, key), quiet(), CallOptions::default(), updates().0);
        let error = timeout(Duration::from_secs(3), call).await.unwrap().unwrap_err();
        assert!(matches!(error, CallError::NotConnected(EndReason::InviteExpired)), "{error:?}");
        assert!(error.to_string().contains("expired"), "{error}");
    }
}
