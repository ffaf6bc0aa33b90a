//! Test switches stay out of what is shipped: features that break a rule on purpose, or open a door
//! for tests, are turned on by test programs alone.

use toml::{Table, Value};

use super::Finding;
use super::manifest::{dependencies, parse_all};
use super::tree::{File, Tree};

const SWITCHES: [&str; 3] = ["mutants", "wire-next", "hostile-testing"];

/// Packages that are tests themselves.
const TESTS: [&str; 2] = ["cluster-tests/Cargo.toml", "fuzz/Cargo.toml"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    // What cannot be parsed is reported by the check of crate edges.
    let (manifests, _) = parse_all(tree);
    let shipped =
        manifests.iter().filter(|(file, _)| !TESTS.iter().any(|end| file.path.ends_with(end)));
    shipped.flat_map(|(file, table)| check_package(file, table)).collect()
}

fn check_package(file: &File, table: &Table) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut report = |switch: &str, by: &str| {
        let message = format!("test switch `{switch}` is turned on by {by}");
        findings.push(Finding::new(&file.path, 0, message));
    };
    for dependency in dependencies(table, &Table::new()) {
        if dependency.section != "dev-dependencies" {
            for switch in switches_in(dependency.value.get("features")) {
                report(&switch, &format!("the dependency on `{}`", dependency.package));
            }
        }
    }
    let shared =
        table.get("workspace").and_then(|workspace| workspace.get("dependencies")?.as_table());
    for (name, value) in shared.into_iter().flatten() {
        for switch in switches_in(value.get("features")) {
            report(&switch, &format!("the workspace's dependency on `{name}`"));
        }
    }
    // A switch may turn on the same switch further down; no other feature may.
    let features = table.get("features").and_then(Value::as_table);
    for (name, value) in features.into_iter().flatten() {
        if !SWITCHES.contains(&name.as_str()) {
            for switch in switches_in(Some(value)) {
                report(&switch, &format!("the feature `{name}`"));
            }
        }
    }
    findings
}

/// The switches in a list of features, `crate/feature` included.
fn switches_in(features: Option<&Value>) -> Vec<String> {
    let features = features.and_then(Value::as_array).into_iter().flatten();
    let names = features.filter_map(Value::as_str);
    names
        .filter(|name| name.rsplit('/').next().is_some_and(|last| SWITCHES.contains(&last)))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tree::planted;
    use super::*;

    fn findings(path: &str, text: &str) -> usize {
        check(&planted(&[(path, text)])).len()
    }

    #[test]
    fn a_switch_in_what_is_shipped_is_found() {
        let dependency = "[dependencies]\nsim = { workspace = true, features = [\"mutants\"] }\n";
        assert_eq!(findings("crates/node/Cargo.toml", dependency), 1);
        assert_eq!(findings("cluster-tests/Cargo.toml", dependency), 0);
        let default = "[features]\ndefault = [\"protocol/wire-next\"]\n";
        assert_eq!(findings("crates/sim/Cargo.toml", default), 1);
        let shared = "[workspace.dependencies]\nsim = { path = \"a\", features = [\"mutants\"] }\n";
        assert_eq!(findings("Cargo.toml", shared), 1);
    }

    #[test]
    fn a_switch_may_pass_itself_on() {
        let features = "[features]\nmutants = [\"protocol/mutants\"]\n";
        assert_eq!(findings("crates/sim/Cargo.toml", features), 0);
        let tests = "[dev-dependencies]\nsim = { path = \"a\", features = [\"mutants\"] }\n";
        assert_eq!(findings("crates/sim/Cargo.toml", tests), 0);
    }
}
