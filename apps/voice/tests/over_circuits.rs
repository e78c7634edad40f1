//! A call over real circuits: relays in this process, two callers, three relays on each side, the meeting relay in the middle.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that shows its figures with --nocapture")]

use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc::channel;
use zmesh_overlay::testnet::{Testnet, TestnetConfig};
use zmesh_overlay::{Meet, MeetingSpec, Node};
use zmesh_voice::audio::wav::decode_wav;
use zmesh_voice::audio::{AtEnd, Input, Output};
use zmesh_voice::call::EndReason;
use zmesh_voice::invite::Invite;
use zmesh_voice::measure::{Track, mouth_to_ear};
use zmesh_voice::runner::{AudioEnds, CallOptions, Party, run_call};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_people_talk_through_three_relays_each() {
    let testnet = Testnet::start(TestnetConfig { relays: 8, ..TestnetConfig::default() }).await.unwrap();
    let network = testnet.network();
    let start = || async { Node::builder().network(testnet.network()).spares(0).start().await.unwrap() };
    let (caller, answerer) = (start().await, start().await);

    let relay = answerer.meeting_relay().unwrap();
    let mut rng = ChaCha12Rng::seed_from_u64(1);
    let (invite, key) = Invite::create(network.network_id().0, relay.0, u64::MAX, &mut rng);
    let waiting = answerer.meet(Meet::wait(*invite.cookie()), MeetingSpec::chosen(relay)).await.unwrap();
    let received: Invite = invite.to_line().parse().unwrap();
    let joining = caller.meet(Meet::join(*received.cookie()), MeetingSpec::given(relay)).await.unwrap();
    let path_length = joining.path().len() + waiting.path().len();

    let speech = decode_wav(zmesh_voice::SPEECH_WAV, "speech.wav".as_ref()).unwrap();
    let spoken = speech[..7 * 48_000].to_vec();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let speaks = AudioEnds::new(Input::recording(spoken.clone(), AtEnd::HangUp), Output::Discard);
    let listens = AudioEnds::new(Input::recording(spoken.clone(), AtEnd::Repeat), Output::Memory(Arc::clone(&heard)));
    let call = run_call(joining, Party::Caller(received), speaks, CallOptions::default(), channel(64).0);
    let answer = run_call(waiting, Party::Answerer(invite, key), listens, CallOptions::default(), channel(64).0);
    let both = async { tokio::join!(tokio::spawn(call), tokio::spawn(answer)) };
    let (called, answered) = tokio::time::timeout(Duration::from_secs(60), both).await.unwrap();
    let (called, answered) = (called.unwrap().unwrap(), answered.unwrap().unwrap());

    assert_eq!(called.words, answered.words);
    assert_eq!((called.ended, answered.ended), (EndReason::HungUp, EndReason::PeerHungUp));
    assert!(answered.frames_played > 250, "{answered:?}");
    let heard = heard.lock().unwrap().clone();
    let mouth = Track { samples: &spoken, start_unix_micros: called.first_input_unix_micros };
    let ear = Track { samples: &heard, start_unix_micros: answered.first_output_unix_micros };
    let delay = mouth_to_ear(mouth, ear).unwrap();
    println!("{path_length} relays in two paths: {delay:?}\n{answered:?}");
    assert!(delay.matched > 10, "{delay:?}");

    caller.shutdown().await;
    answerer.shutdown().await;
    testnet.shutdown().await;
}
