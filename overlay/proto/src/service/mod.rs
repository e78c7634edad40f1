//! Anonymous services: who they are, how they are found, and how a client comes to meet one.
//!
//! ```text
//! key ── base32 ──▶ address (NAME.zmesh)                                          the service hands it on
//!   address, period ── blinding ──▶ blinded key, subcredential                     whoever has the address can compute both
//!   blinded key, the document's randomness ── rendezvous hashing ──▶ the relays that keep the descriptor
//!   descriptor: signed by the blinded key, encrypted under the address             a store sees neither
//!   introduction: sealed for the service, passed on by a relay that it names in its descriptor
//!   meeting relay of the client's choice ◀── both sides' circuits, spliced; QUIC end to end
//! ```
//!
//! [`address`], [`key`], [`period`], [`descriptor`], [`introduce`], [`pow`], [`stream`] and [`tls`] are what both sides agree on; [`placement`]
//! says where descriptors are, [`place_work`] what leaving one costs; [`store`], [`intro`] and [`visitor`] are what a relay decides; [`seen`], [`load`] and [`places`] are what a
//! service decides about introductions and clients. `specs/16-services.md` has the bytes and the bounds.

pub mod address;
pub mod descriptor;
pub mod intro;
pub mod introduce;
pub mod key;
pub mod load;
pub mod period;
pub mod place_work;
pub mod placement;
pub mod places;
pub mod pow;
pub mod revision;
pub mod secret;
pub mod seen;
mod shares;
pub mod store;
pub mod stream;
#[cfg(test)]
mod tests;
pub mod tls;
pub mod visitor;

use sha2::{Digest as _, Sha256};

use crate::crowd::Via;

/// Over which circuit something came, as far as a relay can tell: what its bounds count by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Source {
    /// The QUIC session, which stays when its origin changes circuits.
    pub session: u64,
    /// The link over which the circuit came.
    pub via: Via,
}

/// SHA-256 over a context string, a zero byte and parts of fixed length.
fn digest(context: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix(context.as_bytes());
    hash.update([0]);
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}
