//! The link part.
