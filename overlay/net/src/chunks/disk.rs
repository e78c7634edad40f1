//! Chunks as files: one each, named after the chunk, in a directory for each stage.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use zmesh_proto::seeding::cache::Stage;
use zmesh_proto::seeding::{ChunkId, ChunkRef, Class, Shelf};

/// Before a chunk's bytes: version, class, shelf.
const HEADER: usize = 18;
const VERSION: u8 = 1;

/// Files of one directory that are looked at when the relay starts.
const FILES_MAX: usize = 1 << 20;

const TRIAL: &str = "trial";
const KEPT: &str = "kept";

/// The directory of a relay's chunks.
pub(super) struct Disk(PathBuf);

/// A chunk found at the start.
pub(super) struct Found {
    pub(super) chunk: ChunkRef,
    pub(super) stage: Stage,
    /// When it was last asked for, unix seconds.
    pub(super) used: u64,
}

impl Disk {
    /// Makes the directories.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let disk = Self(path);
        for stage in [Stage::Trial, Stage::Kept] {
            let directory = disk.directory(stage);
            fs::create_dir_all(&directory)?;
            #[cfg(unix)]
            fs::set_permissions(&directory, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        }
        Ok(disk)
    }

    fn directory(&self, stage: Stage) -> PathBuf {
        self.0.join(match stage {
            Stage::Trial => TRIAL,
            Stage::Kept => KEPT,
        })
    }

    fn path(&self, id: &ChunkId, stage: Stage) -> PathBuf {
        self.directory(stage).join(name(id))
    }

    /// Writes a chunk as a whole or not at all.
    pub(super) fn write(&self, chunk: &ChunkRef, stage: Stage, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(&chunk.id, stage);
        let beside = path.with_extension("new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&beside)?;
        let mut header = [0; HEADER];
        header[0] = VERSION;
        header[1] = chunk.class.code();
        header[2..].copy_from_slice(&chunk.shelf.0);
        let written = file.write_all(&header).and_then(|()| file.write_all(bytes));
        drop(file);
        if let Err(error) = written.and_then(|()| fs::rename(&beside, &path)) {
            let _ = fs::remove_file(&beside);
            return Err(error);
        }
        Ok(())
    }

    /// A chunk's bytes, if they are those that its name says. `None` is a file that is gone or damaged.
    pub(super) fn read(&self, chunk: &ChunkRef, stage: Stage) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(HEADER + chunk.class.len());
        let file = File::open(self.path(&chunk.id, stage)).ok()?;
        let most = HEADER + chunk.class.len() + 1;
        file.take(most as u64).read_to_end(&mut bytes).ok()?;
        if bytes.len() + 1 != most {
            return None;
        }
        bytes.drain(..HEADER);
        (ChunkId::of(&bytes) == chunk.id).then_some(bytes)
    }

    /// Removes a chunk's file.
    pub(super) fn remove(&self, id: &ChunkId, stage: Stage) {
        let _ = fs::remove_file(self.path(id, stage));
    }

    /// Moves a chunk from trial to where chunks are kept.
    pub(super) fn promote(&self, id: &ChunkId) -> io::Result<()> {
        fs::rename(self.path(id, Stage::Trial), self.path(id, Stage::Kept))
    }

    /// Notes that somebody asked for a chunk.
    pub(super) fn touch(&self, id: &ChunkId, stage: Stage) {
        if let Ok(file) = File::options().append(true).open(self.path(id, stage)) {
            let _ = file.set_modified(UNIX_EPOCH + std::time::Duration::from_secs(crate::clock::unix_seconds()));
        }
    }

    /// What the last run left, least recently used first; files that cannot be chunks are removed.
    pub(super) fn scan(&self) -> io::Result<Vec<Found>> {
        let mut all = Vec::new();
        for stage in [Stage::Trial, Stage::Kept] {
            for entry in fs::read_dir(self.directory(stage))?.take(FILES_MAX) {
                let path = entry?.path();
                match look(&path, stage) {
                    Some(found) => all.push(found),
                    None => drop(fs::remove_file(&path)),
                }
            }
        }
        all.sort_by_key(|found| found.used);
        Ok(all)
    }
}

fn name(id: &ChunkId) -> String {
    id.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn id_of(name: &str) -> Option<ChunkId> {
    if name.len() != 64 || !name.is_ascii() {
        return None;
    }
    let mut id = [0; 32];
    for (byte, digits) in id.iter_mut().zip(name.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(ChunkId(id))
}

/// What a file's name, header and length say. Its bytes are looked at when somebody asks for it.
fn look(path: &Path, stage: Stage) -> Option<Found> {
    let id = id_of(path.file_name()?.to_str()?)?;
    let mut file = File::open(path).ok()?;
    let metadata = file.metadata().ok()?;
    let mut header = [0; HEADER];
    file.read_exact(&mut header).ok()?;
    let class = Class::from_code(header[1]).filter(|_| header[0] == VERSION)?;
    if metadata.len() != (HEADER + class.len()) as u64 {
        return None;
    }
    let mut shelf = [0; 16];
    shelf.copy_from_slice(&header[2..]);
    let modified = metadata.modified().ok()?;
    let used = modified.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Some(Found { chunk: ChunkRef { id, shelf: Shelf(shelf), class }, stage, used })
}
