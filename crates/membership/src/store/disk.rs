//! Where the two files of a Raft directory lie. A trait, because tests put them on a disk that
//! fails and forgets.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, StorageBackend};

use super::OpenError;

/// Has the files of one Raft directory, opened as often as a failed write demands.
pub(crate) trait Disk: Send + Sync {
    /// Keeps other processes out until [`Self::unlock`]. Nothing new if it does so already.
    fn lock(&self) -> Result<(), OpenError>;
    /// Lets others in.
    fn unlock(&self);
    /// Path of the database, for messages.
    fn file(&self) -> PathBuf;
    /// Path of the directory, for messages.
    fn directory(&self) -> PathBuf;
    /// Opens the database, or makes it.
    fn database(&self, builder: &Builder) -> Result<Database, DatabaseError>;
    /// Opens the witness, or makes it.
    fn witness(&self) -> Result<Box<dyn StorageBackend>, OpenError>;
}

/// A directory of the file system.
pub(super) struct Directory {
    path: PathBuf,
    /// Open and locked while the directory is ours.
    lock: Mutex<Option<File>>,
}

impl Directory {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), lock: Mutex::new(None) }
    }
}

impl Disk for Directory {
    fn lock(&self) -> Result<(), OpenError> {
        let mut lock = self.lock.lock();
        if lock.is_some() {
            return Ok(());
        }
        let failed = |file: &Path| {
            let file = file.to_owned();
            move |source| OpenError::Io { file, source }
        };
        fs::create_dir_all(&self.path).map_err(failed(&self.path))?;
        let path = self.path.join("raft.lock");
        let file = open(&path).map_err(failed(&path))?;
        match file.try_lock() {
            Ok(()) => *lock = Some(file),
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::InUse { directory: self.path.clone() });
            }
            Err(TryLockError::Error(source)) => return Err(failed(&path)(source)),
        }
        Ok(())
    }

    fn unlock(&self) {
        *self.lock.lock() = None;
    }

    fn file(&self) -> PathBuf {
        self.path.join("raft.redb")
    }

    fn directory(&self) -> PathBuf {
        self.path.clone()
    }

    fn database(&self, builder: &Builder) -> Result<Database, DatabaseError> {
        let (file, new) = (self.file(), self.path.join("raft.redb.new"));
        if !file.try_exists()? {
            // Complete before it has its name, so that an end in between leaves nothing behind
            // that looks damaged. What is left of an earlier attempt is nobody's.
            if new.try_exists()? {
                fs::remove_file(&new)?;
            }
            builder.create(&new)?.close()?;
            fs::rename(&new, &file)?;
        }
        let database = builder.create(&file)?;
        File::open(&self.path)?.sync_all()?;
        Ok(database)
    }

    fn witness(&self) -> Result<Box<dyn StorageBackend>, OpenError> {
        let file = self.path.join("raft.witness");
        let failed = |source| OpenError::Io { file: file.clone(), source };
        let opened = open(&file).map_err(failed)?;
        Ok(Box::new(FileBackend::new(opened).map_err(io::Error::other).map_err(failed)?))
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}
