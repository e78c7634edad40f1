//! Meetings: two circuits that end here are spliced because both their origins know a cookie.
//!
//! Requests may be lost or repeated, so each answer says how things stand and asking again changes nothing.

use std::time::Instant;

use super::kind::{COOKIE_LEN, cell as kinds, meet};
use super::neighbour::Class;
use super::{Relay, Role};
use crate::node::core::Core;

impl Relay {
    /// MEET_WAIT: keep this circuit under the cookie.
    pub(super) fn handle_wait(&mut self, core: &mut Core, now: Instant, key: u64, cookie: &[u8; COOKIE_LEN]) {
        let tag = self.meetings.tag(cookie);
        let Some(hop) = self.hops.get_mut(key) else {
            return;
        };
        let link = hop.prev.link;
        let most_of_link = match core.neighbours.class(link) {
            Class::Known => self.config.max_meetings_per_link,
            Class::Stranger => self.config.max_meetings_per_stranger,
        };
        let answer = match &hop.role {
            Role::Joined { tag: joined, .. } if *joined == tag => meet::JOINED,
            Role::Waiting(waiting) if *waiting == tag => {
                self.meetings.wait(now, cookie, key, link, most_of_link);
                meet::WAITING
            }
            Role::None if self.config.allow_meeting && hop.next.is_none() => {
                match self.meetings.wait(now, cookie, key, link, most_of_link) {
                    Some(tag) => {
                        hop.role = Role::Waiting(tag);
                        meet::WAITING
                    }
                    None => meet::REFUSED,
                }
            }
            _ => meet::REFUSED,
        };
        self.answer_meeting(core, now, key, answer);
    }

    /// MEET_JOIN: splice this circuit with the one that waits under the cookie.
    pub(super) fn handle_join(&mut self, core: &mut Core, now: Instant, key: u64, cookie: &[u8; COOKIE_LEN]) {
        let tag = self.meetings.tag(cookie);
        let Some(hop) = self.hops.get(key) else {
            return;
        };
        let answer = match &hop.role {
            Role::Joined { tag: joined, .. } if *joined == tag => meet::JOINED,
            Role::None if self.config.allow_meeting && hop.next.is_none() => match self.meetings.join(now, cookie) {
                Some((other, tag)) if self.hops.get(other).is_some() => {
                    self.splice(core, now, key, other, tag);
                    meet::JOINED
                }
                _ => meet::UNKNOWN,
            },
            _ => meet::REFUSED,
        };
        self.answer_meeting(core, now, key, answer);
    }

    fn splice(&mut self, core: &mut Core, now: Instant, joiner: u64, waiter: u64, tag: super::CookieTag) {
        for (key, other) in [(joiner, waiter), (waiter, joiner)] {
            if let Some(hop) = self.hops.get_mut(key) {
                hop.role = Role::Joined { other, tag };
            }
        }
        core.metrics.meetings_joined += 1;
        self.send_back(core, now, waiter, kinds::MEET_ANSWER, &[meet::JOINED]);
    }

    fn answer_meeting(&mut self, core: &mut Core, now: Instant, key: u64, answer: u8) {
        if matches!(answer, meet::UNKNOWN | meet::REFUSED) {
            core.metrics.meetings_refused += 1;
        }
        self.send_back(core, now, key, kinds::MEET_ANSWER, &[answer]);
    }
}
