//! The reply to a set-up packet: four slots of one size, each a wide block under every hop that it passed.
//!
//! A hop puts its own share in front, moves what it received one slot back, drops the last slot, and encrypts each slot. A neighbour
//! sees four random-looking slots whatever the hop's position. All of it follows from the hops' shares and keys that the origin has,
//! so the origin recomputes the whole reply and compares.

use std::fmt;

use crate::{
    MAX_HOPS, REPLY_LEN,
    group::ELEMENT_LEN,
    kdf::{KeySource, MAC_LEN, mac},
    secret::Secret,
    wide_block::{TWEAK_LEN, WideBlock},
};

/// One hop's ephemeral share and authenticator.
pub(crate) const SLOT_LEN: usize = ELEMENT_LEN + MAC_LEN;

/// The slots of a reply that still travel, behind a hop's own.
const FILLER_LEN: usize = (MAX_HOPS - 1) * SLOT_LEN;

/// A hop's ephemeral share Y and its authenticator.
pub(crate) type Slot = [u8; SLOT_LEN];

type Slots = [Slot; MAX_HOPS];

/// What a hop needs to seal a reply, on either side.
pub(crate) struct ReplyKeys {
    /// Encrypts the slots; from the Sphinx secret, so that the origin can open a reply before it knows any share.
    pub(crate) slots: Secret<32>,
    /// Leads to what fills the last hop's other slots; from the Sphinx secret too.
    pub(crate) filler: Secret<32>,
}

impl ReplyKeys {
    /// Takes one layer off and returns the hop's own slot and what came from behind, as far as it still travels.
    pub(crate) fn open(&self, reply: &mut Slots) -> Slot {
        let cipher = WideBlock::new(self.slots.expose());
        for (number, slot) in reply.iter_mut().enumerate() {
            cipher.decrypt(&tweak(number), slot);
        }
        let own = reply[0];
        reply.copy_within(1.., 0);
        own
    }

    /// Puts `share` and its authenticator in front of `inner` and encrypts all slots.
    pub(crate) fn seal(&self, share: &[u8; ELEMENT_LEN], authenticator: &[u8; MAC_LEN], inner: &Slots) -> Slots {
        let mut reply = [[0; SLOT_LEN]; MAX_HOPS];
        reply[0][..ELEMENT_LEN].copy_from_slice(share);
        reply[0][ELEMENT_LEN..].copy_from_slice(authenticator);
        reply[1..].copy_from_slice(&inner[..MAX_HOPS - 1]);
        let cipher = WideBlock::new(self.slots.expose());
        for (number, slot) in reply.iter_mut().enumerate() {
            cipher.encrypt(&tweak(number), slot);
        }
        reply
    }

    /// What stands for the reply of the hop behind the last one.
    pub(crate) fn nothing_inside(&self) -> Slots {
        let filler: Secret<FILLER_LEN> = KeySource::from_root(&self.filler).derive("slots");
        let mut slots = [[0; SLOT_LEN]; MAX_HOPS];
        slots[..MAX_HOPS - 1].as_flattened_mut().copy_from_slice(filler.expose());
        slots
    }
}

/// Authenticates a hop's share, and the whole reply that it received from behind, under the key that only it and the origin have.
pub(crate) fn authenticator(key: &Secret<32>, share: &[u8; ELEMENT_LEN], inner: &Slots) -> [u8; MAC_LEN] {
    mac(key, &[share, inner.as_flattened()])
}

/// The slots of a reply.
pub(crate) fn slots(reply: &[u8; REPLY_LEN]) -> Slots {
    let mut slots = [[0; SLOT_LEN]; MAX_HOPS];
    slots.as_flattened_mut().copy_from_slice(reply);
    slots
}

/// The reply that slots make.
pub(crate) fn join(slots: &Slots) -> [u8; REPLY_LEN] {
    let mut reply = [0; REPLY_LEN];
    reply.copy_from_slice(slots.as_flattened());
    reply
}

fn tweak(slot: usize) -> [u8; TWEAK_LEN] {
    let mut tweak = *b"zmesh reply slot";
    tweak[TWEAK_LEN - 1] = slot.to_le_bytes()[0];
    tweak
}

/// A relay's answer to a set-up packet, waiting for the answer of the relay behind it. Used once, by value.
pub struct ReplySeal {
    pub(crate) keys: ReplyKeys,
    pub(crate) share: [u8; ELEMENT_LEN],
    pub(crate) authentication: Secret<32>,
}

impl ReplySeal {
    /// The reply of the last hop.
    ///
    /// The slots behind its own are filled from a key that the origin knows, so that no bit of a reply can change unseen.
    #[must_use]
    pub fn last(self) -> [u8; REPLY_LEN] {
        let inner = self.keys.nothing_inside();
        self.seal(&inner)
    }

    /// The reply of an earlier hop, around the reply `inner` of the next one.
    #[must_use]
    pub fn forward(self, inner: &[u8; REPLY_LEN]) -> [u8; REPLY_LEN] {
        self.seal(&slots(inner))
    }

    fn seal(self, inner: &Slots) -> [u8; REPLY_LEN] {
        let authenticator = authenticator(&self.authentication, &self.share, inner);
        join(&self.keys.seal(&self.share, &authenticator, inner))
    }
}

impl fmt::Debug for ReplySeal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReplySeal([redacted])")
    }
}
