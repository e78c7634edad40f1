//! When a link must act, and what it does then.

use rand_core::Rng;

use super::{CONFIRM_TRIES, CONFIRM_WAIT, Link, Probe, UNREPORTED};
use crate::link::clock::{Nanos, span};
use crate::link::shared::Shared;
use crate::link::types::{LinkConfig, LinkError};

/// What a link's timer asks of the table of links.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::link) enum Due {
    /// Nothing: the link saw to it.
    Nothing,
    /// Begin a handshake, or the next attempt of one.
    Handshake,
    /// Forget this index: its session is erased.
    Forget(u32),
    /// The link ends.
    Down(LinkError),
}

impl Link {
    /// When [`on_timer`](Self::on_timer) must be called.
    pub(in crate::link) fn deadline(&self, config: &LinkConfig) -> Option<Nanos> {
        let mut earliest = self.initiation.as_ref().map(|initiation| initiation.deadline);
        let mut consider = |at: Option<Nanos>| {
            if let Some(at) = at {
                earliest = Some(earliest.map_or(at, |other| other.min(at)));
            }
        };
        if !self.up {
            consider(Some(self.opened + span(config.handshake_timeout)));
            return earliest;
        }
        consider(self.current.as_ref().map(|session| session.established + span(config.expire_after)));
        consider(self.rekey_at(config));
        consider(self.previous.as_ref().map(|(_, erase)| *erase));
        consider(Some(self.probe.map_or(self.last_heard + span(config.keepalive), |probe| probe.due)));
        consider(self.outbox.retry_at());
        consider(self.received.due(self.congestion.rtt()));
        consider(self.ack_due);
        consider(self.congestion.blackout_at());
        consider(self.ignored_until());
        consider(self.pace_wake);
        consider(self.repair_due());
        consider(self.candidate.and_then(|candidate| candidate.ping_at()));
        earliest
    }

    /// Notes that a datagram has arrived: from now on a report of what was sent before is due. An honest peer sends one
    /// within 25 ms; who sends none would keep what waits for the link in memory for ever.
    pub(in crate::link) fn heard(&mut self, now: Nanos) {
        let missing = self.congestion.unreported();
        if self.ignored.map(|(_, missing)| missing) != missing {
            self.ignored = missing.map(|missing| (now, missing));
        }
    }

    fn ignored_until(&self) -> Option<Nanos> {
        self.ignored
            .filter(|(_, missing)| self.congestion.unreported() == Some(*missing))
            .map(|(at, _)| at + UNREPORTED)
    }

    fn rekey_at(&self, config: &LinkConfig) -> Option<Nanos> {
        let session = self.current.as_ref()?;
        if !self.info.initiator || self.initiation.is_some() {
            return None;
        }
        let age = if session.wants_renewal() { 0 } else { span(config.rekey_after) };
        Some(session.established + age)
    }

    /// Does what is due. Called again until it answers [`Due::Nothing`].
    pub(in crate::link) fn on_timer(&mut self, now: Nanos, shared: &mut Shared) -> Due {
        let config = &shared.config;
        if !self.up {
            if now >= self.opened + span(config.handshake_timeout) {
                return Due::Down(LinkError::HandshakeTimeout);
            }
        } else if self
            .current
            .as_ref()
            .is_some_and(|session| now >= session.established + span(config.expire_after) || session.is_exhausted())
        {
            return Due::Down(LinkError::Expired);
        }
        if self.up && self.ignored_until().is_some_and(|at| at <= now) {
            return Due::Down(LinkError::Dead);
        }
        let attempt = self.initiation.as_ref().is_some_and(|initiation| initiation.deadline <= now);
        if attempt || self.rekey_at(config).is_some_and(|at| at <= now) {
            return Due::Handshake;
        }
        if !self.up {
            return Due::Nothing;
        }
        if let Some((session, _)) = self.previous.take_if(|(_, erase)| *erase <= now) {
            return Due::Forget(session.local_index);
        }
        self.end_repair(now);
        if self.pace_wake.is_some_and(|at| at <= now) {
            self.pace_wake = None;
        }
        if self.congestion.blackout_at().is_some_and(|at| at <= now) {
            self.congestion.on_blackout(now, self.sent.next_counter());
            self.sent.give_up();
            if self.probe.is_none() {
                self.begin_ping(now, shared.rng.next_u32());
                self.probe = Some(Probe { due: now + self.probe_wait(config), missed: 0 });
            }
        }
        if let Err(error) = self.probe(now, config, &mut shared.rng) {
            return Due::Down(error);
        }
        Due::Nothing
    }

    /// Asks for a sign of life when it is time.
    fn probe(&mut self, now: Nanos, config: &LinkConfig, rng: &mut impl Rng) -> Result<(), LinkError> {
        let missed = match self.probe {
            Some(probe) if probe.due <= now => probe.missed + 1,
            None if self.last_heard + span(config.keepalive) <= now => 0,
            _ => return Ok(()),
        };
        let (wait, limit) = if self.confirmed {
            (self.probe_wait(config), config.missed_probes)
        } else {
            (CONFIRM_WAIT << missed, CONFIRM_TRIES)
        };
        if missed >= limit {
            return Err(LinkError::Dead);
        }
        self.begin_ping(now, rng.next_u32());
        self.probe = Some(Probe { due: now + wait, missed });
        Ok(())
    }
}
