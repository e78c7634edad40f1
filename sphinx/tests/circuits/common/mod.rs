//! A path of relays in memory, driven step by step.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::{Duration, Instant};

use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng};
use zmesh_sphinx::{
    BODY_LEN, CellError, Forwarded, HopCircuit, Next, OnionSecret, OriginCircuit, PACKET_LEN, Packet, PathHop, Plain,
    REPLY_LEN, RelayId, ReplySeal, create,
};

pub(crate) type Body = [u8; BODY_LEN];

pub(crate) const SLOT: u32 = 5_000_000;

pub(crate) fn rng(seed: u64) -> ChaCha12Rng {
    ChaCha12Rng::seed_from_u64(seed)
}

/// A point in time to count from; nothing in these tests waits.
#[allow(clippy::disallowed_methods, reason = "a point in time to count from; nothing waits")]
pub(crate) fn start() -> Instant {
    Instant::now() + Duration::from_secs(1000)
}

pub(crate) struct TestRelay {
    pub(crate) id: RelayId,
    pub(crate) onion: OnionSecret,
}

impl TestRelay {
    pub(crate) fn many(count: u8, rng: &mut ChaCha12Rng) -> Vec<Self> {
        (0..count).map(|number| Self { id: RelayId([number + 1; 16]), onion: OnionSecret::generate(rng) }).collect()
    }
}

pub(crate) fn path(relays: &[TestRelay]) -> Vec<PathHop> {
    relays.iter().map(|relay| PathHop { id: relay.id, onion: relay.onion.public() }).collect()
}

/// What one set-up left behind, besides the circuits.
pub(crate) struct Trace {
    /// The set-up packet on every link, first link first.
    pub(crate) packets: Vec<[u8; PACKET_LEN]>,
    /// The reply on every link, first link first.
    pub(crate) replies: Vec<[u8; REPLY_LEN]>,
}

pub(crate) struct TestCircuit {
    pub(crate) origin: OriginCircuit,
    pub(crate) hops: Vec<HopCircuit>,
    pub(crate) now: Instant,
}

/// Takes a packet through all relays; returns every hop's circuit and seal.
pub(crate) fn unwrap_all(
    relays: &[TestRelay],
    first: Packet,
    rng: &mut ChaCha12Rng,
    now: Instant,
) -> (Vec<HopCircuit>, Vec<ReplySeal>, Vec<[u8; PACKET_LEN]>) {
    let (mut hops, mut seals, mut packets) = (Vec::new(), Vec::new(), Vec::new());
    let mut packet = Some(first);
    let mut at = relays[0].id;
    while let Some(current) = packet.take() {
        packets.push(*current.as_bytes());
        let current = Packet::from_bytes(current.as_bytes()).unwrap();
        let relay = relays.iter().find(|relay| relay.id == at).unwrap();
        let unwrapped = current.peel_header(&relay.id, &relay.onion, SLOT).unwrap().finish(rng, now).unwrap();
        hops.push(unwrapped.circuit);
        seals.push(unwrapped.reply);
        if let Next::Forward { to, packet: next } = unwrapped.next {
            at = to;
            packet = Some(next);
        }
    }
    (hops, seals, packets)
}

/// Seals the reply through all hops; returns it on every link, first link first.
pub(crate) fn reply_all(seals: Vec<ReplySeal>) -> Vec<[u8; REPLY_LEN]> {
    let mut replies: Vec<[u8; REPLY_LEN]> = Vec::new();
    for seal in seals.into_iter().rev() {
        let reply = match replies.last() {
            None => seal.last(),
            Some(inner) => seal.forward(inner),
        };
        replies.push(reply);
    }
    replies.reverse();
    replies
}

impl TestCircuit {
    pub(crate) fn build(hops: u8, seed: u64) -> Self {
        Self::build_traced(hops, seed).0
    }

    pub(crate) fn build_traced(hops: u8, seed: u64) -> (Self, Trace) {
        let mut rng = rng(seed);
        let relays = TestRelay::many(hops, &mut rng);
        let now = start();
        let (packet, pending) = create(&path(&relays), SLOT, &mut rng).unwrap();
        let (hops, seals, packets) = unwrap_all(&relays, packet, &mut rng, now);
        let replies = reply_all(seals);
        let origin = pending.finish(&replies[0], now).unwrap();
        (Self { origin, hops, now }, Trace { packets, replies })
    }

    pub(crate) fn seal(&mut self, hop: usize, payload: &[u8]) -> Result<(u32, Body), CellError> {
        let mut body = [0; BODY_LEN];
        let number = self.origin.seal(self.now, hop, 7, payload, &mut body)?;
        Ok((number, body))
    }

    /// Takes a cell forward from hop `from` until a hop keeps it.
    pub(crate) fn forward(
        &mut self,
        from: usize,
        mut number: u32,
        body: &mut Body,
    ) -> Result<(usize, Plain), (usize, CellError)> {
        for hop in from..self.hops.len() {
            match self.hops[hop].forward(self.now, number, body).map_err(|error| (hop, error))? {
                Forwarded::Mine(plain) => return Ok((hop, plain)),
                Forwarded::Onward { number: next } => number = next,
            }
        }
        panic!("the last hop passed a cell on");
    }

    pub(crate) fn originate(&mut self, hop: usize, payload: &[u8]) -> (u32, Body) {
        let mut body = [0; BODY_LEN];
        let number = self.hops[hop].originate(self.now, 9, payload, &mut body).unwrap();
        (number, body)
    }

    /// Takes a cell that hop `from` sent to the link towards the origin.
    pub(crate) fn backward(&mut self, from: usize, number: u32, body: &mut Body) -> Result<u32, (usize, CellError)> {
        let mut number = number;
        for hop in (0..from).rev() {
            number = self.hops[hop].backward(self.now, number, body).map_err(|error| (hop, error))?;
        }
        Ok(number)
    }

    pub(crate) fn deliver(&mut self, hop: usize, payload: &[u8]) {
        let (number, mut body) = self.seal(hop, payload).unwrap();
        let (at, plain) = self.forward(0, number, &mut body).unwrap();
        assert_eq!(at, hop);
        assert_eq!(plain.kind, 7);
        assert_eq!(plain.payload(&body), payload);
    }

    pub(crate) fn answer(&mut self, hop: usize, payload: &[u8]) {
        let (number, mut body) = self.originate(hop, payload);
        let number = self.backward(hop, number, &mut body).unwrap();
        let (from, plain) = self.origin.open(self.now, number, &mut body).unwrap();
        assert_eq!(from, hop);
        assert_eq!(plain.kind, 9);
        assert_eq!(plain.payload(&body), payload);
    }
}
