//! How a directory node keeps up with the network's documents: what it holds, what it asks for, what it gives.
//!
//! Pure: it decides, and the driver asks and answers.

use std::collections::VecDeque;

use zmesh_proto::directory::{ChainError, Held, Step};
use zmesh_proto::wire::control::{Difference, Genesis, Reason, SignedHeader, Snapshot, Verdict};
use zmesh_proto::wire::descriptor::Descriptor;

use super::question::{Answer, Question};
use crate::PeerIdentity;

/// Earlier documents from which differences are given.
const EARLIER: usize = 8;

/// The documents of a directory node.
pub(crate) struct Follow {
    genesis: Genesis,
    held: Option<Held>,
    earlier: VecDeque<Snapshot>,
    /// What is asked for, and of whom: one thing at a time.
    fetch: Option<Fetch>,
}

fn fetch_of(peer: PeerIdentity) -> Fetch {
    Fetch { peer, changes: None }
}

struct Fetch {
    peer: PeerIdentity,
    changes: Option<Vec<SignedHeader>>,
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
        Self { genesis, held, earlier: VecDeque::new(), fetch: None }
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

    /// Judges a signed header as it came; true with it if it tells of a newer document.
    pub(crate) fn judge(&self, bytes: &[u8]) -> (Verdict, bool) {
        let Ok(signed) = SignedHeader::decode(bytes) else { return (Verdict::against(Reason::Malformed), false) };
        let checked = match &self.held {
            Some(held) if held.hash() == signed.header().hash() => return (Verdict::against(Reason::Duplicate), false),
            Some(held) => held.chain().verify(&signed),
            None => zmesh_proto::directory::Chain::from_genesis(self.genesis.clone()).verify(&signed),
        };
        match checked {
            Ok(()) => (Verdict::Accept, true),
            Err(ChainError::NotNewer { .. }) => (Verdict::against(Reason::Stale), false),
            // Headers between are missing here, so nothing can be said of it; the document is asked for all the same.
            Err(ChainError::OtherVoters { .. }) => (Verdict::against(Reason::Unrelated), true),
            Err(ChainError::OtherPast { .. }) => (Verdict::against(Reason::Unrelated), false),
            Err(ChainError::OtherNetwork(_)) => (Verdict::against(Reason::OtherNetwork), false),
            Err(ChainError::ForgedSignature(_) | ChainError::TooFewSignatures { .. }) => {
                (Verdict::against(Reason::Forged), false)
            }
            Err(_) => (Verdict::against(Reason::AgainstRules), false),
        }
    }

    /// The first question to a peer that seems to have a newer document; `None` while another is asked.
    pub(crate) fn begin(&mut self, peer: PeerIdentity) -> Option<Question> {
        if self.fetch.is_some() {
            return None;
        }
        self.fetch = Some(fetch_of(peer));
        Some(Question::Changes { after: self.epoch() })
    }

    /// The peer is gone, or gave no answer.
    pub(crate) fn give_up(&mut self, peer: &PeerIdentity) {
        if self.fetch.as_ref().is_some_and(|fetch| fetch.peer == *peer) {
            self.fetch = None;
        }
    }

    /// Takes an answer of the peer that is asked.
    pub(crate) fn answered(&mut self, peer: &PeerIdentity, answer: Answer) -> Progress {
        if self.fetch.as_ref().is_none_or(|fetch| fetch.peer != *peer) {
            return Progress::Nothing;
        }
        let Some(fetch) = self.fetch.take() else { return Progress::Nothing };
        let Some(changes) = fetch.changes else {
            let Ok(changes) = answer.headers() else { return Progress::Blame };
            self.fetch = Some(Fetch { peer: fetch.peer, changes: Some(changes) });
            return Progress::Ask(Question::Document { have: self.held.as_ref().map(Held::hash) });
        };
        if answer.parts.is_empty() {
            return Progress::Nothing;
        }
        let difference = answer.difference;
        let Some(bytes) = answer.only() else { return Progress::Blame };
        let (peer, genesis, held) = (fetch.peer, self.genesis.clone(), self.held.clone());
        // Nothing else is asked for until it is verified.
        self.fetch = Some(fetch_of(peer));
        Progress::Verify(Box::new(Job { peer, genesis, held, changes, difference, bytes }))
    }

    /// Takes a verified document: whether it is newer, or its peer is to blame, and who that is.
    pub(crate) fn verified(&mut self, verified: Verified) -> (PeerIdentity, Result<bool, ()>) {
        let Verified { peer, result } = verified;
        self.give_up(&peer);
        let outcome = match result {
            Ok(held) => Ok(self.take(held)),
            // It fell behind, or this node went ahead meanwhile.
            Err(ChainError::NotNewer { .. } | ChainError::OtherPast { .. }) => Ok(false),
            Err(_) => Err(()),
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
        if let Some(before) = self.held.replace(held) {
            self.earlier.push_front(before.snapshot().clone());
            self.earlier.truncate(EARLIER);
        }
        true
    }

    /// Answers a question about documents.
    pub(crate) fn answer(&self, question: &Question) -> Answer {
        let Some(held) = &self.held else { return Answer::parts(Vec::new()) };
        match question {
            Question::Head => Answer::whole(held.snapshot().document().signed().encode()),
            Question::Changes { after } => {
                let later = held.changes().iter().filter(|change| change.header().epoch() > *after);
                Answer::parts(later.map(SignedHeader::encode).collect())
            }
            Question::Document { have } if *have == Some(held.hash()) => Answer::parts(Vec::new()),
            Question::Document { have } => {
                let base = have.and_then(|have| self.earlier.iter().find(|old| old.document().hash() == have));
                match base {
                    Some(base) => Answer::difference(&Difference::between(base, held.snapshot())),
                    None => Answer::whole(held.snapshot().encode()),
                }
            }
            Question::Descriptors { .. } | Question::Votes { .. } => Answer::parts(Vec::new()),
        }
    }

    /// The descriptors of the document that is held.
    pub(crate) fn listed(&self) -> &[Descriptor] {
        self.held.as_ref().map_or(&[], |held| held.snapshot().descriptors())
    }
}
