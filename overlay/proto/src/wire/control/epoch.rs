//! The document of an epoch, the document with its descriptors, and what leads from one to the next.

use std::collections::BTreeMap;

use prost::Message as _;
use sha2::{Digest, Sha256};
use zmesh_sphinx::RelayId;

use super::canonical::{self, FormError, rule};
use super::entry::{RELAY_ENTRY_LEN, RelayEntry, read_table, write_table};
use super::header::{HeaderHash, SIGNED_HEADER_MAX, SignedHeader, table_hash};
use super::schema;
use crate::wire::codec::{Reader, Writer};
use crate::wire::descriptor::{DESCRIPTOR_MAX, Descriptor};
use crate::wire::document::RELAYS_MAX;

/// Largest epoch document, in bytes.
pub const DOCUMENT_MAX: usize = SIGNED_HEADER_MAX + RELAYS_MAX * RELAY_ENTRY_LEN + 64;
/// Largest snapshot, in bytes: a document and all its descriptors.
pub const SNAPSHOT_MAX: usize = DOCUMENT_MAX + RELAYS_MAX * (DESCRIPTOR_MAX + 2) + 64;
/// Largest difference, in bytes: never more than a snapshot and a list of all ids.
pub const DIFFERENCE_MAX: usize = SNAPSHOT_MAX + RELAYS_MAX * 16;

/// The hash by which a document names a descriptor: SHA-256 of its bytes.
#[must_use]
pub(crate) fn descriptor_hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// A signed header and the relays that it hashes. Signatures are verified by `directory::Chain`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EpochDocument {
    signed: SignedHeader,
    /// Sorted by id, as many as the header says.
    relays: Vec<RelayEntry>,
}

impl EpochDocument {
    /// Puts both together.
    ///
    /// # Errors
    /// The relays are not those whose hash the header has.
    pub fn new(signed: SignedHeader, relays: Vec<RelayEntry>) -> Result<Self, FormError> {
        let table = write_table(&relays);
        rule(
            relays.len() == signed.header().relay_count() && table_hash(&table) == signed.header().relays(),
            "table of relays",
            "is not the one that was signed",
        )?;
        Ok(Self { signed, relays })
    }

    /// Reads a document. Its signatures are not verified yet.
    ///
    /// # Errors
    /// See [`FormError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FormError> {
        let message: schema::Document = canonical::read_strict(bytes, DOCUMENT_MAX)?;
        let signed = SignedHeader::decode(&message.header)?;
        Self::new(signed, read_table(&message.relays, RELAYS_MAX)?)
    }

    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        schema::Document { header: self.signed.encode(), relays: write_table(&self.relays) }.encode_to_vec()
    }

    /// The signed header.
    #[must_use]
    pub fn signed(&self) -> &SignedHeader {
        &self.signed
    }

    /// The hash of its header.
    #[must_use]
    pub fn hash(&self) -> HeaderHash {
        self.signed.header().hash()
    }

    /// The relays, sorted by id.
    #[must_use]
    pub fn relays(&self) -> &[RelayEntry] {
        &self.relays
    }

    /// One relay.
    #[must_use]
    pub fn relay(&self, id: &RelayId) -> Option<&RelayEntry> {
        let at = self.relays.binary_search_by_key(id, |entry| entry.id).ok()?;
        self.relays.get(at)
    }
}

/// A document and the descriptors that it names, every one of them verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    document: EpochDocument,
    /// In the order of the document.
    descriptors: Vec<Descriptor>,
}

impl Snapshot {
    /// Finds the descriptors of a document among those that are there.
    ///
    /// # Errors
    /// One is missing: [`FormError::Field`].
    pub fn new(
        document: EpochDocument,
        mut find: impl FnMut(&RelayEntry) -> Option<Descriptor>,
    ) -> Result<Self, FormError> {
        let mut descriptors = Vec::with_capacity(document.relays.len());
        for entry in &document.relays {
            let found = find(entry).filter(|found| is_named(entry, found));
            descriptors.push(found.ok_or(FormError::Field { field: "list of descriptors", rule: "lacks one" })?);
        }
        Ok(Self { document, descriptors })
    }

    /// Reads a snapshot and verifies its descriptors. The document's signatures are not verified yet: do that first where bytes come
    /// from strangers ([`Snapshot::document_of`]), because verifying the descriptors takes long.
    ///
    /// # Errors
    /// See [`FormError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FormError> {
        let message: schema::Snapshot = canonical::read_strict(bytes, SNAPSHOT_MAX)?;
        let document = EpochDocument::decode(&message.document)?;
        let mut r = Reader::new(&message.descriptors);
        let mut descriptors = Vec::with_capacity(document.relays.len());
        for entry in &document.relays {
            descriptors.push(read_descriptor(&mut r, entry)?);
        }
        r.finish().map_err(|_| FormError::Undecodable)?;
        Ok(Self { document, descriptors })
    }

    /// The document inside the bytes of a snapshot, without reading the descriptors.
    ///
    /// # Errors
    /// See [`FormError`].
    pub fn document_of(bytes: &[u8]) -> Result<EpochDocument, FormError> {
        let message: schema::Snapshot = canonical::read_strict(bytes, SNAPSHOT_MAX)?;
        EpochDocument::decode(&message.document)
    }

    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        for descriptor in &self.descriptors {
            w.bytes16(descriptor.as_bytes());
        }
        schema::Snapshot { document: self.document.encode(), descriptors: w.finish() }.encode_to_vec()
    }

    /// The document.
    #[must_use]
    pub fn document(&self) -> &EpochDocument {
        &self.document
    }

    /// The descriptors, in the order of the document.
    #[must_use]
    pub fn descriptors(&self) -> &[Descriptor] {
        &self.descriptors
    }

    pub(crate) fn into_parts(self) -> (EpochDocument, Vec<Descriptor>) {
        (self.document, self.descriptors)
    }
}

/// What leads from one snapshot to a later one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    from: HeaderHash,
    signed: SignedHeader,
    removed: Vec<RelayId>,
    changed: Vec<RelayEntry>,
    /// The bytes of the descriptors that `from` lacks, as in a snapshot.
    descriptors: Vec<u8>,
}

impl Difference {
    /// What leads from one snapshot to another.
    #[must_use]
    pub fn between(from: &Snapshot, to: &Snapshot) -> Self {
        let (old, new) = (&from.document, &to.document);
        let removed = old.relays.iter().map(|entry| entry.id).filter(|id| new.relay(id).is_none()).collect();
        let mut changed = Vec::new();
        let mut w = Writer::new();
        for (entry, descriptor) in new.relays.iter().zip(&to.descriptors) {
            let before = old.relay(&entry.id);
            if before != Some(entry) {
                changed.push(*entry);
            }
            if before.is_none_or(|before| before.descriptor != entry.descriptor) {
                w.bytes16(descriptor.as_bytes());
            }
        }
        Self { from: old.hash(), signed: new.signed.clone(), removed, changed, descriptors: w.finish() }
    }

    /// Reads a difference.
    ///
    /// # Errors
    /// See [`FormError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FormError> {
        let message: schema::Difference = canonical::read_strict(bytes, DIFFERENCE_MAX)?;
        let (ids, rest) = message.removed.as_chunks::<16>();
        rule(rest.is_empty() && ids.len() <= RELAYS_MAX, "list of removed relays", "has to be of whole ids")?;
        rule(ids.windows(2).all(|pair| pair[0] < pair[1]), "list of removed relays", "has to be sorted, each once")?;
        Ok(Self {
            from: HeaderHash(canonical::array(&message.from, "hash of the document before")?),
            signed: SignedHeader::decode(&message.header)?,
            removed: ids.iter().copied().map(RelayId).collect(),
            changed: read_table(&message.changed, RELAYS_MAX)?,
            descriptors: message.descriptors,
        })
    }

    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        schema::Difference {
            from: self.from.0.to_vec(),
            header: self.signed.encode(),
            removed: self.removed.iter().flat_map(|id| id.0).collect(),
            changed: write_table(&self.changed),
            descriptors: self.descriptors.clone(),
        }
        .encode_to_vec()
    }

    /// The document that it starts from.
    #[must_use]
    pub fn from(&self) -> HeaderHash {
        self.from
    }

    /// The header that it leads to: verify its signatures before [`Difference::apply`].
    #[must_use]
    pub fn signed(&self) -> &SignedHeader {
        &self.signed
    }

    /// The snapshot that it leads to.
    ///
    /// # Errors
    /// It starts from another document, does not lead to what was signed, or a descriptor is bad.
    pub fn apply(&self, base: &Snapshot) -> Result<Snapshot, FormError> {
        rule(base.document.hash() == self.from, "difference", "starts from another document")?;
        let mut entries: BTreeMap<RelayId, RelayEntry> =
            base.document.relays.iter().map(|entry| (entry.id, *entry)).collect();
        for id in &self.removed {
            rule(entries.remove(id).is_some(), "list of removed relays", "names one that is not there")?;
        }
        let mut r = Reader::new(&self.descriptors);
        let mut fresh = BTreeMap::new();
        for entry in &self.changed {
            let before = entries.insert(entry.id, *entry);
            rule(before != Some(*entry), "list of changed relays", "has one that does not change")?;
            if before.is_none_or(|before| before.descriptor != entry.descriptor) {
                fresh.insert(entry.id, read_descriptor(&mut r, entry)?);
            }
        }
        r.finish().map_err(|_| FormError::Undecodable)?;
        let document = EpochDocument::new(self.signed.clone(), entries.into_values().collect())?;
        let known = &base.document.relays;
        Snapshot::new(document, |entry| {
            fresh.remove(&entry.id).or_else(|| {
                let at = known.binary_search_by_key(&entry.id, |known| known.id).ok()?;
                base.descriptors.get(at).cloned()
            })
        })
    }
}

fn is_named(entry: &RelayEntry, descriptor: &Descriptor) -> bool {
    entry.id == descriptor.id() && entry.descriptor == descriptor_hash(descriptor.as_bytes())
}

/// Reads the next descriptor, which has to be the one that an entry names: its hash first, which costs less than its proofs.
fn read_descriptor(r: &mut Reader<'_>, entry: &RelayEntry) -> Result<Descriptor, FormError> {
    let bytes = r.bytes16(DESCRIPTOR_MAX).map_err(|_| FormError::Undecodable)?;
    let rule = "has one that is not the one that was agreed";
    if descriptor_hash(bytes) != entry.descriptor {
        return Err(FormError::Field { field: "list of descriptors", rule });
    }
    match Descriptor::decode(bytes) {
        Ok(descriptor) if descriptor.id() == entry.id => Ok(descriptor),
        _ => Err(FormError::Field { field: "list of descriptors", rule }),
    }
}
