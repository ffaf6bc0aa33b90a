//! A process that hung: it serves no session of which it does not know whether the others went on.

use std::time::Duration;

use tokio::time::Instant;

/// A process that did nothing for so long hung: the others have heard nothing of it.
pub(crate) const HUNG: Duration = Duration::from_secs(1);

/// A process that hung is not ready for as long at least: by then it has noticed whose links are
/// gone, and others have told it of a later view.
const COME_BACK_MIN: Duration = Duration::from_secs(1);

/// And for as long at most, whoever does not answer it.
const COME_BACK_MAX: Duration = Duration::from_secs(5);

/// When this process went on after it had hung, until the others answer it again.
#[derive(Debug, Default)]
pub(super) struct Hang(Option<Instant>);

impl Hang {
    /// It goes on.
    pub(super) const fn ends(&mut self, now: Instant) {
        self.0 = Some(now);
    }

    /// True while this process does not know yet who still answers it.
    pub(super) fn matters(&mut self, now: Instant, all_answer: impl FnOnce() -> bool) -> bool {
        let Some(at) = self.0 else { return false };
        let since = now.duration_since(at);
        let is_over = since >= COME_BACK_MAX || (since >= COME_BACK_MIN && all_answer());
        if is_over {
            self.0 = None;
        }
        !is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);

    #[test]
    fn a_process_that_never_hung_does_not_wait() {
        assert!(!Hang::default().matters(Instant::now(), || false));
    }

    #[test]
    fn bound_come_back_min() {
        let (mut hang, at) = (Hang::default(), Instant::now());
        hang.ends(at);
        assert!(hang.matters(at + COME_BACK_MIN - MOMENT, || true), "links seem to stand");
        assert!(!hang.matters(at + COME_BACK_MIN, || true));
        assert!(!hang.matters(at + COME_BACK_MIN, || false), "it is over once and for all");
    }

    #[test]
    fn bound_come_back_max() {
        let (mut hang, at) = (Hang::default(), Instant::now());
        hang.ends(at);
        assert!(hang.matters(at + COME_BACK_MAX - MOMENT, || false));
        assert!(!hang.matters(at + COME_BACK_MAX, || false));
    }

    #[test]
    fn whoever_hangs_again_waits_anew() {
        let (mut hang, at) = (Hang::default(), Instant::now());
        hang.ends(at);
        hang.ends(at + COME_BACK_MIN);
        assert!(hang.matters(at + COME_BACK_MIN, || true));
    }
}
