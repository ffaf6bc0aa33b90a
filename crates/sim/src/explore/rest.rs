//! What becomes of a state if nothing more happens to it: all copies become equal.

use session::State;

use super::cluster::{Breach, Cluster, KEY, Process};
use super::ledger::told;
use super::plan::Plan;

/// Ticks in half a minute: two comparisons with everybody.
const TICKS: usize = 600;

impl Cluster {
    /// Restarts what has died, delivers what is in flight or loses it, and waits.
    ///
    /// # Errors
    /// What should have come about and has not.
    // Tests rules V7, V9, B1, P3.
    pub(super) fn rest(&mut self, plan: &Plan, lose: bool) -> Result<(), Breach> {
        if lose {
            self.air.clear();
        }
        for host in 0..self.hosts.len() {
            if self.hosts[host].process.is_none() && self.hosts[host].starts > 0 {
                self.start(plan, host)?;
            }
        }
        self.settle(TICKS)?;
        if self.log.view().layouts.len() > 1 {
            return Err(Breach::new("V7", "a transition does not end".to_owned()));
        }
        let members: Vec<&Process> = self.processes().filter(|p| self.is_member(p.inc)).collect();
        let mut first: Option<&State> = None;
        for (number, process) in members.iter().enumerate() {
            let (node, state) = (&process.node, process.node.store().get(KEY));
            if !node.owns(KEY) {
                if state.is_some() {
                    return Err(told("V9", number, "keeps what it does not own"));
                }
                continue;
            }
            if !node.speaks_for(KEY) {
                return Err(told("V7", number, "never speaks for what it owns"));
            }
            if node.waiting() != (0, 0, 0) || !node.is_drained() {
                return Err(told("L-DRAIN", number, "goes on waiting"));
            }
            match (first, state) {
                (None, Some(state)) if number == 0 || first.is_none() => first = Some(state),
                (Some(one), Some(other)) if one == other => {}
                (None, None) => {}
                _ => return Err(told("L-CONV", number, "holds what others do not")),
            }
        }
        Ok(())
    }
}
