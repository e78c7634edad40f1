//! The second relays of a node or a service, kept in a file where they have to outlive the process.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use zmesh_proto::path::{Chooser, SECOND_DEFAULT, SecondLayer};
use zmesh_proto::random::Generator;

use crate::{RelayId, clock};

/// The longest file that is read.
const FILE_MAX: u64 = 4096;

/// See the head of this module.
pub(crate) struct SharedSecond {
    layer: Mutex<SecondLayer>,
    file: Option<PathBuf>,
}

impl SharedSecond {
    /// For as long as this process runs.
    pub(crate) fn memory() -> Arc<Self> {
        Arc::new(Self { layer: Mutex::new(SecondLayer::new(SECOND_DEFAULT)), file: None })
    }

    /// Goes on with what the file says; one that is not there is made. A damaged one is an error: drawing anew after each accident would let
    /// accidents choose the relays.
    ///
    /// # Errors
    /// The file cannot be read, or says nothing that this program wrote.
    pub(crate) fn open(file: PathBuf) -> io::Result<Arc<Self>> {
        let layer = match std::fs::metadata(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => SecondLayer::new(SECOND_DEFAULT),
            Err(error) => return Err(error),
            Ok(meta) if meta.len() > FILE_MAX => return Err(damaged()),
            Ok(_) => SecondLayer::decode(&std::fs::read(&file)?).map_err(|_| damaged())?,
        };
        Ok(Arc::new(Self { layer: Mutex::new(layer), file: Some(file) }))
    }

    /// The relays to choose the second one from.
    pub(crate) fn members(&self, chooser: &Chooser, rng: &mut Generator) -> Vec<RelayId> {
        let mut layer = self.layer.lock().unwrap_or_else(PoisonError::into_inner);
        let (members, changed) = layer.members(clock::unix_seconds(), chooser, rng);
        if changed
            && let Some(file) = &self.file
            && let Err(error) = write(file, &layer.encode())
        {
            tracing::warn!(%error, "the second relays of a service could not be stored");
        }
        members
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the file of second relays is damaged")
}

/// The old file or the new one, nothing between, and nobody else's to read.
fn write(file: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = file.with_file_name(name);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut new = options.open(&beside)?;
    new.write_all(bytes)?;
    new.sync_all()?;
    std::fs::rename(&beside, file)
}

impl fmt::Debug for SharedSecond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecond([redacted])")
    }
}
