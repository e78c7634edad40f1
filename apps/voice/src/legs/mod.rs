//! The legs of a call: one or two circuits of each side, each to a meeting relay of its own, spliced there to the other side's.
//!
//! One leg is *active* and carries every message. The other is a warm standby: every third message goes by it as well, so
//! that both sides always know that it works, and hear enough over it to go on while the active one dies. A *doubled*
//! call sends every message by both. Whatever comes is handed to the call once.
//!
//! Which leg a side relies on is its own decision, made from the frames that it hears by each of the two and from what
//! the other side reports about its own hearing. A side **moves** when the active leg is silent while the other speaks,
//! and when the other is clearly better for a while; a leg that it left in haste is not trusted again at once, so that
//! nothing flaps. A leg that stays silent or bad is given up, and the answerer offers another over new relays, as fast as
//! a budget allows: whoever kills legs to make the two choose new relays gets few choices.
//!
//! Sans-IO: [`Legs`] is the machine; circuits are built by its driver. `specs/11-legs.md` specifies all of this.

mod agree;
mod hearing;
mod life;
mod plan;
mod seal;
mod types;

#[cfg(test)]
mod tests;

pub use agree::{AGREE_MAX, Agree};
pub use seal::{LEG_MESSAGE_LEN, SEED_LEN, Seed};
pub use types::{Cause, LegEvent, LegId, Mode, Reach, Step};

use crate::call::{Message, Role};
use crate::media::FRAME;
use crate::media::window::ReplayWindow;
use hearing::{Hearing, STRIDE};
use plan::Plan;
use seal::{Head, Seal, counter_of};
use std::collections::VecDeque;
use std::time::Duration;

/// Frames without a leg's keys are let in so long after the first one with them: they were on their way.
const STRAGGLERS: Duration = Duration::from_millis(500);
/// A report of the other side is worth something for so long.
const REPORT_HOLDS: Duration = Duration::from_millis(300);
/// No second move for silence within this time: the other side's reports are about the past.
const MOVE_PAUSE: Duration = Duration::from_millis(400);
/// A leg that was left for silence is not returned to for this long, twice as long each time, …
const SHUN_SILENT: Duration = Duration::from_secs(5);
/// … and one that was left because the other was better for this long.
const SHUN_WORSE: Duration = Duration::from_secs(10);
/// The longest of both.
const SHUN_MAX: Duration = Duration::from_secs(120);
/// How many of 15 grades the other leg must be better …
const BETTER_BY: u8 = 3;
/// … for how long, to move to it.
const BETTER_FOR: Duration = Duration::from_secs(2);
/// A standby speaks at least this often where the call's class allows it: 80 ms hold two messages of 40 ms.
const STANDBY_EVERY: Duration = Duration::from_millis(80);
/// What may wait to be said, done or told.
const QUEUE_MAX: usize = 64;

/// How far a leg is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// The driver builds this side's circuit.
    Building,
    /// The circuit stands; nothing has been heard by it.
    Silent { since: Duration },
    /// The other side has been heard by it.
    Up,
}

#[derive(Debug)]
struct Leg {
    id: LegId,
    stage: Stage,
    seal: Option<Seal>,
    /// What the other side said last about this place, and when.
    report: Option<(u8, Duration)>,
    /// Not to be returned to before this, unless there is nothing else.
    shunned: Option<Duration>,
    /// Since when it has been so bad that it may be given up.
    bad_since: Option<Duration>,
    reach: Reach,
}

impl Leg {
    fn new(id: LegId, stage: Stage, reach: Reach) -> Self {
        Self { id, stage, seal: None, report: None, shunned: None, bad_since: None, reach }
    }

    fn grade_out(&self, now: Duration) -> Option<u8> {
        self.report.filter(|(_, at)| now.saturating_sub(*at) <= REPORT_HOLDS).map(|(grade, _)| grade)
    }
}

/// The legs of one call, at one side of it. See the [module](self).
///
/// Time is the [`Duration`] since the call began. The driver
/// - calls [`Legs::connected`] when the call's channel stands;
/// - hands every message of a leg to [`Legs::handle_message`] and what comes back to the call;
/// - hands every message of the call to [`Legs::transmit`], in every slot, and sends what comes back. All waiting is counted
///   by these calls, so there is no timer;
/// - moves what is said between the two sides: [`Legs::poll_aside`], [`Legs::handle_aside`];
/// - does the [`Step`]s of [`Legs::poll_step`] and reports by [`Legs::opened`], [`Legs::failed`] and [`Legs::lost`];
/// - shows people the events of [`Legs::poll_event`].
#[derive(Debug)]
pub struct Legs {
    role: Role,
    mode: Mode,
    interval: Duration,
    /// The answerer's from the start, the caller's when it came.
    seed: Option<Seed>,
    connected: bool,
    legs: [Option<Leg>; 2],
    active: usize,
    peer: Head,
    hearing: Hearing,
    delivered: ReplayWindow,
    highest: u64,
    /// When the first message with a leg's keys came.
    sealed_since: Option<Duration>,
    moved_at: Option<Duration>,
    better_since: Option<Duration>,
    moves_for_silence: u32,
    plan: Plan,
    asides: VecDeque<Agree>,
    steps: VecDeque<Step>,
    events: VecDeque<LegEvent>,
}

impl Legs {
    /// The legs of a call whose first circuit is spliced already, as leg 0. The answerer gives the `seed` of all keys.
    #[must_use]
    pub fn answerer(mode: Mode, seed: Seed) -> Self {
        Self::new(Role::Answerer, mode, Some(seed))
    }

    /// The same at the caller's side.
    #[must_use]
    pub fn caller(mode: Mode) -> Self {
        Self::new(Role::Caller, mode, None)
    }

    fn new(role: Role, mode: Mode, seed: Option<Seed>) -> Self {
        Self {
            role,
            mode,
            interval: FRAME,
            seed,
            connected: false,
            legs: [Some(Leg::new(LegId(0), Stage::Up, Reach::default())), None],
            active: 0,
            peer: Head::default(),
            hearing: Hearing::new(),
            delivered: ReplayWindow::new(),
            highest: 0,
            sealed_since: None,
            moved_at: None,
            better_since: None,
            moves_for_silence: 0,
            plan: Plan::new(),
            asides: VecDeque::new(),
            steps: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// The time between two messages of the call, 20 ms unless set.
    pub fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
    }

    /// The call's channel stands: from here on the two can speak about legs.
    pub fn connected(&mut self, now: Duration) {
        if std::mem::replace(&mut self.connected, true) {
            return;
        }
        match (self.role, self.mode) {
            (Role::Answerer, Mode::Standby | Mode::Doubled) => {
                if let Some(seed) = self.seed.clone() {
                    self.asides.push_back(Agree::Keys(seed));
                    self.seal_leg(0);
                    self.plan.begin(now);
                }
            }
            (Role::Caller, Mode::Single) => self.say(Agree::Unwanted),
            _ => {}
        }
    }

    fn seal_leg(&mut self, place: usize) {
        let (Some(leg), Some(seed)) = (&mut self.legs[place], &self.seed) else { return };
        leg.seal = Some(Seal::new(seed, leg.id.0, self.role == Role::Caller));
    }

    /// A message came by a leg. Returns it if it is the call's to look at: not seen before, and under this leg's keys.
    pub fn handle_message(&mut self, now: Duration, leg: LegId, bytes: &[u8]) -> Option<Vec<u8>> {
        let place = self.place(leg)?;
        if bytes.len() != LEG_MESSAGE_LEN {
            // Before the keys are there, on the first leg, messages travel as the call made them.
            let early = self.sealed_since.is_none_or(|since| now.saturating_sub(since) <= STRAGGLERS);
            return (leg.0 == 0 && early).then(|| bytes.to_vec());
        }
        let opened = self.legs[place].as_ref()?.seal.as_ref()?.open(self.highest, bytes)?;
        let newest = self.sealed_since.is_none() || opened.counter > self.highest;
        self.sealed_since.get_or_insert(now);
        self.highest = self.highest.max(opened.counter);
        let (interval, stride) = (self.interval, self.stride());
        self.hearing.hear(now, place, opened.counter, interval, stride);
        if newest {
            self.peer = opened.head;
            for (place, grade) in opened.head.report.into_iter().enumerate() {
                if let Some(leg) = &mut self.legs[place] {
                    leg.report = Some((grade, now));
                }
            }
        }
        if let Some(heard) = &mut self.legs[place]
            && heard.stage != Stage::Up
        {
            heard.stage = Stage::Up;
            let reach = heard.reach;
            self.plan.succeeded(now);
            self.tell(LegEvent::Ready { leg, reach });
        }
        self.judge(now);
        self.delivered.insert(opened.counter).then(|| opened.message.to_vec())
    }

    /// A message of the call: by which legs it goes, and as what. To be called in every slot.
    pub fn transmit(&mut self, now: Duration, message: &Message) -> impl Iterator<Item = (LegId, Vec<u8>)> {
        self.hearing.settle(now);
        self.judge(now);
        self.give_up(now);
        self.open_more(now);
        let head =
            Head { active: u8::from(self.active == 1), doubled: self.mode == Mode::Doubled, report: self.report(now) };
        // The answerer shows that it has the keys first; it made them. It waits for the caller's sign that they came.
        let may_seal = self.role == Role::Caller || self.sealed_since.is_some();
        let counter = counter_of(message);
        let out = [0, 1].map(|place| {
            let leg = self.legs[place].as_ref().filter(|leg| leg.stage != Stage::Building)?;
            let wanted = place == self.active
                || counter.is_some_and(|counter| self.mode == Mode::Doubled || counter.is_multiple_of(self.stride()));
            match (&leg.seal, counter) {
                (Some(seal), Some(_)) if wanted && (may_seal || leg.id.0 != 0) => {
                    Some((leg.id, seal.seal(head, message).to_vec()))
                }
                // Without keys, only the leg by which the call began.
                _ if leg.id.0 == 0 && place == self.active => Some((leg.id, message.to_vec())),
                _ => None,
            }
        });
        out.into_iter().flatten()
    }

    /// Every how many messages the standby carries one, so that it speaks about every 60 ms: 3, 2 or 1.
    fn stride(&self) -> u64 {
        let fits = u64::try_from(STANDBY_EVERY.as_micros() / self.interval.as_micros().max(1)).unwrap_or(1);
        fits.clamp(1, STRIDE)
    }

    /// How this side hears each of the two, for the other.
    fn report(&self, now: Duration) -> [u8; 2] {
        [0, 1].map(|place| match &self.legs[place] {
            Some(leg) if leg.stage == Stage::Up && !self.is_silent(now, place) => self.hearing.ears[place].grade(),
            _ => 0,
        })
    }

    /// Whether the leg at `place` is silent although it should speak, which the other leg proves.
    fn is_silent(&self, now: Duration, place: usize) -> bool {
        let [ear, other] = [place, 1 - place].map(|place| self.hearing.ears[place]);
        let every_message = self.peer.doubled || usize::from(self.peer.active) == place;
        let stride = if every_message { 1 } else { self.stride() };
        let interval = self.interval * u32::try_from(stride).unwrap_or(1);
        let missed = if every_message { STRIDE } else { 3 * stride };
        ear.is_overdue(now, interval) && other.last > ear.last && other.highest >= ear.highest + missed
    }

    /// Decides which leg is the active one.
    fn judge(&mut self, now: Duration) {
        let (active, other) = (self.active, 1 - self.active);
        let (Some(old), Some(new)) = (&self.legs[active], &self.legs[other]) else {
            self.better_since = None;
            return;
        };
        if old.stage != Stage::Up || new.stage != Stage::Up || self.is_silent(now, other) {
            self.better_since = None;
            return;
        }
        let (out_old, out_new) = (old.grade_out(now), new.grade_out(now));
        let shunned = new.shunned.is_some_and(|until| now < until);
        let paused = self.moved_at.is_some_and(|at| now < at + MOVE_PAUSE);
        let unheard = out_old == Some(0) && out_new != Some(0);
        if (self.is_silent(now, active) || unheard) && !paused {
            let back_off = SHUN_SILENT * 2u32.saturating_pow(self.moves_for_silence.min(8));
            self.moves_for_silence = self.moves_for_silence.saturating_add(1);
            return self.move_to(now, other, Cause::Silent, back_off);
        }
        let better = out_old.zip(out_new).is_some_and(|(old, new)| new >= old.saturating_add(BETTER_BY));
        if !better || shunned {
            self.better_since = None;
            return;
        }
        let since = *self.better_since.get_or_insert(now);
        if now.saturating_sub(since) >= BETTER_FOR {
            self.move_to(now, other, Cause::Worse, SHUN_WORSE);
        }
    }

    fn move_to(&mut self, now: Duration, place: usize, cause: Cause, shun: Duration) {
        let (from, to) = (self.active, place);
        if let Some(left) = &mut self.legs[from] {
            left.shunned = Some(now + shun.min(SHUN_MAX));
        }
        self.active = to;
        self.moved_at = Some(now);
        self.better_since = None;
        if let (Some(from), Some(to)) = (&self.legs[from], &self.legs[to]) {
            let event = LegEvent::Moved { from: from.id, to: to.id, cause };
            self.tell(event);
        }
    }

    /// The other side says something about legs. What it may not say is ignored.
    pub fn handle_aside(&mut self, now: Duration, bytes: &[u8]) {
        match (self.role, Agree::decode(bytes)) {
            (Role::Caller, Some(Agree::Keys(seed))) if self.seed.is_none() && self.mode != Mode::Single => {
                self.seed = Some(seed);
                self.seal_leg(0);
            }
            (Role::Caller, Some(Agree::Offer { leg, relay, cookie })) if self.seed.is_some() => {
                let place = leg.place();
                if self.legs[place].as_ref().is_some_and(|held| held.id.0 >= leg.0) {
                    return;
                }
                if let Some(old) = self.legs[place].as_ref().map(|old| old.id) {
                    // The other side gave it up; its word was lost or overtaken.
                    self.do_step(Step::Close(old));
                    self.drop_leg(now, place, Cause::Ended);
                }
                if !self.plan.may_join(now) {
                    return self.say(Agree::Gone(leg));
                }
                self.legs[place] = Some(Leg::new(leg, Stage::Building, Reach::default()));
                self.do_step(Step::Join { leg, relay, cookie });
            }
            (_, Some(Agree::Gone(leg))) => {
                if let Some(place) = self.place(leg) {
                    self.do_step(Step::Close(leg));
                    self.drop_leg(now, place, Cause::Ended);
                }
            }
            (Role::Answerer, Some(Agree::Unwanted)) => self.plan.stop(),
            _ => {}
        }
    }

    fn place(&self, leg: LegId) -> Option<usize> {
        let place = leg.place();
        self.legs[place].as_ref().is_some_and(|held| held.id == leg).then_some(place)
    }

    fn say(&mut self, what: Agree) {
        if self.asides.len() < QUEUE_MAX {
            self.asides.push_back(what);
        }
    }

    fn do_step(&mut self, step: Step) {
        self.steps.push_back(step);
    }

    fn tell(&mut self, event: LegEvent) {
        if self.events.len() < QUEUE_MAX {
            self.events.push_back(event);
        }
    }

    /// The next thing to say to the other side, at most [`AGREE_MAX`] bytes.
    pub fn poll_aside(&mut self) -> Option<Vec<u8>> {
        self.asides.pop_front().map(|said| said.encode())
    }

    /// The next thing for the driver to do.
    pub fn poll_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// The next thing to tell people.
    pub fn poll_event(&mut self) -> Option<LegEvent> {
        self.events.pop_front()
    }

    /// The leg that carries every message of this side.
    #[must_use]
    pub fn active(&self) -> LegId {
        self.legs[self.active].as_ref().map_or(LegId(0), |leg| leg.id)
    }

    /// Whether both legs are up and heard.
    #[must_use]
    pub fn has_standby(&self) -> bool {
        let up = |leg: &Option<Leg>| leg.as_ref().is_some_and(|leg| leg.stage == Stage::Up);
        self.legs.iter().all(up)
    }

    /// Whether any circuit is there or being built.
    #[must_use]
    pub fn has_any(&self) -> bool {
        self.legs.iter().any(Option::is_some)
    }
}
