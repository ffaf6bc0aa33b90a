//! Every bound of the protocol: its value, its unit, its reason, and how bounds depend on each other.

use session::{SESSION_BYTES_MAX, SKEW_MS_MAX};

/// Bytes of one frame on the wire. A session at its limit fits sixteen times over; a length beyond
/// it is refused before anything is allocated.
pub const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of deltas in one batch, unless a single delta is larger: large enough to amortise a
/// frame's cost, small enough that an urgent delta waits for less than a millisecond of another.
pub const BATCH_BYTES_MAX: usize = 64 * 1024;

/// Deltas in one batch.
pub const BATCH_DELTAS_MAX: usize = 256;

/// Batches that one peer may have unacknowledged per shard. Together with the bytes of a batch it
/// bounds what a slow peer can make this node hold in its lanes.
pub const BATCHES_IN_FLIGHT_MAX: usize = 4;

/// Batches whose late acknowledgement is still understood after they were sent anew.
pub const BATCHES_REMEMBERED_MAX: usize = 16;

/// How long a batch may stay unacknowledged before its sessions are sent anew, in milliseconds.
/// The connection is reliable, so this only ends a wait that a lost connection left behind.
pub const RETRANSMIT_MS_MIN: u64 = 1_000;

/// The retransmission interval doubles up to this, in milliseconds, so that a slow peer is not
/// buried under copies.
pub const RETRANSMIT_MS_MAX: u64 = 8_000;

/// How long a session that a peer refused for its clock is kept back, in milliseconds (rule H4).
pub const SKEW_RETRY_MS: u64 = SKEW_MS_MAX;

/// Dirty sessions per peer in one process before slots take their place (level L1); each costs
/// about 100 bytes.
pub const OUTBOX_SESSIONS_MAX: usize = 100_000;

/// A peer unreachable for longer has its dirty sessions replaced by slots, in milliseconds.
pub const UNREACHABLE_MS: u64 = 30_000;

/// A peer silent for longer is suspected, in milliseconds: four heartbeats.
pub const SUSPECT_MS: u64 = 2_000;

/// Members on either side, on the ring of all, with which a process exchanges heartbeats all the
/// time; among 17 members or fewer everybody does with everybody. Even if most of these crash with
/// the one that they watch, two are left to tell of it (rule D5); and 32 small frames a second are
/// little for any line.
pub const NEIGHBOURS_A_SIDE: usize = 8;

/// Interval of heartbeats, in milliseconds.
pub const HEARTBEAT_MS: u64 = 500;

/// Interval at which the driver is expected to call `handle_tick`, in milliseconds.
pub const TICK_MS: u64 = 50;

/// Interval between two comparisons with a peer, in milliseconds, give or take a fifth.
pub const REPAIR_INTERVAL_MS: u64 = 10_000;

/// A comparison that makes no progress for this long has failed, in milliseconds.
pub const ROUND_STALL_MS: u64 = 5_000;

/// A question of a comparison that seems lost is asked again this long after it was asked, in
/// milliseconds: more than twice the way to a slow host, 200 ms, and back; and so little that a
/// comparison outlives several losses of one question.
pub const ROUND_REPEAT_MS: u64 = 1_000;

/// Keys in one page of a slot's list: 24 KiB.
pub const LIST_KEYS_MAX: usize = 1_024;

/// Lists of slots that one comparison may have asked for: enough that a distant peer is limited by
/// what it sends, not by how far away it is.
pub const LISTS_IN_FLIGHT_MAX: usize = 64;

/// Sessions asked for in one repair request.
pub const NEED_KEYS_MAX: usize = 128;

/// Bytes of deltas in one answer to a repair request, unless a single delta is larger.
pub const SUPPLY_BYTES_MAX: usize = BATCH_BYTES_MAX;

/// Repair requests to one peer that may be unanswered per shard: the credit of the asking side.
pub const NEEDS_IN_FLIGHT_MAX: usize = 2;

/// Bytes per second that a process spends on answering repair requests by default (rule B4).
pub const REPAIR_BYTES_PER_SECOND: u64 = 32 * 1024 * 1024;

/// Requests that wait for copies of other owners, per shard.
pub const LOADS_MAX: usize = 4_096;

/// Of those, how many may be on behalf of peers: the other half is for requests of this process,
/// however many of the members are broken.
pub const LOADS_FOR_PEERS_MAX: usize = LOADS_MAX / 2;

/// Of those, how many may be on behalf of one peer: a member that asks for what nobody has leaves
/// room for the others.
pub const LOADS_PER_PEER_MAX: usize = LOADS_FOR_PEERS_MAX / 4;

/// After this long the members that were not asked at first are asked too, in milliseconds (K2).
pub const LOAD_WIDEN_MS: u64 = 20;

/// How long a request waits for a node that has to answer and is out of sight, before it is told that
/// the session is unavailable, in milliseconds; at most to its deadline. A new connection takes less:
/// when a line heals, its two ends do not see each other again in the moment in which others do.
pub const HOPELESS_MS: u64 = 1_000;

/// A fetch without an answer is repeated after this long, in milliseconds: fetches are harmless.
pub const FETCH_RETRY_MS: u64 = 300;

/// Commits that wait for acknowledgements, per shard.
pub const WAITERS_MAX: usize = 16_384;

/// Forwarded commits that one shard remembers, for itself and for others.
pub const FORWARDS_MAX: usize = 16_384;

/// Forwarded commits that one shard remembers for one peer, a quarter of all: a member that
/// forwards without end uses up its own share and not that of the others.
pub const FORWARDS_PER_PEER_MAX: usize = FORWARDS_MAX / 4;

/// How long an executor that may have forgotten what it stamped waits for the copies of every
/// owner before it refuses, in milliseconds: time for an answer from a slow host and for one
/// repetition, and so little that the edits then reach another owner before their deadline.
pub const ASK_EVERYONE_MS: u64 = 1_000;

/// The interval between repetitions doubles up to this, in milliseconds (rule B6).
pub const RETRY_MS_MAX: u64 = 5_000;

/// Requests that earn one repetition (rule B6): together they add a tenth to the load.
pub const REQUESTS_PER_RETRY: u64 = 10;

/// Repetitions per second that are earned without any request, so that a single one on a bad line
/// is not starved.
pub const RETRIES_PER_SECOND: u64 = 10;

/// Repetitions that may be saved up.
pub const RETRIES_SAVED_MAX: u64 = 100;

/// An edit without an answer is sent again to the same process after this long, in milliseconds;
/// it is recognised there by its number (amendment 4).
pub const FORWARD_RETRY_MS: u64 = 300;

/// A forwarded edit may name a deadline at most this far ahead, in milliseconds.
pub const REQUEST_MS_MAX: u64 = 60_000;

/// Edits of one commit. A session has at most 320 names, each may be written a few times.
pub const EDITS_MAX: usize = 4_096;

/// Sessions and tombstones looked at by the sweep of one tick.
pub const SWEEP_PER_TICK_MAX: usize = 512;

/// Share of the memory limit, in percent, beyond which sessions that nobody is signed in to are
/// ended to make room (rule M1).
pub const EVICT_ABOVE_PERCENT: usize = 90;

/// What a member has said of its room counts for so long, in milliseconds: it says it again with
/// every message, and owners compare themselves several times a minute. Afterwards a session is
/// begun to see, in each shard at most one for each answer that it takes.
pub const ROOM_KNOWN_MS: u64 = 60_000;

/// Sessions looked at by one tick in search of some to end.
pub const EVICT_SAMPLE_MAX: usize = 256;

/// Sessions ended to make room in one tick: 640 a second in each shard, more than a flood of
/// robots creates, and few enough that a burst does not empty the store.
pub const EVICT_PER_TICK_MAX: usize = 32;

/// Layouts that may be in force at once. Two are one transition; each member that is removed while
/// one is under way adds one more. Beyond it the middle ones are given up.
pub const LAYOUTS_MAX: usize = 8;

/// How long the application is not told again that somebody goes by a later view, in milliseconds.
pub const BEHIND_MS: u64 = 1_000;

/// How long after its stamp a writer that is in no view known here may be one that has joined since,
/// though nobody has told of a later view, in milliseconds. A view takes less to everybody who is
/// not cut off; and a cluster that was founded anew, in which the writers of the earlier one are
/// never heard of, must not wait for them as long as browsers keep their tokens.
pub const NEWCOMER_MS: u64 = 60_000;

/// Waiting outputs of one shard towards one peer beyond batches: answers are dropped beyond it,
/// which the asking side repairs by asking again.
pub const ANSWERS_MAX: usize = 8_192;

const _: () = assert!(FRAME_BYTES_MAX >= 16 * SESSION_BYTES_MAX);
const _: () = assert!(BATCH_BYTES_MAX * 2 < FRAME_BYTES_MAX);
const _: () = assert!(BATCHES_IN_FLIGHT_MAX < BATCHES_REMEMBERED_MAX);
const _: () = assert!(RETRANSMIT_MS_MIN > TICK_MS && RETRANSMIT_MS_MAX >= RETRANSMIT_MS_MIN);
const _: () = assert!(SUSPECT_MS >= 4 * HEARTBEAT_MS);
const _: () = assert!(EVICT_ABOVE_PERCENT < 100 && EVICT_PER_TICK_MAX < EVICT_SAMPLE_MAX);
const _: () = assert!(UNREACHABLE_MS > SUSPECT_MS);
const _: () = assert!(ROUND_REPEAT_MS * 4 < ROUND_STALL_MS);
const _: () = assert!(LOADS_PER_PEER_MAX * 2 <= LOADS_FOR_PEERS_MAX);
const _: () = assert!(LOADS_FOR_PEERS_MAX < LOADS_MAX && FORWARDS_PER_PEER_MAX < FORWARDS_MAX);
const _: () = assert!(ASK_EVERYONE_MS > 2 * FETCH_RETRY_MS && ASK_EVERYONE_MS < SUSPECT_MS);
const _: () = assert!(HOPELESS_MS > HEARTBEAT_MS && HOPELESS_MS < SUSPECT_MS);
const _: () = assert!(ROUND_STALL_MS < REPAIR_INTERVAL_MS);
const _: () = assert!(NEWCOMER_MS > UNREACHABLE_MS);
