//! What a run is made of: its size, its length, which faults it may meet, which rules hold.

use protocol::Rules;

use crate::fault::FaultKind;

/// The frame within which a seed draws its run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Number of nodes.
    pub nodes: usize,
    /// Browsers, each with at most one session at a time.
    pub clients: usize,
    /// Requests per simulated second, over all clients.
    pub requests_per_second: u64,
    /// Length of the storm, in simulated milliseconds.
    pub storm_ms: u64,
    /// Faults that a seed may draw from.
    pub faults: Vec<FaultKind>,
    /// Which rules hold: all, unless a test switches one off.
    pub rules: Rules,
    /// Keeps a trace of everything that happens.
    pub trace: bool,
}

impl Default for Scenario {
    /// The standard storm.
    fn default() -> Self {
        Self {
            nodes: 3,
            clients: 200,
            requests_per_second: 50,
            storm_ms: 60_000,
            faults: FaultKind::ALL.to_vec(),
            rules: Rules::default(),
            trace: false,
        }
    }
}
