//! What a node makes of a message before it is passed on.

use sha2::{Digest, Sha256};

use super::machine::{Event, Transmit, Voting};
use crate::directory::{ChainError, Fork};
use crate::wire::control::vote::{EVIDENCE_MAX, Evidence, VoteMessage};
use crate::wire::control::{FormError, Reason, SignedHeader, Topic, Verdict};

/// After how many milliseconds it is said again that others seem to be further.
const BEHIND_AGAIN: u64 = 10_000;

impl Voting {
    pub(super) fn handle_vote(&mut self, bytes: &[u8], now: u64) -> Verdict {
        let id: [u8; 32] = Sha256::digest(bytes).into();
        if self.instance.has(&id) {
            return Verdict::Ignore(Reason::Duplicate);
        }
        let message = match VoteMessage::peek(bytes) {
            Ok(message) => message,
            Err(FormError::TooLarge { .. }) => return Verdict::Reject(Reason::Oversized),
            Err(_) => return Verdict::Reject(Reason::Malformed),
        };
        let (scope, ours) = (message.scope(), self.instance.scope());
        if scope.network != ours.network {
            return Verdict::Reject(Reason::OtherNetwork);
        }
        if scope != ours {
            // Anybody can say that it is of a later epoch: a signed header is what moves this node on.
            return Verdict::Ignore(if scope.previous_epoch < ours.previous_epoch {
                Reason::Stale
            } else {
                Reason::Unrelated
            });
        }
        self.take(message, now, false)
    }

    pub(super) fn take(&mut self, message: VoteMessage, now: u64, own: bool) -> Verdict {
        let (verdict, evidence) = self.instance.accept(message, now, own);
        if let Some(evidence) = evidence {
            let bytes = evidence.encode();
            if bytes.len() <= EVIDENCE_MAX {
                self.transmits.push_back(Transmit { topic: Topic::Proofs, bytes });
            }
            self.events.push_back(Event::Equivocation(Box::new(evidence)));
        }
        verdict
    }

    pub(super) fn handle_evidence(&mut self, bytes: &[u8]) -> Verdict {
        let Ok(evidence) = Evidence::decode(bytes) else { return Verdict::Reject(Reason::Malformed) };
        let (first, _) = evidence.votes();
        if first.scope().network != self.instance.scope().network {
            return Verdict::Reject(Reason::OtherNetwork);
        }
        if first.scope() != self.instance.scope() {
            return Verdict::Ignore(Reason::Unrelated);
        }
        if self.instance.place(&evidence.voter()).is_none() {
            return Verdict::Reject(Reason::NotEntitled);
        }
        match self.instance.convict(&evidence) {
            true => {
                self.events.push_back(Event::Equivocation(Box::new(evidence)));
                Verdict::Accept
            }
            false => Verdict::Ignore(Reason::Duplicate),
        }
    }

    /// Takes a proof that this node kept over a restart, so that whoever it is against is trusted no more than before in what is agreed
    /// on now. Nothing is said of it again. False if it is about that, and against nobody who votes on it.
    #[must_use]
    pub fn remember(&mut self, evidence: &Evidence) -> bool {
        if evidence.votes().0.scope() != self.instance.scope() {
            return true;
        }
        self.instance.convict(evidence);
        self.instance.place(&evidence.voter()).is_some()
    }

    pub(super) fn handle_header(&mut self, bytes: &[u8], now: u64) -> Verdict {
        let Ok(signed) = SignedHeader::decode(bytes) else { return Verdict::Reject(Reason::Malformed) };
        if signed.header().hash() == self.chain.head().hash {
            return Verdict::Ignore(Reason::Duplicate);
        }
        match self.chain.verify(&signed) {
            Ok(()) => {
                let relays = self.instance.value(&signed.header().hash()).map(|value| value.relays.clone());
                self.conclude(signed, relays, now, true);
                Verdict::Accept
            }
            Err(ChainError::NotNewer { .. }) => {
                self.look_for_fork(&signed);
                Verdict::Ignore(Reason::Stale)
            }
            Err(ChainError::OtherVoters { .. } | ChainError::OtherPast { .. }) => {
                // It may be a lie, and so may its epoch: this is said now and then, and nothing rests on it.
                if now >= self.behind {
                    self.behind = now.saturating_add(BEHIND_AGAIN);
                    self.events.push_back(Event::Behind { epoch: signed.header().epoch() });
                }
                Verdict::Ignore(Reason::Unrelated)
            }
            Err(ChainError::OtherNetwork(_)) => Verdict::Reject(Reason::OtherNetwork),
            Err(ChainError::AgainstRules(_)) => Verdict::Reject(Reason::AgainstRules),
            Err(_) => Verdict::Reject(Reason::Forged),
        }
    }

    fn look_for_fork(&mut self, signed: &SignedHeader) {
        let Some((last, voters)) = &self.last else { return };
        if let Some(fork) = Fork::find(last, signed)
            && fork.verify(self.chain.genesis(), voters).is_ok()
        {
            self.events.push_back(Event::Forked(Box::new(fork)));
        }
    }
}
