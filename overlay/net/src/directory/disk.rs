//! The newest document between two runs: what everybody has, and nothing about this node.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use zmesh_proto::directory::{Held, HeldError};
use zmesh_proto::wire::document::NetworkId;

use crate::replay_file::write_whole;

/// The longest file that is read, in bytes: a snapshot and all changes of voters.
const FILE_MAX: u64 = 64 << 20;

/// Where the documents of one network are kept.
#[derive(Clone, Debug)]
pub(super) struct Disk(PathBuf);

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum DiskError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the file is over {FILE_MAX} bytes long")]
    TooLong,
    #[error(transparent)]
    Unusable(#[from] HeldError),
}

impl Disk {
    /// A file of this network's own in a directory, which is made if it is not there.
    pub(super) fn open(directory: &Path, network: NetworkId) -> io::Result<Self> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(directory)?;
        let name: String = network.to_string().chars().take(16).collect();
        Ok(Self(directory.join(format!("network-{name}"))))
    }

    /// What was kept; `None` if there is nothing. Waits for the disk and verifies everything.
    pub(super) fn read(&self, network: NetworkId) -> Result<Option<Held>, DiskError> {
        let file = match fs::File::open(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut bytes = Vec::new();
        file.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > FILE_MAX {
            return Err(DiskError::TooLong);
        }
        Ok(Some(Held::decode(network, &bytes)?))
    }

    /// Keeps a document, readable by its owner only. Waits for the disk.
    pub(super) fn write(&self, held: &Held) -> io::Result<()> {
        write_whole(&self.0, &held.encode())
    }
}
