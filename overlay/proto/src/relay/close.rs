//! The end of a circuit: keys are dropped (and erased), both neighbours are told, a spliced circuit ends too.

use std::time::Instant;

use super::kind::reason;
use super::{Relay, Role, Stage};
use crate::link::LinkId;
use crate::node::core::{Core, Owner, Timer};
use crate::node::{Event, LocalId};

/// Why a circuit ends, and which neighbours know already.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cause {
    /// Told towards the origin.
    reason: u8,
    tell_prev: bool,
    tell_next: bool,
    /// Whether the driver asked for it, and so needs no event.
    asked: bool,
}

impl Cause {
    /// This relay ends it.
    pub(super) const fn here(reason: u8) -> Self {
        Self { reason, tell_prev: true, tell_next: true, asked: false }
    }
}

impl Relay {
    /// A DESTROY frame arrived.
    pub(crate) fn handle_destroy(&mut self, core: &mut Core, now: Instant, owner: Owner, reason: u8) {
        match owner {
            Owner::FromOrigin(key) => {
                self.close(core, now, key, Cause { reason, tell_prev: false, tell_next: true, asked: false });
            }
            Owner::FromFar(key) => {
                let reason = if reason == reason::NONE { reason::REMOTE } else { reason };
                self.close(core, now, key, Cause { reason, tell_prev: true, tell_next: false, asked: false });
            }
            Owner::Own(_) => {}
        }
    }

    /// A link is gone: so are all circuits on it.
    pub(crate) fn link_down(&mut self, core: &mut Core, now: Instant, link: LinkId) {
        self.setups.remove_link(link);
        let users = core.neighbours.users(link);
        for owner in users {
            let (Owner::FromOrigin(key) | Owner::FromFar(key)) = owner else {
                continue;
            };
            let Some(hop) = self.hops.get(key) else {
                continue;
            };
            let from_prev = hop.prev.link == link;
            let connecting = matches!(&hop.stage, Stage::Connecting { link: next, .. } if *next == link);
            let from_next = hop.next.is_some_and(|next| next.link == link);
            if !(from_prev || from_next || connecting) {
                continue;
            }
            let reason = match hop.stage {
                Stage::Open => reason::LINK_DOWN,
                _ => {
                    core.metrics.circuits.unreachable += 1;
                    reason::UNREACHABLE
                }
            };
            self.close(core, now, key, Cause { reason, tell_prev: !from_prev, tell_next: !from_next, asked: false });
        }
    }

    /// The driver of an exit closes a circuit that ends here.
    pub(crate) fn close_local(&mut self, core: &mut Core, now: Instant, local: LocalId) {
        let cause = Cause { asked: true, ..Cause::here(reason::REMOTE) };
        self.close(core, now, local.0, cause);
    }

    /// Ends every circuit through this relay; the neighbours on both sides are told.
    pub(crate) fn close_all(&mut self, core: &mut Core, now: Instant) {
        let all: Vec<u64> = self.hops.iter().map(|(key, _)| key).collect();
        for key in all {
            self.close(core, now, key, Cause::here(reason::RESOURCES));
        }
    }

    /// Ends one circuit, and the one that is spliced with it.
    pub(super) fn close(&mut self, core: &mut Core, now: Instant, key: u64, cause: Cause) {
        let Some(hop) = self.hops.remove(key) else {
            return;
        };
        core.metrics.circuits.closed += 1;
        core.timers.cancel(Timer::Hop(key));
        if cause.tell_prev {
            core.destroy(now, hop.prev, cause.reason);
        } else {
            core.detach(hop.prev);
        }
        if let Some(next) = hop.next {
            if cause.tell_next {
                core.destroy(now, next, reason::NONE);
            } else {
                core.detach(next);
            }
        }
        if let Role::Local(local) = &hop.role {
            core.forget(&local.assembly, local.order.as_ref());
        }
        match hop.role {
            Role::None => {}
            Role::Local(_) if cause.asked => {}
            Role::Local(_) => core.tell(Event::LocalClosed { local: LocalId(key) }),
            Role::Waiting(tag) => self.meetings.forget(tag),
            Role::Joined { other, .. } => self.close(core, now, other, Cause::here(reason::REMOTE)),
        }
    }
}
