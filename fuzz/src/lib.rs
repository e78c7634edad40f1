//! What several targets share: two links, or three nodes, joined by a wire that an attacker holds.

pub mod links;
pub mod nodes;
pub mod voting;
