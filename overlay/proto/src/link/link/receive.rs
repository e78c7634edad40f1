//! What a link takes: datagrams of its sessions, and the frames inside.

use std::net::SocketAddr;

use super::Link;
use crate::link::clock::{MILLI, Nanos};
use crate::link::control::Arrival;
use crate::link::repair::Repair;
use crate::link::route::far_of;
use crate::link::session::{Refusal, Session};
use crate::link::shared::Shared;
use crate::link::types::{Control, Inbound};
use crate::wire::cell::Cell;
use crate::wire::datagram::{HEADER_LEN, Header, TAG_LEN};
use crate::wire::frame::{Frame, Frames};

/// An ACK may wait so long for a datagram to ride on.
const ACK_WAIT: Nanos = 5 * MILLI;
/// So many absurd reports since the last good one end the link: an honest peer sends none.
const MAX_ABSURD: u32 = 16;

/// What a datagram's inside means for the link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::link) enum Verdict {
    /// The link goes on.
    Fine,
    /// The peer closed it.
    Closed,
    /// The peer broke the protocol.
    Malformed,
}

impl Link {
    fn session_mut(&mut self, local_index: u32) -> Option<&mut Session> {
        let previous = self.previous.as_mut().map(|(session, _)| session);
        self.current.iter_mut().chain(previous).find(|session| session.local_index == local_index)
    }

    /// Decrypts a datagram into the shared plaintext and returns its length.
    pub(in crate::link) fn open(
        &mut self,
        header: &Header,
        datagram: &[u8],
        shared: &mut Shared,
    ) -> Result<usize, Refusal> {
        let session = self.session_mut(header.index).ok_or(Refusal::Junk)?;
        session.open(header, datagram, &mut shared.plain[..])
    }

    /// Takes an authentic datagram whose plaintext of `len` bytes is in `shared`.
    pub(in crate::link) fn accept(
        &mut self,
        now: Nanos,
        from: SocketAddr,
        header: &Header,
        len: usize,
        shared: &mut Shared,
        inbox: &mut Vec<Inbound>,
    ) -> Verdict {
        let mut eliciting = false;
        let mut verdict = Verdict::Fine;
        let mut reports = None;
        let mut pong = None;
        for frame in Frames::new(&shared.plain[..len]) {
            let Ok(frame) = frame else {
                shared.counters.refused_malformed += 1;
                verdict = Verdict::Malformed;
                break;
            };
            match frame {
                Frame::Feedback(feedback) => reports = Some(feedback),
                Frame::Ack { through, beyond } => self.outbox.acknowledge(through, beyond),
                Frame::Pong(id) => {
                    self.on_pong(now, id);
                    pong.get_or_insert(id);
                }
                Frame::Close { .. } => {
                    verdict = Verdict::Closed;
                    break;
                }
                Frame::Cells1(cell) => {
                    inbox.push(Inbound::Cell(self.id, Cell::read(cell)));
                    shared.counters.cells_received += 1;
                    eliciting = true;
                }
                Frame::Cells2(first, second) => {
                    inbox.push(Inbound::Cell(self.id, Cell::read(first)));
                    inbox.push(Inbound::Cell(self.id, Cell::read(second)));
                    shared.counters.cells_received += 2;
                    eliciting = true;
                }
                Frame::Source { id, cell } => {
                    eliciting = true;
                    if self.takes_source(now, id, cell, shared) {
                        inbox.push(Inbound::Cell(self.id, Cell::read(cell)));
                        shared.counters.cells_received += 1;
                    } else {
                        shared.counters.cells_twice += 1;
                    }
                    shared.counters.cells_repaired += self.recover(inbox);
                }
                Frame::Repair { vector, symbol } => {
                    eliciting = true;
                    if self.takes_repair(now, &vector, symbol, &mut shared.repair_work) {
                        shared.counters.cells_repaired += self.recover(inbox);
                    } else {
                        shared.counters.repairs_refused += 1;
                    }
                }
                Frame::Again { back, first, second } => {
                    eliciting = true;
                    let count = 1 + u64::from(second.is_some());
                    if self.takes_again(header.counter, back) {
                        inbox.push(Inbound::Cell(self.id, Cell::read(first)));
                        inbox.extend(second.map(|second| Inbound::Cell(self.id, Cell::read(second))));
                        shared.counters.cells_received += count;
                        shared.counters.cells_repaired += count;
                    } else {
                        shared.counters.cells_twice += count;
                    }
                }
                Frame::Ping(id) => {
                    self.pong_due = Some(id);
                    if from != self.address {
                        self.pong_aside = Some((id, from));
                    }
                    eliciting = true;
                }
                Frame::DocGet { part } => {
                    inbox.push(Inbound::DescriptorAsked(self.id, part));
                    eliciting = true;
                }
                Frame::DocPart(part) => {
                    inbox.push(Inbound::DescriptorPart(self.id, part.into()));
                    eliciting = true;
                }
                Frame::Observe(token) => {
                    // Of a connection, where it comes from; what else stands for something is told as it is, and ignored.
                    self.observed_due = Some((token, far_of(from).unwrap_or(from)));
                    eliciting = true;
                }
                Frame::Observed { token, address } => {
                    if self.observe_due.take_if(|(asked, _)| *asked == token).is_some() {
                        inbox.push(Inbound::Observed(self.id, address));
                    }
                }
                Frame::Signal { id, signal } => {
                    eliciting = true;
                    if self.is_new(now, id, &mut shared.counters) {
                        inbox.push(Inbound::Control(self.id, Control::Signal(Box::new(*signal))));
                    }
                }
                Frame::Setup { id, circuit, packet } => {
                    eliciting = true;
                    if self.is_new(now, id, &mut shared.counters) {
                        inbox.push(Inbound::Control(self.id, Control::Setup { circuit, packet: *packet }));
                    }
                }
                Frame::SetupReply { id, circuit, reply } => {
                    eliciting = true;
                    if self.is_new(now, id, &mut shared.counters) {
                        inbox.push(Inbound::Control(self.id, Control::SetupReply { circuit, reply: *reply }));
                    }
                }
                Frame::Destroy { id, circuit, reason } => {
                    eliciting = true;
                    if self.is_new(now, id, &mut shared.counters) {
                        inbox.push(Inbound::Control(self.id, Control::Destroy { circuit, reason }));
                    }
                }
            }
        }
        let highest = self.received.note(now, header.counter, eliciting);
        self.stats.received += 1;
        shared.counters.received_data += 1;
        self.last_heard = now;
        if self.current.as_ref().is_some_and(|session| session.local_index == header.index) {
            self.probe = None;
            self.confirmed = true;
        } else if self.confirmed {
            self.probe = None;
        }
        self.heard_from(now, from, HEADER_LEN + len + TAG_LEN, highest, pong, shared);
        if let Some(feedback) = reports {
            let Repair { sender, encoder, .. } = &mut self.repair;
            let see = |counter, fate| {
                if let Some(sender) = sender {
                    sender.see(now, counter, fate, encoder);
                }
            };
            match self.sent.feedback(now, &feedback, see) {
                Ok(report) => {
                    if report.acked > 0 {
                        self.absurd = 0;
                    }
                    self.congestion.on_report(now, &report, self.sent.next_counter());
                    self.after_report(now, &report, shared);
                }
                Err(_) => {
                    shared.counters.feedback_absurd += 1;
                    self.absurd += 1;
                    if self.absurd >= MAX_ABSURD && verdict == Verdict::Fine {
                        verdict = Verdict::Malformed;
                    }
                }
            }
        }
        if self.received.overdue() && verdict == Verdict::Fine {
            self.flush(now, shared);
        }
        verdict
    }

    fn is_new(&mut self, now: Nanos, id: u32, counters: &mut crate::link::LinkCounters) -> bool {
        let arrival = self.inbox.note(id);
        match arrival {
            Arrival::New => counters.control_received += 1,
            Arrival::Again => counters.control_repeated += 1,
            Arrival::TooFar => counters.refused_over_limit += 1,
        }
        if arrival != Arrival::TooFar {
            self.ack_due.get_or_insert(now + ACK_WAIT);
        }
        arrival == Arrival::New
    }

    fn on_pong(&mut self, now: Nanos, id: u32) {
        if let Some((_, sent)) = self.last_ping.take_if(|(expected, _)| *expected == id) {
            self.congestion.on_ping(now, now.saturating_sub(sent).max(1));
        }
    }
}
