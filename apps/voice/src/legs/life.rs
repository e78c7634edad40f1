//! How legs come and go: opened by the answerer's plan, given up when they are silent or bad, replaced.

use super::agree::Agree;
use super::plan::Answer;
use super::types::{Cause, LegEvent, LegId, Reach, Step};
use super::{Leg, Legs, Stage};
use crate::call::Role;
use std::time::Duration;

/// A leg must be silent for so long, while the other is not, to be given up.
const DEAD_AFTER: Duration = Duration::from_secs(3);
/// A new leg must be heard so soon after it was offered or joined.
const UP_WITHIN: Duration = Duration::from_secs(15);
/// A leg that loses this share of what the other carries …
const BAD_SHARE: f64 = 0.8;
/// … which itself is this good …
const GOOD_SHARE: f64 = 0.95;
/// … for this long is given up.
const BAD_FOR: Duration = Duration::from_secs(10);

impl Legs {
    /// Gives up legs that are silent or bad for long while the other is well, and new ones that nobody came to.
    pub(super) fn give_up(&mut self, now: Duration) {
        for place in [0, 1] {
            let Some(leg) = &self.legs[place] else { continue };
            let other_is_up = self.legs[1 - place].as_ref().is_some_and(|other| other.stage == Stage::Up);
            let cause = match leg.stage {
                Stage::Building => continue,
                Stage::Silent { since } if now.saturating_sub(since) > UP_WITHIN => Cause::NobodyCame,
                Stage::Silent { .. } => continue,
                Stage::Up if !other_is_up => continue,
                Stage::Up => {
                    let [ear, other] = [place, 1 - place].map(|place| self.hearing.ears[place]);
                    let quiet = ear.last.is_some_and(|last| now.saturating_sub(last) > DEAD_AFTER);
                    let other_speaks = other.last.is_some_and(|last| now.saturating_sub(last) < DEAD_AFTER / 3);
                    let bad = ear.arrived() < BAD_SHARE && other.arrived() > GOOD_SHARE;
                    if quiet && other_speaks {
                        Cause::Silent
                    } else if bad && leg.bad_since.is_some_and(|since| now.saturating_sub(since) >= BAD_FOR) {
                        Cause::Worse
                    } else {
                        if let Some(leg) = &mut self.legs[place] {
                            leg.bad_since = bad.then(|| leg.bad_since.unwrap_or(now));
                        }
                        continue;
                    }
                }
            };
            let id = leg.id;
            self.do_step(Step::Close(id));
            self.say(Agree::Gone(id));
            self.drop_leg(now, place, cause);
        }
    }

    /// Forgets the leg at `place`; the other one, if it is up, is the active one from now on.
    pub(super) fn drop_leg(&mut self, now: Duration, place: usize, cause: Cause) {
        let Some(leg) = self.legs[place].take() else { return };
        let was_up = leg.stage == Stage::Up;
        let other = 1 - place;
        self.tell(LegEvent::Gone { leg: leg.id, cause });
        if place == self.active && self.legs[other].as_ref().is_some_and(|other| other.stage != Stage::Building) {
            self.active = other;
            self.moved_at = Some(now);
            let to = self.legs[other].as_ref().map_or(LegId(0), |leg| leg.id);
            self.tell(LegEvent::Moved { from: leg.id, to, cause });
        }
        self.hearing.reset(place);
        if let Some(other) = &mut self.legs[other] {
            other.shunned = None;
            other.bad_since = None;
        }
        if was_up { self.plan.ended(now) } else { self.plan.failed(now) }
    }

    /// The answerer has another leg built when a place is free.
    pub(super) fn open_more(&mut self, now: Duration) {
        if self.role != Role::Answerer || !self.connected || self.sealed_since.is_none() {
            return;
        }
        let Some(place) = [0, 1].into_iter().find(|place| self.legs[*place].is_none()) else { return };
        match self.plan.next(now, place) {
            Answer::Open(id) => {
                self.legs[place] = Some(Leg::new(id, Stage::Building, Reach::default()));
                self.do_step(Step::Offer(id));
            }
            Answer::Spent => self.tell(LegEvent::BudgetSpent),
            Answer::Wait => {}
        }
    }

    /// This side's circuit of a leg stands: spliced, or waiting at the `relay` under the `cookie`.
    pub fn opened(&mut self, now: Duration, leg: LegId, relay: [u8; 16], cookie: [u8; 16], reach: Reach) {
        let Some(place) = self.place(leg) else { return };
        if let Some(built) = self.legs[place].as_mut().filter(|leg| leg.stage == Stage::Building) {
            built.stage = Stage::Silent { since: now };
            built.reach = reach;
        }
        self.hearing.reset(place);
        self.seal_leg(place);
        if self.role == Role::Answerer {
            self.say(Agree::Offer { leg, relay, cookie });
        }
    }

    /// This side's circuit of a leg could not be built.
    pub fn failed(&mut self, now: Duration, leg: LegId) {
        if let Some(place) = self.place(leg) {
            self.say(Agree::Gone(leg));
            self.drop_leg(now, place, Cause::NotBuilt);
        }
    }

    /// This side's circuit of a leg has ended.
    pub fn lost(&mut self, now: Duration, leg: LegId) {
        if let Some(place) = self.place(leg) {
            self.say(Agree::Gone(leg));
            self.drop_leg(now, place, Cause::Ended);
        }
    }
}
