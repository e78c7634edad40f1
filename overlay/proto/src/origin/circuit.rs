//! Using a circuit that is ready: messages, probes, meetings.

use std::time::Instant;

use rand_core::Rng;
use zmesh_sphinx::{BODY_LEN, CellError, OriginCircuit};

use super::{MeetState, Meeting, Origin, Own, Stage};
use crate::node::core::Core;
use crate::node::{BuildFailure, CircuitId, CloseReason, Event, Meet, MeetingOutcome, SendError};
use crate::relay::kind::{PING_LEN, cell as kinds, meet as answers, reason};
use crate::relay::message::split;
use crate::relay::neighbour::End;
use crate::wire::cell::Cell;

impl Origin {
    /// Sends a message to the last hop.
    pub(crate) fn send(
        &mut self,
        core: &mut Core,
        now: Instant,
        circuit: CircuitId,
        message: &[u8],
    ) -> Result<(), SendError> {
        let (own, last) = self.open_circuit(circuit)?;
        let id = own.next_message;
        let (crypto, end) = own.parts()?;
        let mut cell = Cell { circuit: 0, number: 0, body: [0; BODY_LEN] };
        let sent = split(message, id, |payload| {
            cell.number = crypto.seal(now, last, kinds::MSG, payload, &mut cell.body)?;
            core.push(now, end, &cell);
            Ok::<(), CellError>(())
        });
        match sent {
            Ok(true) => {
                own.next_message = id.wrapping_add(1);
                self.note_sent(core, now, circuit.0);
                Ok(())
            }
            Ok(false) if message.is_empty() => Err(SendError::Empty),
            Ok(false) => Err(SendError::TooLong(message.len())),
            Err(error) => Err(self.send_failed(core, now, circuit.0, error)),
        }
    }

    /// Probes one hop.
    pub(crate) fn ping(
        &mut self,
        core: &mut Core,
        now: Instant,
        circuit: CircuitId,
        hop: usize,
    ) -> Result<(), SendError> {
        self.open_circuit(circuit)?;
        self.probe(core, now, circuit.0, hop, false)
    }

    /// From now on messages of this circuit are handed on in the order of their sending, as far as that pays.
    pub(crate) fn keep_order(&mut self, circuit: CircuitId) {
        if let Some(own) = self.circuits.get_mut(circuit.0) {
            own.order.get_or_insert_default();
        }
    }

    /// Begins a meeting at the last hop.
    pub(crate) fn meet(
        &mut self,
        core: &mut Core,
        now: Instant,
        circuit: CircuitId,
        role: Meet,
    ) -> Result<(), SendError> {
        let (own, _) = self.open_circuit(circuit)?;
        if own.meeting.is_some() {
            return Err(SendError::AlreadyMeeting);
        }
        own.meeting = Some(Meeting { role, state: MeetState::Asking, began: now, next_try: now });
        self.meet_again(core, now, circuit.0);
        Ok(())
    }

    /// A cell from the guard's link.
    pub(crate) fn handle_cell(&mut self, core: &mut Core, now: Instant, key: u64, cell: &mut Cell) {
        let Some(own) = self.circuits.get_mut(key) else {
            return;
        };
        let Stage::Open(crypto) = &mut own.stage else {
            core.metrics.drops.not_ready += 1;
            return;
        };
        core.metrics.cells_for_origin += 1;
        let (hop, plain) = match crypto.open(now, cell.number, &mut cell.body) {
            Ok(opened) => opened,
            Err(error) => {
                core.metrics.drops.note(error);
                if error.ends_circuit() {
                    self.end(core, now, key, BuildFailure::BadReply, CloseReason::Damaged, Some(reason::NONE));
                }
                return;
            }
        };
        own.unheard_since = None;
        own.suspected = false;
        let from_last = hop + 1 == own.hops;
        let payload = plain.payload(&cell.body);
        let circuit = CircuitId(key);
        match plain.kind {
            kinds::MSG if from_last => {
                if own.meeting.as_ref().is_some_and(|meeting| meeting.state != MeetState::Joined) {
                    // The other side speaks, so the relay's word that it came was lost.
                    self.met(core, now, key, answers::JOINED);
                }
                let Some(own) = self.circuits.get_mut(key) else {
                    return;
                };
                let Some((id, message)) = core.assemble(&mut own.assembly, payload) else {
                    return;
                };
                let event = |message| Event::Message { circuit, message };
                let due = match &mut own.order {
                    Some(order) => core.tell_in_order(now, order, (id, message), event),
                    None => {
                        core.tell_message(event(message));
                        None
                    }
                };
                if let Some(due) = due {
                    self.arm_earlier(core, key, due);
                }
            }
            kinds::PONG => match <[u8; PING_LEN]>::try_from(payload) {
                Ok(token) => {
                    if let Some((rtt, false)) = own.health.answered(now, hop, token) {
                        core.tell(Event::Pong { circuit, hop, rtt });
                    }
                }
                Err(_) => core.metrics.drops.malformed += 1,
            },
            kinds::MEET_ANSWER if from_last => match payload {
                [answer] => self.met(core, now, key, *answer),
                _ => core.metrics.drops.malformed += 1,
            },
            kinds::PAD => {}
            _ => core.metrics.drops.malformed += 1,
        }
    }

    /// Sends a probe; a quiet one gives no event.
    pub(super) fn probe(
        &mut self,
        core: &mut Core,
        now: Instant,
        key: u64,
        hop: usize,
        quiet: bool,
    ) -> Result<(), SendError> {
        let own = self.circuits.get_mut(key).ok_or(SendError::NoCircuit)?;
        if hop >= own.hops {
            return Err(SendError::NoHop(hop));
        }
        let mut token = [0; PING_LEN];
        core.rng().fill_bytes(&mut token);
        if !own.health.sent(now, hop, token, quiet, self.config.max_pings) {
            return Err(SendError::TooManyProbes);
        }
        core.metrics.own.pings += 1;
        self.send_cell(core, now, key, hop, kinds::PING, &token)?;
        let at = now + self.config.ping_timeout;
        self.arm_earlier(core, key, at);
        Ok(())
    }

    /// Asks the meeting relay (again), if that is due.
    pub(super) fn meet_again(&mut self, core: &mut Core, now: Instant, key: u64) {
        let Some(own) = self.circuits.get_mut(key) else {
            return;
        };
        let last = own.hops - 1;
        let Some(meeting) = own.meeting.as_mut() else {
            return;
        };
        let wait = match meeting.state {
            MeetState::Joined => return,
            MeetState::Waiting => self.config.meet_refresh,
            MeetState::Asking if now >= meeting.began + self.config.meet_timeout => {
                own.meeting = None;
                core.tell(Event::Meeting { circuit: CircuitId(key), outcome: MeetingOutcome::NoAnswer });
                return;
            }
            MeetState::Asking => self.config.meet_retry,
        };
        if now < meeting.next_try {
            let at = meeting.next_try;
            return self.arm_earlier(core, key, at);
        }
        meeting.next_try = now + wait;
        let (kind, cookie) = match meeting.role {
            Meet::Wait(cookie) => (kinds::MEET_WAIT, cookie),
            Meet::Join(cookie) => (kinds::MEET_JOIN, cookie),
        };
        if self.send_cell(core, now, key, last, kind, &cookie).is_ok() {
            self.arm_earlier(core, key, now + wait);
        }
    }

    /// The meeting relay has answered.
    fn met(&mut self, core: &mut Core, now: Instant, key: u64, answer: u8) {
        let Some(own) = self.circuits.get_mut(key) else {
            return;
        };
        let Some(meeting) = own.meeting.as_mut().filter(|meeting| meeting.state != MeetState::Joined) else {
            return;
        };
        let outcome = match (answer, meeting.state) {
            (answers::JOINED, _) => {
                meeting.state = MeetState::Joined;
                MeetingOutcome::Joined
            }
            (answers::WAITING, MeetState::Asking) => {
                meeting.state = MeetState::Waiting;
                meeting.next_try = now + self.config.meet_refresh;
                MeetingOutcome::Waiting
            }
            (answers::WAITING, _) => return,
            (answers::UNKNOWN, _) => {
                own.meeting = None;
                MeetingOutcome::UnknownCookie
            }
            (answers::REFUSED, _) => {
                own.meeting = None;
                MeetingOutcome::Refused
            }
            _ => {
                core.metrics.drops.malformed += 1;
                return;
            }
        };
        core.tell(Event::Meeting { circuit: CircuitId(key), outcome });
    }

    fn send_cell(
        &mut self,
        core: &mut Core,
        now: Instant,
        key: u64,
        hop: usize,
        kind: u8,
        payload: &[u8],
    ) -> Result<(), SendError> {
        let own = self.circuits.get_mut(key).ok_or(SendError::NoCircuit)?;
        let last = own.hops - 1;
        let (crypto, end) = own.parts()?;
        let mut cell = Cell { circuit: 0, number: 0, body: [0; BODY_LEN] };
        let mut sealed = crypto.seal(now, hop, kind, payload, &mut cell.body);
        if sealed == Err(CellError::PhaseNotOpen) {
            // A key phase is opened by a cell that every hop sees.
            sealed = crypto.seal(now, last, kinds::PAD, &[], &mut cell.body).and_then(|number| {
                cell.number = number;
                core.push(now, end, &cell);
                crypto.seal(now, hop, kind, payload, &mut cell.body)
            });
        }
        match sealed {
            Ok(number) => {
                cell.number = number;
                core.push(now, end, &cell);
                self.note_sent(core, now, key);
                Ok(())
            }
            Err(error) => Err(self.send_failed(core, now, key, error)),
        }
    }

    /// Something went out: from now on the silence is measured.
    fn note_sent(&mut self, core: &mut Core, now: Instant, key: u64) {
        let Some(own) = self.circuits.get_mut(key) else {
            return;
        };
        own.last_sent = now;
        if own.unheard_since.is_none() {
            own.unheard_since = Some(now);
            let first = self.config.first_probe(now, own.watched);
            self.arm_earlier(core, key, first);
        }
    }

    /// A direction has no cell numbers left: the circuit is of no more use.
    fn send_failed(&mut self, core: &mut Core, now: Instant, key: u64, error: CellError) -> SendError {
        core.metrics.drops.note(error);
        if error.ends_circuit() {
            self.end(core, now, key, BuildFailure::BadReply, CloseReason::Exhausted, Some(reason::NONE));
        }
        SendError::Exhausted
    }

    fn open_circuit(&mut self, circuit: CircuitId) -> Result<(&mut Own, usize), SendError> {
        let own = self.circuits.get_mut(circuit.0).ok_or(SendError::NoCircuit)?;
        let last = own.hops - 1;
        if matches!(own.stage, Stage::Open(_)) { Ok((own, last)) } else { Err(SendError::NotReady) }
    }
}

impl Own {
    fn parts(&mut self) -> Result<(&mut OriginCircuit, End), SendError> {
        match (&mut self.stage, self.end) {
            (Stage::Open(crypto), Some(end)) => Ok((crypto, end)),
            _ => Err(SendError::NotReady),
        }
    }
}
