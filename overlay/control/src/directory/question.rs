//! What directory nodes ask each other: documents, the way to them, and descriptors.

use prost::Message;
use zmesh_proto::directory::voting::HAVE_MAX;
use zmesh_proto::wire::control::{Difference, HeaderHash, SignedHeader};
use zmesh_proto::wire::descriptor::{DESCRIPTOR_MAX, Descriptor};
use zmesh_sphinx::RelayId;

use crate::limits::{ANSWER_MAX, QUESTION_MAX};

/// Descriptors that one answer brings at most, in bytes.
pub(crate) const PAGE: usize = 1 << 20;

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
        if bytes.len() > ANSWER_MAX {
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

    proptest! {
        #[test]
        fn any_bytes_are_a_question_or_an_error(bytes: Vec<u8>) {
            let _ = Question::decode(&bytes);
            if let Ok(answer) = Answer::decode(&bytes) {
                prop_assert_eq!(Answer::decode(&answer.clone().encode()), Ok(answer));
            }
        }
    }
}
