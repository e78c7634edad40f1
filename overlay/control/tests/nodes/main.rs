//! Control nodes over loopback, friendly and hostile.

mod behind;
mod common;
mod crawler;
mod documents;
mod hostile;
mod join;
mod proofs;
mod reach;
mod rejoin;
mod upgrade;
mod votes;
