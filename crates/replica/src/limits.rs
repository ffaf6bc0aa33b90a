//! Every bound of this crate: its value, its unit, its reason.

use std::time::Duration;

use session::Slot;

/// Shards of a process: what runs at once without meeting. A constant of the cluster, so that a
/// batch of one node's shard fits one shard of its receiver.
pub const SHARDS: u16 = 16;

/// How long a request waits for a copy of its session before it is told to come again; where nobody
/// who may have it comes into sight, it is told so after `protocol::limits::HOPELESS_MS`.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a request waits for this process to be a member, before it is told to come again. One
/// that was removed though it lives, because it hung or was cut off, learns of that and is let in
/// again within a fraction of it; one that has to wait longer says so on `/health`.
pub(crate) const MEMBER_AGAIN: Duration = Duration::from_millis(protocol::limits::HOPELESS_MS);

/// How long a commit waits for a node that may execute it. Waiting for acknowledgements is
/// bounded by `replication.ack_timeout` instead.
pub const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long [`Replica::stop`](crate::Replica::stop) waits until the others have everything.
pub const FLUSH_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a stop looks whether the others have everything.
pub(crate) const FLUSH_LOOK: Duration = Duration::from_millis(10);

/// How long the connections may take to close in good order.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Ids that are drawn until one belongs to a slot of this node. With one copy on each of 64 nodes
/// the chance to need more is less than 1 in 10^28.
pub(crate) const ID_DRAWS_MAX: usize = 4_096;

/// How long a request may have been under way when its browser got another id, in milliseconds.
/// Browsers and proxies give up before.
pub(crate) const ROTATION_MS: u64 = 60_000;

/// Replaced ids that are remembered because requests still bring them; each costs 40 bytes.
pub(crate) const ROTATED_IDS_MAX: usize = 16_384;

/// Nodes that are no members and are linked with at once: those that are about to join, where
/// members are agreed on. More wait.
pub const STRANGERS_MAX: usize = 64;

/// How often a stop that cannot end says what is missing.
pub(crate) const FLUSH_REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// Clocks are not slewed further apart than this from true seconds, in parts per million.
pub(crate) const SLEW_PPM_MAX: i64 = 5_000;

/// An error of the clock is worked off over so many seconds, as far as the rate allows.
pub(crate) const SLEW_HORIZON_S: i64 = 10;

/// A wall clock further ahead than this is followed at once, in microseconds, as far as the others
/// confirm it; one further off is not drawn towards where it leads away from them. Equal to the offset
/// at which other nodes would find this clock at fault.
pub(crate) const STEP_US: i64 = 200_000;

const _: () = assert!(Slot::COUNT.is_multiple_of(SHARDS));
const _: () = assert!(OPEN_TIMEOUT.as_millis() > protocol::limits::HOPELESS_MS as u128);
const _: () = assert!(COMMIT_TIMEOUT.as_millis() > protocol::limits::HOPELESS_MS as u128);
const _: () = assert!(COMMIT_TIMEOUT.as_millis() < protocol::limits::REQUEST_MS_MAX as u128);
