//! What a voter knows of the relays, and whom it would have vote.

use zmesh_sphinx::RelayId;

use crate::directory::{Coordinate, Measure};
use crate::wire::codec::{Reader, Writer};
use crate::wire::control::canonical::{FormError, rule};
use crate::wire::control::{Parameters, RelayFlags, VOTERS_MAX, VoterSet, schema};
use crate::wire::document::{RELAYS_MAX, SignerId};

/// Length of a sighting, in bytes.
pub const SIGHTING_LEN: usize = 62;
const PLACED: u16 = 1 << 15;

/// A relay that a voter reached in the epoch that ends, and whose descriptor it holds and found good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sighting {
    /// Which relay.
    pub id: RelayId,
    /// SHA-256 of its newest descriptor's bytes.
    pub descriptor: [u8; 32],
    /// For how much of the time that the voter watched it, it was up: thousandths, at most 1,000.
    pub uptime: u16,
    /// What the voter measured of it; the default where it measured nothing.
    pub measure: Measure,
    /// What its descriptor says of it ([`RelayFlags::said_by`]).
    pub flags: RelayFlags,
}

/// What a voter says of the relays and of the voters to come.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Ballot {
    /// The relays that it saw, sorted by id. A relay that is not here was not seen.
    pub sightings: Vec<Sighting>,
    /// Nodes that it would have vote besides those who do.
    pub wanted: Option<VoterSet>,
    /// Voters that it would not have vote any more, sorted.
    pub unwanted: Vec<SignerId>,
    /// The parameters that it would have.
    pub parameters: Parameters,
}

impl Ballot {
    /// The sighting of one relay.
    #[must_use]
    pub fn sighting(&self, id: &RelayId) -> Option<&Sighting> {
        let at = self.sightings.binary_search_by_key(id, |sighting| sighting.id).ok()?;
        self.sightings.get(at)
    }

    pub(super) fn read(
        sightings: Vec<Sighting>,
        wanted: Vec<schema::Voter>,
        unwanted: &[u8],
        parameters: Parameters,
    ) -> Result<Self, FormError> {
        let wanted = if wanted.is_empty() { None } else { Some(VoterSet::read(wanted, VOTERS_MAX)?) };
        let (keys, rest) = unwanted.as_chunks::<32>();
        rule(rest.is_empty() && keys.len() <= VOTERS_MAX, "list of unwanted voters", "has to be of whole keys")?;
        rule(keys.windows(2).all(|pair| pair[0] < pair[1]), "list of unwanted voters", "has to be sorted, each once")?;
        Ok(Self { sightings, wanted, unwanted: keys.iter().copied().map(SignerId).collect(), parameters })
    }
}

pub(super) fn write_sightings(sightings: &[Sighting]) -> Vec<u8> {
    let mut w = Writer::with_capacity(sightings.len() * SIGHTING_LEN);
    for sighting in sightings {
        w.put(&sighting.id.0);
        w.put(&sighting.descriptor);
        w.u16(sighting.uptime);
        w.u32(sighting.measure.capacity);
        let place = sighting.measure.place.unwrap_or_default();
        w.put(&place.x.to_be_bytes());
        w.put(&place.y.to_be_bytes());
        w.u16(place.height);
        w.u16(sighting.flags.bits() | if sighting.measure.place.is_some() { PLACED } else { 0 });
    }
    w.finish()
}

pub(super) fn read_sightings(bytes: &[u8]) -> Result<Vec<Sighting>, FormError> {
    let (parts, rest) = bytes.as_chunks::<SIGHTING_LEN>();
    rule(
        rest.is_empty() && parts.len() <= RELAYS_MAX,
        "list of sightings",
        "has to be of at most 4,096 whole entries",
    )?;
    let sightings = parts.iter().map(|part| read_sighting(part)).collect::<Result<Vec<_>, _>>()?;
    rule(sightings.windows(2).all(|pair| pair[0].id < pair[1].id), "list of sightings", "has to be sorted, each once")?;
    Ok(sightings)
}

fn read_sighting(bytes: &[u8]) -> Result<Sighting, FormError> {
    let cut = |_| FormError::Undecodable;
    let mut r = Reader::new(bytes);
    let id = RelayId(r.array().map_err(cut)?);
    let descriptor = r.array().map_err(cut)?;
    let uptime = r.u16().map_err(cut)?;
    let capacity = r.u32().map_err(cut)?;
    let x = i16::from_be_bytes(r.array().map_err(cut)?);
    let y = i16::from_be_bytes(r.array().map_err(cut)?);
    let height = r.u16().map_err(cut)?;
    let bits = r.u16().map_err(cut)?;
    let place = Coordinate { x, y, height };
    let placed = bits & PLACED != 0;
    rule(uptime <= 1_000, "uptime", "can be at most 1,000 thousandths")?;
    rule(placed || place == Coordinate::default(), "place of a relay", "has to be zero where there is none")?;
    let measure = Measure { capacity, place: placed.then_some(place) };
    Ok(Sighting { id, descriptor, uptime, measure, flags: RelayFlags::from_bits(bits) })
}
