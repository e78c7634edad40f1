//! The request codec.
