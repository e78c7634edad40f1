//! The document codec.
