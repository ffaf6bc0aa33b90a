//! The shortest of the scenarios, with copies spread in each way; `cargo x cluster` runs them all.

use cluster_tests::scenario::{Scenario, Settings, Spread, Watch};

use super::service;

/// Promises P1, P2, P3, P7, P10.
#[test]
fn a_rolling_restart_costs_nothing_when_every_node_has_every_session() {
    rolling_restart(Spread::AllToAll);
}

/// Promises P1, P2, P3, P7, P10, P11.
#[test]
fn a_rolling_restart_costs_nothing_with_a_primary_and_a_backup() {
    rolling_restart(Spread::PrimaryBackup);
}

fn rolling_restart(spread: Spread) {
    let settings = Settings { visitors: 8, ..Settings::new(spread) };
    let row = Scenario::RollingRestart.run(&service(), &settings, &Watch::silent()).unwrap();
    assert!(row.is_well(), "{}", row.problems.join("\n"));
    assert!(row.sessions > 0 && row.writes > 0 && row.in_flight == 0);
}
