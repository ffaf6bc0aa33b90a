//! Every bound of a session: its value, its unit, its reason.

/// How far clocks of one cluster may differ, in milliseconds (`eps` in the rules; H3, H4).
///
/// Half a second is what CockroachDB tolerates by default; machines under NTP stay below 50 ms.
pub const SKEW_MS_MAX: u64 = 500;

/// Longest absolute timeout of a session, in milliseconds: 30 days (rule T1).
///
/// A tombstone lives as long as its session could have; longer sessions would make logouts a
/// burden. A longer "remember me" is a separate credential.
pub const ABSOLUTE_TIMEOUT_MS_MAX: u64 = 30 * 24 * 3_600_000;

/// Distinct attribute names over a session's life, removed ones included: a removed name stays as
/// an absent attribute until the session ends, because forgetting it would break I-DET.
pub const ATTRIBUTES_MAX: usize = 320;

/// Size of a session, in bytes as [`crate::Session::size_bytes`] counts them.
pub const SESSION_BYTES_MAX: usize = 256 * 1024;

/// Length of an attribute's or a user's name, in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// Writers that a token names: with 64 it stays below 1.5 kB, well inside a browser's 4 KiB.
pub const TOKEN_ENTRIES_MAX: usize = 64;

/// The bounds that configuration may tighten. They bind stamping, never merging (amendment 20):
/// a copy that a peer holds must be mergeable here whatever this node is configured to allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// At most [`ATTRIBUTES_MAX`].
    pub attributes_max: usize,
    /// At most [`SESSION_BYTES_MAX`].
    pub session_bytes_max: usize,
}

/// The widest bounds there are.
pub const LIMITS_DEFAULT: Limits =
    Limits { attributes_max: ATTRIBUTES_MAX, session_bytes_max: SESSION_BYTES_MAX };

impl Default for Limits {
    fn default() -> Self {
        LIMITS_DEFAULT
    }
}

const _: () = assert!(ATTRIBUTES_MAX * NAME_BYTES_MAX < SESSION_BYTES_MAX);
