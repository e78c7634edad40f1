//! The protobuf messages as they travel. Field numbers are the protocol; types with rules are made of these.

use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Voter {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) key: Vec<u8>,
    #[prost(string, tag = "2")]
    pub(crate) operator: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Parameter {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(uint32, tag = "2")]
    pub(crate) value: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Genesis {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(bool, tag = "2")]
    pub(crate) test_network: bool,
    #[prost(uint32, tag = "3")]
    pub(crate) epoch_length: u32,
    #[prost(uint64, tag = "4")]
    pub(crate) epoch_zero: u64,
    #[prost(uint32, tag = "5")]
    pub(crate) voters_per_operator: u32,
    #[prost(message, repeated, tag = "6")]
    pub(crate) voters: Vec<Voter>,
    #[prost(message, repeated, tag = "7")]
    pub(crate) parameters: Vec<Parameter>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Header {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) network: Vec<u8>,
    #[prost(uint64, tag = "2")]
    pub(crate) epoch: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) previous_epoch: u64,
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) previous: Vec<u8>,
    #[prost(uint64, tag = "5")]
    pub(crate) valid_after: u64,
    #[prost(uint64, tag = "6")]
    pub(crate) valid_until: u64,
    #[prost(bytes = "vec", tag = "7")]
    pub(crate) proposer: Vec<u8>,
    #[prost(uint32, tag = "8")]
    pub(crate) round: u32,
    #[prost(bytes = "vec", tag = "9")]
    pub(crate) proof: Vec<u8>,
    #[prost(bytes = "vec", tag = "10")]
    pub(crate) randomness: Vec<u8>,
    #[prost(bytes = "vec", tag = "11")]
    pub(crate) signers: Vec<u8>,
    #[prost(message, repeated, tag = "12")]
    pub(crate) voters: Vec<Voter>,
    #[prost(message, repeated, tag = "13")]
    pub(crate) parameters: Vec<Parameter>,
    #[prost(uint32, tag = "14")]
    pub(crate) relay_count: u32,
    #[prost(bytes = "vec", tag = "15")]
    pub(crate) relays: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SignedHeader {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) header: Vec<u8>,
    #[prost(uint32, tag = "2")]
    pub(crate) round: u32,
    /// A byte for the place of the voter in the set that signs, then 64 for the signature; ascending.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) signatures: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Document {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) header: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) relays: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Snapshot {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) document: Vec<u8>,
    /// Two bytes of length and a descriptor, for each relay in the order of the table.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) descriptors: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Difference {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) from: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) header: Vec<u8>,
    /// Ids, 16 bytes each, ascending.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) removed: Vec<u8>,
    /// Entries that are new or changed, ascending by id.
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) changed: Vec<u8>,
    /// Descriptors whose hash is new, in the order of the table, as in a snapshot.
    #[prost(bytes = "vec", tag = "5")]
    pub(crate) descriptors: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Heartbeat {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) network: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) identity: Vec<u8>,
    #[prost(uint64, tag = "3")]
    pub(crate) epoch: u64,
    /// Major version · 65,536 + minor.
    #[prost(uint32, tag = "4")]
    pub(crate) release: u32,
    #[prost(uint32, tag = "5")]
    pub(crate) peers: u32,
    #[prost(uint32, tag = "6")]
    pub(crate) uptime: u32,
    #[prost(uint32, tag = "7")]
    pub(crate) load: u32,
}

/// What is signed, as it came, and the signature over a context and it.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Signed {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) body: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) signature: Vec<u8>,
}
