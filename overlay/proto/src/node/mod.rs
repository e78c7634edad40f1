//! The node part.
