//! The replay filter between two runs of a relay.
//!
//! While a relay runs its file says only so. A file that still says so at the next start was left by a crash: what the
//! filter held is lost, and the relay must refuse the set-ups of the present slots.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use zmesh_proto::node::ReplayStart;

use crate::RelayKeys;

/// The whole content of the file of a relay that runs.
const RUNNING: &[u8] = b"zmesh replay filter: the relay is running\n";

/// The longest state that is read, in bytes; a relay's own bound is far below.
const STATE_MAX: u64 = 64 << 20;

/// The file of a relay that runs.
#[derive(Debug)]
pub(crate) struct ReplayFile(PathBuf);

impl ReplayFile {
    /// Reads what the last run left; `None` if there is no file. Nothing is changed.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn read(path: PathBuf) -> io::Result<(Self, Option<ReplayStart>)> {
        let left = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
            Ok(metadata) if metadata.len() > STATE_MAX => Some(ReplayStart::Lost),
            Ok(_) => match fs::read(&path)? {
                running if running == RUNNING => Some(ReplayStart::Lost),
                saved => Some(ReplayStart::Saved(saved)),
            },
        };
        Ok((Self(path), left))
    }

    /// Marks the file as in use: before the first set-up is taken, and once nothing can keep the relay from starting,
    /// for what the last run left is gone then.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn mark_running(&self) -> io::Result<()> {
        write_whole(&self.0, RUNNING)
    }

    /// Stores the filter of a relay that has stopped.
    ///
    /// # Errors
    /// The file cannot be written; it says then that the relay runs.
    pub(crate) fn close(&self, state: &[u8]) -> io::Result<()> {
        write_whole(&self.0, state)
    }
}

/// Replaces a file as a whole, readable by its owner only.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
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
    fs::rename(&beside, path)?;
    // Without this a power cut may bring the old content back, and an old filter must not pass for the last one.
    #[cfg(unix)]
    File::open(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(())
}

/// What a relay remembers at its start. A missing file means nothing to remember only if the keys cannot have been used:
/// this process drew them, or their file says so and the replay file, which every run leaves, is kept. Otherwise the file
/// was deleted or the keys came from elsewhere, and set-ups of the present slots may have been seen before.
pub(crate) fn start_from(keys: &RelayKeys, kept: bool, left: Option<ReplayStart>) -> ReplayStart {
    match left {
        Some(left) => left,
        None if keys.are_unused() && (kept || !keys.are_stored()) => ReplayStart::Fresh,
        None => ReplayStart::Lost,
    }
}
