//! One call in virtual time: two people, two circuits of three hops, a profile on their access links, and what came of it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;
use zmesh_netem::{Access, Conditions, Loss, Profile};
use zmesh_voice::call::{Call, CallStats, EndReason, Patience, SetupError};
use zmesh_voice::invite::Invite;
use zmesh_voice::legs::{Legs, SEED_LEN, Seed};
use zmesh_voice::measure::{MouthToEar, Track, mouth_to_ear};
use zmesh_voice::media::SAMPLE_RATE;

use super::end::{Relays, Tape, VoiceEnd};
use super::setting::Setting;
use super::speech::Speech;
use crate::sim::HostId;
use crate::sim::node::NoApp;
use crate::sim::wire::Path;
use crate::topology::{Tune, UNIX_START, World};

/// One-way delay between two relays as measured calls have it: they stand in data centres of one continent.
pub const BETWEEN_RELAYS: Duration = Duration::from_millis(10);
/// Relays of the world: guard and middle of two circuits of each side, and two where they meet.
const RELAYS: usize = 10;
/// How long a call may take to be connected, over any profile.
const TO_CONNECT: Duration = Duration::from_secs(30);
/// IPv4 and UDP headers that every datagram carries on an access link.
const HEADERS: u64 = 28;

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// What stands on the two people's access links, and between relays.
    pub profile: &'a Profile,
    /// What protects the call.
    pub setting: Setting,
    /// The world and everything in it follow from this.
    pub seed: u64,
    /// How long both talk once they are connected.
    pub talk: Duration,
    /// One-way delay between two relays, where the profile says nothing about them.
    pub between_relays: Duration,
    /// What they say.
    pub speech: &'a Speech,
}

/// Why there is nothing to report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The call could not be set up on this machine.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The two never heard each other.
    #[error("the call was not connected after {} s", TO_CONNECT.as_secs())]
    NotConnected,
}

/// What one end of the call saw.
#[derive(Debug)]
pub struct Side {
    /// What it said and heard.
    pub tape: Tape,
    /// The call's own figures.
    pub stats: CallStats,
    /// Why the call ended before its time, if it did.
    pub ended: Option<EndReason>,
    /// Bytes a second that it sent over its access link while both talked, with IPv4 and UDP headers.
    pub up: f64,
    /// Bytes a second that others sent to it over its access link, whether they arrived or not.
    pub down: f64,
}

/// A call that was made.
#[derive(Debug)]
pub struct Outcome {
    /// The one who was given the invite.
    pub caller: Side,
    /// The one who made it.
    pub answerer: Side,
    /// From the start of the simulation to both being connected.
    pub connected_after: Duration,
    /// A fingerprint of when which datagram was sent and what became of it.
    pub fingerprint: u64,
}

/// How long sound took between two tapes: all of it, or the `last` so much that was said.
#[must_use]
pub fn tape_delay(talker: &Tape, listener: &Tape, speech: &Speech, last: Option<Duration>) -> Option<MouthToEar> {
    let said = samples_of_frames(talker.said);
    let from = last.map_or(0, |last| said.saturating_sub(samples_in(last)));
    let said = speech.stretch(talker.offset, from, said - from);
    let start = talker.start + Duration::from_secs_f64(from as f64 / f64::from(SAMPLE_RATE));
    let mouth = Track { samples: &said, start_unix_micros: micros(start) };
    let ear = Track { samples: &listener.heard, start_unix_micros: micros(listener.heard_from()) };
    mouth_to_ear(mouth, ear)
}

/// Runs the call of `plan`. Calls `each_minute` after every minute of talk with the figures of both ends.
///
/// # Errors
/// [`RunError`] if there was no call.
pub fn run(plan: &Plan<'_>, mut each_minute: impl FnMut(u64, &CallStats, &CallStats)) -> Result<Outcome, RunError> {
    let path = Path::delay(plan.between_relays);
    let tune: Tune = if plan.setting.fec { |_, _| {} } else { |_, config| config.link.repair = false };
    let mut world = World::new(plan.seed, RELAYS, path, tune, |_| Box::new(NoApp));
    let epoch = world.sim.now();
    let mut rng = ChaCha12Rng::from_seed(world.draw_seed());
    let meeting = world.path(&[2, 9]);
    let (invite, key) = Invite::create([7; 32], meeting[0].0, UNIX_START + 3_600, &mut rng);
    let patience = Patience { handshake: TO_CONNECT, ..Patience::default() };
    let cookie = *invite.cookie();
    let Setting { legs, means, class, .. } = plan.setting;
    let relays = |own: [&[usize]; 2]| Relays {
        own: own.map(|path| world.path(path)).to_vec(),
        meeting: meeting.clone(),
        cookie,
    };
    let (callers, answerers) = (relays([&[0, 1], &[5, 6]]), relays([&[3, 4], &[7, 8]]));
    let invite = invite.with_class(class);
    let answer = Call::answerer(invite.clone(), key, patience, UNIX_START)?.with_means(means);
    let ask = Call::caller(invite, patience)?.with_means(means);
    let half = plan.speech.cycle_len() / 2;
    let seed = Seed::new(world.draw_seed()[..SEED_LEN].try_into().unwrap_or([9; SEED_LEN]));
    let answerer = VoiceEnd::new(answer, Legs::answerer(legs, seed), answerers, (plan.speech.clone(), half), epoch);
    let caller = VoiceEnd::new(ask, Legs::caller(legs), callers, (plan.speech.clone(), 0), epoch);
    let answerer = world.add_origin_with(answerer, |config| tune(RELAYS, config));
    let caller = world.add_origin_with(caller, |config| tune(RELAYS + 1, config));
    world.impair(plan.profile, caller, answerer);
    let bytes = count_bytes(&mut world, [caller, answerer]);

    let connected = |world: &mut World, host| world.app::<VoiceEnd>(host).tape().connected.is_some();
    let deadline = world.sim.elapsed() + TO_CONNECT;
    while !(connected(&mut world, caller) && connected(&mut world, answerer)) {
        if world.sim.elapsed() >= deadline {
            return Err(RunError::NotConnected);
        }
        world.run_for(Duration::from_millis(10));
    }
    let connected_after = world.sim.elapsed();
    let before = *bytes.borrow();
    let mut left = plan.talk;
    let mut minute = 0;
    while !left.is_zero() {
        let step = left.min(Duration::from_secs(60));
        world.run_for(step);
        left -= step;
        minute += 1;
        let stats = [caller, answerer].map(|host| world.app::<VoiceEnd>(host).stats());
        each_minute(minute, &stats[0], &stats[1]);
    }
    let after = *bytes.borrow();
    let rate = |end: usize, way: usize| (after[end][way] - before[end][way]) as f64 / plan.talk.as_secs_f64();
    let mut side = |host, number| {
        let end = world.app::<VoiceEnd>(host);
        Side {
            stats: end.stats(),
            ended: end.ended(),
            tape: end.take_tape(),
            up: rate(number, 0),
            down: rate(number, 1),
        }
    };
    let (caller, answerer) = (side(caller, 0), side(answerer, 1));
    Ok(Outcome { caller, answerer, connected_after, fingerprint: world.sim.trace().times() })
}

/// The same profile on which nothing is lost, doubled or overtaken by chance.
#[must_use]
pub fn without_loss(profile: &Profile) -> Profile {
    let quiet = |access: &Access| {
        let change =
            |conditions: Conditions| Conditions { loss: Loss::None, duplicate: 0.0, reorder: 0.0, ..conditions };
        Access { up: access.up.map(change), down: access.down.map(change) }
    };
    Profile { caller: quiet(&profile.caller), answerer: quiet(&profile.answerer), relays: quiet(&profile.relays) }
}

/// Bytes that the two ends sent and that were sent to them: \[end\]\[0 up, 1 down\].
type Bytes = [[u64; 2]; 2];

fn count_bytes(world: &mut World, ends: [HostId; 2]) -> Rc<RefCell<Bytes>> {
    let bytes: Rc<RefCell<Bytes>> = Rc::default();
    let counts = Rc::clone(&bytes);
    world.sim.observe(move |seen| {
        let length = seen.data.len() as u64 + HEADERS;
        for (end, host) in ends.iter().enumerate() {
            counts.borrow_mut()[end][0] += if seen.from == *host { length } else { 0 };
            counts.borrow_mut()[end][1] += if seen.to == *host { length } else { 0 };
        }
    });
    bytes
}

fn samples_of_frames(frames: u64) -> usize {
    usize::try_from(frames).unwrap_or(usize::MAX).saturating_mul(zmesh_voice::media::FRAME_SAMPLES)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Samples in `time`.
#[must_use]
pub fn samples_in(time: Duration) -> usize {
    usize::try_from(time.as_micros() * u128::from(SAMPLE_RATE) / 1_000_000).unwrap_or(usize::MAX)
}
