//! What relays say of the newest document, compared: how a client finds out that it is cut off.
//!
//! A client asks relays over circuits that share as little as the network allows. Who lies alone is found out by the
//! signatures that a document needs; who is cut off with everybody whom it asks sees documents that grow old, or two
//! histories. None of that needs a clock better than an epoch.

#[cfg(test)]
mod tests;

use std::fmt;

use zmesh_sphinx::RelayId;

use super::chain::{Chain, ChainError};
use super::fork::{DoubleSigners, Fork};
use crate::wire::control::{HeaderHash, SignedHeader, VoterSet};

/// Circuits over which heads are compared.
pub const COMPARED: usize = 3;

/// So many epochs may pass without a new document before a client says so: voters may fail to agree once.
const QUIET_EPOCHS: u64 = 2;

/// What one relay said over one circuit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Said {
    /// Its newest document is the one that the client has.
    Same,
    /// Its newest document is another: this signed header.
    Header(Box<SignedHeader>),
    /// It named another document and did not give the header, or gave bytes that are none.
    Nonsense,
    /// It gave none.
    Refused,
    /// The circuit failed, which says nothing of the relay.
    Nothing,
}

/// The document that a client has.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The chain, whose head is that document.
    pub chain: &'a Chain,
    /// Its signed header.
    pub header: &'a SignedHeader,
    /// The voters who signed it.
    pub signers: &'a VoterSet,
}

/// Two histories of one network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Split {
    /// The proof, which convinces everybody who knows the voters.
    pub fork: Box<Fork>,
    /// Who signed both.
    pub signers: DoubleSigners,
    /// The epoch of the lower branch.
    pub epoch: u64,
}

/// What a comparison came to.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Comparison {
    /// The newest header that enough of the known voters signed, newer than what the client has, and who gave it.
    pub newer: Option<(RelayId, Box<SignedHeader>)>,
    /// A newer header by voters whom the client does not know, and who gave it: the headers between are needed first.
    pub beyond: Option<(RelayId, u64)>,
    /// Relays whose newest document is the one that the client has, or newer.
    pub current: Vec<RelayId>,
    /// Relays that gave an older document of this network as their newest.
    pub stale: Vec<(RelayId, u64)>,
    /// Relays that gave what no honest relay gives.
    pub liars: Vec<(RelayId, Lie)>,
    /// Relays that gave nothing.
    pub refused: Vec<RelayId>,
    /// Circuits that failed.
    pub unreached: usize,
    /// Two documents where there may be one.
    pub split: Option<Split>,
}

/// What no honest relay gives.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Lie {
    /// It named a document and could not show its header.
    #[error("it named a document that it could not show")]
    Unshown,
    /// What it gave is refused for this reason.
    #[error("{0}")]
    Refused(#[from] ChainError),
}

/// Compares what relays said with what the client has.
#[must_use]
pub fn compare(known: Known<'_>, said: &[(RelayId, Said)]) -> Comparison {
    let mut result = Comparison::default();
    for (relay, said) in said {
        match said {
            Said::Same => result.current.push(*relay),
            Said::Refused => result.refused.push(*relay),
            Said::Nothing => result.unreached += 1,
            Said::Nonsense => result.liars.push((*relay, Lie::Unshown)),
            Said::Header(header) => result.take(known, *relay, header),
        }
    }
    result
}

impl Comparison {
    fn take(&mut self, known: Known<'_>, relay: RelayId, given: &SignedHeader) {
        let (head, header) = (known.chain.head(), given.header());
        if header.hash() == head.hash {
            return self.current.push(relay);
        }
        match known.chain.verify(given) {
            Ok(()) => self.take_newer(known, relay, given),
            Err(ChainError::NotNewer { .. }) if header.epoch() < head.epoch => self.stale.push((relay, header.epoch())),
            // Another document of this epoch, or one that follows another: two histories, if enough signed it.
            Err(error @ (ChainError::NotNewer { .. } | ChainError::OtherPast { .. })) => {
                match split(known, known.signers, known.header, given) {
                    Some(split) => self.split = Some(split),
                    None => self.liars.push((relay, error.into())),
                }
            }
            Err(ChainError::OtherVoters { .. }) => {
                if self.beyond.is_none_or(|(_, epoch)| epoch < header.epoch()) {
                    self.beyond = Some((relay, header.epoch()));
                }
            }
            Err(error) => self.liars.push((relay, error.into())),
        }
    }

    fn take_newer(&mut self, known: Known<'_>, relay: RelayId, given: &SignedHeader) {
        self.current.push(relay);
        if let Some((_, best)) = &self.newer {
            if let Some(found) = split(known, &known.chain.head().voters, best, given) {
                self.split = Some(found);
            }
            if best.header().epoch() >= given.header().epoch() {
                return;
            }
        }
        self.newer = Some((relay, Box::new(given.clone())));
    }

    /// How many relays answered.
    #[must_use]
    pub fn answered(&self) -> usize {
        self.current.len() + self.stale.len() + self.liars.len() + self.refused.len()
    }

    /// What a person should hear of it, the worst first; `None` when all is well. `epoch` is that of the newest document after this
    /// comparison, `epoch_now` the epoch of the clock.
    #[must_use]
    pub fn warning(&self, epoch: u64, epoch_now: u64) -> Option<Warning> {
        if let Some(split) = &self.split {
            return Some(Warning::TwoHistories { epoch: split.epoch });
        }
        let (asked, answered) = (self.answered() + self.unreached, self.answered());
        let quiet = epoch_now.saturating_sub(epoch);
        if quiet > QUIET_EPOCHS {
            return Some(Warning::Old { epoch, epochs: quiet });
        }
        if !self.stale.is_empty() {
            return Some(Warning::Behind { relays: self.stale.len(), asked, epoch });
        }
        if !self.liars.is_empty() {
            return Some(Warning::Forged { relays: self.liars.len(), asked });
        }
        if answered > 0 && 2 * self.refused.len() > answered {
            return Some(Warning::Refused { relays: self.refused.len(), asked });
        }
        if self.current.len() < COMPARED {
            return Some(Warning::Uncompared { answered: self.current.len() });
        }
        None
    }
}

/// Whether two headers are two histories that these voters signed.
fn split(known: Known<'_>, voters: &VoterSet, first: &SignedHeader, second: &SignedHeader) -> Option<Split> {
    let fork = Fork::find(first, second)?;
    let signers = fork.verify(known.chain.genesis(), voters).ok()?;
    let epoch = first.header().epoch().min(second.header().epoch());
    Some(Split { fork: Box::new(fork), signers, epoch })
}

/// Why a client may be cut off from its network: one line for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Warning {
    /// Enough voters signed two documents.
    TwoHistories {
        /// The epoch in which they part.
        epoch: u64,
    },
    /// No relay has anything newer, and it is time.
    Old {
        /// The epoch of the newest document.
        epoch: u64,
        /// How many epochs ago that was.
        epochs: u64,
    },
    /// Some relays give an older document as their newest.
    Behind {
        /// How many.
        relays: usize,
        /// How many were asked.
        asked: usize,
        /// The epoch of the newest document that the client knows.
        epoch: u64,
    },
    /// Some relays gave what is not signed as it has to be.
    Forged {
        /// How many.
        relays: usize,
        /// How many were asked.
        asked: usize,
    },
    /// Most relays gave nothing.
    Refused {
        /// How many.
        relays: usize,
        /// How many were asked.
        asked: usize,
    },
    /// Too few relays answered to compare.
    Uncompared {
        /// How many did.
        answered: usize,
    },
}

impl Warning {
    /// Whether it is more likely than not that somebody stands between this client and the network.
    #[must_use]
    pub fn is_grave(&self) -> bool {
        matches!(self, Self::TwoHistories { .. } | Self::Old { .. })
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TwoHistories { epoch } => write!(
                f,
                "this network shows you two histories: its voters signed two documents of epoch {epoch}. You may be cut off, or voters \
                 are in wrong hands; the one that you had stays in use"
            ),
            Self::Old { epoch, epochs } => write!(
                f,
                "this network shows you nothing newer than epoch {epoch}, {epochs} epochs ago: you may be cut off"
            ),
            Self::Behind { relays, asked, epoch } => write!(
                f,
                "this network shows you old documents: {relays} of {asked} relays know nothing of epoch {epoch}. If this lasts, you may \
                 be cut off"
            ),
            Self::Forged { relays, asked } => write!(
                f,
                "this network shows you forged documents: {relays} of {asked} relays gave what its voters did not sign. They were not \
                 believed; somebody may try to cut you off"
            ),
            Self::Refused { relays, asked } => write!(
                f,
                "this network shows you nothing: {relays} of {asked} relays gave no document. If this lasts, you may be cut off"
            ),
            Self::Uncompared { answered } => write!(
                f,
                "only {answered} of the {COMPARED} relays that are compared confirmed the newest document: whether you are cut off cannot \
                 be told"
            ),
        }
    }
}

/// The hash as a relay's claim names it.
impl From<HeaderHash> for crate::wire::request::DocumentHash {
    fn from(hash: HeaderHash) -> Self {
        Self(hash.0)
    }
}
