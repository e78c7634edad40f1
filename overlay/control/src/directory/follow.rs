//! How a directory node keeps up with the network's documents: what it holds, what it asks for, what it gives.
//!
//! Pure: it decides, and the driver asks and answers.

use std::collections::VecDeque;
use std::sync::Arc;

use zmesh_proto::directory::{CHANGES_MAX, Chain, ChainError, Held, Step};
use zmesh_proto::wire::control::{Difference, Genesis, HeaderHash, Reason, SignedHeader, Snapshot, Verdict};
use zmesh_proto::wire::descriptor::Descriptor;

use super::copies::Copies;
use super::fetching::{Fetching, Way};
use super::question::{Answer, Question};
use crate::PeerIdentity;

/// Earlier documents from which differences are given.
const EARLIER: usize = 8;

/// How far a document's epoch may be ahead of the clock. One is agreed on in the epoch before its own, and clocks differ.
const AHEAD: u64 = 2;

/// The documents of a directory node.
pub(crate) struct Follow {
    genesis: Genesis,
    held: Option<Held>,
    earlier: VecDeque<Snapshot>,
    /// The newest header that was accepted: its document may still be on its way.
    announced: Option<HeaderHash>,
    fetching: Fetching,
    copies: Copies,
}

/// What an answer brought.
pub(crate) enum Progress {
    /// One more question for the same peer.
    Ask(Question),
    /// A document that has to be verified, which takes long for a large network.
    Verify(Box<Job>),
    /// Nothing new; the peer is not to blame.
    Nothing,
    /// The peer's answer is none that an honest node gives.
    Blame,
}

/// A document to verify, away from what must not wait.
pub(crate) struct Job {
    peer: PeerIdentity,
    genesis: Genesis,
    held: Option<Held>,
    changes: Vec<SignedHeader>,
    difference: bool,
    bytes: Vec<u8>,
}

/// What came of it.
pub(crate) struct Verified {
    peer: PeerIdentity,
    result: Result<Held, ChainError>,
}

impl Job {
    pub(crate) fn run(self) -> Verified {
        let Self { peer, genesis, held, changes, difference, bytes } = self;
        Verified { peer, result: advance(genesis, held, changes, difference, &bytes) }
    }
}

fn advance(
    genesis: Genesis,
    held: Option<Held>,
    changes: Vec<SignedHeader>,
    difference: bool,
    bytes: &[u8],
) -> Result<Held, ChainError> {
    let Some(mut held) = held else {
        // A difference to nothing verifies as no snapshot.
        return Held::begin(genesis.network_id(), genesis, changes, bytes);
    };
    if difference {
        held.advance(&changes, Step::Difference(&Difference::decode(bytes)?))?;
    } else {
        held.advance(&changes, Step::Snapshot(bytes))?;
    }
    Ok(held)
}

impl Follow {
    pub(crate) fn new(genesis: Genesis, held: Option<Held>) -> Self {
        Self {
            genesis,
            held,
            earlier: VecDeque::new(),
            announced: None,
            fetching: Fetching::default(),
            copies: Copies::default(),
        }
    }

    pub(crate) fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    pub(crate) fn held(&self) -> Option<&Held> {
        self.held.as_ref()
    }

    /// Documents before the one that is held, the latest first.
    pub(crate) fn earlier(&self) -> impl Iterator<Item = &Snapshot> {
        self.earlier.iter()
    }

    /// The epoch that is held; 0 for none.
    pub(crate) fn epoch(&self) -> u64 {
        self.held.as_ref().map_or(0, Held::epoch)
    }

    /// Judges a signed header as it came; true with it if it tells of a newer document. The time is in unix seconds.
    pub(crate) fn judge(&mut self, bytes: &[u8], now: u64) -> (Verdict, bool) {
        let Ok(signed) = SignedHeader::decode(bytes) else { return (Verdict::against(Reason::Malformed), false) };
        let hash = signed.header().hash();
        if self.held.as_ref().is_some_and(|held| held.hash() == hash) {
            return (Verdict::against(Reason::Duplicate), false);
        }
        // Whoever leaves out another of the signatures each time has as many good messages of one header.
        if self.announced == Some(hash) {
            return (Verdict::against(Reason::Duplicate), true);
        }
        let checked = match &self.held {
            Some(held) => held.chain().verify(&signed),
            None => Chain::from_genesis(self.genesis.clone()).verify(&signed),
        };
        let early = signed.header().epoch() > self.genesis.epoch_at(now).saturating_add(AHEAD);
        match checked {
            Ok(()) if early => (Verdict::against(Reason::Early), false),
            Ok(()) => {
                self.announced = Some(hash);
                (Verdict::Accept, true)
            }
            Err(ChainError::NotNewer { .. }) => (Verdict::against(Reason::Stale), false),
            // Headers between are missing here, so nothing can be said of it; the document is asked for all the same.
            Err(ChainError::OtherVoters { .. }) => (Verdict::against(Reason::Unrelated), !early),
            Err(ChainError::OtherPast { .. }) => (Verdict::against(Reason::Unrelated), false),
            Err(ChainError::OtherNetwork(_)) => (Verdict::against(Reason::OtherNetwork), false),
            Err(ChainError::ForgedSignature(_) | ChainError::TooFewSignatures { .. }) => {
                (Verdict::against(Reason::Forged), false)
            }
            Err(_) => (Verdict::against(Reason::AgainstRules), false),
        }
    }

    /// The first question to a peer that seems to have a newer document; `None` while it rests or two are asked.
    pub(crate) fn begin(&mut self, peer: PeerIdentity, way: Way, now: u64) -> Option<Question> {
        let after = self.epoch();
        self.fetching.begin(peer, way, after, now).then_some(Question::Changes { after })
    }

    /// The peer is gone, or gave no answer.
    pub(crate) fn give_up(&mut self, peer: &PeerIdentity, now: u64) {
        if self.fetching.take(peer).is_some() {
            self.fetching.in_vain(*peer, now);
        }
    }

    /// Time passes: whoever takes too long is given up.
    pub(crate) fn give_up_slow(&mut self, now: u64) {
        self.fetching.give_up_slow(now);
    }

    /// Takes an answer of a peer that is asked.
    pub(crate) fn answered(&mut self, peer: &PeerIdentity, answer: Answer, now: u64) -> Progress {
        let Some(mut fetch) = self.fetching.take(peer) else { return Progress::Nothing };
        if self.epoch() != fetch.from {
            // The other one that was asked was faster.
            return Progress::Nothing;
        }
        let Some(changes) = fetch.changes.take() else {
            let Ok(changes) = answer.headers() else { return self.blame(peer, now) };
            if changes.len() > CHANGES_MAX {
                return self.blame(peer, now);
            }
            fetch.changes = Some(changes);
            self.fetching.put(fetch);
            return Progress::Ask(Question::Document { have: self.held.as_ref().map(Held::hash) });
        };
        if answer.parts.is_empty() {
            return match fetch.way {
                Way::Said => self.blame(peer, now),
                // It may have heard of it just as this node did, and not have it yet.
                Way::Brought => {
                    self.fetching.in_vain(*peer, now);
                    Progress::Nothing
                }
                Way::Chosen => Progress::Nothing,
            };
        }
        let difference = answer.difference;
        let Some(bytes) = answer.only() else { return self.blame(peer, now) };
        let (genesis, held) = (self.genesis.clone(), self.held.clone());
        // Its place stays taken until the document is verified.
        fetch.changes = Some(Vec::new());
        self.fetching.put(fetch);
        Progress::Verify(Box::new(Job { peer: *peer, genesis, held, changes, difference, bytes }))
    }

    fn blame(&mut self, peer: &PeerIdentity, now: u64) -> Progress {
        self.fetching.in_vain(*peer, now);
        Progress::Blame
    }

    /// Takes a verified document: whether it is newer, or its peer is to blame, and who that is.
    pub(crate) fn verified(&mut self, verified: Verified, now: u64) -> (PeerIdentity, Result<bool, ()>) {
        let Verified { peer, result } = verified;
        self.fetching.take(&peer);
        let outcome = match result {
            Ok(held) => {
                self.fetching.was_good(&peer);
                Ok(self.take(held))
            }
            // It fell behind, or this node went ahead meanwhile.
            Err(ChainError::NotNewer { .. } | ChainError::OtherPast { .. }) => Ok(false),
            Err(_) => {
                self.fetching.in_vain(peer, now);
                Err(())
            }
        };
        (peer, outcome)
    }

    /// Moves on to a document that this node made itself, with others.
    pub(crate) fn adopt(&mut self, snapshot: &Snapshot) -> Result<bool, ChainError> {
        let held = advance(self.genesis.clone(), self.held.clone(), Vec::new(), false, &snapshot.encode())?;
        Ok(self.take(held))
    }

    fn take(&mut self, held: Held) -> bool {
        if held.epoch() <= self.epoch() {
            return false;
        }
        self.copies.clear();
        if let Some(before) = self.held.replace(held) {
            self.earlier.push_front(before.snapshot().clone());
            self.earlier.truncate(EARLIER);
        }
        true
    }

    /// The signed header of the newest document.
    pub(crate) fn head(&self) -> Answer {
        self.held.as_ref().map_or_else(Answer::none, |held| Answer::whole(held.snapshot().document().signed().encode()))
    }

    /// The headers at which voters changed.
    pub(crate) fn changes(&self, after: u64) -> Answer {
        let later = self.held.iter().flat_map(Held::changes).filter(|change| change.header().epoch() > after);
        Answer::parts(later.map(SignedHeader::encode).collect())
    }

    /// The newest document for somebody who has another one, encoded; `None` if there is none or it is that one.
    pub(crate) fn document(&mut self, have: Option<HeaderHash>) -> Option<Arc<Vec<u8>>> {
        let held = self.held.as_ref().filter(|held| have != Some(held.hash()))?;
        let base = have.and_then(|have| self.earlier.iter().find(|old| old.document().hash() == have));
        Some(match base {
            Some(base) => self.copies.difference(base, held),
            None => self.copies.whole(held),
        })
    }

    /// The descriptors of the document that is held.
    pub(crate) fn listed(&self) -> &[Descriptor] {
        self.held.as_ref().map_or(&[], |held| held.snapshot().descriptors())
    }
}
