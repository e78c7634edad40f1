//! A link's repair: cells that are protected, what is sent beside them and again, and what comes of it at the other end.

use super::Link;
use crate::link::clock::{MILLI, Nanos};
use crate::link::repair::{Receiver, Sender, Who};
use crate::link::sent::Report;
use crate::link::session::Session;
use crate::link::shared::Shared;
use crate::link::types::Inbound;
use crate::wire::cell::{CELL_LEN, Cell};
use crate::wire::datagram::{L_PLAIN, S_PLAIN};
use crate::wire::frame::{Frame, FrameWriter};
use zmesh_fec::Vector;

/// Assumed before the first measure.
const UNKNOWN_RTT: Nanos = 100 * MILLI;

/// A cell that leaves, and whether its circuit is sparse: such a cell is protected while the link loses any.
pub(in crate::link) type Leaving<'a> = (&'a Cell, bool);

impl Link {
    /// Takes what a FEEDBACK said: from the first loss on all cells are kept, and what was lost is sent again.
    pub(super) fn after_report(&mut self, now: Nanos, report: &Report, shared: &mut Shared) {
        if report.lost > 0 {
            self.begin_repair(now, shared);
        }
        if let Some(sender) = &mut self.repair.sender {
            sender.see_queue(self.congestion.queue_delay());
            self.send_again(now, shared);
        }
    }

    fn begin_repair(&mut self, now: Nanos, shared: &mut Shared) {
        if self.repair.sender.is_none() && shared.config.repair {
            self.repair.sender = Sender::new(now, &shared.repair, self.who());
        }
    }

    /// Keeps cells of a link that has lost none so far, if one of them is of a busy circuit: what such a circuit loses at first
    /// makes it slow for long.
    pub(super) fn keep(&mut self, now: Nanos, shared: &mut Shared, first: Leaving<'_>, second: Option<Leaving<'_>>) {
        if first.1 && second.is_none_or(|(_, sparse)| sparse) {
            return;
        }
        self.begin_repair(now, shared);
        if let Some(sender) = &mut self.repair.sender {
            let rtt = self.congestion.rtt().unwrap_or(UNKNOWN_RTT);
            let cells = std::iter::once(first.0).chain(second.map(|(cell, _)| cell));
            sender.keep(now, self.sent.next_counter(), rtt, cells);
        }
    }

    /// Sends one or two cells of a link that loses some: what was lost before goes first, sparse cells are protected, and
    /// a repair that is due rides beside a cell that is alone.
    pub(super) fn send_protected(&mut self, now: Nanos, shared: &mut Shared, cells: &[Leaving<'_>]) {
        self.send_one_again(now, shared);
        let rtt = self.congestion.rtt().unwrap_or(UNKNOWN_RTT);
        let Some(sender) = &mut self.repair.sender else {
            return;
        };
        let mut symbol = [0; CELL_LEN];
        let rides = cells.len() == 1 && sender.take_early(now);
        let repair = if rides { self.repair.encoder.repair(now, &mut symbol) } else { None };
        let plain_len = if cells.len() + usize::from(repair.is_some()) > 1 { L_PLAIN } else { S_PLAIN };
        let mut writer = FrameWriter::new(&mut shared.plain[..plain_len]);
        let slot = sender.slot(now, self.sent.next_counter(), rtt);
        slot.count = cells.len();
        let mut sources = 0;
        for (((cell, sparse), bytes), id) in cells.iter().zip(&mut slot.cells).zip(&mut slot.ids) {
            cell.write(bytes);
            *id = sparse.then(|| self.repair.encoder.push(now, bytes));
            sources += usize::from(*sparse);
            match *id {
                Some(id) => writer.push(&Frame::Source { id, cell: bytes }),
                None => writer.push(&Frame::Cells1(bytes)),
            };
        }
        (0..sources).for_each(|_| sender.note_source(now));
        if let Some(vector) = repair {
            writer.push(&Frame::Repair { vector, symbol: &symbol });
            shared.counters.repairs_sent += 1;
        }
        self.ride_along(now, &mut writer);
        writer.pad();
        self.seal(now, shared, plain_len, true);
    }

    /// Sends cells of lost datagrams once more, as far as window, pace and rate allow.
    fn send_again(&mut self, now: Nanos, shared: &mut Shared) {
        while self.can_send(now) && shared.rate_allows(now) && self.send_one_again(now, shared) {}
    }

    /// Sends the cells of one lost datagram once more; `false` if there was none. Called for each datagram of new cells
    /// as well, so that these, which wait for the same window, do not keep it back.
    fn send_one_again(&mut self, now: Nanos, shared: &mut Shared) -> bool {
        let rtt = self.congestion.rtt().unwrap_or(UNKNOWN_RTT);
        let next = self.sent.next_counter();
        let Some(sender) = &mut self.repair.sender else {
            return false;
        };
        let Some((back, slot)) = sender.next_again(now, rtt, next) else {
            return false;
        };
        let [first, second] = &slot.cells;
        let plain_len = if slot.count == 2 { L_PLAIN } else { S_PLAIN };
        let mut writer = FrameWriter::new(&mut shared.plain[..plain_len]);
        // A protected cell beside one that is not goes along under its number: the receiver knows whether it has it.
        match slot.ids {
            [None, None] => {
                writer.push(&Frame::Again { back, first, second: (slot.count == 2).then_some(second) });
            }
            [Some(id), _] => {
                writer.push(&Frame::Source { id, cell: first });
                writer.push(&Frame::Again { back, first: second, second: None });
            }
            [None, Some(id)] => {
                writer.push(&Frame::Again { back, first, second: None });
                writer.push(&Frame::Source { id, cell: second });
            }
        }
        shared.counters.cells_again += slot.count as u64;
        self.ride_along(now, &mut writer);
        writer.pad();
        self.seal(now, shared, plain_len, true);
        true
    }

    /// Sends what repair owes: cells again, and a repair that is due and found no cell to ride beside. A repair for which
    /// there is no room now is dropped.
    pub(super) fn flush_repair(&mut self, now: Nanos, shared: &mut Shared) {
        let Some(sender) = &self.repair.sender else {
            return;
        };
        if sender.wants() {
            self.send_again(now, shared);
        }
        while self.repair.sender.as_mut().is_some_and(|sender| sender.take_repair(now)) {
            let room = self.can_send(now) && shared.rate_allows(now);
            let mut symbol = [0; CELL_LEN];
            let Some(vector) = self.repair.encoder.repair(now, &mut symbol).filter(|_| room) else {
                continue;
            };
            let mut writer = FrameWriter::new(&mut shared.plain[..S_PLAIN]);
            writer.push(&Frame::Repair { vector, symbol: &symbol });
            shared.counters.repairs_sent += 1;
            self.ride_along(now, &mut writer);
            writer.pad();
            self.seal(now, shared, S_PLAIN, true);
        }
    }

    /// Whether the cells of the datagram that was sent `back` counters before this one are still missing. From now on
    /// they are not: should that datagram come after all, it is refused like any that comes twice.
    pub(super) fn takes_again(&mut self, counter: u64, back: u16) -> bool {
        let Some(counter) = counter.checked_sub(u64::from(back)).filter(|_| back > 0) else {
            return false;
        };
        let previous = self.previous.as_mut().map(|(session, _)| session);
        let mut sessions: [Option<&mut Session>; 2] = [self.current.as_mut(), previous];
        let missing = sessions.iter().flatten().all(|session| session.is_missing(counter));
        if missing {
            sessions.iter_mut().flatten().for_each(|session| session.waive(counter));
        }
        missing
    }

    /// Takes a protected cell. Whether it is to be handed on.
    pub(super) fn takes_source(&mut self, now: Nanos, id: u16, cell: &[u8; CELL_LEN], shared: &Shared) -> bool {
        if self.repair.receiver.is_none() {
            self.repair.receiver = Receiver::new(now, &shared.repair, self.who());
        }
        // Without memory even for what was handed on, repairs are not looked at.
        self.repair.receiver.as_mut().is_none_or(|receiver| receiver.source(now, id, cell))
    }

    /// Takes a repair; `false` when it was not looked at. Before the first protected cell it means nothing.
    pub(super) fn takes_repair(
        &mut self,
        now: Nanos,
        vector: &Vector,
        symbol: &[u8; CELL_LEN],
        work: &mut crate::link::repair::Work,
    ) -> bool {
        self.repair.receiver.as_mut().is_some_and(|receiver| receiver.repair(now, vector, symbol, work))
    }

    /// Hands on the cells that were recovered; says how many.
    pub(super) fn recover(&mut self, inbox: &mut Vec<Inbound>) -> u64 {
        let Some(receiver) = &mut self.repair.receiver else {
            return 0;
        };
        let mut count = 0;
        while let Some(cell) = receiver.poll() {
            inbox.push(Inbound::Cell(self.id, Cell::read(&cell)));
            count += 1;
        }
        receiver.settle();
        count
    }

    fn who(&self) -> Who {
        if self.is_relay { Who::Relay } else { Who::Stranger }
    }

    #[cfg(test)]
    pub(in crate::link) fn repair_work(&self) -> u64 {
        self.repair.receiver.as_ref().map_or(0, |receiver| receiver.done())
    }

    /// Forgets what repair kept when it is long of no use.
    pub(super) fn end_repair(&mut self, now: Nanos) {
        if self.repair.sender.take_if(|sender| sender.ends() <= now).is_some() {
            self.repair.encoder.clear();
        }
        self.repair.receiver.take_if(|receiver| receiver.ends() <= now);
    }

    /// When something of repair is due.
    pub(super) fn repair_due(&self) -> Option<Nanos> {
        let sender = self.repair.sender.as_ref();
        let ends = sender.map(|sender| sender.ends());
        let due = sender.and_then(|sender| sender.repair_at());
        let receiver = self.repair.receiver.as_ref().map(|receiver| receiver.ends());
        [ends, due, receiver].into_iter().flatten().min()
    }
}
