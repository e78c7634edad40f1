//! Whole nodes against each other, in virtual time.

mod cells;
mod dbg;
mod failure;
mod flood;
mod meeting;
mod queueing;
mod setup;
mod world;
