//! Probes: small datagrams that find out whether a path between two addresses carries anything.
//!
//! ```text
//! header 16:  5 ‖ what u8 ‖ 0 ‖ 0 ‖ the receiver's tag u32 ‖ transaction u64
//! probe  48:  header ‖ relay 16, or zero ‖ HMAC-SHA-256(key, all before) 16
//! ```
//!
//! An answer is exactly as long as what it answers, and only who knows the key of the exchange gets one.

use hkdf::Hkdf;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::wire::datagram::{HEADER_LEN, Header, Kind, PROBE_LEN};

const CONTEXT: &[u8] = b"zmesh nat probe v1";
const MAC_AT: usize = PROBE_LEN - 16;

/// What a probe says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Said {
    /// Does this arrive?
    Ask = 1,
    /// It arrived: the answer goes where it came from.
    Answer = 2,
    /// From a relay that has no link to the receiver: you can be reached. It is not answered.
    Reached = 3,
    /// By the flow of the exchange: the receiver may send one more probe for this one. It is not answered.
    Paid = 4,
}

/// A probe as it was read, not yet known to be authentic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Probe {
    /// What it says.
    pub said: Said,
    /// The receiver's tag of the attempt.
    pub tag: u32,
    /// The same in an answer as in what it answers.
    pub transaction: u64,
    /// Who sends a [`Said::Reached`]; zero in all others.
    pub relay: [u8; 16],
}

/// The key of one direction of probes. Erased on drop.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct ProbeKey([u8; 32]);

impl ProbeKey {
    /// A key that somebody else made up.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The keys of an exchange: of the offering side's probes, and of the answering side's.
    #[must_use]
    pub fn pair(offerer: &[u8; 32], answerer: &[u8; 32]) -> (Self, Self) {
        let secret = Zeroizing::new([*offerer, *answerer].concat());
        let hkdf = Hkdf::<Sha256>::new(None, &secret);
        let mut out = Zeroizing::new([0; 64]);
        hkdf.expand(CONTEXT, &mut *out).expect("64 bytes are within HKDF's limit");
        let (mut first, mut second) = ([0; 32], [0; 32]);
        first.copy_from_slice(&out[..32]);
        second.copy_from_slice(&out[32..]);
        (Self(first), Self(second))
    }

    /// HKDF's extraction is HMAC with the salt as key.
    fn mac(&self, data: &[u8]) -> [u8; 16] {
        let (full, _) = Hkdf::<Sha256>::extract(Some(&self.0), data);
        let mut out = [0; 16];
        out.copy_from_slice(&full[..16]);
        out
    }
}

impl std::fmt::Debug for ProbeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProbeKey([redacted])")
    }
}

impl Probe {
    /// The probe's bytes, authenticated by `key`.
    #[must_use]
    pub fn seal(&self, key: &ProbeKey) -> [u8; PROBE_LEN] {
        let mut out = [0; PROBE_LEN];
        let header = Header { kind: Kind::Probe, suite: self.said as u8, index: self.tag, counter: self.transaction };
        out[..HEADER_LEN].copy_from_slice(&header.to_bytes());
        out[HEADER_LEN..MAC_AT].copy_from_slice(&self.relay);
        let mac = key.mac(&out[..MAC_AT]);
        out[MAC_AT..].copy_from_slice(&mac);
        out
    }

    /// Reads a probe; `None` when it is none. The tag says whose key to [`check`](Self::check) it by.
    #[must_use]
    pub fn read(datagram: &[u8]) -> Option<Self> {
        let header = Header::read(datagram).ok().filter(|header| header.kind == Kind::Probe)?;
        let said = match header.suite {
            1 => Said::Ask,
            2 => Said::Answer,
            3 => Said::Reached,
            4 => Said::Paid,
            _ => return None,
        };
        let relay = *datagram.get(HEADER_LEN..MAC_AT)?.first_chunk::<16>()?;
        Some(Self { said, tag: header.index, transaction: header.counter, relay })
    }

    /// Whether `datagram`, from which a probe was read, is authentic under `key`. Takes the same time either way.
    #[must_use]
    pub fn check(datagram: &[u8], key: &ProbeKey) -> bool {
        let Some((body, mac)) = datagram.split_at_checked(MAC_AT) else { return false };
        bool::from(key.mac(body)[..].ct_eq(mac))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn probe() -> Probe {
        Probe { said: Said::Ask, tag: 0x0102_0304, transaction: 7, relay: [0; 16] }
    }

    proptest! {
        #[test]
        fn a_probe_reads_back(tag: u32, transaction: u64, relay: [u8; 16], key: [u8; 32]) {
            let probe = Probe { said: Said::Reached, tag, transaction, relay };
            let key = ProbeKey::from_bytes(key);
            let sealed = probe.seal(&key);
            prop_assert_eq!(Probe::read(&sealed), Some(probe));
            prop_assert!(Probe::check(&sealed, &key));
        }

        #[test]
        fn a_changed_bit_is_noticed(bit in 0usize..PROBE_LEN * 8) {
            let key = ProbeKey::from_bytes([9; 32]);
            let mut sealed = probe().seal(&key);
            sealed[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!Probe::check(&sealed, &key));
        }

        #[test]
        fn any_bytes_give_a_probe_or_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            if Probe::read(&bytes).is_some() {
                prop_assert_eq!(bytes.len(), PROBE_LEN);
            }
        }
    }

    #[test]
    fn directions_and_exchanges_have_keys_of_their_own() {
        let (a, b) = ProbeKey::pair(&[1; 32], &[2; 32]);
        let (c, _) = ProbeKey::pair(&[2; 32], &[1; 32]);
        let sealed = probe().seal(&a);
        assert!(Probe::check(&sealed, &a) && !Probe::check(&sealed, &b) && !Probe::check(&sealed, &c));
        assert!(!Probe::check(&sealed[..PROBE_LEN - 1], &a) && !Probe::check(&[], &a), "cut short");
        assert_eq!(Probe::read(&sealed[..PROBE_LEN - 1]), None);
    }

    #[test]
    fn the_bytes_are_those_of_the_specification() {
        let (key, _) = ProbeKey::pair(&[1; 32], &[2; 32]);
        let sealed = probe().seal(&key);
        assert_eq!(&sealed[..16], &[5, 1, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 7]);
        let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
        assert_eq!(hex(&sealed[MAC_AT..]), "aca0501c3ae66cff820c574422d1e585");
    }
}
