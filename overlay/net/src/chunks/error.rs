//! Why a file was not published or fetched.

use std::io;

use zmesh_proto::seeding::fetch::Shortage;
use zmesh_proto::seeding::root::FILE_MAX;

/// Why a file was not published or fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// The network document lists no relay that keeps chunks.
    #[error("no relay of this network keeps chunks")]
    NoSeeders,
    /// The file is too long.
    #[error("the file is longer than {FILE_MAX} bytes")]
    TooLong,
    /// The file cannot be read, or what was fetched cannot be written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// No relay took a chunk.
    #[error("chunk {chunk} of the file was taken by none of {tried} relays: {reason}")]
    NotTaken {
        /// Which one, from 1; the root comes last.
        chunk: usize,
        /// Relays that were tried.
        tried: usize,
        /// What the last of them said.
        reason: String,
    },
    /// A chunk cannot be had.
    #[error("chunk {chunk} of the file cannot be had: {}", describe(shortage))]
    Missing {
        /// Which one, from 1; 0 is the root.
        chunk: usize,
        /// What was found.
        shortage: Shortage,
    },
    /// The chunks came, and are not what a publisher makes: the address is wrong or was made by other rules.
    #[error("what the address names is no file: {0}")]
    Unreadable(String),
    /// The node was shut down.
    #[error("the node is shut down")]
    ShutDown,
}

fn describe(shortage: &Shortage) -> String {
    let Shortage { seeders, absent, lost, liars, have, need } = shortage;
    let mut why = Vec::new();
    if *absent > 0 {
        why.push(format!("{absent} do not hold it"));
    }
    if *lost > 0 {
        why.push(format!("{lost} did not answer"));
    }
    if *liars > 0 {
        why.push(format!("{liars} gave wrong data"));
    }
    format!("of {seeders} relays that may hold it, {}; {have} of {need} symbols found", why.join(", "))
}
