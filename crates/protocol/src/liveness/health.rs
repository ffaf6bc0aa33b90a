//! How well this process is itself, by how its ticks come and by who is silent.

use session::Time;

use crate::limits::{HEARTBEAT_MS, TICK_MS};

/// The local health of a process that is well.
pub(super) const HEALTH_MIN: u64 = 1;

/// It is never worse than this: a peer that is dead is suspected after 16 s by whoever still runs.
pub(super) const HEALTH_MAX: u64 = 8;

/// Each such time without trouble makes the local health better by one, in milliseconds.
pub(super) const HEALTHY_MS: u64 = 10_000;

/// A tick that comes so much later than it should is trouble, in milliseconds: heartbeats of this
/// process are late too.
pub(super) const TICK_LATE_MS: u64 = HEARTBEAT_MS;

/// How well this process is itself.
#[derive(Debug)]
pub(super) struct Health {
    /// From [`HEALTH_MIN`] to [`HEALTH_MAX`].
    pub(super) factor: u64,
    /// Since when nothing has been wrong, or the factor has not changed.
    well: Time,
    /// The latest tick.
    ticked: Option<Time>,
    /// True while too many peers are silent at once. That counts once, or a node that is cut off
    /// would wait for all others longer and longer.
    pub(super) quiet: bool,
}

impl Health {
    pub(super) const fn new() -> Self {
        Self { factor: HEALTH_MIN, well: Time(0), ticked: None, quiet: false }
    }

    pub(super) const fn worsen(&mut self, now: Time) {
        if self.factor < HEALTH_MAX {
            self.factor += 1;
        }
        self.well = now;
    }

    pub(super) const fn improve(&mut self, now: Time) {
        if self.factor > HEALTH_MIN && now.since(self.well) >= HEALTHY_MS {
            self.factor -= 1;
            self.well = now;
        }
    }

    /// Notes a tick; for how long there has been none if that is too long.
    pub(super) fn tick(&mut self, now: Time) -> Option<u64> {
        let ticked = self.ticked.replace(now).unwrap_or(now);
        let late = Some(now.since(ticked)).filter(|ms| *ms > TICK_MS + TICK_LATE_MS);
        if late.is_some() {
            self.worsen(now);
        }
        late
    }
}
