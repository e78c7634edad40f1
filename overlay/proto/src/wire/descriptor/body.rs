//! The signed part of a descriptor: its bytes and the rules on its fields.

use std::net::{IpAddr, SocketAddr};

use zmesh_sphinx::OnionSecret;

use super::control::{ControlAddress, Region};
use super::ports::PortSet;
use super::{AnnouncedKey, DescriptorError, DescriptorInfo, ExitSummary, Terms};
use crate::keys::{self, EPOCH_SECONDS, RelayKeys, SCHEDULE_MAX, epoch_at, proof};
use crate::wire::codec::{Error, ErrorKind, Reader, Writer, is_clean};

/// Longest descriptor, in bytes.
pub const DESCRIPTOR_MAX: usize = 6_144;
/// Longest nickname, in bytes.
pub const NICKNAME_MAX: usize = 24;
/// Longest name of an operator or a family, in bytes.
pub const ORGANISATION_MAX: usize = 64;
/// Most addresses of a relay.
pub const ADDRESSES_MAX: usize = 8;
/// Longest validity, in seconds: 62 days.
pub const LIFETIME_MAX: u64 = 62 * 86_400;

/// Most addresses of a relay in the control plane.
pub const CONTROL_ADDRESSES_MAX: usize = 4;

/// The version of descriptors that say nothing of the control plane. They keep the bytes that they always had.
const VERSION: u8 = 1;
/// The version of those that do.
const VERSION_CONTROL: u8 = 2;
const FLAG_MEETING: u8 = 1;
const FLAG_EXIT: u8 = 2;
const FLAG_CACHE: u8 = 4;
const FLAG_MIXER: u8 = 8;
const FLAG_DIRECTORY: u8 = 16;
const FLAG_REGION: u8 = 32;
const EXIT_V4: u8 = 1;
const EXIT_V6: u8 = 2;

/// The TLS key of an exit, of a relay that keeps chunks or of one that serves documents, and the proof that the relay holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ExitKey {
    pub(super) key: [u8; 32],
    proof: [u8; 64],
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Body {
    pub(super) identity: [u8; 32],
    pub(super) terms: Terms,
    pub(super) link_key: [u8; 32],
    link_proof: [u8; proof::PROOF_LEN],
    pub(super) onion_first: u32,
    pub(super) onion_keys: Vec<[u8; 32]>,
    onion_proof: [u8; proof::PROOF_LEN],
    pub(super) info: DescriptorInfo,
    pub(super) exit: Option<ExitKey>,
}

impl Body {
    pub(super) fn new(
        keys: &RelayKeys,
        info: &DescriptorInfo,
        terms: Terms,
        onion_first: u32,
        secrets: &[OnionSecret],
    ) -> Result<Self, DescriptorError> {
        let identity = keys.identity_public();
        let body = Self {
            identity,
            terms,
            link_key: keys.link_public(),
            link_proof: proof::prove_link(&identity, &keys.link_secret()),
            onion_first,
            onion_keys: secrets.iter().map(|s| s.public().to_bytes()).collect(),
            onion_proof: proof::prove_onion(&identity, onion_first, secrets),
            info: info.clone(),
            exit: (info.exit.is_some() || info.cache || info.directory)
                .then(|| ExitKey { key: keys.exit_public(), proof: keys.prove_exit() }),
        };
        body.check()?;
        Ok(body)
    }

    pub(super) fn write(&self, w: &mut Writer) {
        let controlled = speaks_of_control(&self.info);
        w.u8(if controlled { VERSION_CONTROL } else { VERSION });
        w.put(&self.identity);
        w.u64(self.terms.revision);
        w.u64(self.terms.published);
        w.u64(self.terms.expires);
        w.put(&self.link_key);
        w.put(&self.link_proof);
        w.u32(self.onion_first);
        w.count8(self.onion_keys.len());
        for key in &self.onion_keys {
            w.put(key);
        }
        w.put(&self.onion_proof);
        w.bytes8(self.info.nickname.as_bytes());
        w.bytes8(self.info.operator.as_bytes());
        w.bytes8(self.info.family.as_deref().unwrap_or_default().as_bytes());
        w.put(&self.info.country.unwrap_or_default());
        w.count8(self.info.addresses.len());
        for address in &self.info.addresses {
            w.ip(address.ip());
            w.u16(address.port());
        }
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        w.u8(flag(self.info.meeting, FLAG_MEETING)
            | flag(self.info.exit.is_some(), FLAG_EXIT)
            | flag(self.info.cache, FLAG_CACHE)
            | flag(self.info.mixer, FLAG_MIXER)
            | flag(self.info.directory, FLAG_DIRECTORY)
            | flag(self.info.region.is_some(), FLAG_REGION));
        if let Some(exit) = &self.exit {
            w.put(&exit.key);
            w.put(&exit.proof);
        }
        if let Some(summary) = &self.info.exit {
            w.u8(flag(summary.v4, EXIT_V4) | flag(summary.v6, EXIT_V6));
            summary.ports.write(w);
        }
        if controlled {
            if let Some(region) = self.info.region {
                w.u8(region.code());
            }
            w.count8(self.info.control.len());
            for address in &self.info.control {
                address.write(w);
            }
        }
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, DescriptorError> {
        let version = r.check(|r| match r.u8()? {
            version @ (VERSION | VERSION_CONTROL) => Ok(version),
            other => Err(r.error(ErrorKind::Version(other))),
        })?;
        let identity = r.array()?;
        let terms = Terms { revision: r.u64()?, published: r.u64()?, expires: r.u64()? };
        let link_key = r.array()?;
        let link_proof = r.array()?;
        let onion_first = r.u32()?;
        let onion_count = r.count8(SCHEDULE_MAX)?;
        let onion_keys = (0..onion_count).map(|_| r.array()).collect::<Result<_, _>>()?;
        let onion_proof = r.array()?;
        let nickname = r.text8(NICKNAME_MAX)?.to_owned();
        let operator = r.text8(ORGANISATION_MAX)?.to_owned();
        let family = r.text8(ORGANISATION_MAX)?.to_owned();
        let country: [u8; 2] = r.array()?;
        let addresses = (0..r.count8(ADDRESSES_MAX)?)
            .map(|_| Ok(SocketAddr::new(r.ip()?, r.u16()?)))
            .collect::<Result<_, Error>>()?;
        let known = match version {
            VERSION => FLAG_MEETING | FLAG_EXIT | FLAG_CACHE,
            _ => FLAG_MEETING | FLAG_EXIT | FLAG_CACHE | FLAG_MIXER | FLAG_DIRECTORY | FLAG_REGION,
        };
        let flags = flags(r, known)?;
        let exit = match flags & (FLAG_EXIT | FLAG_CACHE | FLAG_DIRECTORY) {
            0 => None,
            _ => Some(ExitKey { key: r.array()?, proof: r.array()? }),
        };
        let summary = match flags & FLAG_EXIT {
            0 => None,
            _ => {
                let versions = self::flags(r, EXIT_V4 | EXIT_V6)?;
                let (v4, v6) = (versions & EXIT_V4 != 0, versions & EXIT_V6 != 0);
                Some(ExitSummary { v4, v6, ports: PortSet::read(r)? })
            }
        };
        let (region, control) = match version {
            VERSION => (None, Vec::new()),
            _ => (
                if flags & FLAG_REGION != 0 { Some(Region::read(r)?) } else { None },
                (0..r.count8(CONTROL_ADDRESSES_MAX)?).map(|_| ControlAddress::read(r)).collect::<Result<_, _>>()?,
            ),
        };
        let body = Self {
            identity,
            terms,
            link_key,
            link_proof,
            onion_first,
            onion_keys,
            onion_proof,
            info: DescriptorInfo {
                nickname,
                operator,
                family: (!family.is_empty()).then_some(family),
                country: (country != [0, 0]).then_some(country),
                addresses,
                exit: summary,
                meeting: flags & FLAG_MEETING != 0,
                cache: flags & FLAG_CACHE != 0,
                mixer: flags & FLAG_MIXER != 0,
                directory: flags & FLAG_DIRECTORY != 0,
                region,
                control,
            },
            exit,
        };
        // One form for each value: the second version is for those who need it.
        rule(
            (version == VERSION_CONTROL) == speaks_of_control(&body.info),
            "version",
            "has to be the lowest that can say this",
        )?;
        body.check()?;
        Ok(body)
    }

    pub(super) fn verify_proofs(&self) -> Result<(), DescriptorError> {
        if !proof::link_proof_holds(&self.identity, &self.link_key, &self.link_proof) {
            return Err(DescriptorError::ForgedProof(AnnouncedKey::Link));
        }
        if !proof::onion_proof_holds(&self.identity, self.onion_first, &self.onion_keys, &self.onion_proof) {
            return Err(DescriptorError::ForgedProof(AnnouncedKey::Onion));
        }
        if let Some(exit) = &self.exit
            && !keys::exit_proof_holds(&self.identity, &exit.key, &exit.proof)
        {
            return Err(DescriptorError::ForgedProof(AnnouncedKey::Exit));
        }
        Ok(())
    }

    /// The rules on fields, the same for those who write and those who read.
    fn check(&self) -> Result<(), DescriptorError> {
        check_terms(self.terms)?;
        check_info(&self.info)?;
        let covered_until = (u64::from(self.onion_first) + self.onion_keys.len() as u64) * EPOCH_SECONDS;
        rule(
            self.onion_first <= epoch_at(self.terms.published) && covered_until >= self.terms.expires,
            "schedule of onion keys",
            "has to cover the descriptor's validity",
        )
    }
}

pub(super) fn check_terms(terms: Terms) -> Result<(), DescriptorError> {
    rule(terms.published < terms.expires, "validity", "has to end after it begins")?;
    rule(terms.expires - terms.published <= LIFETIME_MAX, "validity", "can be at most 62 days")?;
    // Epochs are 32-bit numbers; times beyond them are not times of ours.
    rule(terms.expires / EPOCH_SECONDS < u64::from(u32::MAX), "validity", "lies too far in the future")
}

fn check_info(info: &DescriptorInfo) -> Result<(), DescriptorError> {
    let nickname_byte = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    rule(
        (1..=NICKNAME_MAX).contains(&info.nickname.len()) && info.nickname.bytes().all(nickname_byte),
        "nickname",
        "has to be 1 to 24 letters, digits, dots, hyphens or underscores",
    )?;
    rule(
        is_organisation(&info.operator),
        "operator",
        "has to be 1 to 64 bytes of plain text without spaces at its ends",
    )?;
    rule(
        info.family.as_deref().is_none_or(is_organisation),
        "family",
        "has to be 1 to 64 bytes of plain text without spaces at its ends",
    )?;
    rule(
        info.country.is_none_or(|letters| letters.iter().all(u8::is_ascii_uppercase)),
        "country",
        "has to be two capital letters, such as NL",
    )?;
    rule((1..=ADDRESSES_MAX).contains(&info.addresses.len()), "list of addresses", "has to have 1 to 8 entries")?;
    for (at, address) in info.addresses.iter().enumerate() {
        rule(
            is_reachable(*address),
            "list of addresses",
            "has an entry that no link can reach (port 0, unspecified, multicast or IPv4 inside IPv6)",
        )?;
        rule(!info.addresses[..at].contains(address), "list of addresses", "has an entry twice")?;
    }
    rule(info.control.len() <= CONTROL_ADDRESSES_MAX, "list of control addresses", "can have at most 4 entries")?;
    for (at, control) in info.control.iter().enumerate() {
        rule(
            is_reachable(control.address),
            "list of control addresses",
            "has an entry that nobody can reach (port 0, unspecified, multicast or IPv4 inside IPv6)",
        )?;
        rule(!info.control[..at].contains(control), "list of control addresses", "has an entry twice")?;
    }
    if let Some(exit) = &info.exit {
        rule(
            (exit.v4 || exit.v6) && !exit.ports.is_empty(),
            "exit summary",
            "has to accept some port over IPv4 or IPv6",
        )?;
    }
    Ok(())
}

fn speaks_of_control(info: &DescriptorInfo) -> bool {
    info.mixer || info.directory || info.region.is_some() || !info.control.is_empty()
}

pub(crate) fn is_organisation(text: &str) -> bool {
    (1..=ORGANISATION_MAX).contains(&text.len()) && is_clean(text) && text.trim() == text
}

fn is_reachable(address: SocketAddr) -> bool {
    let plain = match address {
        SocketAddr::V4(v4) => !v4.ip().is_broadcast(),
        // A scope or a flow label has meaning on one machine only, and does not travel.
        SocketAddr::V6(v6) => v6.scope_id() == 0 && v6.flowinfo() == 0,
    };
    let ip: IpAddr = address.ip();
    plain && address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && ip.to_canonical() == ip
}

fn rule(holds: bool, field: &'static str, rule: &'static str) -> Result<(), DescriptorError> {
    if holds { Ok(()) } else { Err(DescriptorError::Field { field, rule }) }
}

/// A byte of flags of which only `known` may be set.
fn flags(r: &mut Reader<'_>, known: u8) -> Result<u8, Error> {
    r.check(|r| {
        let flags = r.u8()?;
        if flags & !known == 0 { Ok(flags) } else { Err(r.error(ErrorKind::Invalid)) }
    })
}
