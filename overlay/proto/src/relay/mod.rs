//! The relay part.
