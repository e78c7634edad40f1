//! What a relay says of its health, once an epoch. It is coarse by its form: there is no place in it for an exact figure, nor for
//! anything of one circuit, link, peer or user.

use prost::Message as _;

use super::canonical::{self, FormError, array, rule};
use super::schema;
use crate::keys::{self, SignerKey};
use crate::wire::document::NetworkId;

/// Largest heartbeat, in bytes.
pub const HEARTBEAT_MAX: usize = 256;

const CONTEXT: &[u8] = b"zmesh heartbeat v1\0";
/// Where the steps of peers end. There is none below eight: one peer more or less of a few must not show.
const PEERS_STEPS: [usize; 5] = [8, 16, 32, 64, 128];
const PEERS_MAX: u32 = 6;
const UPTIME_MAX: u32 = 4;
const LOAD_MAX: u32 = 4;
/// A quarter of what a relay can do, in thousandths of that.
const QUARTER: u16 = 250;
/// How far beyond the edge of the quarter that was told last a load has to lie to be told as another one, in thousandths.
const LEEWAY: u16 = 62;
/// Where the steps of uptime end, in seconds: an hour, a day, a week.
const UPTIME_STEPS: [u64; 3] = [3_600, 86_400, 7 * 86_400];

/// A relay's health in steps. The exact figures are gone once it is made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Vitals {
    release: (u16, u16),
    peers: u8,
    uptime: u8,
    load: u8,
}

impl Vitals {
    /// Rounds figures of a whole relay: the program's major and minor version, peers of the control plane, seconds since the start, and
    /// the mean load over at least an epoch in thousandths of what it can do, if that is known.
    #[must_use]
    pub fn round(release: (u16, u16), peers: usize, up_seconds: u64, load: Option<u16>) -> Self {
        Self {
            release,
            peers: step(&PEERS_STEPS, &peers),
            uptime: step(&UPTIME_STEPS, &up_seconds),
            load: load.map_or(0, quarter),
        }
    }

    /// The same after this was told: a load near the edge of two quarters stays in the one that was told, so that no circuit more or
    /// less has a relay say something else.
    #[must_use]
    pub fn next(&self, release: (u16, u16), peers: usize, up_seconds: u64, load: Option<u16>) -> Self {
        let rounded = Self::round(release, peers, up_seconds, load);
        let stays = load.is_some_and(|load| {
            (quarter(load.saturating_sub(LEEWAY))..=quarter(load.saturating_add(LEEWAY))).contains(&self.load)
        });
        if stays { Self { load: self.load, ..rounded } } else { rounded }
    }

    /// The program's major and minor version.
    #[must_use]
    pub fn release(&self) -> (u16, u16) {
        self.release
    }

    /// Step of the number of peers: 1 below 8, 2 below 16, and so on by powers of two; 6 is 128 or more.
    #[must_use]
    pub fn peers(&self) -> u8 {
        self.peers
    }

    /// Step of the time since the start: 1 below an hour, 2 below a day, 3 below a week, 4 longer.
    #[must_use]
    pub fn uptime(&self) -> u8 {
        self.uptime
    }

    /// Step of the load: 0 not known, 1 below a quarter of what the relay can do, 2 below half, 3 below three quarters, 4 more.
    #[must_use]
    pub fn load(&self) -> u8 {
        self.load
    }
}

/// Which step a figure is in, from 1 on, by where the steps end.
fn step<T: PartialOrd>(ends: &[T], figure: &T) -> u8 {
    u8::try_from(1 + ends.iter().filter(|end| figure >= end).count()).unwrap_or(u8::MAX)
}

/// In which quarter a load lies, from 1 on.
fn quarter(load: u16) -> u8 {
    step(&[QUARTER, 2 * QUARTER, 3 * QUARTER], &load)
}

fn small(number: u32) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

/// A heartbeat: a relay's own word, on which nothing rests but what people are told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heartbeat {
    /// The network that it is for.
    pub network: NetworkId,
    /// The relay's Ed25519 identity.
    pub identity: [u8; 32],
    /// The epoch in which it is said: one for each.
    pub epoch: u64,
    /// What is said.
    pub vitals: Vitals,
}

/// A heartbeat whose form is right and whose signature was not looked at.
#[derive(Clone, Debug)]
pub struct Unverified {
    heartbeat: Heartbeat,
    body: Vec<u8>,
    signature: [u8; 64],
}

impl Heartbeat {
    /// Signs the heartbeat of the relay with this identity.
    #[must_use]
    pub fn sign(network: NetworkId, epoch: u64, vitals: Vitals, key: &SignerKey) -> Vec<u8> {
        let (major, minor) = vitals.release;
        let body = schema::Heartbeat {
            network: network.0.to_vec(),
            identity: key.public().to_vec(),
            epoch,
            release: (u32::from(major) << 16) | u32::from(minor),
            peers: vitals.peers.into(),
            uptime: vitals.uptime.into(),
            load: vitals.load.into(),
        }
        .encode_to_vec();
        let signature = key.sign(&[CONTEXT, &body].concat()).to_vec();
        schema::Signed { body, signature }.encode_to_vec()
    }

    /// Reads a heartbeat without its signature, which costs far more: whoever has no use for it need not verify it.
    ///
    /// # Errors
    /// See [`FormError`]; never [`FormError::ForgedSignature`].
    pub fn peek(bytes: &[u8]) -> Result<Unverified, FormError> {
        let signed: schema::Signed = canonical::read_strict(bytes, HEARTBEAT_MAX)?;
        let (message, _) = canonical::read::<schema::Heartbeat>(&signed.body, HEARTBEAT_MAX)?;
        rule((1..=PEERS_MAX).contains(&message.peers), "step of peers", "has to be 1 to 6")?;
        rule((1..=UPTIME_MAX).contains(&message.uptime), "step of uptime", "has to be 1 to 4")?;
        rule(message.load <= LOAD_MAX, "step of load", "can be at most 4")?;
        let [high, low] =
            [message.release >> 16, message.release & 0xffff].map(|half| u16::try_from(half).unwrap_or(0));
        let vitals = Vitals {
            release: (high, low),
            peers: small(message.peers),
            uptime: small(message.uptime),
            load: small(message.load),
        };
        let heartbeat = Self {
            network: NetworkId(array(&message.network, "network id")?),
            identity: array(&message.identity, "identity")?,
            epoch: message.epoch,
            vitals,
        };
        Ok(Unverified { heartbeat, signature: array(&signed.signature, "signature")?, body: signed.body })
    }

    /// Reads and verifies a heartbeat.
    ///
    /// # Errors
    /// See [`FormError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FormError> {
        Self::peek(bytes)?.verify()
    }
}

impl Unverified {
    /// What it claims.
    #[must_use]
    pub fn claim(&self) -> &Heartbeat {
        &self.heartbeat
    }

    /// The heartbeat, if the relay that it names signed it.
    ///
    /// # Errors
    /// [`FormError::ForgedSignature`].
    pub fn verify(self) -> Result<Heartbeat, FormError> {
        let Self { heartbeat, body, signature } = self;
        let good = keys::verify(&heartbeat.identity, &[CONTEXT, &body].concat(), &signature);
        if good { Ok(heartbeat) } else { Err(FormError::ForgedSignature) }
    }
}
