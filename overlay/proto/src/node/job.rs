//! Public-key work: leaves the machine as a [`Job`], comes back as a [`JobDone`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use zmesh_sphinx::{
    Error, OnionSecret, OriginCircuit, PACKET_LEN, Packet, PathHop, Peeled, PendingSetup, REPLY_LEN, RelayId, Unwrapped,
};

use crate::link::{HandshakeDone, HandshakeJob};
use crate::nat::{ExchangeDone, ExchangeWork};
use crate::random::Generator;

/// Work that takes tens to hundreds of microseconds. [`run`](Self::run) is pure and may happen on any thread.
#[derive(Debug)]
#[must_use = "a job that is not run leaves a set-up hanging until it times out"]
pub struct Job(pub(crate) Work);

/// The outcome of a [`Job`], for [`Node::handle_job`](super::Node::handle_job).
#[derive(Debug)]
#[must_use = "give it back by Node::handle_job"]
pub struct JobDone(pub(crate) Outcome);

#[derive(Debug)]
pub(crate) enum Work {
    Handshake(HandshakeJob),
    Peel(PeelWork),
    Finish { hop: u64, peeled: Box<Peeled>, rng: Generator, now: Instant },
    Create { circuit: u64, path: Vec<PathHop>, slot: u32, rng: Generator },
    Complete { circuit: u64, pending: Box<PendingSetup>, reply: Box<[u8; REPLY_LEN]>, now: Instant },
    Exchange(ExchangeWork),
}

/// The first step on a set-up packet: the header, under one onion key or, close to their change, under two.
#[derive(Debug)]
pub(crate) struct PeelWork {
    pub(crate) hop: u64,
    pub(crate) packet: Box<[u8; PACKET_LEN]>,
    pub(crate) own: RelayId,
    pub(crate) keys: [Option<Arc<OnionSecret>>; 2],
    pub(crate) slot_now: u32,
}

#[derive(Debug)]
pub(crate) enum Outcome {
    Handshake(HandshakeDone),
    Peeled { hop: u64, result: Result<Box<Peeled>, Error> },
    Finished { hop: u64, result: Result<Box<Unwrapped>, Error> },
    Created { circuit: u64, result: Result<Box<(Packet, PendingSetup)>, Error> },
    Completed { circuit: u64, result: Result<Box<OriginCircuit>, Error> },
    Exchange(ExchangeDone),
}

impl Job {
    /// An estimate of the processor time that [`run`](Self::run) takes on a 2.5 GHz core; the work budget counts by it.
    #[must_use]
    pub fn cost(&self) -> Duration {
        self.0.cost()
    }

    /// Does the work.
    pub fn run(self) -> JobDone {
        JobDone(match self.0 {
            Work::Handshake(job) => Outcome::Handshake(job.run()),
            Work::Peel(work) => Outcome::Peeled { hop: work.hop, result: work.run().map(Box::new) },
            Work::Finish { hop, peeled, mut rng, now } => {
                Outcome::Finished { hop, result: peeled.finish(&mut rng, now).map(Box::new) }
            }
            Work::Create { circuit, path, slot, mut rng } => {
                Outcome::Created { circuit, result: zmesh_sphinx::create(&path, slot, &mut rng).map(Box::new) }
            }
            Work::Complete { circuit, pending, reply, now } => {
                Outcome::Completed { circuit, result: pending.finish(&reply, now).map(Box::new) }
            }
            Work::Exchange(work) => Outcome::Exchange(work.run()),
        })
    }
}

impl Work {
    pub(crate) fn cost(&self) -> Duration {
        Duration::from_micros(match self {
            Self::Handshake(_) | Self::Exchange(_) => return HANDSHAKE,
            Self::Peel(work) => {
                return if work.keys[1].is_some() { PEEL * 2 } else { PEEL };
            }
            Self::Finish { .. } => return FINISH,
            Self::Create { path, .. } => CREATE_US * path.len() as u64,
            Self::Complete { .. } => COMPLETE_US,
        })
    }
}

/// The costs, measured on a 2.5 GHz core, in microseconds.
pub(crate) const HANDSHAKE: Duration = Duration::from_micros(200);
pub(crate) const PEEL: Duration = Duration::from_micros(55);
pub(crate) const FINISH: Duration = Duration::from_micros(110);
const CREATE_US: u64 = 80;
const COMPLETE_US: u64 = 190;

impl PeelWork {
    fn run(&self) -> Result<Peeled, Error> {
        let packet = Packet::from_bytes(&self.packet)?;
        let mut result = Err(Error::HeaderRefused);
        for key in self.keys.iter().flatten() {
            result = packet.clone().peel_header(&self.own, key, self.slot_now);
            if !matches!(result, Err(Error::HeaderRefused)) {
                break;
            }
        }
        result
    }
}
