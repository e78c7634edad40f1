//! Repair of one link: what was lost between two neighbours is made good between them, in a round trip or less.
//!
//! - `sender`: what this node keeps of the cells that it sent, those of busy circuits from the start and all from the first
//!   loss on, and what it sends again or beside them; `ring` holds the cells.
//! - `receiver`: what it keeps of the cells that it got, from the first protected one on.
//! - `memory`: the bound over all links.
//!
//! Without loss there is no byte and no delay of this, and for calls no memory.

mod memory;
mod receiver;
mod ring;
mod sender;

pub(super) use memory::{Budget, Who};
pub(super) use receiver::{Receiver, Work};
pub(super) use sender::Sender;

use zmesh_fec::Encoder;

use super::clock::{MILLI, Nanos, SECOND};

/// Bytes that the links to relays may keep for repair together, and those of strangers: origins, and whoever says that he
/// is a relay and is not known. A link uses 64 KiB while a call is on it, and at most 3 MiB.
pub(super) const RELAY_BYTES: usize = 16 << 20;
pub(super) const STRANGER_BYTES: usize = 48 << 20;
/// A direction on which nothing was lost for so long, or nothing protected came, forgets all that it kept.
pub(super) const QUIET: Nanos = 20 * SECOND;
/// No repair holds a cell that left longer ago: a listener would no longer wait for it.
const DEADLINE: Nanos = 120 * MILLI;

/// Both directions of a link.
#[derive(Debug)]
pub(super) struct Repair {
    pub(super) sender: Option<Box<Sender>>,
    pub(super) receiver: Option<Box<Receiver>>,
    /// Protected cells. Their numbers go on over the link's life; without any it holds no memory.
    pub(super) encoder: Encoder,
}

impl Default for Repair {
    fn default() -> Self {
        Self { sender: None, receiver: None, encoder: Encoder::new(DEADLINE) }
    }
}
