//! The keys part.
