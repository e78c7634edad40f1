//! A relay's lasting keys under a passphrase, and back.

use std::path::Path;

use zeroize::Zeroizing;
use zmesh_proto::keys::{BackupError, RelayKeys};
use zmesh_proto::wire::codec::armour::{self, Label};

use super::{MAKE_KEYS, load};
use crate::failure::{Failure, Outcome};
use crate::files::{self, Access};
use crate::randomness;
use crate::term;
use crate::time::unix_now;

pub(super) fn backup(file: &Path, out: &Path, passphrase: Option<&Path>) -> Outcome {
    files::check_new(out)?;
    let keys = to_keep(file)?;
    let passphrase = match passphrase {
        Some(file) => read(file)?,
        None => {
            let first = ask("passphrase for the backup: ")?;
            if *first != *ask("the same again: ")? {
                return Err(Failure::misused("the backup was not made", "the two passphrases differ", "try again"));
            }
            first
        }
    };
    let text = keys.to_backup(&passphrase, &mut randomness::generator()?).map_err(|error| {
        Failure::misused("the backup was not made", error, "choose a longer one, such as five words drawn by dice")
    })?;
    files::create(out, text.as_bytes(), Access::Secret)?;
    term::progress(format_args!("{} can make this relay's keys anew: keep it and the passphrase apart", out.display()));
    Ok(())
}

/// The relay's keys of a file; other keys need no such copy, and it is said what to do with them.
fn to_keep(file: &Path) -> Outcome<RelayKeys> {
    let bytes = files::read_keys(file, MAKE_KEYS)?;
    match armour::kind(&bytes) {
        Some(kind @ (Label::SignerKey | Label::ServiceKey)) => {
            let why = format_args!("it is {}, and only a relay's keys have backups", kind.noun());
            Err(Failure::misused(
                format_args!("{} was not kept", file.display()),
                why,
                "keep a copy of the file itself",
            ))
        }
        _ => load(file),
    }
}

pub(super) fn restore(file: &Path, out: &Path, passphrase: Option<&Path>) -> Outcome<RelayKeys> {
    const NOT_ONE: &str = "name the file that zmesh keys backup wrote";
    files::check_new(out)?;
    let text = files::read(file, "backup", "make one with: zmesh keys backup keys --out keys.backup")?;
    // Nobody should be asked for the passphrase of something that has none.
    armour::decode(Label::KeyBackup, &text, text.len())
        .map_err(|error| Failure::misused(format_args!("no keys from {}", file.display()), error, NOT_ONE))?;
    let passphrase = match passphrase {
        Some(file) => read(file)?,
        None => ask("passphrase of the backup: ")?,
    };
    let keys =
        RelayKeys::from_backup(&text, &passphrase, &mut randomness::generator()?, unix_now()).map_err(|error| {
            let next = match error {
                BackupError::Sealed => "try again, or use another copy of the backup",
                _ => NOT_ONE,
            };
            Failure::misused(format_args!("no keys from {}", file.display()), error, next)
        })?;
    files::create(out, keys.to_text().as_bytes(), Access::Secret)?;
    term::progress(format_args!("{} holds the keys: make the descriptor anew (zmesh keys descriptor)", out.display()));
    Ok(keys)
}

fn read(file: &Path) -> Outcome<Zeroizing<String>> {
    let bytes =
        files::read_secret(file, "file of the passphrase", "write the passphrase into the first line of a file")?;
    let text = std::str::from_utf8(&bytes).map_err(|_| {
        Failure::misused(
            format_args!("the passphrase in {} cannot be used", file.display()),
            "it is not UTF-8",
            "write it anew",
        )
    })?;
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}

fn ask(prompt: &str) -> Outcome<Zeroizing<String>> {
    rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(|error| {
        let why = format_args!("there is no terminal to ask at ({error})");
        Failure::misused("no passphrase was read", why, "use a terminal, or name a file with --passphrase-file")
    })
}
