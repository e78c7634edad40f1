//! Where traffic leaves zMesh.
//!
//! An exit relay hands every request of its circuits to an [`Egress`](zmesh_overlay::egress::Egress). This crate has the
//! one that uses this machine's own sockets, [`Direct`], and what it obeys: a [`Policy`] over the addresses that are
//! really connected to, and [`Limits`] per circuit. `specs/06-exits.md` is its specification.
//!
//! Nothing here logs a destination, a name or an address, at any level.

pub mod direct;
pub mod policy;
pub mod quota;

pub use direct::{Direct, DirectConfig};
pub use policy::Policy;
pub use quota::Limits;
