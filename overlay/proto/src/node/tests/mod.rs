//! Whole nodes against each other, in virtual time.

mod anything;
mod cells;
mod entry;
mod failure;
mod flood;
mod helping;
mod meeting;
mod queueing;
mod redaction;
mod setup;
mod strangers;
mod traversal;
mod world;
