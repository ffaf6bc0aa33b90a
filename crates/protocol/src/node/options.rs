//! What a shard is told once.

use session::{Inc, Limits};

use crate::rules::Rules;
use crate::view::MemberName;

/// What a shard is told once, when its process starts.
#[derive(Clone, Debug, Hash)]
pub struct Options {
    /// This process.
    pub inc: Inc,
    /// Its member's name.
    pub name: MemberName,
    /// Number of this shard, below `shards`.
    pub shard: u16,
    /// Number of shards, a divisor of [`Slot::COUNT`](session::Slot::COUNT) and a constant of the cluster.
    pub shards: u16,
    /// Seed of digests, the same on every node of a cluster.
    pub digest_seed: u64,
    /// Seed of what should differ between nodes: when they compare.
    pub noise_seed: u64,
    /// Dirty sessions per peer before slots take their place.
    pub outbox_sessions_max: usize,
    /// Interval of comparisons, in milliseconds.
    pub repair_interval_ms: u64,
    /// What answers to repair requests may spend, in bytes per second.
    pub repair_bytes_per_second: u64,
    /// How long a commit waits for acknowledgements at most, in milliseconds.
    pub ack_timeout_ms: u64,
    /// Bytes of sessions and tombstones beyond which no session is created here.
    pub bytes_max: usize,
    /// Bounds of a single session.
    pub limits: Limits,
    /// Which rules hold: all.
    pub rules: Rules,
}
