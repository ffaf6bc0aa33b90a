//! Waiting for conditions: never for a time alone.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Longest wait for a condition. Reached only when something is wrong.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(5);

/// Waits until a look returns something.
///
/// # Errors
/// It does not within [`PATIENCE`]; `what` was waited for.
pub fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> Result<T> {
    wait_for_within(what, PATIENCE, LOOK, look)
}

/// The same with another patience, and another time between two looks: for looks that cost those
/// something whom they look at.
///
/// # Errors
/// It does not within `patience`.
pub fn wait_for_within<T>(
    what: &str,
    patience: Duration,
    every: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if started.elapsed() > patience {
            bail!("still not after {patience:?}: {what}");
        }
        std::thread::park_timeout(every);
    }
}

/// Waits until something is so.
///
/// # Errors
/// It is not within [`PATIENCE`].
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
    wait_for(what, || is_so().then_some(()))
}
