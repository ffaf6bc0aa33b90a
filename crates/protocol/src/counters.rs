//! What happened so far, in numbers, for metrics and for the simulator's coverage.

/// Counters of one shard since its start. All only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Batches of deltas sent.
    pub batches_sent: u64,
    /// Deltas sent in them.
    pub deltas_sent: u64,
    /// Deltas that changed something here, local ones included.
    pub deltas_applied: u64,
    /// Batches sent anew because nobody acknowledged them.
    pub batches_resent: u64,
    /// Deltas refused because this copy lacks what they build on (rule R3).
    pub gaps: u64,
    /// Tombstones sent to those who shipped a living copy (rule T5).
    pub tombs_pushed: u64,
    /// Deltas dropped because their session's life is over (rule T2).
    pub dead_on_arrival: u64,
    /// Deltas refused because they come from the future (rule H4).
    pub skew_refused: u64,
    /// Slots that took the place of dirty sessions (level L1).
    pub slots_degraded: u64,
    /// Slots cleared again by a comparison.
    pub slots_recovered: u64,
    /// Requests that had to ask other owners.
    pub loads: u64,
    /// Questions to other owners asked once more, because no answer came (rule B6).
    pub fetches_repeated: u64,
    /// Requests that could not be answered because an owner did not answer.
    pub unavailable: u64,
    /// Writes named by a token that no owner has any more (rule K3).
    pub writes_lost: u64,
    /// Commits forwarded to another owner.
    pub forwarded: u64,
    /// Forwarded commits sent once more to the same owner.
    pub forwards_repeated: u64,
    /// Forwarded commits that the owner asked refused to execute.
    pub forwards_refused: u64,
    /// Comparisons started.
    pub rounds: u64,
    /// Comparisons that stalled.
    pub rounds_failed: u64,
    /// Sessions received by repair.
    pub repaired: u64,
    /// Sessions that expired for idleness and were forgotten here.
    pub expired: u64,
    /// Sessions that this node ended to make room.
    pub evicted: u64,
    /// Sessions that ended here, for whatever reason.
    pub ended: u64,
    /// Sessions created here.
    pub created: u64,
    /// Violations of peers.
    pub violations: u64,
    /// Answers dropped because too many were waiting.
    pub answers_dropped: u64,
    /// Messages of processes that are not, or no longer, members, or of another generation.
    pub strangers: u64,
    /// Views adopted.
    pub views: u64,
    /// Deltas refused because this node does not own their slot (rule V2).
    pub not_owned: u64,
    /// Acknowledgements of a later epoch than this node's, kept until it adopts that (rule V2).
    pub fenced: u64,
    /// Comparisons that do not count as catching up, because the source had not adopted the layout
    /// when it listed (rule V6).
    pub unsealed: u64,
    /// Sessions and tombstones given up because other nodes own their slots now (rule V9).
    pub handed_over: u64,
    /// Slots that lost everybody who could speak for them (rule V8).
    pub losses_accepted: u64,
    /// Bytes of sessions sent in answers to repair requests.
    pub repair_bytes: u64,
}

/// What happened so far does not decide what happens next: two states of a shard that differ in
/// nothing else are the same to whoever explores them.
impl std::hash::Hash for Counters {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}
