//! Why a Raft directory is not opened, read or written, and what to do about it.

use std::path::PathBuf;

use smol_str::SmolStr;

use super::FORMAT;

/// Why a Raft directory is not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open. End that one, or give each node a directory of its own.
    #[error(
        "{directory} is in use by another process; end it, or give each node a data_dir of its own"
    )]
    InUse {
        /// The directory.
        directory: PathBuf,
    },
    /// The file has lost or changed something: the node must not vote by it. Moved away, the
    /// directory is made anew and the node joins as another voter.
    #[error(
        "{file} is damaged: {damage}. Move its directory away and start again: the node then joins \
         as a new voter, and the other voters have everything"
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        damage: Damage,
    },
    /// The directory is another cluster's. Correct the cluster's name or the directory.
    #[error("{file} belongs to cluster {found}, this node to {expected}; correct data_dir or name")]
    Foreign {
        /// The file.
        file: PathBuf,
        /// Whose it is.
        found: SmolStr,
        /// Who we are.
        expected: SmolStr,
    },
    /// Another release has written it. Run that one, or move the directory away.
    #[error(
        "{file} has format {found}, this release reads {FORMAT}; run the release that wrote it, or \
         move its directory away: the node then joins as a new voter"
    )]
    Format {
        /// The file.
        file: PathBuf,
        /// Its format.
        found: u16,
    },
    /// The operating system does not let us: rights, space, a broken disk.
    #[error("{file} cannot be opened: {source}")]
    Io {
        /// The file.
        file: PathBuf,
        /// What it says.
        source: std::io::Error,
    },
}

/// What is wrong with a Raft directory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// redb does not accept the file.
    #[error("the database is not sound ({0})")]
    Database(SmolStr),
    /// A record is missing without which there are no others.
    #[error("the record {0} is missing")]
    Missing(&'static str),
    /// A record is not what was written.
    #[error("the record {0} is not as it was written")]
    Record(SmolStr),
    /// The log has a hole before this index.
    #[error("the log has a hole before index {0}")]
    Hole(u64),
    /// An entry is older than the one before it.
    #[error("the entry at index {0} is older than the one before it")]
    Order(u64),
    /// The log, or what it is known to hold, ends too early.
    #[error("the log ends before index {0}, which is known to be in it")]
    Short(u64),
    /// The vote is of an earlier term than the log.
    #[error("the vote is older than the log")]
    Vote,
    /// The file is older than what this directory has written before: a commit has been undone.
    #[error("it holds commit {found}, but commit {written} has been made")]
    RolledBack {
        /// What it holds.
        found: u64,
        /// What was written.
        written: u64,
    },
}

/// Why something was not read from a store, or not written to it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk has failed or is full. Make space; the node tries again by itself.
    #[error("{0}")]
    Disk(SmolStr),
    /// A record has changed under our hands: the disk or the memory is broken.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// An earlier write has failed, and the store has not been opened again since.
    #[error("the store is closed since a write has failed")]
    Closed,
    /// Entries that do not follow the log: a mistake of ours.
    #[error("entry {found} does not follow {last:?}")]
    Gap {
        /// Index of the entry.
        found: u64,
        /// Index of the last one.
        last: Option<u64>,
    },
}

impl From<redb::Error> for StoreError {
    fn from(error: redb::Error) -> Self {
        if let redb::Error::Corrupted(what) = error {
            return Damage::Database(what.into()).into();
        }
        // Of the others, none says that the file is not sound.
        Self::Disk(error.to_string().into())
    }
}

macro_rules! errors_of_redb {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for StoreError {
            fn from(error: redb::$error) -> Self {
                redb::Error::from(error).into()
            }
        }
    )*};
}
errors_of_redb!(StorageError, TableError, TransactionError, CommitError);
