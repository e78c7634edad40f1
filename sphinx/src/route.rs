//! Who is on a path, and what the routing block tells each of them.

use std::fmt;

use crate::{
    error::Error,
    group::OnionPublic,
    number::{COUNTER_MASK, LANE_SHIFT},
};

/// Names a relay on the wire: the first 16 bytes of the hash of its identity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelayId(pub [u8; 16]);

impl fmt::Display for RelayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RelayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelayId({self})")
    }
}

/// One relay of a path, as the origin knows it from the network document.
#[derive(Clone, Debug)]
pub struct PathHop {
    /// The relay's name.
    pub id: RelayId,
    /// The onion key that the relay uses at the time of the set-up.
    pub onion: OnionPublic,
}

/// Length of what a routing block says, without the authenticator of the next header.
pub(crate) const ROUTING_LEN: usize = 32;

const FLAG_LAST: u32 = 1;

/// What the origin tells one hop: where the packet goes, when it is valid, and how cell numbers change there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Routing {
    /// The next relay, or nothing at the last hop.
    pub(crate) next: Option<RelayId>,
    /// The slot in which the packet is valid.
    pub(crate) slot: u32,
    /// The first cell number, less its lane, on the link towards the origin.
    pub(crate) start: u32,
    /// What this hop adds to a cell number on its way to the next link.
    pub(crate) shift: u32,
    /// The lane of this hop's own backward cells on the link towards the origin.
    pub(crate) own_lane: u8,
    /// What this hop XORs onto the lane of the backward cells that it passes on.
    pub(crate) lane_mask: u8,
}

impl Routing {
    pub(crate) fn encode(&self) -> [u8; ROUTING_LEN] {
        let flags = if self.next.is_none() { FLAG_LAST } else { 0 };
        let start = self.start | u32::from(self.own_lane) << LANE_SHIFT;
        let shift = self.shift | u32::from(self.lane_mask) << LANE_SHIFT;
        let mut out = [0; ROUTING_LEN];
        out[..16].copy_from_slice(&self.next.map_or([0; 16], |id| id.0));
        out[16..20].copy_from_slice(&self.slot.to_be_bytes());
        out[20..24].copy_from_slice(&start.to_be_bytes());
        out[24..28].copy_from_slice(&shift.to_be_bytes());
        out[28..].copy_from_slice(&flags.to_be_bytes());
        out
    }

    /// Decodes an authenticated block. Unknown flags, and a next relay at the last hop, are refused.
    pub(crate) fn decode(bytes: &[u8; ROUTING_LEN]) -> Result<Self, Error> {
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[..16]);
        let next = match word(28) {
            0 => Some(RelayId(id)),
            FLAG_LAST if id == [0; 16] => None,
            _ => return Err(Error::UnknownRouting),
        };
        let lane = |value: u32| value.to_be_bytes()[0] >> 6;
        Ok(Self {
            next,
            slot: word(16),
            start: word(20) & COUNTER_MASK,
            shift: word(24) & COUNTER_MASK,
            own_lane: lane(word(20)),
            lane_mask: lane(word(24)),
        })
    }
}
