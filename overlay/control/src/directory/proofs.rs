//! The driver's part in proofs against voters: they are on the disk when it goes on, and come back with the node.

use zmesh_proto::directory::voting::Voting;
use zmesh_proto::directory::{ProofChange, Proofs};
use zmesh_proto::wire::control::Genesis;
use zmesh_proto::wire::control::vote::Evidence;

use super::node::Driver;
use crate::{Store, StoreError};

/// What the store keeps of proofs, as far as it verifies. What does not is forgotten, and nothing else with it. The machine need not
/// find out again who cannot be trusted in what it agrees on now.
pub(super) fn recall(store: Option<&Store>, genesis: &Genesis, voting: &mut Voting) -> Proofs {
    let mut proofs = Proofs::new(genesis.network_id());
    if let Some(store) = store
        && let Err(error) = read(store, &mut proofs, voting)
    {
        tracing::warn!("proofs against voters cannot be read: {error}");
    }
    proofs
}

fn read(store: &Store, proofs: &mut Proofs, voting: &mut Voting) -> Result<(), StoreError> {
    let head = voting.chain().head().epoch;
    let mut refused = Vec::new();
    for (name, bytes) in store.proofs()? {
        if let Err(why) = proofs.restore(&name, &bytes, head, |evidence| voting.remember(evidence)) {
            tracing::warn!("a proof against a voter that was kept is refused: {why}");
            refused.push(name);
        }
    }
    if !refused.is_empty() {
        store.put_proofs(refused.iter().map(|name| (name, None)))?;
    }
    Ok(())
}

impl Driver {
    /// Keeps a proof that the machine found or was told.
    pub(super) fn convict(&mut self, evidence: &Evidence) {
        let head = self.votes.voting.chain().head().epoch;
        let changes = self.votes.proofs.note(evidence, head);
        if !changes.is_empty() {
            tracing::warn!("a voter said two things where it may say one");
            self.write_proofs(&changes);
        }
    }

    /// Forgets proofs about documents that are long gone.
    pub(super) fn forget_proofs(&mut self) {
        let changes = self.votes.proofs.expire(self.votes.voting.chain().head().epoch);
        self.write_proofs(&changes);
    }

    fn write_proofs(&self, changes: &[ProofChange]) {
        let Some(store) = self.store.as_ref().filter(|_| !changes.is_empty()) else { return };
        let changes: Vec<_> = changes
            .iter()
            .map(|change| match change {
                ProofChange::Keep(name, bytes) => (name.to_bytes(), Some(bytes.as_slice())),
                ProofChange::Forget(name) => (name.to_bytes(), None),
            })
            .collect();
        if let Err(error) = store.put_proofs(changes.iter().map(|(name, bytes)| (name, *bytes))) {
            tracing::warn!("proofs against voters cannot be kept: {error}");
        }
    }
}
