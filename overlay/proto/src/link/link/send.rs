//! What a link sends: cells at once, everything else at the end of a batch.

use std::net::SocketAddr;

use super::Link;
use super::repair::Leaving;
use crate::link::clock::Nanos;
use crate::link::shared::Shared;
use crate::wire::datagram::{HEADER_LEN, L_LEN, L_PLAIN, S_LEN, S_PLAIN, TAG_LEN};
use crate::wire::frame::{Frame, FrameWriter};

impl Link {
    /// Whether the window and the pace let a long datagram leave.
    pub(in crate::link) fn can_send(&self, now: Nanos) -> bool {
        self.up && self.congestion.can_send(now)
    }

    /// Seals one or two cells. Every cell that is sent on a link passes here.
    pub(in crate::link) fn send_cells(
        &mut self,
        now: Nanos,
        shared: &mut Shared,
        first: Leaving<'_>,
        second: Option<Leaving<'_>>,
    ) {
        if !self.up {
            return;
        }
        shared.counters.cells_sent += 1 + u64::from(second.is_some());
        if self.repair.sender.as_ref().is_some_and(|sender| sender.is_lossy()) {
            return match second {
                Some(second) => self.send_protected(now, shared, &[first, second]),
                None => self.send_protected(now, shared, &[first]),
            };
        }
        self.keep(now, shared, first, second);
        let plain_len = if second.is_some() { L_PLAIN } else { S_PLAIN };
        let mut writer = FrameWriter::new(&mut shared.plain[..plain_len]);
        writer.cells(first.0, second.map(|(second, _)| second));
        self.ride_along(now, &mut writer);
        writer.pad();
        self.seal(now, shared, plain_len, true);
    }

    /// Fills spare bytes with what waits to be reported.
    pub(super) fn ride_along(&mut self, now: Nanos, writer: &mut FrameWriter<'_>) {
        // A short datagram with a cell has room for one of the two only: an overdue ACK goes first.
        let urgent = self.ack_due.is_some_and(|due| due <= now);
        if urgent && writer.push(&self.inbox.ack()) {
            self.ack_due = None;
        }
        if self.received.pending() && writer.room() >= crate::wire::frame::FEEDBACK_LEN {
            writer.feedback(&self.received.report(now));
        }
        if self.ack_due.is_some() && writer.push(&self.inbox.ack()) {
            self.ack_due = None;
        }
        if let Some(id) = self.pong_due
            && writer.push(&Frame::Pong(id))
        {
            self.pong_due = None;
        }
        if let Some((token, address)) = self.observed_due
            && writer.push(&Frame::Observed { token, address })
        {
            self.observed_due = None;
        }
    }

    /// Sends what is due besides cells: control frames, PING and PONG, ACK, FEEDBACK.
    pub(in crate::link) fn flush(&mut self, now: Nanos, shared: &mut Shared) {
        if !self.up {
            return;
        }
        self.challenge(now, shared);
        self.answer_aside(now, shared);
        self.flush_repair(now, shared);
        // Control frames keep to the node's rate: answers to a flood of set-ups must not take it from the cells.
        while shared.rate_allows(now) && self.outbox.is_due(now, self.congestion.can_send(now)) {
            if !self.flush_one(now, shared) {
                return;
            }
        }
        if !shared.rate_allows(now) && self.outbox.is_due(now, true) {
            self.pace_wake = [self.pace_wake, shared.rate_wake].into_iter().flatten().min();
        }
        let report = self.received.overdue()
            || self.received.due(self.congestion.rtt()).is_some_and(|due| due <= now)
            || self.ack_due.is_some_and(|due| due <= now);
        let asks = self.observe_due.is_some_and(|(_, sent)| !sent) || self.observed_due.is_some();
        if report || asks || self.ping_due || self.pong_due.is_some() {
            self.flush_one(now, shared);
        }
    }

    /// Sends one datagram of control frames and reports; `false` if there was nothing to send.
    fn flush_one(&mut self, now: Nanos, shared: &mut Shared) -> bool {
        let window_open = self.congestion.can_send(now);
        let rate_allows = shared.rate_allows(now);
        let mut writer = FrameWriter::new(&mut shared.plain[..L_PLAIN]);
        let retry_after = self.congestion.retry_after();
        let mut eliciting = false;
        while rate_allows && let Some((frame, again)) = self.outbox.next(now, window_open, retry_after, writer.room()) {
            writer.push(&frame);
            eliciting = true;
            if again {
                self.stats.retransmits += 1;
                shared.counters.retransmits += 1;
            }
        }
        if self.ping_due && writer.push(&Frame::Ping(self.ping_id)) {
            self.ping_due = false;
            self.last_ping = Some((self.ping_id, now));
            eliciting = true;
        }
        if let Some((token, sent)) = &mut self.observe_due
            && !*sent
            && writer.push(&Frame::Observe(*token))
        {
            (*sent, eliciting) = (true, true);
        }
        self.ride_along(now, &mut writer);
        let used = L_PLAIN - writer.room();
        if used == 0 {
            return false;
        }
        writer.pad();
        self.seal(now, shared, if used <= S_PLAIN { S_PLAIN } else { L_PLAIN }, eliciting);
        true
    }

    /// Sends a frame about descriptors in a long datagram of its own, if window and pace let it leave now.
    pub(in crate::link) fn send_document(&mut self, now: Nanos, shared: &mut Shared, frame: &Frame<'_>) -> bool {
        if !self.can_send(now) || !shared.rate_allows(now) {
            return false;
        }
        let mut writer = FrameWriter::new(&mut shared.plain[..L_PLAIN]);
        writer.push(frame);
        self.ride_along(now, &mut writer);
        writer.pad();
        self.seal(now, shared, L_PLAIN, true);
        true
    }

    /// Tells the peer that the link ends.
    pub(in crate::link) fn send_close(&mut self, now: Nanos, shared: &mut Shared, reason: u8) {
        if self.up {
            let mut writer = FrameWriter::new(&mut shared.plain[..S_PLAIN]);
            writer.push(&Frame::Close { reason });
            writer.pad();
            self.seal(now, shared, S_PLAIN, false);
        }
    }

    #[cfg(test)]
    pub(in crate::link) fn forge(&mut self, now: Nanos, shared: &mut Shared, frames: &[u8]) {
        shared.plain[..S_PLAIN].fill(0);
        shared.plain[..frames.len()].copy_from_slice(frames);
        self.seal(now, shared, S_PLAIN, false);
    }

    /// Queues a PING. Its id is random, so that only who gets the PING can answer it.
    pub(super) fn begin_ping(&mut self, now: Nanos, id: u32) {
        self.ping_id = id;
        self.ping_due = true;
        self.last_ping = Some((id, now));
    }

    /// Seals the first `plain_len` bytes of the shared plaintext.
    pub(super) fn seal(&mut self, now: Nanos, shared: &mut Shared, plain_len: usize, eliciting: bool) {
        self.seal_to(now, shared, plain_len, eliciting, self.address);
    }

    /// Seals the first `plain_len` bytes of the shared plaintext for an address.
    pub(super) fn seal_to(
        &mut self,
        now: Nanos,
        shared: &mut Shared,
        plain_len: usize,
        eliciting: bool,
        to: SocketAddr,
    ) {
        let Some(session) = self.current.as_mut().filter(|session| !session.is_exhausted()) else {
            return;
        };
        let len = HEADER_LEN + plain_len + TAG_LEN;
        debug_assert!(len == S_LEN || len == L_LEN, "every datagram has one of two lengths");
        let counter = self.sent.next_counter();
        let out = shared.routes.datagram(&mut shared.output, to, len);
        if !session.seal(counter, &shared.plain[..plain_len], out) {
            return;
        }
        let bytes = if len == S_LEN { 576 } else { 1200 };
        let dropped = self.sent.note(now, bytes, eliciting);
        self.congestion.on_dropped(dropped);
        if eliciting {
            self.congestion.on_sent(now, u64::from(bytes), counter + 1);
            self.pace_wake = self.congestion.paced_until(now);
        }
        self.stats.sent += 1;
        shared.count_sent(len);
        shared.charge(now, len);
    }
}
