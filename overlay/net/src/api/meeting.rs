//! A circuit that a meeting relay splices to somebody else's: datagrams end to end.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use zmesh_proto::node::{self, MeetingOutcome};

use super::{CircuitError, HopInfo, Meet, MeetingSpec};
use crate::origin::{Carrier, Origin, Wanted, ping};
use crate::shard::{Command, MessageQueue, Shard, Sink};

/// The longest message of a [`DatagramCircuit`] in bytes.
pub const MESSAGE_MAX: usize = node::MESSAGE_MAX;

/// How long a meeting relay may take to answer; the node asks it again meanwhile.
const ANSWER: Duration = Duration::from_secs(12);

/// Has the last relay of a circuit answer: for [`Meet::Wait`] when the cookie is in place, for [`Meet::Join`] when both circuits are spliced.
pub(crate) async fn take_part(shard: &Shard, carrier: &Carrier, meet: Meet) -> Result<(), CircuitError> {
    let meet = match meet {
        Meet::Wait(cookie) => node::Meet::Wait(cookie),
        Meet::Join(cookie) => node::Meet::Join(cookie),
    };
    let mut outcome = carrier.circuit.state.meeting();
    let (answer, asked) = oneshot::channel();
    if !shard.command(Command::Meet { circuit: carrier.circuit.id, meet, answer }).await {
        return Err(CircuitError::ShutDown);
    }
    asked.await.map_err(|_| CircuitError::ShutDown)?.map_err(CircuitError::Closed)?;
    let wanted: &[MeetingOutcome] = match meet {
        node::Meet::Wait(_) => &[MeetingOutcome::Waiting, MeetingOutcome::Joined],
        node::Meet::Join(_) => &[MeetingOutcome::Joined],
    };
    timeout(ANSWER, heard(carrier, &mut outcome, wanted)).await.unwrap_or(Err(CircuitError::Timeout))
}

/// Waits until the circuit is spliced.
pub(crate) async fn joined(carrier: &Carrier) -> Result<(), CircuitError> {
    let mut outcome = carrier.circuit.state.meeting();
    heard(carrier, &mut outcome, &[MeetingOutcome::Joined]).await
}

/// Waits for one of the outcomes `wanted`.
async fn heard(
    carrier: &Carrier,
    outcome: &mut watch::Receiver<Option<MeetingOutcome>>,
    wanted: &[MeetingOutcome],
) -> Result<(), CircuitError> {
    loop {
        match *outcome.borrow_and_update() {
            Some(outcome) if wanted.contains(&outcome) => return Ok(()),
            Some(MeetingOutcome::UnknownCookie) => {
                return Err(CircuitError::Meeting("nobody waits there under this cookie"));
            }
            Some(MeetingOutcome::Refused) => {
                return Err(CircuitError::Meeting("it takes no more meetings, or the cookie is in use"));
            }
            Some(MeetingOutcome::NoAnswer) => {
                return Err(CircuitError::Meeting("it did not answer in time"));
            }
            _ => {}
        }
        tokio::select! {
            changed = outcome.changed() => changed.map_err(|_| CircuitError::ShutDown)?,
            reason = carrier.circuit.state.closed() => return Err(CircuitError::Closed(reason)),
        }
    }
}

/// A circuit to a meeting relay, spliced (sooner or later) to the other side's: unreliable datagrams, in whatever
/// order they come. What they say is for the two ends to encrypt: the meeting relay reads the bytes.
///
/// Closed on drop. Use it from several tasks through an `Arc`.
pub struct DatagramCircuit {
    shard: Arc<Shard>,
    carrier: Carrier,
    queue: Arc<MessageQueue>,
}

impl DatagramCircuit {
    /// Builds the circuit and has the meeting relay answer.
    pub(crate) async fn meet(origin: &Arc<Origin>, meet: Meet, spec: &MeetingSpec) -> Result<Self, CircuitError> {
        let mut queue = Arc::new(MessageQueue::default());
        let carrier = origin
            .build(&Wanted::meeting(spec), &spec.apart, |_| {
                queue = Arc::new(MessageQueue::default());
                Sink::Queue(Arc::clone(&queue))
            })
            .await?;
        let shard = Arc::clone(&origin.shard);
        take_part(&shard, &carrier, meet).await?;
        Ok(Self { shard, carrier, queue })
    }

    fn end(&self) -> Option<CircuitError> {
        self.carrier.circuit.state.end().map(CircuitError::Closed)
    }

    /// Sends one message of at most [`MESSAGE_MAX`] bytes. Never waits: what cannot be sent now is dropped.
    ///
    /// # Errors
    /// [`CircuitError::TooLarge`] or [`CircuitError::Closed`].
    pub fn send(&self, message: &[u8]) -> Result<(), CircuitError> {
        if message.len() > MESSAGE_MAX {
            return Err(CircuitError::TooLarge { len: message.len(), max: MESSAGE_MAX });
        }
        if let Some(end) = self.end() {
            return Err(end);
        }
        self.shard.queue(self.carrier.circuit.id, message.to_vec());
        Ok(())
    }

    /// Waits for the next message. When nobody receives, the oldest are dropped.
    ///
    /// # Errors
    /// [`CircuitError::Closed`] once the circuit has ended and every message is read.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn recv(&self) -> Result<Vec<u8>, CircuitError> {
        loop {
            let arrived = self.queue.arrived();
            if let Some(message) = self.queue.pop() {
                return Ok(message);
            }
            if let Some(end) = self.end() {
                return Err(end);
            }
            tokio::select! {
                () = arrived => {}
                _ = self.carrier.circuit.state.closed() => {}
            }
        }
    }

    /// Waits until the other side has joined.
    ///
    /// # Errors
    /// [`CircuitError::Closed`] or [`CircuitError::Meeting`].
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn joined(&self) -> Result<(), CircuitError> {
        joined(&self.carrier).await
    }

    /// Round-trip time between this node and hop `hop` (0 is the guard).
    ///
    /// # Errors
    /// As [`Circuit::ping`](super::Circuit::ping).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn ping(&self, hop: usize) -> Result<Duration, CircuitError> {
        ping(&self.shard, &self.carrier, hop).await
    }

    /// The relays, guard first, the meeting relay last.
    #[must_use]
    pub fn path(&self) -> Vec<HopInfo> {
        self.carrier.path.clone()
    }

    /// From the set-up packet to the answer.
    #[must_use]
    pub fn build_time(&self) -> Duration {
        self.carrier.took
    }

    /// Waits until the circuit has ended and says why.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn closed(&self) -> CircuitError {
        CircuitError::Closed(self.carrier.circuit.state.closed().await)
    }

    /// Closes the circuit; the other side sees it end.
    pub fn close(&self) {
        self.carrier.circuit.close();
    }
}

impl fmt::Debug for DatagramCircuit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatagramCircuit")
    }
}
