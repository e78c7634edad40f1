//! The signed part of a document, its signatures, and the rules on both.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ed25519_dalek::VerifyingKey;

use super::{CLOCK_SKEW, DocumentError, SignerId};
use crate::keys;
use crate::wire::codec::{Error, ErrorKind, Reader, Writer, is_clean};
use crate::wire::descriptor::{DESCRIPTOR_MAX, Descriptor};

/// Longest name of a network, in bytes.
pub const NAME_MAX: usize = 64;
/// Most signers.
pub const SIGNERS_MAX: usize = 64;
/// Most relays.
pub const RELAYS_MAX: usize = 4_096;
/// Longest validity of a document, in seconds: 62 days.
pub const LIFETIME_MAX: u64 = 62 * 86_400;

const VERSION: u8 = 1;
const FLAG_TEST: u8 = 1;
const CONTEXT: &[u8] = b"zmesh network document v1\0";

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Body {
    pub(super) name: String,
    pub(super) test_network: bool,
    pub(super) valid_after: u64,
    pub(super) valid_until: u64,
    /// Sorted, distinct.
    pub(super) signers: Vec<[u8; 32]>,
    /// Sorted by relay id, distinct.
    pub(super) descriptors: Vec<Descriptor>,
}

impl Body {
    pub(super) fn write(&self, w: &mut Writer) {
        w.u8(VERSION);
        w.u8(if self.test_network { FLAG_TEST } else { 0 });
        w.bytes8(self.name.as_bytes());
        w.u64(self.valid_after);
        w.u64(self.valid_until);
        w.count8(self.signers.len());
        for signer in &self.signers {
            w.put(signer);
        }
        w.count16(self.descriptors.len());
        for descriptor in &self.descriptors {
            w.bytes16(descriptor.as_bytes());
        }
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, DocumentError> {
        r.version(VERSION)?;
        let flags = r.check(|r| match r.u8()? {
            flags if flags & !FLAG_TEST == 0 => Ok(flags),
            _ => Err(r.error(ErrorKind::Invalid)),
        })?;
        let name = r.text8(NAME_MAX)?.to_owned();
        let valid_after = r.u64()?;
        let valid_until = r.u64()?;
        let signers = (0..r.count8(SIGNERS_MAX)?).map(|_| r.array()).collect::<Result<Vec<[u8; 32]>, Error>>()?;
        let count = r.count16(RELAYS_MAX)?;
        let mut descriptors = Vec::new();
        for index in 1..=count {
            let offset = r.offset();
            let bytes = r.bytes16(DESCRIPTOR_MAX)?;
            let descriptor =
                Descriptor::decode(bytes).map_err(|error| DocumentError::Descriptor { index, offset, error })?;
            descriptors.push(descriptor);
        }
        let body = Self { name, test_network: flags & FLAG_TEST != 0, valid_after, valid_until, signers, descriptors };
        body.check()?;
        Ok(body)
    }

    /// What holds for drafts too.
    pub(super) fn check(&self) -> Result<(), DocumentError> {
        let field = |holds: bool, field: &'static str, rule: &'static str| {
            holds.then_some(()).ok_or(DocumentError::Field { field, rule })
        };
        field(
            (1..=NAME_MAX).contains(&self.name.len()) && is_clean(&self.name) && self.name.trim() == self.name,
            "name of the network",
            "has to be 1 to 64 bytes of plain text without spaces at its ends",
        )?;
        field(self.valid_after < self.valid_until, "validity of the network", "has to end after it begins")?;
        field(
            self.valid_until - self.valid_after <= LIFETIME_MAX,
            "validity of the network",
            "can be at most 62 days",
        )?;
        field((1..=SIGNERS_MAX).contains(&self.signers.len()), "list of signers", "has to have 1 to 64 entries")?;
        field(self.descriptors.len() <= RELAYS_MAX, "list of relays", "can have at most 4,096 entries")?;
        for pair in self.signers.windows(2) {
            if pair[0] == pair[1] {
                return Err(DocumentError::DuplicateSigner(SignerId(pair[0])));
            }
            field(pair[0] < pair[1], "list of signers", "has to be sorted")?;
        }
        for signer in &self.signers {
            if !VerifyingKey::from_bytes(signer).is_ok_and(|key| !key.is_weak()) {
                return Err(DocumentError::WeakSigner(SignerId(*signer)));
            }
        }
        for pair in self.descriptors.windows(2) {
            if pair[0].id() == pair[1].id() {
                return Err(DocumentError::DuplicateRelay(pair[0].id()));
            }
            field(pair[0].id() < pair[1].id(), "list of relays", "has to be sorted by relay id")?;
        }
        self.check_keys()?;
        self.check_addresses()
    }

    /// What holds once nothing is going to be added.
    pub(super) fn check_complete(&self) -> Result<(), DocumentError> {
        if self.descriptors.is_empty() {
            return Err(DocumentError::Field { field: "list of relays", rule: "is empty" });
        }
        match self.descriptors.iter().find(|descriptor| descriptor.terms().expires < self.valid_until) {
            None => Ok(()),
            Some(descriptor) => Err(DocumentError::OutlivesRelay {
                nickname: descriptor.info().nickname.clone(),
                expires: descriptor.terms().expires,
                valid_until: self.valid_until,
            }),
        }
    }

    pub(super) fn check_time(&self, unix_now: u64) -> Result<(), DocumentError> {
        if unix_now >= self.valid_until {
            return Err(DocumentError::Expired { since: self.valid_until });
        }
        if unix_now.saturating_add(CLOCK_SKEW) < self.valid_after {
            return Err(DocumentError::NotYetValid { from: self.valid_after });
        }
        Ok(())
    }

    /// Proofs of possession make this impossible for strangers; one operator who copied key files still can.
    fn check_keys(&self) -> Result<(), DocumentError> {
        let mut seen = BTreeMap::new();
        for descriptor in &self.descriptors {
            let keys = std::iter::once(descriptor.link_key()).chain(descriptor.exit_key());
            for key in keys {
                if let Some(other) = seen.insert(key, descriptor.id()) {
                    return Err(DocumentError::SharedKey(other, descriptor.id()));
                }
            }
        }
        Ok(())
    }

    fn check_addresses(&self) -> Result<(), DocumentError> {
        if self.test_network {
            return Ok(());
        }
        for descriptor in &self.descriptors {
            for address in &descriptor.info().addresses {
                if !is_public(address.ip()) {
                    return Err(DocumentError::PrivateAddress {
                        nickname: descriptor.info().nickname.clone(),
                        address: *address,
                    });
                }
            }
        }
        Ok(())
    }
}

/// Whether an address can be reached from the whole Internet. A document that lists others could make its readers
/// send datagrams into their own networks.
pub(crate) fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            !(a == 0
                || ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || (a == 100 && b & 0xc0 == 64)
                || (a == 192 && b == 0 && c == 0)
                || ip.is_documentation()
                || (a == 198 && b & 0xfe == 18)
                || a >= 224)
        }
        // Global unicast is 2000::/3; documentation prefixes lie inside it, and so do the forms that carry IPv4.
        IpAddr::V6(ip) => {
            let s = ip.segments();
            s[0] & 0xe000 == 0x2000
                && !(s[0] == 0x2001 && s[1] == 0x0db8)
                && !(s[0] == 0x3fff && s[1] < 0x1000)
                && s[0] != 0x2002
                && !(s[0] == 0x2001 && s[1] == 0)
        }
    }
}

/// Verified signatures by the signer's place in the sorted list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Signatures(BTreeMap<usize, [u8; 64]>);

impl Signatures {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn insert(&mut self, signer: usize, signature: [u8; 64]) {
        self.0.insert(signer, signature);
    }

    /// Takes another's signatures; both were verified over the same body.
    pub(super) fn extend(&mut self, other: &Self) {
        self.0.extend(&other.0);
    }

    pub(super) fn signers(&self, body: &Body) -> Vec<SignerId> {
        self.0.keys().map(|at| SignerId(body.signers[*at])).collect()
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.count8(self.0.len());
        for (signer, signature) in &self.0 {
            w.count8(*signer);
            w.put(signature);
        }
    }

    /// Reads and verifies all signatures over the bytes of the body. One that is bad spoils the document.
    pub(super) fn read(r: &mut Reader<'_>, body: &Body, signed: &[u8]) -> Result<Self, DocumentError> {
        let count = r.count8(body.signers.len())?;
        let message = message(signed);
        let mut out = BTreeMap::new();
        for _ in 0..count {
            let signer = r.check(|r| {
                let at = usize::from(r.u8()?);
                let ascending = out.last_key_value().is_none_or(|(last, _)| *last < at);
                if ascending && at < body.signers.len() { Ok(at) } else { Err(r.error(ErrorKind::Invalid)) }
            })?;
            let signature = r.array()?;
            if !keys::verify(&body.signers[signer], &message, &signature) {
                return Err(DocumentError::ForgedSignature(SignerId(body.signers[signer])));
            }
            out.insert(signer, signature);
        }
        Ok(Self(out))
    }
}

/// What signers sign.
pub(super) fn message(body: &[u8]) -> Vec<u8> {
    [CONTEXT, body].concat()
}

pub(super) fn encode(body: &Body, signatures: &Signatures) -> Vec<u8> {
    let mut w = Writer::new();
    body.write(&mut w);
    signatures.write(&mut w);
    w.finish()
}
