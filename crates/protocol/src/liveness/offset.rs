//! How far the clocks of others are ahead of ours.

use session::{SKEW_MS_MAX, Time};

/// An offset beyond two fifths of the tolerated skew counts against the clock (rule H3): two nodes
/// that are each that far off in opposite directions still tolerate each other.
pub(super) const OFFSET_MS_MAX: u64 = SKEW_MS_MAX * 2 / 5;

/// How far a clock is ahead, as far as one exchange tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offset {
    /// In milliseconds.
    pub(super) ahead_ms: i64,
    /// By how much that may be wrong, in milliseconds: half of what the exchange took, if one way
    /// took all of it.
    error_ms: u64,
}

impl Offset {
    /// True if it is beyond what counts against the clock even if it was measured as badly as can
    /// be: a process under load is heard late, and its clock is right.
    pub(super) const fn is_too_far(self) -> bool {
        self.ahead_ms.unsigned_abs() > OFFSET_MS_MAX + self.error_ms
    }
}

/// How far the peer's clock is ahead, from the four readings of one exchange, as NTP does (RFC 5905
/// section 8): `t1` ours at sending, `t2` theirs at arrival, `t3` theirs at answering, `t4` ours at
/// its arrival. `None` if the exchange took longer than a second: then it says little.
pub(super) fn offset(t1: Time, t2: Time, t3: Time, t4: Time) -> Option<Offset> {
    // A peer may name any numbers; in these bounds no sum of four of them overflows.
    let signed = |time: Time| i64::try_from(time.0).ok().filter(|ms| *ms < 1 << 60);
    let (t1, t2, t3, t4) = (signed(t1)?, signed(t2)?, signed(t3)?, signed(t4)?);
    let round_trip = (t4 - t1) - (t3 - t2);
    let ahead_ms = ((t2 - t1) + (t3 - t4)) / 2;
    let error_ms = round_trip.unsigned_abs().div_ceil(2);
    (0..=1_000).contains(&round_trip).then_some(Offset { ahead_ms, error_ms })
}
