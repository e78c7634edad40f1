//! The cell codec.
