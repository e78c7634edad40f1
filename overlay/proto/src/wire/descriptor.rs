//! The descriptor codec.
