//! A disk of tests: it has no space left, fails, or ends the process at a write of one's choice, and
//! after an end holds what was synced, and of the rest what chance has let through.

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redb::{Builder, Database, DatabaseError, StorageBackend};

use super::OpenError;
use super::disk::Disk;

/// What happens to writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fate {
    /// They work.
    #[default]
    Well,
    /// They work that many more times, counting syncs and changes of length; then none does.
    DeadAfter(u64),
    /// There is no space: whatever is written fails, until there is.
    Full,
}

/// The files of one Raft directory. Clones are the same disk.
#[derive(Clone, Debug)]
pub(crate) struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    fate: Fate,
    /// How long each sync takes.
    sync: Duration,
    /// Syncs that have taken that long.
    slow_syncs: u64,
    files: [Image; 3],
    /// Writes, syncs and changes of length so far.
    writes: u64,
    chance: fastrand::Rng,
}

#[derive(Clone, Debug, Default)]
struct Image {
    /// What a process sees.
    present: Vec<u8>,
    /// What is certain to survive.
    synced: Vec<u8>,
    /// What has been done since the last sync.
    pending: Vec<Pending>,
}

#[derive(Clone, Debug)]
enum Pending {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Image {
    fn apply(bytes: &mut Vec<u8>, change: &Pending) {
        match change {
            Pending::Write(offset, data) => {
                let end = offset + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset..end].copy_from_slice(data);
            }
            Pending::Length(length) => bytes.resize(*length, 0),
        }
    }

    fn change(&mut self, change: Pending) {
        Self::apply(&mut self.present, &change);
        self.pending.push(change);
    }

    fn sync(&mut self) {
        self.synced.clone_from(&self.present);
        self.pending.clear();
    }

    /// Power is lost: each change since the last sync has reached the disk or has not, a write
    /// perhaps in part; a change of length has, or nothing after it has.
    fn crash(&mut self, chance: &mut fastrand::Rng) {
        let mut bytes = std::mem::take(&mut self.synced);
        for change in std::mem::take(&mut self.pending) {
            match (chance.u8(0..4), change) {
                (0, Pending::Write(..)) => {}
                (1, Pending::Write(offset, data)) => {
                    // A sector of 512 bytes is written whole or not at all.
                    let kept = chance.usize(0..=data.len() / 512) * 512;
                    let data = data[..kept.min(data.len())].to_vec();
                    Self::apply(&mut bytes, &Pending::Write(offset, data));
                }
                (0, Pending::Length(_)) => break,
                (_, change) => Self::apply(&mut bytes, &change),
            }
        }
        self.present.clone_from(&bytes);
        self.synced = bytes;
    }
}

const DATABASE: usize = 0;
const WITNESS: usize = 1;
/// A database that has not got its name yet.
const NEW: usize = 2;

impl MemoryDisk {
    pub(crate) fn new(seed: u64) -> Self {
        let state = State {
            fate: Fate::Well,
            sync: Duration::ZERO,
            slow_syncs: 0,
            files: [Image::default(), Image::default(), Image::default()],
            writes: 0,
            chance: fastrand::Rng::with_seed(seed),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    pub(crate) fn set_fate(&self, fate: Fate) {
        self.state.lock().fate = fate;
    }

    /// Each sync takes so long from now on.
    pub(crate) fn set_sync(&self, sync: Duration) {
        self.state.lock().sync = sync;
    }

    pub(crate) fn slow_syncs(&self) -> u64 {
        self.state.lock().slow_syncs
    }

    pub(crate) fn fate(&self) -> Fate {
        self.state.lock().fate
    }

    pub(crate) fn writes(&self) -> u64 {
        self.state.lock().writes
    }

    /// Ends the process that uses the disk, by loss of power, and lets the next one use it.
    pub(crate) fn crash(&self) {
        let State { fate, files, chance, .. } = &mut *self.state.lock();
        *fate = Fate::Well;
        files.iter_mut().for_each(|file| file.crash(chance));
    }

    /// A disk of its own with the same contents.
    pub(crate) fn copy(&self, seed: u64) -> Self {
        let copy = Self::new(seed);
        copy.state.lock().files = self.state.lock().files.clone();
        copy
    }

    pub(crate) fn database_bytes(&self) -> Vec<u8> {
        self.state.lock().files[DATABASE].present.clone()
    }

    pub(crate) fn set_database_bytes(&self, bytes: Vec<u8>) {
        let file = &mut self.state.lock().files[DATABASE];
        file.synced.clone_from(&bytes);
        file.present = bytes;
        file.pending.clear();
    }

    fn backend(&self, file: usize) -> MemoryFile {
        MemoryFile { disk: self.clone(), file }
    }
}

impl Disk for MemoryDisk {
    fn lock(&self) -> Result<(), OpenError> {
        Ok(())
    }

    fn unlock(&self) {}

    fn file(&self) -> PathBuf {
        "raft.redb".into()
    }

    fn directory(&self) -> PathBuf {
        ".".into()
    }

    fn database(&self, builder: &Builder) -> Result<Database, DatabaseError> {
        let is_there = !self.state.lock().files[DATABASE].present.is_empty();
        if !is_there {
            self.state.lock().files[NEW] = Image::default();
            builder.create_with_backend(self.backend(NEW))?.close()?;
            let new = self.state.lock().files[NEW].clone();
            // A file gets another name whole or not at all.
            MemoryFile::write(&self.backend(DATABASE), |image| *image = new)?;
        }
        builder.create_with_backend(self.backend(DATABASE))
    }

    fn witness(&self) -> Result<Box<dyn StorageBackend>, OpenError> {
        Ok(Box::new(self.backend(WITNESS)))
    }
}

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    file: usize,
}

impl MemoryFile {
    fn write(&self, act: impl FnOnce(&mut Image)) -> io::Result<()> {
        let State { fate, files, writes, .. } = &mut *self.disk.state.lock();
        match fate {
            Fate::Well => {}
            Fate::Full => return Err(ErrorKind::StorageFull.into()),
            Fate::DeadAfter(0) => return Err(io::Error::other("the process has ended")),
            Fate::DeadAfter(left) => *left -= 1,
        }
        *writes += 1;
        act(&mut files[self.file]);
        Ok(())
    }
}

impl StorageBackend for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state.lock().files[self.file].present.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.disk.state.lock();
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let bytes = state.files[self.file].present.get(from..from.saturating_add(out.len()));
        out.copy_from_slice(bytes.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        Self::write(self, |image| image.change(Pending::Length(len)))
    }

    fn sync_data(&self) -> io::Result<()> {
        let sync = self.disk.state.lock().sync;
        if !sync.is_zero() {
            let until = Instant::now() + sync;
            while let Some(left) = until.checked_duration_since(Instant::now()) {
                std::thread::park_timeout(left);
            }
            self.disk.state.lock().slow_syncs += 1;
        }
        Self::write(self, Image::sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        Self::write(self, |image| image.change(Pending::Write(offset, data.to_vec())))
    }
}
