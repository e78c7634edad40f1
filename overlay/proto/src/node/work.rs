//! Which public-key work goes out next.

use std::time::Instant;

use super::Node;
use super::job::{HANDSHAKE, Job, Work};
use crate::relay::Relay;

/// Jobs that may be out at once, so that a slow worker does not collect a backlog.
const JOBS_OUT_MAX: u64 = 32;

impl Node {
    /// The next piece of public-key work, if the budget allows one now. Work of this node itself comes first; then
    /// set-ups that passed the replay filter; then handshakes and new set-ups in turn.
    pub fn poll_job(&mut self) -> Option<Job> {
        let now = self.now;
        if let Some(work) = self.own_work.pop_front() {
            return Some(self.hand_out(work));
        }
        if self.jobs_out >= JOBS_OUT_MAX {
            return None;
        }
        let work = self.budgeted_work(now)?;
        Some(self.hand_out(work))
    }

    /// Work for others, if its turn has come and the budget has it.
    fn budgeted_work(&mut self, now: Instant) -> Option<Work> {
        if self.handshake.is_none() {
            self.handshake = self.core.links.poll_job();
        }
        let setup = self.relay.as_ref().and_then(|relay| relay.next_cost(&self.core, now));
        let finish_first = self.relay.as_ref().is_some_and(Relay::has_finishing);
        let handshake = self.handshake.as_ref().map(|_| HANDSHAKE);
        let take_handshake = match (handshake, setup) {
            (None, None) => return None,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(_), Some(_)) => self.handshakes_next && !finish_first,
        };
        let cost = if take_handshake { handshake } else { setup }?;
        if !self.budget.spend(now, cost) {
            let at = self.budget.ready_at(now, cost);
            self.resume_at(at);
            return None;
        }
        if take_handshake {
            self.handshakes_next = false;
            return self.handshake.take().map(Work::Handshake);
        }
        self.handshakes_next = true;
        self.relay.as_mut()?.take_work(&mut self.core, now)
    }

    fn hand_out(&mut self, work: Work) -> Job {
        self.jobs_out += 1;
        self.core.metrics.work.jobs += 1;
        self.core.metrics.work.cost += work.cost();
        Job(work)
    }
}
