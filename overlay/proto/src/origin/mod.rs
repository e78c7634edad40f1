//! The origin part.
