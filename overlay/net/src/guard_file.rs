//! The guards between two runs of an origin: one small file that only its owner reads.
//!
//! Programs that run at once share the guards and not the file: the first one holds a lock beside it and writes; the others use
//! what they read, and what they change is theirs alone and is gone with them.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use zmesh_proto::path::GuardState;

/// The longest file that is read, in bytes; a state is far shorter.
const LENGTH_MAX: u64 = 4_096;

/// The file of one origin.
#[derive(Debug)]
pub(crate) struct GuardFile {
    path: PathBuf,
    /// Held for as long as this process writes the file.
    _lock: File,
}

/// What a file held, and the right to write it unless another process has that.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) state: GuardState,
    pub(crate) file: Option<GuardFile>,
}

impl GuardFile {
    /// Reads the guards of earlier runs; none if there is no file.
    ///
    /// # Errors
    /// The file cannot be read or is damaged: guards that are silently drawn anew would be what an attacker wants. Or the
    /// lock beside it cannot be made.
    pub(crate) fn open(path: PathBuf) -> io::Result<Opened> {
        let lock = private().create(true).truncate(false).open(beside(&path, ".lock"))?;
        let held = match lock.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(error)) => return Err(error),
        };
        let state = read(&path)?;
        Ok(Opened { state, file: held.then_some(Self { path, _lock: lock }) })
    }

    /// Replaces the file as a whole.
    ///
    /// # Errors
    /// The file cannot be written; the old one stays.
    pub(crate) fn store(&self, state: &GuardState) -> io::Result<()> {
        let new = beside(&self.path, ".new");
        let mut file = private().create(true).truncate(true).open(&new)?;
        file.write_all(&state.encode())?;
        file.sync_all()?;
        fs::rename(&new, &self.path)
    }
}

fn read(path: &Path) -> io::Result<GuardState> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(GuardState::default()),
        Err(error) => return Err(error),
        Ok(file) => file.take(LENGTH_MAX).read_to_end(&mut bytes)?,
    };
    GuardState::decode(&bytes).map_err(io::Error::other)
}

/// Options to write a file that only its owner reads.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(end);
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A state of one guard.
    fn some(id: u8) -> GuardState {
        let bytes = [&[1, 1][..], &[id; 16], &20_000u32.to_be_bytes(), &[0; 4], &[1]].concat();
        GuardState::decode(&bytes).expect("well-formed")
    }

    #[test]
    fn guards_are_kept_for_the_owner_alone() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("guards");
        let first = GuardFile::open(path.clone()).expect("no file is no error");
        assert!(first.state.is_empty());
        let file = first.file.expect("nobody else has it");
        file.store(&some(1)).expect("written");
        file.store(&some(2)).expect("written over");
        // While the first one runs, another reads and does not write.
        let second = GuardFile::open(path.clone()).expect("readable");
        assert_eq!(second.state, some(2));
        assert!(second.file.is_none());
        drop(file);
        assert!(GuardFile::open(path.clone()).expect("readable").file.is_some());
        #[cfg(unix)]
        for entry in fs::read_dir(folder.path()).expect("a directory") {
            use std::os::unix::fs::PermissionsExt;
            let entry = entry.expect("an entry");
            let mode = entry.metadata().expect("it is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{entry:?}");
        }
    }

    #[test]
    fn a_damaged_file_is_an_error_and_stays() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("guards");
        fs::write(&path, b"something else").expect("written");
        GuardFile::open(path.clone()).expect_err("damaged");
        assert_eq!(fs::read(&path).expect("it stays"), b"something else");
    }
}
