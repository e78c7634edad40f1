//! The relays that voters speak of: made once, replaced by others as time goes.

use std::net::SocketAddr;

use rand_chacha::ChaCha12Rng;
use rand_core::Rng;
use zmesh_proto::directory::{Coordinate, Measure};
use zmesh_proto::keys::RelayKeys;
use zmesh_proto::wire::control::RelayFlags;
use zmesh_proto::wire::control::vote::{Ballot, Sighting};
use zmesh_proto::wire::descriptor::{Descriptor, DescriptorInfo, Terms};

/// One relay as it is.
struct Relay {
    descriptor: Descriptor,
    seen: Sighting,
}

/// What a voter says of a relay that it saw: its descriptor, its uptime in thousandths, and what was measured.
#[must_use]
pub fn sighting(descriptor: &Descriptor, uptime: u16, measure: Measure) -> Sighting {
    let hash = ring::digest::digest(&ring::digest::SHA256, descriptor.as_bytes());
    let hash = hash.as_ref().try_into().expect("32 bytes");
    Sighting { id: descriptor.id(), descriptor: hash, uptime, measure, flags: RelayFlags::said_by(descriptor) }
}

/// All relays of a simulated network.
pub struct Relays {
    up: Vec<Relay>,
    made: u64,
}

impl Relays {
    /// So many relays, described at a time (unix seconds).
    pub fn new(count: usize, unix: u64, rng: &mut ChaCha12Rng) -> Self {
        let mut relays = Self { up: Vec::new(), made: 0 };
        for _ in 0..count {
            let relay = relays.make(unix, rng);
            relays.up.push(relay);
        }
        relays
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.up.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.up.is_empty()
    }

    /// Takes a relay away and puts a new one in its place.
    pub fn replace_one(&mut self, unix: u64, rng: &mut ChaCha12Rng) {
        let gone = usize::try_from(rng.next_u64() % self.up.len() as u64).expect("an index");
        let relay = self.make(unix, rng);
        self.up[gone] = relay;
    }

    fn make(&mut self, unix: u64, rng: &mut ChaCha12Rng) -> Relay {
        self.made += 1;
        let [_, _, a, b] = u32::try_from(self.made).expect("fewer than 2³²").to_be_bytes();
        let info = DescriptorInfo {
            nickname: format!("relay{}", self.made),
            operator: format!("operator {}", self.made),
            family: None,
            country: None,
            addresses: vec![SocketAddr::from(([20, a, b, 1], 9001))],
            exit: None,
            meeting: true,
            cache: true,
            mixer: false,
            directory: self.made.is_multiple_of(10),
            region: None,
            control: Vec::new(),
        };
        let keys = RelayKeys::generate(rng, unix);
        let descriptor =
            Descriptor::create(&keys, &info, Terms::agreed(unix)).expect("a descriptor that keeps the rules");
        let mut place = || i16::try_from(rng.next_u64() % 1_000).expect("below 1,000");
        let place = Coordinate { x: place(), y: place(), height: 20 };
        let capacity = 500 + u32::try_from(rng.next_u64() % 20_000).expect("below 20,000");
        let seen = sighting(&descriptor, 990, Measure { capacity, place: Some(place) });
        Relay { descriptor, seen }
    }

    /// What a voter says who misses one relay of fifty and whose figures are off by up to a tenth.
    pub fn ballot(&self, rng: &mut ChaCha12Rng) -> Ballot {
        let mut sightings: Vec<Sighting> =
            self.up.iter().filter(|_| !rng.next_u64().is_multiple_of(50)).map(|relay| relay.seen).collect();
        for sighting in &mut sightings {
            let off = u32::try_from(rng.next_u64() % 20).expect("below 20");
            sighting.measure.capacity = sighting.measure.capacity * (90 + off) / 100;
        }
        sightings.sort_by_key(|sighting| sighting.id);
        Ballot { sightings, ..Ballot::default() }
    }

    /// Whether a relay is up.
    pub fn has(&self, id: &zmesh_sphinx::RelayId) -> bool {
        self.up.iter().any(|relay| relay.descriptor.id() == *id)
    }
}
