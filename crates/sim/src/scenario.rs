//! What a run is made of: its size, its length, which faults it may meet, which rules hold.

use protocol::Rules;

use crate::fault::FaultKind;

/// Who says which nodes are members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Views {
    /// The configuration: all nodes, for good, and every member owns every slot.
    Fixed,
    /// A log of decisions that every node follows; at the beginning every member owns every slot.
    AgreedAll,
    /// A log of decisions that every node follows; at the beginning one to four members own a slot.
    AgreedBackups,
}

/// The frame within which a seed draws its run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Who says which nodes are members.
    pub views: Views,
    /// Number of nodes. Where views are agreed, the seed draws from three up to this.
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
    /// The standard storm under a fixed view.
    fn default() -> Self {
        Self {
            views: Views::Fixed,
            nodes: 3,
            clients: 200,
            requests_per_second: 50,
            storm_ms: 60_000,
            faults: FaultKind::FIXED.to_vec(),
            rules: Rules::default(),
            trace: false,
        }
    }
}

impl Scenario {
    /// The standard storm under these views: shorter and smaller where they are agreed, because
    /// there is more to draw, and so more seeds to run.
    #[must_use]
    pub fn of(views: Views) -> Self {
        if views == Views::Fixed {
            return Self::default();
        }
        Self {
            views,
            nodes: 7,
            clients: 40,
            requests_per_second: 30,
            storm_ms: 25_000,
            faults: FaultKind::ALL.to_vec(),
            ..Self::default()
        }
    }

    /// True if a log decides who is a member.
    pub(crate) fn is_agreed(&self) -> bool {
        self.views != Views::Fixed
    }
}
