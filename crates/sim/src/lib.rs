//! A cluster in one thread: virtual time, seeded faults, checkers of every promise.
//!
//! One seed is one run. First *storm*: clients work while faults of a random subset of kinds strike
//! and the checkers watch every step. Then *calm*: everything heals, and convergence is due. A
//! failure prints the one line that repeats it.
//!
//! ```text
//! world   the queue of what happens next, and the hosts it happens to
//! network what becomes of a message on its way
//! fault   what goes wrong, when, drawn from the seed
//! client  browsers with cookies and tokens, going to any host
//! oracle  every write ever stamped, and who had it when
//! check   what must hold, after every step, every second, at the end
//! coverage what a run has met on its way
//! ```
//!
//! Beside it, with the same network: [`explore`] goes through every order of events of two or three
//! nodes, and [`growth`] measures what clusters of up to hundreds cost.
//!
//! The simulator drives the code that the runtime drives; it knows no clock and no randomness but
//! its seed.

mod check;
mod client;
mod coverage;
pub mod explore;
mod fault;
pub mod growth;
mod host;
mod network;
mod oracle;
mod scenario;
pub mod story;
mod world;

pub use coverage::{Coverage, Point};
pub use fault::FaultKind;
pub use scenario::{Scenario, Views};
pub use world::{Report, Violation, World};

/// Runs one seed to its end.
///
/// # Errors
/// The first promise that did not hold.
pub fn run(scenario: &Scenario, seed: u64) -> Result<Report, Violation> {
    World::new(scenario, seed).run()
}
