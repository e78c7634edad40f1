//! Forward error correction for zMesh links (pure: no input or output, no clock, no dice).
//!
//! What is here: [`field`], the arithmetic of GF(2⁸) on whole symbols. Repair symbols of a link are linear combinations
//! of its recent cells over this field (Tetrys, RFC 9407). The link keeps a frame type for them (`specs/03-link.md`) and
//! one place through which every sent cell passes; nothing is sent for repair yet.

pub mod chunk;
pub mod field;
