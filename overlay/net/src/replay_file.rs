//! The replay filter between two runs of a relay.
//!
//! While a relay runs its file says only so. A file that still says so at the next start was left by a crash: what the
//! filter held is lost, and the relay must refuse the set-ups of the present slots.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use zmesh_proto::node::ReplayStart;

/// The whole content of the file of a relay that runs.
const RUNNING: &[u8] = b"zmesh replay filter: the relay is running\n";

/// The longest state that is read, in bytes; a relay's own bound is far below.
const STATE_MAX: u64 = 64 << 20;

/// The file of a relay that runs.
#[derive(Debug)]
pub(crate) struct ReplayFile(PathBuf);

impl ReplayFile {
    /// Reads what the last run left and marks the file as in use.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub(crate) fn open(path: PathBuf) -> io::Result<(Self, ReplayStart)> {
        let start = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => ReplayStart::Fresh,
            Err(error) => return Err(error),
            Ok(metadata) if metadata.len() > STATE_MAX => ReplayStart::Lost,
            Ok(_) => match fs::read(&path)? {
                running if running == RUNNING => ReplayStart::Lost,
                saved => ReplayStart::Saved(saved),
            },
        };
        write(&path, RUNNING)?;
        Ok((Self(path), start))
    }

    /// Stores the filter of a relay that has stopped.
    ///
    /// # Errors
    /// The file cannot be written; it says then that the relay runs.
    pub(crate) fn close(self, state: &[u8]) -> io::Result<()> {
        write(&self.0, state)
    }
}

/// Replaces a file as a whole, readable by its owner only.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file: File = options.open(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}
