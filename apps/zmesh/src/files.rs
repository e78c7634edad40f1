//! Files: read whole within a limit, written whole or not at all.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;
use zmesh_proto::wire::codec::armour;

use crate::failure::{Failure, Outcome};
use crate::term;

/// Larger files than this are none of ours.
const LIMIT: u64 = 32 << 20;

/// Reads a file that the user named. `what` is a noun for it ("network file"), `next` what to do if it is missing.
pub(crate) fn read(path: &Path, what: &str, next: &str) -> Outcome<Zeroizing<Vec<u8>>> {
    let cannot = |why: &dyn std::fmt::Display| {
        Failure::misused(format_args!("cannot read the {what} {}", path.display()), why, next)
    };
    let file = File::open(path).map_err(|error| cannot(&reason(&error)))?;
    if file.metadata().is_ok_and(|meta| meta.is_dir()) {
        return Err(cannot(&"it is a directory"));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(LIMIT + 1).read_to_end(&mut bytes).map_err(|error| cannot(&reason(&error)))?;
    if bytes.len() as u64 > LIMIT {
        return Err(cannot(&"it is larger than 32 MB"));
    }
    Ok(bytes)
}

/// The same for a file of secrets; warns if others may read it.
pub(crate) fn read_secret(path: &Path, what: &str, next: &str) -> Outcome<Zeroizing<Vec<u8>>> {
    let bytes = read(path, what, next)?;
    warn_if_open(path, what);
    Ok(bytes)
}

/// The same for keys. What is no file of ours may be anything, and has the permissions that it needs.
pub(crate) fn read_keys(path: &Path, next: &str) -> Outcome<Zeroizing<Vec<u8>>> {
    const WHAT: &str = "key file";
    let bytes = read(path, WHAT, next)?;
    if armour::kind(&bytes).is_some() {
        warn_if_open(path, WHAT);
    }
    Ok(bytes)
}

/// Warns if others may read a file of secrets.
fn warn_if_open(path: &Path, what: &str) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        if fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0) {
            let path = path.display();
            term::warning(format_args!("others may read the {what} {path}: chmod 600 {path}"));
        }
    }
    #[cfg(not(unix))]
    let _ = (path, what);
}

/// Who may read a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Its owner only (0600).
    Secret,
    /// Everybody (0644).
    Public,
}

/// Whether [`create`] may make this file: for whoever has to ask people something first.
pub(crate) fn check_new(path: &Path) -> Outcome {
    if fs::symlink_metadata(path).is_ok() { Err(exists(path)) } else { Ok(()) }
}

fn exists(path: &Path) -> Failure {
    Failure::misused(
        format_args!("{} was not written", path.display()),
        "it exists already",
        "choose another name, or move the old one away if you are sure",
    )
}

/// Writes a new file; one that is there already is never touched.
pub(crate) fn create(path: &Path, bytes: &[u8], access: Access) -> Outcome {
    let temporary = write_beside(path, bytes, access)?;
    match temporary.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Err(exists(path)),
        Err(error) => Err(cannot_write(path, &error.error)),
    }
}

/// Writes a file, in place of an older one if there is one: readers see the old or the new, nothing between.
pub(crate) fn replace(path: &Path, bytes: &[u8], access: Access) -> Outcome {
    let temporary = write_beside(path, bytes, access)?;
    temporary.persist(path).map_err(|error| cannot_write(path, &error.error))?;
    Ok(())
}

/// Makes a directory with its parents.
pub(crate) fn directory(path: &Path) -> Outcome {
    fs::create_dir_all(path).map_err(|error| {
        Failure::failed(
            format_args!("cannot make the directory {}", path.display()),
            reason(&error),
            "choose another place",
        )
    })
}

/// `path` as seen from the directory of `file`, in which it was written down.
pub(crate) fn beside(file: &Path, path: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(path)
}

fn write_beside(path: &Path, bytes: &[u8], access: Access) -> Outcome<tempfile::NamedTempFile> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let write = || {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".zmesh-");
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(match access {
            Access::Secret => 0o600,
            Access::Public => 0o644,
        }));
        #[cfg(not(unix))]
        let _ = access;
        let mut temporary = builder.tempfile_in(folder)?;
        temporary.write_all(bytes)?;
        temporary.as_file().sync_all()?;
        Ok(temporary)
    };
    write().map_err(|error: io::Error| cannot_write(path, &error))
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(
        format_args!("cannot write {}", path.display()),
        reason(error),
        "nothing was changed; check the directory and its rights",
    )
}

/// What the system said, in plain words where there are some.
pub(crate) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::AddrInUse => "the address is in use".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        io::ErrorKind::AlreadyExists => "a file of that name is there".to_owned(),
        io::ErrorKind::NotADirectory => "a part of the path is a file, not a directory".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_private_and_never_overwritten() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("keys");
        create(&path, b"one", Access::Secret).expect("written");
        create(&path, b"two", Access::Secret).expect_err("refused");
        assert_eq!(fs::read(&path).expect("there"), b"one");
        replace(&path, b"three", Access::Secret).expect("written");
        assert_eq!(fs::read(&path).expect("there"), b"three");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(folder.path()).expect("there").count(), 1, "nothing is left behind");
    }
}
