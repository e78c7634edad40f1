//! A set-up packet on its way through one relay, in two steps: first what is needed to refuse it, then everything else.

use std::{fmt, time::Instant};

use curve25519_dalek::RistrettoPoint;
use rand_core::CryptoRng;

use crate::{
    PACKET_LEN,
    body::{self, SETUP_BODY_LEN},
    error::Error,
    group::{self, ELEMENT_LEN, OnionPublic, OnionSecret, SecretScalar, encode_doubles},
    header::{self, BLOCKS_LEN, Blocks, HEADER_LEN, SphinxKeys},
    hop::HopCircuit,
    kdf,
    replay::ReplayTag,
    reply::{ReplyKeys, ReplySeal},
    route::{RelayId, Routing},
    secret::Secret,
    setup::CircuitKeys,
    slot_is_current,
};

/// A set-up packet whose group element has been decoded; nothing else about it is known to be right.
#[derive(Clone)]
pub struct Packet {
    bytes: [u8; PACKET_LEN],
    element: RistrettoPoint,
}

impl Packet {
    /// Takes a packet from the wire.
    ///
    /// # Errors
    /// [`Error::InvalidElement`] if it does not begin with the canonical encoding of an element other than the identity.
    pub fn from_bytes(bytes: &[u8; PACKET_LEN]) -> Result<Self, Error> {
        let mut alpha = [0; ELEMENT_LEN];
        alpha.copy_from_slice(&bytes[..ELEMENT_LEN]);
        Ok(Self { bytes: *bytes, element: group::decode(&alpha)? })
    }

    /// The packet as it goes on the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; PACKET_LEN] {
        &self.bytes
    }

    pub(crate) fn assemble(
        alpha: &[u8; ELEMENT_LEN],
        element: RistrettoPoint,
        blocks: &Blocks,
        body: &[u8; SETUP_BODY_LEN],
    ) -> Self {
        let mut bytes = [0; PACKET_LEN];
        bytes[..ELEMENT_LEN].copy_from_slice(alpha);
        bytes[ELEMENT_LEN..ELEMENT_LEN + BLOCKS_LEN].copy_from_slice(&blocks.beta);
        bytes[ELEMENT_LEN + BLOCKS_LEN..HEADER_LEN].copy_from_slice(&blocks.gamma);
        bytes[HEADER_LEN..].copy_from_slice(body);
        Self { bytes, element }
    }

    fn alpha(&self) -> [u8; ELEMENT_LEN] {
        let mut alpha = [0; ELEMENT_LEN];
        alpha.copy_from_slice(&self.bytes[..ELEMENT_LEN]);
        alpha
    }

    fn blocks(&self) -> Blocks {
        let mut blocks = Blocks { beta: [0; BLOCKS_LEN], gamma: [0; kdf::MAC_LEN] };
        blocks.beta.copy_from_slice(&self.bytes[ELEMENT_LEN..ELEMENT_LEN + BLOCKS_LEN]);
        blocks.gamma.copy_from_slice(&self.bytes[ELEMENT_LEN + BLOCKS_LEN..HEADER_LEN]);
        blocks
    }

    /// Binds a circuit's keys to the packet as this hop received it: all of it, because an honest hop in the middle checks the header
    /// but cannot check the body.
    pub(crate) fn hash(&self) -> [u8; 32] {
        kdf::hash(&[&self.bytes])
    }

    /// Step 1 at a relay: one multiplication, the header's authenticator, the slot.
    ///
    /// `slot_now` is the relay's clock in slots; see [`slot_is_current`] for what is accepted. Ask the replay filter next.
    ///
    /// # Errors
    /// [`Error::HeaderRefused`] if the header was not made for `own` and `onion` or was altered, [`Error::SlotOutOfRange`] if it
    /// belongs to another time, [`Error::UnknownRouting`] if it says what this version does not know.
    pub fn peel_header(self, own: &RelayId, onion: &OnionSecret, slot_now: u32) -> Result<Peeled, Error> {
        let alpha = self.alpha();
        let shared = onion.agree(&self.element);
        let public = onion.public();
        let keys = SphinxKeys::new(&shared, own, &public, &alpha);
        let (routing, behind) = header::peel(&keys, &self.blocks())?;
        if !slot_is_current(routing.slot, slot_now) {
            return Err(Error::SlotOutOfRange);
        }
        Ok(Peeled { packet: self, own: *own, public, shared, keys, routing, behind })
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Packet")
    }
}

/// A set-up packet with an authentic header. Goes on through the replay filter to [`Peeled::finish`].
pub struct Peeled {
    packet: Packet,
    own: RelayId,
    public: OnionPublic,
    shared: Secret<ELEMENT_LEN>,
    keys: SphinxKeys,
    routing: Routing,
    /// The next hop's routing blocks.
    behind: Blocks,
}

impl Peeled {
    /// The slot that the origin made the packet for.
    #[must_use]
    pub fn slot(&self) -> u32 {
        self.routing.slot
    }

    /// What the replay filter remembers.
    #[must_use]
    pub fn replay_tag(&self) -> ReplayTag {
        self.keys.replay_tag()
    }

    /// Step 2 at a relay: the body, the packet for the next hop, the ephemeral share and the circuit's keys (three multiplications
    /// at most). Call it only after the replay filter let the packet pass.
    ///
    /// # Errors
    /// [`Error::BodyRefused`] at the last hop if the body was altered on the way.
    pub fn finish(self, rng: &mut impl CryptoRng, now: Instant) -> Result<Unwrapped, Error> {
        let alpha = self.packet.alpha();
        let body = self.peel_body()?;
        let half = SecretScalar::generate(rng).half();
        let share = half.times_base();
        let fresh = half.times(&self.packet.element);
        let (share, fresh, next) = match self.routing.next {
            None => {
                let [share, fresh] = encode_doubles([share, fresh]);
                (share, fresh, Next::Last)
            }
            Some(to) => {
                let blinded = self.keys.blinding().half().times(&self.packet.element);
                let [share, fresh, alpha] = encode_doubles([share, fresh, blinded]);
                let packet = Packet::assemble(alpha.expose(), blinded + blinded, &self.behind, &body);
                (share, fresh, Next::Forward { to, packet })
            }
        };
        let share = *share.expose();
        let packet_hash = self.packet.hash();
        let keys = CircuitKeys::derive(&fresh, &self.shared, &self.own, &self.public, &alpha, &share, &packet_hash);
        let reply = ReplySeal {
            keys: ReplyKeys { slots: self.keys.reply(), filler: self.keys.reply_filler() },
            share,
            authentication: keys.authentication.clone(),
        };
        Ok(Unwrapped { next, circuit: HopCircuit::new(keys, &self.routing, now), reply })
    }

    /// Where the packet goes, without a circuit: what other implementations of Sphinx call unwrapping. For measurements; a relay
    /// calls [`Peeled::finish`].
    ///
    /// # Errors
    /// [`Error::BodyRefused`] at the last hop if the body was altered on the way.
    pub fn next(&self) -> Result<Next, Error> {
        let body = self.peel_body()?;
        Ok(match self.routing.next {
            None => Next::Last,
            Some(to) => {
                let (alpha, element) = self.keys.blinding().blind(&self.packet.element);
                Next::Forward { to, packet: Packet::assemble(&alpha, element, &self.behind, &body) }
            }
        })
    }

    /// The body as it leaves this hop; the last hop checks it.
    fn peel_body(&self) -> Result<[u8; SETUP_BODY_LEN], Error> {
        let mut body = [0; SETUP_BODY_LEN];
        body.copy_from_slice(&self.packet.bytes[HEADER_LEN..]);
        body::peel(&self.keys.body(), &mut body);
        if self.routing.next.is_none() {
            body::check(&body)?;
        }
        Ok(body)
    }
}

impl fmt::Debug for Peeled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Peeled([redacted])")
    }
}

/// All that a set-up packet makes at one relay.
#[derive(Debug)]
pub struct Unwrapped {
    /// Where it goes from here.
    pub next: Next,
    /// The relay's half of the circuit.
    pub circuit: HopCircuit,
    /// Seals the relay's reply.
    pub reply: ReplySeal,
}

/// Where a set-up packet goes from here.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one per set-up, moved once")]
pub enum Next {
    /// On to another relay.
    Forward {
        /// The next relay.
        to: RelayId,
        /// The packet for it.
        packet: Packet,
    },
    /// Nowhere: the circuit ends here.
    Last,
}
