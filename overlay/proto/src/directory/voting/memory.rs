//! What a voter must not forget: what it voted and what it is locked on.

use prost::Message as _;

use crate::wire::control::canonical::{self, FormError, array};
use crate::wire::control::vote::{Scope, VoteMessage};
use crate::wire::control::{HeaderHash, Topic};
use crate::wire::document::NetworkId;

/// Largest memory, in bytes: a ballot, and small votes of many rounds.
const MEMORY_MAX: usize = 16 << 20;

/// What a voter knows of its own past when it starts.
#[derive(Clone, Copy, Debug)]
pub enum Memory<'a> {
    /// Its key never voted in this network. Say this only of a key that is new, or of a network that begins.
    Fresh,
    /// The bytes that it stored last ([`Voting::memory`](super::Voting::memory)).
    Kept(&'a [u8]),
    /// It may have voted, and what it stored is gone: it sits out until a document follows that nobody can have voted on before it
    /// started, lest it vote twice.
    Lost,
}

/// Stored memory is damaged. Start with [`Memory::Lost`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the voter's memory is damaged: {0}")]
pub struct MemoryError(#[from] FormError);

#[derive(Clone)]
pub(super) struct Kept {
    pub(super) scope: Scope,
    pub(super) round: u32,
    pub(super) locked: Option<(u32, HeaderHash)>,
    pub(super) valid: Option<(u32, HeaderHash)>,
    pub(super) cast: Vec<VoteMessage>,
    /// It was written by a node that itself did not know what it had voted.
    pub(super) lost: bool,
}

pub(super) fn write(
    scope: &Scope,
    round: u32,
    locked: Option<(u32, HeaderHash)>,
    valid: Option<(u32, HeaderHash)>,
    cast: &[VoteMessage],
    lost: bool,
) -> Vec<u8> {
    let lock =
        |lock: Option<(u32, HeaderHash)>| lock.map(|(round, hash)| schema::Lock { round, header: hash.0.to_vec() });
    schema::Memory {
        network: scope.network.0.to_vec(),
        previous_epoch: scope.previous_epoch,
        previous: scope.previous.0.to_vec(),
        round,
        locked: lock(locked),
        valid: lock(valid),
        cast: cast.iter().map(|message| message.as_bytes().to_vec()).collect(),
        lost,
    }
    .encode_to_vec()
}

pub(super) fn read(bytes: &[u8]) -> Result<Kept, FormError> {
    let message: schema::Memory = canonical::read_strict(bytes, MEMORY_MAX.max(Topic::Votes.message_max()))?;
    let lock = |lock: Option<schema::Lock>| {
        lock.map(|lock| Ok((lock.round, HeaderHash(array(&lock.header, "lock")?)))).transpose()
    };
    Ok(Kept {
        scope: Scope {
            network: NetworkId(array(&message.network, "network id")?),
            previous_epoch: message.previous_epoch,
            previous: HeaderHash(array(&message.previous, "hash of the document before")?),
        },
        round: message.round,
        locked: lock(message.locked)?,
        valid: lock(message.valid)?,
        cast: message.cast.iter().map(|bytes| VoteMessage::decode(bytes)).collect::<Result<_, _>>()?,
        lost: message.lost,
    })
}

mod schema {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Lock {
        #[prost(uint32, tag = "1")]
        pub(super) round: u32,
        #[prost(bytes = "vec", tag = "2")]
        pub(super) header: Vec<u8>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Memory {
        #[prost(bytes = "vec", tag = "1")]
        pub(super) network: Vec<u8>,
        #[prost(uint64, tag = "2")]
        pub(super) previous_epoch: u64,
        #[prost(bytes = "vec", tag = "3")]
        pub(super) previous: Vec<u8>,
        #[prost(uint32, tag = "4")]
        pub(super) round: u32,
        #[prost(message, optional, tag = "5")]
        pub(super) locked: Option<Lock>,
        #[prost(message, optional, tag = "6")]
        pub(super) valid: Option<Lock>,
        #[prost(bytes = "vec", repeated, tag = "7")]
        pub(super) cast: Vec<Vec<u8>>,
        #[prost(bool, tag = "8")]
        pub(super) lost: bool,
    }
}
