//! The one-round-trip set-up: the origin's side, and the keys that both sides derive.

use std::{fmt, time::Instant};

use curve25519_dalek::RistrettoPoint;
use rand_core::{CryptoRng, Rng};
use subtle::ConstantTimeEq;

use crate::{
    MAX_HOPS, REPLY_LEN, body,
    error::Error,
    group::{self, ELEMENT_LEN, OnionPublic, SecretScalar, encode_doubles},
    header::{self, SphinxKeys},
    kdf::{self, KeySource},
    number::{COUNTER_MASK, LANES, add},
    origin::OriginCircuit,
    packet::Packet,
    reply::{self, ReplyKeys},
    route::{PathHop, RelayId, Routing},
    secret::Secret,
};

/// The protocol's name in every key of a circuit.
const PROTOCOL: &str = "zmesh circuit 1";

/// The keys that the origin and one hop share once the hop has answered: from αʸ and αᵇ, bound to the whole exchange.
pub(crate) struct CircuitKeys {
    /// Authenticates the hop's reply.
    pub(crate) authentication: Secret<32>,
    /// Root of the forward chain.
    pub(crate) forward: Secret<32>,
    /// Roots of the backward chains, by lane on the hop's link towards the origin.
    pub(crate) backward: [Secret<32>; LANES],
}

impl CircuitKeys {
    pub(crate) fn derive(
        fresh: &Secret<ELEMENT_LEN>,
        shared: &Secret<ELEMENT_LEN>,
        id: &RelayId,
        onion: &OnionPublic,
        alpha: &[u8; ELEMENT_LEN],
        share: &[u8; ELEMENT_LEN],
        packet_hash: &[u8; 32],
    ) -> Self {
        let source = KeySource::extract(
            PROTOCOL,
            &[fresh.expose(), shared.expose(), &id.0, onion.as_bytes(), alpha, share, packet_hash],
        );
        Self {
            authentication: source.derive("reply authenticator"),
            forward: source.derive("forward"),
            backward: ["backward 0", "backward 1", "backward 2", "backward 3"].map(|label| source.derive(label)),
        }
    }
}

/// Builds a set-up packet for a path, first relay first.
///
/// `slot` is the time of the network document in slots ([`SLOT_SECONDS`](crate::SLOT_SECONDS)). The packet must be sent once; a retry
/// needs another packet.
///
/// # Errors
/// [`Error::PathLength`] unless the path has 1 to [`MAX_HOPS`] hops, [`Error::RepeatedRelay`] if a relay or onion key occurs twice.
pub fn create(path: &[PathHop], slot: u32, rng: &mut impl CryptoRng) -> Result<(Packet, PendingSetup), Error> {
    if !(1..=MAX_HOPS).contains(&path.len()) {
        return Err(Error::PathLength(path.len()));
    }
    let repeated = |(number, hop): (usize, &PathHop)| {
        path[..number].iter().any(|earlier| earlier.id == hop.id || earlier.onion == hop.onion)
    };
    if path.iter().enumerate().any(repeated) {
        return Err(Error::RepeatedRelay);
    }

    let routing = choose_routing(path, slot, rng);
    let mut exponent = SecretScalar::generate(rng);
    let mut hops = Vec::with_capacity(path.len());
    let mut keys = Vec::with_capacity(path.len());
    let mut first = None;
    for (hop, routing) in path.iter().zip(&routing) {
        let half = exponent.half();
        let element = half.times_base();
        let [alpha, shared] = encode_doubles([element, half.times(hop.onion.point())]);
        let alpha = *alpha.expose();
        let sphinx = SphinxKeys::new(&shared, &hop.id, &hop.onion, &alpha);
        let next = exponent.product(&sphinx.blinding());
        first.get_or_insert((alpha, element + element));
        hops.push(PendingHop {
            id: hop.id,
            onion: hop.onion,
            routing: routing.clone(),
            exponent: std::mem::replace(&mut exponent, next),
            shared,
            alpha,
            packet_hash: [0; 32],
            reply: ReplyKeys { slots: sphinx.reply(), filler: sphinx.reply_filler() },
        });
        keys.push(sphinx);
    }

    let headers = header::create(&keys, &routing, rng);
    let body_keys: Vec<_> = keys.iter().map(SphinxKeys::body).collect();
    let bodies = body::create(body_keys.iter());
    for ((hop, blocks), body) in hops.iter_mut().zip(&headers).zip(&bodies) {
        hop.packet_hash = kdf::hash(&[&hop.alpha, &blocks.beta, &blocks.gamma, body]);
    }
    let (alpha, element) = first.expect("a path has at least one hop");
    let packet = Packet::assemble(&alpha, element, &headers[0], &bodies[0]);
    Ok((packet, PendingSetup { hops }))
}

/// Chooses where cell numbers start, how they shift, and lanes that differ from each other on every link.
pub(crate) fn choose_routing(path: &[PathHop], slot: u32, rng: &mut impl CryptoRng) -> Vec<Routing> {
    // The lanes of hops 0 … 3 on the first link: a random order, by Fisher and Yates.
    let mut lanes = [0, 1, 2, 3];
    for place in (1..LANES).rev() {
        lanes.swap(place, uniform(rng, place + 1));
    }
    // What the masks so far make of those lanes.
    let mut mask_so_far = 0;
    let mut start = rng.next_u32() & COUNTER_MASK;
    let mut routing = Vec::with_capacity(path.len());
    for (number, lane) in lanes.into_iter().enumerate().take(path.len()) {
        let shift = rng.next_u32() & COUNTER_MASK;
        let lane_mask = uniform(rng, LANES).to_le_bytes()[0];
        let next = path.get(number + 1).map(|hop| hop.id);
        routing.push(Routing { next, slot, start, shift, own_lane: lane ^ mask_so_far, lane_mask });
        start = add(start, shift);
        mask_so_far ^= lane_mask;
    }
    routing
}

/// A number below `bound`, which is at most 4: the bias of reducing 32 bits is below 2⁻³⁰.
fn uniform(rng: &mut impl Rng, bound: usize) -> usize {
    rng.next_u32() as usize % bound
}

/// What the origin keeps of one hop until the reply is there.
struct PendingHop {
    id: RelayId,
    onion: OnionPublic,
    routing: Routing,
    /// The exponent of α at this hop.
    exponent: SecretScalar,
    /// αᵇ.
    shared: Secret<ELEMENT_LEN>,
    alpha: [u8; ELEMENT_LEN],
    packet_hash: [u8; 32],
    reply: ReplyKeys,
}

impl PendingHop {
    fn keys(&self, share: &[u8; ELEMENT_LEN], element: &RistrettoPoint) -> CircuitKeys {
        let fresh = self.exponent.agree(element);
        CircuitKeys::derive(&fresh, &self.shared, &self.id, &self.onion, &self.alpha, share, &self.packet_hash)
    }
}

/// A set-up that waits for its reply.
pub struct PendingSetup {
    hops: Vec<PendingHop>,
}

impl PendingSetup {
    /// Checks the reply and makes the origin's half of the circuit. Everything secret of the set-up is gone afterwards.
    ///
    /// # Errors
    /// [`Error::ReplyRefused`] if any hop's answer is missing or wrong, or any bit of the reply was altered: then the whole circuit
    /// fails, and which hop failed is not told.
    pub fn finish(self, reply: &[u8; REPLY_LEN], now: Instant) -> Result<OriginCircuit, Error> {
        // From the outside in: every hop's share and authenticator.
        let mut layers = reply::slots(reply);
        let mut answers = Vec::with_capacity(self.hops.len());
        for hop in &self.hops {
            let own = hop.reply.open(&mut layers);
            let mut share = [0; ELEMENT_LEN];
            share.copy_from_slice(&own[..ELEMENT_LEN]);
            let element = group::decode(&share).map_err(|_| Error::ReplyRefused)?;
            answers.push((own, share, hop.keys(&share, &element)));
        }
        // From the inside out: what every hop received, so that its authenticator can be checked, and what it made of it.
        let mut inner = self.hops.last().map(|hop| hop.reply.nothing_inside()).ok_or(Error::ReplyRefused)?;
        let mut valid = true;
        for (hop, (own, share, keys)) in self.hops.iter().zip(&answers).rev() {
            let authenticator = reply::authenticator(&keys.authentication, share, &inner);
            valid &= bool::from(own[ELEMENT_LEN..].ct_eq(&authenticator));
            inner = hop.reply.seal(share, &authenticator, &inner);
        }
        valid &= bool::from(inner.as_flattened().ct_eq(reply));
        if !valid {
            return Err(Error::ReplyRefused);
        }
        let keys = answers.into_iter().map(|(_, _, keys)| keys);
        let routing = self.hops.iter().map(|hop| &hop.routing);
        Ok(OriginCircuit::new(keys.zip(routing), now))
    }
}

impl fmt::Debug for PendingSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PendingSetup({} hops, [redacted])", self.hops.len())
    }
}
