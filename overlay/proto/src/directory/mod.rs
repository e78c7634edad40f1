//! The directory part.
