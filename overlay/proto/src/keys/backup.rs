//! A relay's lasting keys under a passphrase, to be kept apart from the relay.
//!
//! A backup holds the identity, the link key and the exit key, and **not** the onion keys: a copy of those would open
//! recorded set-ups for as long as it lies around. A relay that is restored draws a new chain, makes a new descriptor,
//! and is the same relay to everybody.
//!
//! Systems write one letter in different ways: `é` is one character or two. The passphrase counts in Unicode's normalization form C, so
//! that it opens the backup whatever keyboard it was typed on; of plain ASCII that changes nothing.
//!
//! ```text
//! version 1 (1) ‖ salt (16) ‖ nonce (24) ‖ XChaCha20-Poly1305(key, nonce, identity 32 ‖ link 32 ‖ exit 32; version ‖ salt)
//! key = Argon2id(NFC(passphrase), salt; 64 MiB, 3 passes, 1 lane)      RFC 9106, second recommended choice with one lane
//! ```

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use ed25519_dalek::SigningKey;
use rand_core::CryptoRng;
use unicode_normalization::{UnicodeNormalization as _, is_nfc};
use zeroize::Zeroizing;

use super::{OnionKeys, RelayKeys};
use crate::wire::codec::armour::{self, ArmourError, Label};
use crate::wire::codec::{self, Reader, Writer};

/// Fewest characters of a passphrase.
pub const PASSPHRASE_MIN: usize = 10;

const VERSION: u8 = 1;
const SALT_LEN: usize = 16;
const NONCE_LEN: usize = 24;
const TAG_LEN: usize = 16;
const SECRETS_LEN: usize = 96;
const TEXT_MAX: usize = 1024;
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;

/// Why a backup could not be made or read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The passphrase can be guessed too easily.
    #[error("the passphrase is shorter than {PASSPHRASE_MIN} characters")]
    Short,
    /// The text is no backup.
    #[error(transparent)]
    Armour(#[from] ArmourError),
    /// The contents are malformed.
    #[error("the backup is damaged: {0}")]
    Malformed(#[from] codec::Error),
    /// The passphrase is another one, or the backup was altered. Which of the two cannot be told.
    #[error("the passphrase is wrong, or the backup is damaged")]
    Sealed,
}

impl RelayKeys {
    /// A backup of the lasting keys. Takes about a tenth of a second and 64 MiB.
    ///
    /// # Errors
    /// [`BackupError::Short`].
    pub fn to_backup(&self, passphrase: &str, rng: &mut impl CryptoRng) -> Result<String, BackupError> {
        if passphrase.nfc().count() < PASSPHRASE_MIN {
            return Err(BackupError::Short);
        }
        let (mut salt, mut nonce) = ([0; SALT_LEN], [0; NONCE_LEN]);
        rng.fill_bytes(&mut salt);
        rng.fill_bytes(&mut nonce);
        let mut secrets = Zeroizing::new([0; SECRETS_LEN]);
        secrets[..32].copy_from_slice(self.identity.as_bytes());
        secrets[32..64].copy_from_slice(&*self.link);
        secrets[64..].copy_from_slice(self.exit.as_bytes());
        let tag = cipher(passphrase, &salt)
            .encrypt_in_place_detached(&XNonce::from(nonce), &associated(&salt), &mut *secrets)
            .expect("96 bytes are not too long for the cipher");
        let mut w = Writer::with_capacity(1 + SALT_LEN + NONCE_LEN + SECRETS_LEN + TAG_LEN);
        w.u8(VERSION);
        w.put(&salt);
        w.put(&nonce);
        w.put(&*secrets);
        w.put(&tag);
        Ok(armour::encode(Label::KeyBackup, w.as_slice()).as_str().to_owned())
    }

    /// The keys of a backup, with a new chain of onion keys from `unix_now` (seconds) on.
    ///
    /// # Errors
    /// The text is no backup, or the passphrase another one.
    pub fn from_backup(
        text: &[u8],
        passphrase: &str,
        rng: &mut impl CryptoRng,
        unix_now: u64,
    ) -> Result<Self, BackupError> {
        let bytes = armour::decode(Label::KeyBackup, text, TEXT_MAX)?;
        let mut r = Reader::new(&bytes);
        r.version(VERSION)?;
        let salt: [u8; SALT_LEN] = r.array()?;
        let nonce: [u8; NONCE_LEN] = r.array()?;
        let mut secrets = Zeroizing::new(r.array::<SECRETS_LEN>()?);
        let tag: [u8; TAG_LEN] = r.array()?;
        r.finish()?;
        cipher(passphrase, &salt)
            .decrypt_in_place_detached(&XNonce::from(nonce), &associated(&salt), &mut *secrets, &tag.into())
            .map_err(|_| BackupError::Sealed)?;
        let part = |at: usize| {
            let mut part = Zeroizing::new([0; 32]);
            part.copy_from_slice(&secrets[at..at + 32]);
            part
        };
        Ok(Self {
            identity: SigningKey::from_bytes(&part(0)),
            link: part(32),
            exit: SigningKey::from_bytes(&part(64)),
            onion: OnionKeys::generate(rng, unix_now),
            unused: true,
            stored: false,
        })
    }
}

fn cipher(passphrase: &str, salt: &[u8; SALT_LEN]) -> XChaCha20Poly1305 {
    let params = Params::new(MEMORY_KIB, PASSES, 1, Some(32)).expect("the cost is within Argon2's bounds");
    let (passphrase, mut key) = (normal(passphrase), Zeroizing::new([0; 32]));
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, &mut *key)
        .expect("salt and output have lengths that Argon2 takes");
    XChaCha20Poly1305::new(Key::from_slice(&*key))
}

/// The passphrase in normalization form C, in one piece of memory that is overwritten: no letter becomes more than three times as long.
fn normal(passphrase: &str) -> Zeroizing<String> {
    let mut normal = Zeroizing::new(String::with_capacity(3 * passphrase.len()));
    if is_nfc(passphrase) {
        normal.push_str(passphrase);
    } else {
        normal.extend(passphrase.nfc());
    }
    normal
}

fn associated(salt: &[u8; SALT_LEN]) -> Vec<u8> {
    [&[VERSION], &salt[..]].concat()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use rand_chacha::ChaCha12Rng;
    use rand_core::SeedableRng;

    const NOW: u64 = 1_795_000_000;
    /// The backup of the keys of this seed, as the first program that could make one wrote it.
    const OLD: &str = "-----BEGIN ZMESH KEY BACKUP-----
Ab3wqmM7OqDjgFVb7TbaW5GCLV/jtYhagG32mRWOHMGkI92eH2h93GnH3dNMKwd5
IaW1qwoPa/ozVE+OMMdlEEBgUQMwVAlQ0BA/xwHCCc5xgS6NVVLunTBg3YHewtZg
ttPb7LAImRJ4VtpbI2sp7DyXV7U7cOL/dG8j6zpaMk03ZgL9QEulk0nE+lIB1rrA
KKa6JYSqTyfW
-----END ZMESH KEY BACKUP-----
";

    fn backup() -> (RelayKeys, String) {
        let mut rng = ChaCha12Rng::seed_from_u64(7);
        let keys = RelayKeys::generate(&mut rng, NOW);
        let text = keys.to_backup("correct horse battery", &mut rng).unwrap();
        (keys, text)
    }

    fn open(text: &str, passphrase: &str) -> Result<RelayKeys, BackupError> {
        RelayKeys::from_backup(text.as_bytes(), passphrase, &mut ChaCha12Rng::seed_from_u64(8), NOW + 1000)
    }

    #[test]
    fn the_relay_is_the_same_and_its_onion_keys_are_new() {
        let (keys, text) = backup();
        let back = open(&text, "correct horse battery").unwrap();
        assert_eq!(back.identity_public(), keys.identity_public());
        assert_eq!(*back.link_secret(), *keys.link_secret());
        assert_eq!(back.exit_public(), keys.exit_public());
        let public = |keys: &RelayKeys| keys.onion_secrets_at(NOW + 1000)[0].public();
        assert_ne!(public(&back), public(&keys), "no onion key lies in a backup");
        assert!(back.are_unused());
    }

    #[test]
    fn another_passphrase_and_any_altered_byte_are_refused() {
        let (_, text) = backup();
        assert_eq!(open(&text, "correct horse batterx").unwrap_err(), BackupError::Sealed);
        let bytes = armour::decode(Label::KeyBackup, text.as_bytes(), TEXT_MAX).unwrap();
        // One byte of each part: salt, nonce, ciphertext, tag. Each costs a key derivation.
        for at in [1, 17, 41, 136, 137, 152] {
            let mut altered = bytes.to_vec();
            altered[at] ^= 1;
            let altered = armour::encode(Label::KeyBackup, &altered);
            assert_eq!(open(&altered, "correct horse battery").unwrap_err(), BackupError::Sealed, "byte {at}");
        }
        for len in [0, 1, 40, 152] {
            let cut = armour::encode(Label::KeyBackup, &bytes[..len]);
            assert!(matches!(open(&cut, "correct horse battery").unwrap_err(), BackupError::Malformed(_)));
        }
        let mut other = bytes.to_vec();
        other[0] = 2;
        assert!(matches!(open(&armour::encode(Label::KeyBackup, &other), "x"), Err(BackupError::Malformed(_))));
    }

    #[test]
    fn short_passphrases_are_refused() {
        let mut rng = ChaCha12Rng::seed_from_u64(7);
        let keys = RelayKeys::generate(&mut rng, NOW);
        assert_eq!(keys.to_backup("ninechars", &mut rng).unwrap_err(), BackupError::Short);
    }

    /// One letter, typed on two systems.
    #[test]
    fn a_passphrase_with_accents_opens_the_backup_however_it_was_typed() {
        let (composed, decomposed) = ("caf\u{e9} \u{c5}ngstr\u{f6}m", "cafe\u{301} A\u{30a}ngstro\u{308}m");
        // The sign of the unit, which is the same letter; marks in another order.
        let (sign, marks) = ("caf\u{e9} \u{212b}ngstr\u{f6}m", ("q\u{323}\u{307}", "q\u{307}\u{323}"));
        assert_ne!(composed.as_bytes(), decomposed.as_bytes());
        let mut rng = ChaCha12Rng::seed_from_u64(7);
        let keys = RelayKeys::generate(&mut rng, NOW);
        let text = keys.to_backup(decomposed, &mut rng).unwrap();
        for typed in [composed, decomposed, sign] {
            assert_eq!(open(&text, typed).unwrap().id(), keys.id(), "{typed}");
        }
        assert_eq!(open(&text, "cafe Angstrom").unwrap_err(), BackupError::Sealed, "accents count");
        assert_eq!(*normal(marks.0), *normal(marks.1));
        // Letters that only look alike stay apart, as do forms that compatibility would fold.
        assert_ne!(*normal("\u{fb01}"), *normal("fi"));
        assert_eq!(*normal("correct horse battery"), "correct horse battery");
    }

    #[test]
    fn length_is_counted_in_whole_letters() {
        let mut rng = ChaCha12Rng::seed_from_u64(7);
        let keys = RelayKeys::generate(&mut rng, NOW);
        assert_eq!(keys.to_backup(&"e\u{301}".repeat(9), &mut rng).unwrap_err(), BackupError::Short);
        assert!(keys.to_backup(&"e\u{301}".repeat(10), &mut rng).is_ok());
    }

    #[test]
    fn nothing_grows_beyond_the_room_that_is_overwritten() {
        // The letters that grow most in normalization form C (three times in bytes: UAX 15).
        for letter in ["\u{1d160}", "\u{fb2c}", "\u{390}", "\u{1f82}"] {
            let long = letter.repeat(100);
            let normal = normal(&long);
            assert!(normal.len() <= 3 * long.len() && normal.capacity() == 3 * long.len(), "{letter}");
        }
    }

    /// The bytes of format 1: whoever has an old backup must be able to read it.
    #[test]
    fn an_old_backup_can_be_read() {
        let (keys, text) = backup();
        assert_eq!(text, OLD);
        assert_eq!(open(&text, "correct horse battery").unwrap().id(), keys.id());
    }
}
