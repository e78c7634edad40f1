//! A relay in an epoch document: 60 bytes.

use std::fmt;
use std::ops::BitOr;

use zmesh_sphinx::RelayId;

use super::canonical::{FormError, rule};
use crate::directory::{Coordinate, Measure};
use crate::wire::codec::{Reader, Writer};
use crate::wire::descriptor::Descriptor;

/// Length of a relay's entry, in bytes.
pub const RELAY_ENTRY_LEN: usize = 60;

/// What the voters say of a relay, apart from figures.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RelayFlags(u16);

impl RelayFlags {
    /// Its capacity is at least the median of all whose capacity was measured.
    pub const FAST: Self = Self(1);
    /// It was up for 95 % of the time that the voters watched it.
    pub const STABLE: Self = Self(2);
    /// Fast and stable: fit to be a guard.
    pub const GUARD: Self = Self(4);
    /// Traffic leaves the network here.
    pub const EXIT: Self = Self(8);
    /// It splices circuits that meet here.
    pub const MEETING: Self = Self(16);
    /// It keeps chunks.
    pub const CACHE: Self = Self(32);
    /// It mixes rooms.
    pub const MIXER: Self = Self(64);
    /// It serves documents.
    pub const DIRECTORY: Self = Self(128);

    /// Those that a descriptor says.
    pub(crate) const SAID: [Self; 5] = [Self::EXIT, Self::MEETING, Self::CACHE, Self::MIXER, Self::DIRECTORY];

    /// The flag of entries that have a coordinate.
    const PLACED: Self = Self(1 << 15);
    const FLAGS: u16 = !(1 << 15);

    /// Whether all of these are set.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The same without those that another lacks.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// `self` if `set`, none otherwise.
    #[must_use]
    pub fn when(self, set: bool) -> Self {
        if set { self } else { Self::default() }
    }

    /// What a descriptor says of its relay; the rest is up to the voters.
    #[must_use]
    pub fn said_by(descriptor: &Descriptor) -> Self {
        let info = descriptor.info();
        Self::EXIT.when(info.exit.is_some())
            | Self::MEETING.when(info.meeting)
            | Self::CACHE.when(info.cache)
            | Self::MIXER.when(info.mixer)
            | Self::DIRECTORY.when(info.directory)
    }

    /// The number that travels.
    #[must_use]
    pub fn bits(self) -> u16 {
        self.0
    }

    /// Of a number that travelled. Bits that this version gives no meaning are kept.
    #[must_use]
    pub fn from_bits(bits: u16) -> Self {
        Self(bits & Self::FLAGS)
    }
}

impl BitOr for RelayFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for RelayFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelayFlags({:#06x})", self.0)
    }
}

/// A relay in an epoch document.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RelayEntry {
    /// Which relay.
    pub id: RelayId,
    /// SHA-256 of its descriptor's bytes.
    pub descriptor: [u8; 32],
    /// What was measured of it: the medians of the voters' figures.
    pub measure: Measure,
    /// What else they say.
    pub flags: RelayFlags,
}

impl RelayEntry {
    pub(crate) fn write(&self, w: &mut Writer) {
        w.put(&self.id.0);
        w.put(&self.descriptor);
        w.u32(self.measure.capacity);
        let place = self.measure.place.unwrap_or_default();
        w.put(&place.x.to_be_bytes());
        w.put(&place.y.to_be_bytes());
        w.u16(place.height);
        w.u16((self.flags | RelayFlags::PLACED.when(self.measure.place.is_some())).0);
    }

    fn read(bytes: &[u8]) -> Result<Self, FormError> {
        let cut = |_| FormError::Undecodable;
        let mut r = Reader::new(bytes);
        let id = RelayId(r.array().map_err(cut)?);
        let descriptor = r.array().map_err(cut)?;
        let capacity = r.u32().map_err(cut)?;
        let x = i16::from_be_bytes(r.array().map_err(cut)?);
        let y = i16::from_be_bytes(r.array().map_err(cut)?);
        let height = r.u16().map_err(cut)?;
        let bits = r.u16().map_err(cut)?;
        r.finish().map_err(cut)?;
        let placed = RelayFlags(bits).contains(RelayFlags::PLACED);
        let place = Coordinate { x, y, height };
        rule(placed || place == Coordinate::default(), "place of a relay", "has to be zero where there is none")?;
        let measure = Measure { capacity, place: placed.then_some(place) };
        Ok(Self { id, descriptor, measure, flags: RelayFlags::from_bits(bits) })
    }
}

/// A table of entries as bytes.
pub(crate) fn write_table(entries: &[RelayEntry]) -> Vec<u8> {
    let mut w = Writer::with_capacity(entries.len() * RELAY_ENTRY_LEN);
    for entry in entries {
        entry.write(&mut w);
    }
    w.finish()
}

/// Reads a table: whole entries, ascending by id, at most `max`.
pub(crate) fn read_table(bytes: &[u8], max: usize) -> Result<Vec<RelayEntry>, FormError> {
    let (chunks, rest) = bytes.as_chunks::<RELAY_ENTRY_LEN>();
    rule(rest.is_empty(), "table of relays", "has to be of whole entries")?;
    rule(chunks.len() <= max, "table of relays", "has too many entries")?;
    let entries = chunks.iter().map(|bytes| RelayEntry::read(bytes)).collect::<Result<Vec<_>, _>>()?;
    rule(
        entries.windows(2).all(|pair| pair[0].id < pair[1].id),
        "table of relays",
        "has to be sorted by id, each once",
    )?;
    Ok(entries)
}
