//! The path part.
