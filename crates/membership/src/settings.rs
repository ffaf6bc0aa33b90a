//! Intervals and bounds of a voter. The defaults are what a node runs with; tests shorten them.

use session::Slot;

/// How a voter behaves. All voters of a group have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Interval of a leader's heartbeats, in milliseconds, and how long openraft waits for the answer
    /// to each request of the log: a disk or a line that takes longer brings decisions to a stop.
    pub heartbeat_ms: u64,
    /// Shortest time without a leader after which a voter stands for election, in milliseconds.
    pub election_ms_min: u64,
    /// Longest such time. A leader that has heard from no majority for twice as long is silent.
    pub election_ms_max: u64,
    /// A request may take that long to carry a snapshot, in milliseconds.
    pub snapshot_ms: u64,
    /// After so many entries a snapshot is made and the log before it forgotten.
    pub snapshot_entries: u64,
    /// Entries before a snapshot that are kept, for voters that lag a little.
    pub kept_entries: u64,
    /// After a disk has failed, its files are opened again at this interval, in milliseconds.
    pub reopen_ms: u64,
    /// How many slots there are: all of them, but in tests that use a part.
    pub slots: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            heartbeat_ms: 250,
            // A follower waits for `election_ms_max` and then for its own time between the two. A
            // leader that has crashed is removed by the next, 2 s after it has begun (rule D5): were
            // these longer in proportion, that would come to more than 6 s.
            election_ms_min: 500,
            election_ms_max: 1_000,
            snapshot_ms: 10_000,
            snapshot_entries: 1_000,
            kept_entries: 200,
            reopen_ms: 1_000,
            slots: Slot::COUNT,
        }
    }
}
