//! What a directory node gives to peers who ask.

use std::time::Duration;

use zmesh_proto::directory::Catalogue;
use zmesh_proto::wire::control::HeaderHash;
use zmesh_sphinx::RelayId;

use super::node::Driver;
use super::question::{Answer, PAGE, PARTS, Question, QuestionError, VOTES};
use crate::event::QuestionId;
use crate::{PeerIdentity, clock};

/// After how long a peer may have the same document again.
const GIVE_AGAIN: Duration = Duration::from_secs(30);

impl Driver {
    /// Answers a peer's question, or refuses it before anything long is made for it.
    pub(super) fn questioned(&mut self, id: QuestionId, peer: PeerIdentity, bytes: &[u8]) {
        let answer = match Question::decode(bytes) {
            Ok(Question::Head) => Some(self.follow.head()),
            Ok(Question::Changes { after }) => Some(self.follow.changes(after)),
            Ok(Question::Document { have }) => return self.give_document(id, peer, have),
            Ok(Question::Descriptors { after }) => self.control.has_room(PAGE).then(|| page(&self.shelf, after)),
            Ok(Question::Votes { .. }) if !self.control.has_room(VOTES) => None,
            Ok(Question::Votes { have }) => {
                let answer = self.answer_votes(&have);
                if answer.is_none() {
                    self.control.blame(peer);
                }
                answer
            }
            Err(QuestionError::Unknown(_)) => None,
            Err(QuestionError::Malformed) => {
                self.control.blame(peer);
                None
            }
        };
        match answer {
            Some(answer) => self.control.answer(id, answer.encode()),
            None => self.control.refuse(id),
        }
    }

    /// Gives a peer the newest document, the same one not twice in a short time.
    fn give_document(&mut self, id: QuestionId, peer: PeerIdentity, have: Option<HeaderHash>) {
        let (epoch, now) = (self.follow.epoch(), clock::now());
        self.given.retain(|_, (_, at)| now.saturating_duration_since(*at) < GIVE_AGAIN);
        if self.given.get(&peer).is_some_and(|(given, _)| *given == epoch) {
            return self.control.refuse(id);
        }
        match self.follow.document(have) {
            Some(answer) => {
                self.given.insert(peer, (epoch, now));
                self.control.answer_shared(id, answer);
            }
            None => self.control.answer(id, Answer::none().encode()),
        }
    }
}

/// The descriptors of relays above an id, as many as one answer brings.
fn page(catalogue: &Catalogue, after: Option<RelayId>) -> Answer {
    let (mut size, mut parts) = (0, Vec::new());
    for descriptor in catalogue.after(after).take(PARTS) {
        size += descriptor.as_bytes().len();
        if size > PAGE {
            break;
        }
        parts.push(descriptor.as_bytes().to_vec());
    }
    Answer::parts(parts)
}
