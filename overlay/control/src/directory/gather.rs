//! Descriptors are asked for page by page, and for no more pages than an honest node has.
//!
//! Pure: the time, in unix seconds, is an argument.

use std::collections::BTreeMap;

use zmesh_proto::directory::Catalogue;
use zmesh_proto::wire::control::Verdict;
use zmesh_sphinx::RelayId;

use super::question::{Answer, Question};
use crate::PeerIdentity;

/// Pages of one peer, one after the other: as many as the longest descriptors of a full catalogue take.
const PAGES: u32 = 32;

/// Of whom pages are asked, and how many came.
#[derive(Default)]
pub(crate) struct Gather {
    pages: BTreeMap<PeerIdentity, u32>,
}

impl Gather {
    /// Takes a page: the next question for the same peer, or that it is to blame; and whether anything in it was of use.
    pub(crate) fn take(
        &mut self,
        peer: PeerIdentity,
        after: Option<RelayId>,
        answer: &Answer,
        catalogue: &mut Catalogue,
        now: u64,
    ) -> (Result<Option<Question>, ()>, bool) {
        let (mut last, mut news) = (after, false);
        for descriptor in answer.descriptors() {
            let Ok(descriptor) = descriptor else { return (self.blame(&peer), news) };
            let id = descriptor.id();
            if last.is_some_and(|last| id <= last) {
                return (self.blame(&peer), news);
            }
            last = Some(id);
            match catalogue.fill(descriptor, now) {
                Verdict::Accept => news = true,
                Verdict::Reject(_) => return (self.blame(&peer), news),
                Verdict::Ignore(_) => {}
            }
        }
        if after.is_none() {
            self.pages.insert(peer, 0);
        }
        let pages = self.pages.entry(peer).or_default();
        *pages += 1;
        if last == after || *pages >= PAGES {
            self.give_up(&peer);
            return (Ok(None), news);
        }
        (Ok(Some(Question::Descriptors { after: last })), news)
    }

    fn blame(&mut self, peer: &PeerIdentity) -> Result<Option<Question>, ()> {
        self.give_up(peer);
        Err(())
    }

    /// Nothing more comes of a peer.
    pub(crate) fn give_up(&mut self, peer: &PeerIdentity) {
        self.pages.remove(peer);
    }
}
