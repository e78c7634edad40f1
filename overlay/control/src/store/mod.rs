//! What survives a kill: peers with their standing, proofs against voters, and whatever the directory has to keep.
//!
//! An embedded database in one file of mode 0600. A write is on disk when the call returns.

mod record;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError};

pub(crate) use record::Record;

use zmesh_proto::directory::{PROOFS_MAX, ProofName};
use zmesh_proto::wire::control::vote::EVIDENCE_MAX;

use crate::PeerIdentity;
use crate::limits::KNOWN_PEERS;

const PEERS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("peers v1");
const PROOFS: TableDefinition<'_, &[u8; ProofName::LEN], &[u8]> = TableDefinition::new("proofs v1");
const VALUES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("values v1");
type NameBytes = [u8; ProofName::LEN];
/// Memory that the database may keep pages in.
const CACHE: usize = 1 << 20;

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file cannot be made or opened.
    #[error("the store cannot be opened: {0}")]
    File(#[from] std::io::Error),
    /// The database cannot be read or written: another process holds it, the disk is full, or it is damaged.
    #[error("the store cannot be used: {0}")]
    Database(#[source] Box<redb::Error>),
}

fn fault(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Database(Box::new(error.into()))
}

/// The store.
pub struct Store {
    database: Database,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

impl Store {
    /// Opens a store, or makes one.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        prepare(path)?;
        let mut database = Database::builder().set_cache_size(CACHE).create(path).map_err(fault)?;
        // What was deleted earlier should not be readable in pages that are not used any more.
        database.compact().map_err(fault)?;
        Ok(Self { database })
    }

    /// All peers.
    pub(crate) fn peers(&self) -> Result<Vec<(PeerIdentity, Record)>, StoreError> {
        let read = self.database.begin_read().map_err(fault)?;
        let table = match read.open_table(PEERS) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(fault(error)),
        };
        let mut peers = Vec::new();
        for entry in table.iter().map_err(fault)?.take(KNOWN_PEERS) {
            let (key, value) = entry.map_err(fault)?;
            // What this version cannot read it does without.
            if let Some(record) = Record::decode(value.value()) {
                peers.push((PeerIdentity(*key.value()), record));
            }
        }
        Ok(peers)
    }

    /// Replaces (`Some`) or forgets (`None`) peers.
    pub(crate) fn put_peers<'a>(
        &self,
        changes: impl IntoIterator<Item = (PeerIdentity, Option<&'a Record>)>,
    ) -> Result<(), StoreError> {
        let write = self.database.begin_write().map_err(fault)?;
        {
            let mut table = write.open_table(PEERS).map_err(fault)?;
            for (identity, record) in changes {
                match record {
                    Some(record) => drop(table.insert(&identity.0, record.encode().as_slice()).map_err(fault)?),
                    None => drop(table.remove(&identity.0).map_err(fault)?),
                }
            }
        }
        write.commit().map_err(fault)
    }

    /// What is kept of proofs against voters, by name. Whoever reads them verifies them.
    pub(crate) fn proofs(&self) -> Result<Vec<(NameBytes, Vec<u8>)>, StoreError> {
        let read = self.database.begin_read().map_err(fault)?;
        let table = match read.open_table(PROOFS) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(fault(error)),
        };
        let mut proofs = Vec::new();
        for entry in table.iter().map_err(fault)?.take(PROOFS_MAX) {
            let (name, value) = entry.map_err(fault)?;
            // One that is too long is none, and so is a part of it.
            let bytes = value.value();
            proofs.push((*name.value(), bytes[..bytes.len().min(EVIDENCE_MAX)].to_vec()));
        }
        Ok(proofs)
    }

    /// Keeps (`Some`) or forgets (`None`) proofs, all or none of them.
    pub(crate) fn put_proofs<'a>(
        &self,
        changes: impl IntoIterator<Item = (&'a NameBytes, Option<&'a [u8]>)>,
    ) -> Result<(), StoreError> {
        let write = self.database.begin_write().map_err(fault)?;
        {
            let mut table = write.open_table(PROOFS).map_err(fault)?;
            for (name, bytes) in changes {
                match bytes {
                    Some(bytes) => drop(table.insert(name, bytes).map_err(fault)?),
                    None => drop(table.remove(name).map_err(fault)?),
                }
            }
        }
        write.commit().map_err(fault)
    }

    /// A value that the directory keeps under a name.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn value(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let read = self.database.begin_read().map_err(fault)?;
        match read.open_table(VALUES) {
            Ok(table) => Ok(table.get(name).map_err(fault)?.map(|value| value.value().to_vec())),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(fault(error)),
        }
    }

    /// Keeps values under names, all or none of them; `None` forgets one.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn put_values<'a>(
        &self,
        values: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
    ) -> Result<(), StoreError> {
        let write = self.database.begin_write().map_err(fault)?;
        {
            let mut table = write.open_table(VALUES).map_err(fault)?;
            for (name, value) in values {
                match value {
                    Some(value) => drop(table.insert(name, value).map_err(fault)?),
                    None => drop(table.remove(name).map_err(fault)?),
                }
            }
        }
        write.commit().map_err(fault)
    }
}

/// Makes the file so that only its owner reads it, before anything is written to it.
fn prepare(path: &Path) -> std::io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
        let file = options.mode(0o600).open(path)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))
    }
    #[cfg(not(unix))]
    options.open(path).map(drop)
}
