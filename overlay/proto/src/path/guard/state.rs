//! What of a set of guards is kept from one run to the next: relay ids and days, nothing else.

use zmesh_sphinx::RelayId;

use crate::wire::codec::{self, ErrorKind, Reader, Writer};

const VERSION: u8 = 1;

/// Most entries of a state: three for each of 21 guards.
pub(super) const ENTRIES_MAX: usize = 63;

/// One sampled guard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::path) struct Entry {
    pub(in crate::path) id: RelayId,
    /// The last day on which it serves, since 1970.
    pub(in crate::path) until: u32,
    /// Since which day no document lists it; 0 if the last one does.
    pub(in crate::path) unlisted: u32,
    /// Its place among those through which a circuit came up, counted from 1 in the order in which that happened first;
    /// 0 if none did.
    pub(in crate::path) rank: u8,
}

/// A set of guards as it is stored: [`GuardState::encode`] for a file that only its owner reads.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct GuardState {
    /// In the order in which they were sampled.
    pub(super) entries: Vec<Entry>,
}

/// Why a stored state cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the stored guards are damaged: {0}")]
pub struct GuardStateError(#[from] codec::Error);

impl GuardState {
    /// The bytes to store: version, count, and for each guard its id, the last day of its service, the day since which
    /// it is unlisted, and its rank.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::with_capacity(2 + self.entries.len() * 25);
        out.u8(VERSION);
        out.count8(self.entries.len());
        for entry in &self.entries {
            out.put(&entry.id.0);
            out.u32(entry.until);
            out.u32(entry.unlisted);
            out.u8(entry.rank);
        }
        out.finish()
    }

    /// Reads what [`GuardState::encode`] wrote. Any bytes give a state or an error, and a state is written as it was read.
    ///
    /// # Errors
    /// The bytes are none of ours: another version, a length that does not fit, an id twice, ranks that are not 1 to
    /// their number.
    pub fn decode(bytes: &[u8]) -> Result<Self, GuardStateError> {
        let mut reader = Reader::new(bytes);
        reader.version(VERSION)?;
        let count = reader.count8(ENTRIES_MAX)?;
        let mut entries: Vec<Entry> = Vec::with_capacity(count);
        for _ in 0..count {
            let entry = reader.check(|reader| {
                let id = RelayId(reader.array()?);
                Ok(Entry { id, until: reader.u32()?, unlisted: reader.u32()?, rank: reader.u8()? })
            })?;
            if entries.iter().any(|other| other.id == entry.id) {
                return Err(reader.error(ErrorKind::Invalid).into());
            }
            entries.push(entry);
        }
        let mut ranks: Vec<u8> = entries.iter().map(|entry| entry.rank).filter(|rank| *rank > 0).collect();
        ranks.sort_unstable();
        if ranks.iter().zip(1..).any(|(rank, place)| *rank != place) {
            return Err(reader.error(ErrorKind::Invalid).into());
        }
        reader.finish()?;
        Ok(Self { entries })
    }

    #[cfg(test)]
    pub(in crate::path) fn from_entries(entries: Vec<Entry>) -> Self {
        Self { entries }
    }

    /// How many guards it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
