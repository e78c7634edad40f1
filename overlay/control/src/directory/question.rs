//! What directory nodes ask each other: documents, the way to them, and descriptors.

use prost::Message;
use zmesh_proto::directory::voting::HAVE_MAX;
use zmesh_proto::wire::control::{Difference, HeaderHash, SIGNED_HEADER_MAX, SignedHeader, Topic};
use zmesh_proto::wire::descriptor::{DESCRIPTOR_MAX, Descriptor};
use zmesh_sphinx::RelayId;

use crate::limits::{ANSWER_MAX, QUESTION_MAX};

/// Descriptors that one answer brings at most, in bytes.
pub(crate) const PAGE: usize = 1 << 20;
/// Parts of one answer.
pub(crate) const PARTS: usize = 4_096;
/// What goes around the parts of an answer, in bytes: a length before each.
const AROUND: usize = 5 * PARTS;
/// Votes that one answer brings, in bytes: half a mebibyte and one message, each part with its topic.
pub(crate) const VOTES: usize = 768 << 10;
/// Headers at which voters changed, in bytes: those of a thousand changes.
const CHANGES: usize = 4 << 20;

/// A question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Question {
    /// The signed header of the newest document.
    Head,
    /// The newest document with its descriptors, as a difference if the peer still has the named one.
    Document {
        /// What the asker has.
        have: Option<HeaderHash>,
    },
    /// The headers at which voters changed, after an epoch.
    Changes {
        /// The epoch that the asker knows the voters of.
        after: u64,
    },
    /// Descriptors of relays, whether or not they are in a document, by ascending id.
    Descriptors {
        /// From the first id above this one on.
        after: Option<RelayId>,
    },
    /// Votes on the next document that the asker lacks.
    Votes {
        /// What it has, as the voting machine says it; at most 256 bytes.
        have: Vec<u8>,
    },
}

/// Why bytes are no question, or no answer to one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuestionError {
    /// No protobuf of this form, or over a bound.
    #[error("malformed")]
    Malformed,
    /// A kind that this version does not know.
    #[error("of an unknown kind, {0}")]
    Unknown(u32),
}

#[derive(Clone, PartialEq, Message)]
struct Wire {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(bytes = "vec", tag = "2")]
    have: Vec<u8>,
    #[prost(uint64, tag = "3")]
    after: u64,
}

/// Parts of an answer: what was asked for, piece by piece, and whether it is the thing itself or a difference.
#[derive(Clone, PartialEq, Message)]
struct WireAnswer {
    #[prost(bool, tag = "1")]
    difference: bool,
    #[prost(bytes = "vec", repeated, tag = "2")]
    parts: Vec<Vec<u8>>,
}

impl Question {
    /// The bytes of a question.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (kind, have, after) = match self {
            Self::Head => (1, Vec::new(), 0),
            Self::Document { have } => (2, have.map(|hash| hash.0.to_vec()).unwrap_or_default(), 0),
            Self::Changes { after } => (3, Vec::new(), *after),
            Self::Descriptors { after } => (4, after.map(|id| id.0.to_vec()).unwrap_or_default(), 0),
            Self::Votes { have } => (5, have.clone(), 0),
        };
        Wire { kind, have, after }.encode_to_vec()
    }

    /// Reads a question.
    ///
    /// # Errors
    /// See [`QuestionError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, QuestionError> {
        if bytes.len() > QUESTION_MAX {
            return Err(QuestionError::Malformed);
        }
        let Wire { kind, have, after } = Wire::decode(bytes).map_err(|_| QuestionError::Malformed)?;
        match kind {
            1 => Ok(Self::Head),
            2 => Ok(Self::Document { have: optional(&have)?.map(HeaderHash) }),
            3 => Ok(Self::Changes { after }),
            4 => Ok(Self::Descriptors { after: optional(&have)?.map(RelayId) }),
            5 if have.len() <= HAVE_MAX => Ok(Self::Votes { have }),
            5 => Err(QuestionError::Malformed),
            other => Err(QuestionError::Unknown(other)),
        }
    }
}

impl Question {
    /// The longest answer to it, in bytes: whoever asks reads no more. All but documents are short.
    #[must_use]
    pub fn answer_max(&self) -> usize {
        match self {
            Self::Head => SIGNED_HEADER_MAX + 64,
            Self::Document { .. } => ANSWER_MAX,
            Self::Changes { .. } => CHANGES + AROUND,
            Self::Descriptors { .. } => PAGE + AROUND,
            Self::Votes { .. } => VOTES + Topic::Votes.message_max() + AROUND,
        }
    }
}

fn optional<const N: usize>(bytes: &[u8]) -> Result<Option<[u8; N]>, QuestionError> {
    if bytes.is_empty() { Ok(None) } else { bytes.try_into().map(Some).map_err(|_| QuestionError::Malformed) }
}

/// An answer, in parts whose meaning the question gives. Empty: the peer does not have it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The document comes as a difference.
    pub difference: bool,
    /// The parts: one document, or headers or descriptors one by one.
    pub parts: Vec<Vec<u8>>,
}

impl Answer {
    /// One part.
    #[must_use]
    pub fn whole(bytes: Vec<u8>) -> Self {
        Self { difference: false, parts: vec![bytes] }
    }

    /// Nothing.
    #[must_use]
    pub fn none() -> Self {
        Self::parts(Vec::new())
    }

    /// Many parts, or none.
    #[must_use]
    pub fn parts(parts: Vec<Vec<u8>>) -> Self {
        Self { difference: false, parts }
    }

    /// The document as what changed.
    #[must_use]
    pub fn difference(difference: &Difference) -> Self {
        Self { difference: true, parts: vec![difference.encode()] }
    }

    /// The bytes of an answer.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        WireAnswer { difference: self.difference, parts: self.parts }.encode_to_vec()
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// See [`QuestionError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, QuestionError> {
        if bytes.len() > ANSWER_MAX || !has_few_parts(bytes) {
            return Err(QuestionError::Malformed);
        }
        let WireAnswer { difference, parts } = WireAnswer::decode(bytes).map_err(|_| QuestionError::Malformed)?;
        Ok(Self { difference, parts })
    }

    /// The only part.
    pub(crate) fn only(mut self) -> Option<Vec<u8>> {
        if self.parts.len() == 1 { self.parts.pop() } else { None }
    }

    /// The parts as signed headers.
    pub(crate) fn headers(&self) -> Result<Vec<SignedHeader>, QuestionError> {
        self.parts.iter().map(|part| SignedHeader::decode(part).map_err(|_| QuestionError::Malformed)).collect()
    }

    /// The parts as descriptors; ends at the first that is none.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = Result<Descriptor, QuestionError>> + '_ {
        self.parts.iter().map(|part| {
            if part.len() > DESCRIPTOR_MAX {
                return Err(QuestionError::Malformed);
            }
            Descriptor::decode(part).map_err(|_| QuestionError::Malformed)
        })
    }
}

/// Whether an answer has at most [`PARTS`] parts, none of them empty. Found out before anything is allocated: two bytes on the wire are an
/// empty part, which takes twelve times as many in memory.
fn has_few_parts(mut bytes: &[u8]) -> bool {
    let mut parts = 0;
    while !bytes.is_empty() {
        let Ok(key) = prost::decode_length_delimiter(&mut bytes) else { return false };
        let skipped = match key & 7 {
            0 => prost::decode_length_delimiter(&mut bytes).map(|_| 0),
            1 => Ok(8),
            2 => prost::decode_length_delimiter(&mut bytes),
            5 => Ok(4),
            // Groups are in no message of ours.
            _ => return false,
        };
        let Ok(skipped) = skipped else { return false };
        let Some(rest) = bytes.get(skipped..) else { return false };
        if key >> 3 == 2 {
            parts += 1;
            if parts > PARTS || skipped == 0 {
                return false;
            }
        }
        bytes = rest;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn questions_come_back() {
        let questions = [
            Question::Head,
            Question::Document { have: None },
            Question::Document { have: Some(HeaderHash([7; 32])) },
            Question::Changes { after: 9 },
            Question::Descriptors { after: None },
            Question::Descriptors { after: Some(RelayId([9; 16])) },
            Question::Votes { have: vec![7; 100] },
        ];
        for question in questions {
            assert_eq!(Question::decode(&question.encode()), Ok(question));
        }
        assert_eq!(Question::decode(&[]), Err(QuestionError::Unknown(0)));
        assert_eq!(Question::decode(&[8, 9]), Err(QuestionError::Unknown(9)));
    }

    #[test]
    fn a_crowd_of_parts_is_refused_before_it_takes_memory() {
        // Twelve million empty parts.
        let crowd = [0x12, 0x00].repeat(ANSWER_MAX / 2);
        assert_eq!(Answer::decode(&crowd), Err(QuestionError::Malformed));
        let many = |count: usize| Answer::parts(vec![vec![7]; count]).encode();
        assert_eq!(Answer::decode(&many(PARTS)).map(|answer| answer.parts.len()), Ok(PARTS));
        assert_eq!(Answer::decode(&many(PARTS + 1)), Err(QuestionError::Malformed));
        assert!(Answer::decode(&[0x12]).is_err() && Answer::decode(&[0x12, 5, 1]).is_err());
        assert_eq!(Answer::decode(&[]), Ok(Answer::none()));
    }

    #[test]
    fn only_documents_are_long() {
        let ask = |question: Question| question.answer_max();
        assert_eq!(ask(Question::Document { have: None }), ANSWER_MAX);
        assert!(ask(Question::Head) <= 25 << 10);
        assert!(ask(Question::Descriptors { after: None }) <= 1_100 << 10);
        assert!(ask(Question::Votes { have: Vec::new() }) <= 1_200 << 10);
        assert!(ask(Question::Changes { after: 0 }) <= 5 << 20);
    }

    proptest! {
        #[test]
        fn answers_of_whole_parts_come_back(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 0..20), difference: bool) {
            let answer = Answer { difference, parts };
            prop_assert_eq!(Answer::decode(&answer.clone().encode()), Ok(answer));
        }

        #[test]
        fn any_bytes_are_a_question_or_an_error(bytes: Vec<u8>) {
            let _ = Question::decode(&bytes);
            if let Ok(answer) = Answer::decode(&bytes) {
                prop_assert_eq!(Answer::decode(&answer.clone().encode()), Ok(answer));
            }
        }
    }
}
