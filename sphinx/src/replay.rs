//! The filter that lets each set-up packet through a relay once.

use std::{collections::BTreeSet, fmt};

use crate::{
    error::{Error, ReplayError},
    kdf, slot_is_current,
};

/// What the filter remembers of a set-up packet: 16 bytes derived from the Sphinx secret, so only the origin could predict them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplayTag(pub(crate) [u8; 16]);

impl fmt::Debug for ReplayTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReplayTag")
    }
}

const TAG_LEN: usize = 16;
/// Slots that are current at one time.
const SLOTS: usize = 3;
const MAGIC: &[u8; 16] = b"zmesh replays 1\n";
const CHECKSUM_LEN: usize = 32;

/// Remembers the set-up packets of every slot that is still current, and nothing else.
///
/// Memory is bounded by three slots of `capacity_per_slot` tags (16 bytes each, about 30 with the tree around them). A full slot
/// refuses further packets instead of forgetting one. The filter's idea of the time only moves forward: when the clock is set back,
/// slots that it has already forgotten stay refused.
///
/// [`ReplayFilter::to_bytes`] and [`ReplayFilter::from_bytes`] carry it over a restart. After a crash that lost the state, use
/// [`ReplayFilter::after_crash`].
#[derive(Clone, PartialEq, Eq)]
pub struct ReplayFilter {
    capacity_per_slot: usize,
    /// The oldest slot that is not refused outright.
    oldest: u32,
    /// Tags by slot, for the slots from `oldest` to `oldest + 2`, at `slot % 3`.
    slots: [BTreeSet<ReplayTag>; SLOTS],
}

impl ReplayFilter {
    /// An empty filter that takes up to `capacity_per_slot` packets in every slot.
    #[must_use]
    pub fn new(capacity_per_slot: usize) -> Self {
        Self { capacity_per_slot, oldest: 0, slots: Default::default() }
    }

    /// An empty filter for a relay that lost its state in slot `slot_now`: whatever it may have seen before is refused, so set-ups
    /// begin to pass when the slots `slot_now` and `slot_now + 1` are over (at most ten minutes later).
    #[must_use]
    pub fn after_crash(capacity_per_slot: usize, slot_now: u32) -> Self {
        Self { oldest: slot_now.saturating_add(2), ..Self::new(capacity_per_slot) }
    }

    /// Changes how many packets a slot takes. Tags that are already there stay.
    pub fn set_capacity(&mut self, capacity_per_slot: usize) {
        self.capacity_per_slot = capacity_per_slot;
    }

    /// Tags remembered at the moment.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.iter().map(BTreeSet::len).sum()
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Passes a packet of `slot` that the filter has not seen, and remembers it.
    ///
    /// # Errors
    /// [`ReplayError::OutOfSlot`] if the slot is not current or already forgotten, [`ReplayError::Replayed`] for a packet that was
    /// here before, [`ReplayError::Full`] if the slot's share is used up.
    pub fn check_and_insert(&mut self, slot: u32, tag: ReplayTag, slot_now: u32) -> Result<(), ReplayError> {
        self.forget_before(slot_now.saturating_sub(1));
        // After the clock went back, `oldest` is ahead of it and the slots in between share the same three sets.
        if !slot_is_current(slot, slot_now) || slot < self.oldest || slot - self.oldest >= 3 {
            return Err(ReplayError::OutOfSlot);
        }
        let capacity = self.capacity_per_slot;
        let seen = self.tags(slot);
        if seen.contains(&tag) {
            return Err(ReplayError::Replayed);
        }
        if seen.len() >= capacity {
            return Err(ReplayError::Full);
        }
        seen.insert(tag);
        Ok(())
    }

    /// The form on disk: magic, capacity, oldest slot, the three slots' tags in order, SHA-256 of all of it.
    ///
    /// The checksum finds damage and truncation. It does not stop somebody who can write the relay's files.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MAGIC.len() + 12 + SLOTS * 8 + self.len() * TAG_LEN + CHECKSUM_LEN);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&(self.capacity_per_slot as u64).to_be_bytes());
        bytes.extend_from_slice(&self.oldest.to_be_bytes());
        for slot in &self.slots {
            bytes.extend_from_slice(&(slot.len() as u64).to_be_bytes());
            slot.iter().for_each(|tag| bytes.extend_from_slice(&tag.0));
        }
        let checksum = kdf::hash(&[&bytes]);
        bytes.extend_from_slice(&checksum);
        bytes
    }

    /// Reads the form on disk.
    ///
    /// # Errors
    /// [`Error::FilterState`] if anything about it is wrong: damaged, cut off, too long, tags out of order.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let (content, checksum) = bytes.split_last_chunk::<CHECKSUM_LEN>().ok_or(Error::FilterState)?;
        if kdf::hash(&[content]) != *checksum {
            return Err(Error::FilterState);
        }
        let mut rest = content;
        if take::<16>(&mut rest)? != *MAGIC {
            return Err(Error::FilterState);
        }
        let capacity_per_slot = length(&mut rest)?;
        let oldest = u32::from_be_bytes(take(&mut rest)?);
        let mut slots: [BTreeSet<ReplayTag>; SLOTS] = Default::default();
        for slot in &mut slots {
            for _ in 0..length(&mut rest)? {
                let tag = ReplayTag(take(&mut rest)?);
                if slot.last().is_some_and(|last| *last >= tag) {
                    return Err(Error::FilterState);
                }
                slot.insert(tag);
            }
        }
        if rest.is_empty() { Ok(Self { capacity_per_slot, oldest, slots }) } else { Err(Error::FilterState) }
    }

    fn tags(&mut self, slot: u32) -> &mut BTreeSet<ReplayTag> {
        &mut self.slots[slot as usize % SLOTS]
    }

    fn forget_before(&mut self, oldest: u32) {
        if oldest <= self.oldest {
            return;
        }
        if oldest - self.oldest >= 3 {
            self.slots.iter_mut().for_each(BTreeSet::clear);
        } else {
            (self.oldest..oldest).for_each(|slot| self.tags(slot).clear());
        }
        self.oldest = oldest;
    }
}

impl fmt::Debug for ReplayFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayFilter").field("oldest", &self.oldest).field("len", &self.len()).finish_non_exhaustive()
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Error> {
    let (taken, rest) = bytes.split_first_chunk::<N>().ok_or(Error::FilterState)?;
    *bytes = rest;
    Ok(*taken)
}

fn length(bytes: &mut &[u8]) -> Result<usize, Error> {
    usize::try_from(u64::from_be_bytes(take(bytes)?)).map_err(|_| Error::FilterState)
}
