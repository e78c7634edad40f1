//! Answers that bring documents, encoded once for everybody: a question of forty bytes must not cost megabytes of work each time.

use std::collections::BTreeMap;
use std::sync::Arc;

use zmesh_proto::directory::Held;
use zmesh_proto::wire::control::{Difference, HeaderHash, Snapshot};

use super::question::Answer;

/// Encoded answers about the newest document.
#[derive(Default)]
pub(crate) struct Copies {
    whole: Option<Arc<Vec<u8>>>,
    /// By the document that they start from.
    differences: BTreeMap<HeaderHash, Arc<Vec<u8>>>,
}

impl Copies {
    /// Forgets all: there is a newer document.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The answer with the whole document.
    pub(crate) fn whole(&mut self, held: &Held) -> Arc<Vec<u8>> {
        let encode = || Arc::new(Answer::whole(held.snapshot().encode()).encode());
        Arc::clone(self.whole.get_or_insert_with(encode))
    }

    /// The answer with what changed since an earlier one; the whole document where that is not half as long at least.
    pub(crate) fn difference(&mut self, base: &Snapshot, held: &Held) -> Arc<Vec<u8>> {
        let from = base.document().hash();
        if let Some(known) = self.differences.get(&from) {
            return Arc::clone(known);
        }
        let whole = self.whole(held);
        let difference = Answer::difference(&Difference::between(base, held.snapshot())).encode();
        let answer = if difference.len() <= whole.len() / 2 { Arc::new(difference) } else { whole };
        self.differences.insert(from, Arc::clone(&answer));
        answer
    }
}
