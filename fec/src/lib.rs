//! Forward error correction for zMesh links (pure: no input or output, no clock, no dice).
//!
//! A link protects some of its cells by *repairs*: linear combinations, over GF(2⁸), of the cells that it sent within a deadline. The code
//! is a sliding window after Tetrys (RFC 9407): no blocks, so a repair can be made at any moment from whatever is in the window, and the
//! receiver solves as soon as it has as many equations as unknowns (decision 0093). What arrives is delivered at once; nothing waits for the code.
//!
//! | module | what it holds |
//! |---|---|
//! | [`vector`] | the encoding vector: which symbols are in a repair, and by which coefficients |
//! | [`update`] | the window update: what the receiver has |
//! | [`encoder`] | the window of recent symbols, and repairs from it |
//! | [`decoder`] | incremental Gaussian elimination, bounded in memory |
//! | [`adapt`] | how many repairs, and when: from the losses that feedback reports |
//! | [`chunk`] | data cut into RaptorQ symbols, of which any few more than K suffice |
//! | [`field`] | the arithmetic of GF(2⁸) |
//! | [`planes`] | the same on whole symbols |
//!
//! All times are nanoseconds since any fixed moment. The protocol, its limits and its figures: `specs/fec.md`.

pub mod adapt;
pub mod chunk;
pub mod decoder;
pub mod encoder;
pub mod field;
pub mod planes;
pub mod update;
pub mod vector;

pub use adapt::{Adapt, AdaptConfig};
pub use decoder::{Counters, Decoder};
pub use encoder::Encoder;
pub use update::WindowUpdate;
pub use vector::{Malformed, Vector};

/// Bytes in a symbol: one cell as it stands on the wire.
pub const SYMBOL_LEN: usize = 512;

/// Most symbols in one repair.
pub const WINDOW: usize = 64;

/// What the code works on.
pub type Symbol = [u8; SYMBOL_LEN];
