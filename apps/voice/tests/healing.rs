//! Calls over real circuits in this process whose relays are killed.
//!
//! The two sides choose their relays apart from each other, so in a small network a relay of one leg's half may be in the other
//! side's half of the other leg. Victims are chosen by the paths as they are; where none fits, another call is made.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that shows its figures with --nocapture")]

use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use zmesh_overlay::testnet::{Testnet, TestnetConfig};
use zmesh_overlay::{Meet, MeetingSpec, Node, RelayId};
use zmesh_voice::audio::wav::decode_wav;
use zmesh_voice::audio::{AtEnd, AudioEnds, Input, Output};
use zmesh_voice::call::{EndReason, Role};
use zmesh_voice::invite::Invite;
use zmesh_voice::legs::{LegEvent, LegId, Mode};
use zmesh_voice::runner::{CallError, CallOptions, CallReport, CallUpdate, HangUp, LegCircuits, Party, run_call};

/// Calls that are tried until one has the paths that a test needs.
const DRAWS: usize = 30;
/// Only so that a hang ends.
const PATIENCE: Duration = Duration::from_secs(60);

/// Everything that is told until the call ends.
async fn listen(mut updates: Receiver<CallUpdate>) -> Vec<CallUpdate> {
    let mut told = Vec::new();
    while let Some(update) = updates.recv().await {
        told.push(update);
    }
    told
}

/// A call under way, with its network.
struct Scene {
    testnet: Testnet,
    nodes: [Node; 2],
    /// The caller's and the answerer's.
    sides: [Arc<LegCircuits>; 2],
    hang_up: HangUp,
    calls: [JoinHandle<Result<CallReport, CallError>>; 2],
    told: [JoinHandle<Vec<CallUpdate>>; 2],
}

impl Scene {
    async fn new(mode: Mode, relays: usize) -> Scene {
        let testnet = Testnet::start(TestnetConfig { relays, ..TestnetConfig::default() }).await.unwrap();
        let start = || async { Node::builder().network(testnet.network()).spares(0).start().await.unwrap() };
        let (caller, answerer) = (start().await, start().await);
        let relay = answerer.meeting_relay().unwrap();
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let network = testnet.network().network_id().0;
        let (invite, key) = Invite::create(network, relay.0, u64::MAX, &mut rng);
        let waiting = answerer.meet(Meet::wait(*invite.cookie()), MeetingSpec::chosen(relay).hops(2)).await.unwrap();
        let received: Invite = invite.to_line().parse().unwrap();
        let joining = caller.meet(Meet::join(*received.cookie()), MeetingSpec::given(relay).hops(3)).await.unwrap();
        let legs = |node: &Node, circuit, role| {
            Arc::new(LegCircuits::new(node.clone(), Arc::new(circuit), role, mode, 2).unwrap())
        };
        let sides = [legs(&caller, joining, Role::Caller), legs(&answerer, waiting, Role::Answerer)];
        let speech = decode_wav(zmesh_voice::SPEECH_WAV, "speech.wav".as_ref()).unwrap();
        let ends = || AudioEnds::new(Input::recording(speech.clone(), AtEnd::Repeat), Output::Discard);
        let hang_up = HangUp::new();
        let options = CallOptions { hang_up: hang_up.clone(), ..CallOptions::default() };
        let ((told, updates), (told_other, updates_other)) = (channel(4096), channel(4096));
        let [one, other] = sides.clone();
        let calls = [
            tokio::spawn(run_call(one, Party::Caller(received), ends(), options, told)),
            tokio::spawn(run_call(other, Party::Answerer(invite, key), ends(), CallOptions::default(), told_other)),
        ];
        let told = [tokio::spawn(listen(updates)), tokio::spawn(listen(updates_other))];
        let scene = Scene { testnet, nodes: [caller, answerer], sides, hang_up, calls, told };
        let both = async {
            while !scene.sides.iter().all(|side| side.has_standby()) {
                sleep(Duration::from_millis(50)).await
            }
        };
        timeout(PATIENCE, both).await.expect("a second path stands by");
        // So that both sides have compared the two.
        sleep(Duration::from_secs(1)).await;
        scene
    }

    /// The relays of a leg, both halves.
    fn relays(&self, leg: LegId) -> BTreeSet<RelayId> {
        let circuits = self.sides.iter().flat_map(|side| side.circuits());
        circuits.filter(|(of, _)| *of == leg).flat_map(|(_, circuit)| circuit.path()).map(|hop| hop.id).collect()
    }

    /// The relay at `hop` of what one side sends by now, if it stands in no half of another leg.
    fn alone(&self, side: usize, hop: usize) -> Option<RelayId> {
        let active = self.sides[side].active();
        let circuits = self.sides[side].circuits();
        let (leg, _) = circuits.iter().find(|(_, circuit)| Arc::ptr_eq(circuit, &active))?;
        let victim = active.path()[hop].id;
        let mut others = circuits.iter().map(|(other, _)| *other).filter(|other| other != leg);
        (!others.any(|other| self.relays(other).contains(&victim))).then_some(victim)
    }

    /// A relay that stands on both legs.
    fn shared(&self) -> Option<RelayId> {
        let [one, other] = [LegId(0), LegId(1)].map(|leg| self.relays(leg));
        one.intersection(&other).next().copied()
    }

    /// Hangs up at the caller's side, and waits for both ends.
    async fn end(self) -> ([CallReport; 2], Vec<CallUpdate>) {
        self.hang_up.hang_up();
        let mut reports = Vec::new();
        for call in self.calls {
            let report = timeout(PATIENCE, call).await.expect("it ends").unwrap().unwrap();
            println!("{report:?}");
            reports.push(report);
        }
        let mut all = Vec::new();
        for told in self.told {
            all.extend(told.await.unwrap());
        }
        for node in self.nodes {
            node.shutdown().await;
        }
        self.testnet.shutdown().await;
        (reports.try_into().unwrap(), all)
    }
}

/// A call with a relay as `find` wants it.
async fn call_with(mode: Mode, relays: usize, find: impl Fn(&Scene) -> Option<RelayId>) -> (Scene, RelayId) {
    for draw in 0..DRAWS {
        let scene = Scene::new(mode, relays).await;
        if let Some(victim) = find(&scene) {
            return (scene, victim);
        }
        println!("draw {draw}: no relay stands as it should");
        scene.end().await;
    }
    panic!("no call of {DRAWS} had the paths for this test");
}

async fn call_that_loses(mode: Mode, hop: usize, side: usize) -> Vec<CallUpdate> {
    let (mut scene, victim) = call_with(mode, 12, |scene| scene.alone(side, hop)).await;
    assert!(scene.testnet.kill(victim).await);
    sleep(Duration::from_secs(8)).await;
    let (reports, told) = scene.end().await;
    for report in reports {
        assert!(matches!(report.ended, EndReason::HungUp | EndReason::PeerHungUp), "{report:?}");
    }
    told
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
    let told = call_that_loses(Mode::Standby, 1, 0).await;
    let news = news(&told);
    println!("{news:#?}");
    assert!(news.iter().any(|words| words == "moved to another path: the second relay stopped answering"), "{news:?}");
    let moved =
        |update: &CallUpdate| matches!(update, CallUpdate::Path(news) if matches!(news.event, LegEvent::Moved { .. }));
    assert!(told.iter().any(moved));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_doubled_call_goes_on_when_the_meeting_relay_dies() {
    let told = call_that_loses(Mode::Doubled, 1, 1).await;
    assert!(news(&told).iter().any(|words| words.starts_with("moved to another path")), "{:?}", news(&told));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_of_both_legs_ends_both_sides_with_a_reason() {
    let (mut scene, victim) = call_with(Mode::Standby, 9, Scene::shared).await;
    assert!(scene.testnet.kill(victim).await);
    // Nobody hangs up: both sides see for themselves that nothing comes any more.
    let ended = async {
        while !scene.calls.iter().all(JoinHandle::is_finished) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, ended).await.expect("both sides end");
    let (reports, told) = scene.end().await;
    for report in &reports {
        assert!(matches!(report.ended, EndReason::CircuitLost | EndReason::PeerSilent), "{report:?}");
    }
    let said = |update: &CallUpdate| {
        matches!(update, CallUpdate::Ended { reason: EndReason::CircuitLost | EndReason::PeerSilent })
    };
    assert_eq!(told.iter().filter(|update| said(update)).count(), 2);
}
