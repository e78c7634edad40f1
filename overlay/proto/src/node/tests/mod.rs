//! Whole nodes against each other, in virtual time.

mod cells;
mod failure;
mod flood;
mod meeting;
mod queueing;
mod setup;
mod world;
mod dbg;
