//! Calls over real circuits in this process whose relays are killed.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that shows its figures with --nocapture")]

use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::{sleep, timeout};
use zmesh_overlay::testnet::{Testnet, TestnetConfig};
use zmesh_overlay::{Meet, MeetingSpec, Node};
use zmesh_voice::audio::wav::decode_wav;
use zmesh_voice::audio::{AtEnd, AudioEnds, Input, Output};
use zmesh_voice::call::{EndReason, Role};
use zmesh_voice::invite::Invite;
use zmesh_voice::legs::{LegEvent, Mode};
use zmesh_voice::runner::{CallOptions, CallUpdate, HangUp, LegCircuits, Party, run_call};

/// Everything that is told until the call ends, in words where there are some.
async fn listen(mut updates: Receiver<CallUpdate>) -> Vec<CallUpdate> {
    let mut told = Vec::new();
    while let Some(update) = updates.recv().await {
        told.push(update);
    }
    told
}

async fn call_that_loses(mode: Mode, hop: usize, callers: bool) -> ([u64; 2], Vec<CallUpdate>) {
    let mut testnet = Testnet::start(TestnetConfig { relays: 12, ..TestnetConfig::default() }).await.unwrap();
    let start = || async { Node::builder().network(testnet.network()).spares(0).start().await.unwrap() };
    let (caller, answerer) = (start().await, start().await);
    let relay = answerer.meeting_relay().unwrap();
    let mut rng = ChaCha12Rng::seed_from_u64(1);
    let network = testnet.network().network_id().0;
    let (invite, key) = Invite::create(network, relay.0, u64::MAX, &mut rng);
    let waiting =
        Arc::new(answerer.meet(Meet::wait(*invite.cookie()), MeetingSpec::chosen(relay).hops(2)).await.unwrap());
    let received: Invite = invite.to_line().parse().unwrap();
    let joining =
        Arc::new(caller.meet(Meet::join(*received.cookie()), MeetingSpec::given(relay).hops(3)).await.unwrap());
    let victim = if callers { &joining } else { &waiting }.path()[hop].id;

    let one = Arc::new(LegCircuits::new(caller.clone(), joining, Role::Caller, mode, 2).unwrap());
    let other = Arc::new(LegCircuits::new(answerer.clone(), waiting, Role::Answerer, mode, 2).unwrap());
    let speech = decode_wav(zmesh_voice::SPEECH_WAV, "speech.wav".as_ref()).unwrap();
    let ends = || AudioEnds::new(Input::recording(speech.clone(), AtEnd::Repeat), Output::Discard);
    let hang_up = HangUp::new();
    let options = CallOptions { hang_up: hang_up.clone(), ..CallOptions::default() };
    let ((told, updates), (told_other, updates_other)) = (channel(4096), channel(4096));
    let calls = [
        tokio::spawn(run_call(Arc::clone(&one), Party::Caller(received), ends(), options, told)),
        tokio::spawn(run_call(
            Arc::clone(&other),
            Party::Answerer(invite, key),
            ends(),
            CallOptions::default(),
            told_other,
        )),
    ];
    let told = [tokio::spawn(listen(updates)), tokio::spawn(listen(updates_other))];

    let both = async {
        while mode != Mode::Single && !(one.has_standby() && other.has_standby()) {
            sleep(Duration::from_millis(50)).await
        }
    };
    timeout(Duration::from_secs(30), both).await.expect("a second path stands by");
    sleep(Duration::from_secs(1)).await;
    assert!(testnet.kill(victim).await);
    sleep(Duration::from_secs(5)).await;
    hang_up.hang_up();
    let mut concealed = [0; 2];
    for (at, call) in calls.into_iter().enumerate() {
        let report = timeout(Duration::from_secs(20), call).await.unwrap().unwrap().unwrap();
        println!("{mode:?}, hop {hop} of the {}: {report:?}", if callers { "caller" } else { "answerer" });
        assert!(matches!(report.ended, EndReason::HungUp | EndReason::PeerHungUp), "{report:?}");
        concealed[at] = report.frames_concealed;
    }
    let mut all = Vec::new();
    for told in told {
        all.extend(told.await.unwrap());
    }
    caller.shutdown().await;
    answerer.shutdown().await;
    testnet.shutdown().await;
    (concealed, all)
}

fn news(told: &[CallUpdate]) -> Vec<String> {
    let words = |update: &CallUpdate| match update {
        CallUpdate::Path(news) => Some(news.words.clone()),
        _ => None,
    };
    told.iter().filter_map(words).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_goes_on_by_its_standby_when_a_relay_dies_and_says_which() {
    let (_, told) = call_that_loses(Mode::Standby, 1, true).await;
    let news = news(&told);
    println!("{news:#?}");
    assert!(news.iter().any(|words| words == "moved to another path: the second relay stopped answering"), "{news:?}");
    let moved =
        |update: &CallUpdate| matches!(update, CallUpdate::Path(news) if matches!(news.event, LegEvent::Moved { .. }));
    assert!(told.iter().any(moved));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_doubled_call_goes_on_when_the_meeting_relay_dies() {
    let (_, told) = call_that_loses(Mode::Doubled, 1, false).await;
    assert!(news(&told).iter().any(|words| words.starts_with("moved to another path")), "{:?}", news(&told));
}
