//! The determinism fence: clippy refuses clocks, randomness, threads, sockets and unordered maps in
//! the pure crates, if each has its `clippy.toml` and nobody waves the lint away. This sees to both.

use toml::Table;

use super::Finding;
use super::tree::Tree;

const PURE: [&str; 3] = ["session", "protocol", "sim"];
const LINTS: [&str; 2] = ["disallowed_methods", "disallowed_types"];

/// The simulator's programs measure time and read files; the simulator itself does not.
const OUTSIDE: [&str; 2] = ["crates/sim/src/bin/", "crates/sim/src/main.rs"];

/// The table whose per-crate files replace the root's, so they repeat it.
const ROOT: &str = "clippy.toml";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in PURE {
        let has_crate = tree.file(&format!("crates/{name}/Cargo.toml")).is_some();
        if has_crate {
            findings.extend(check_table(tree, name));
        }
    }
    findings.extend(waived_lints(tree));
    findings
}

fn check_table(tree: &Tree, name: &str) -> Vec<Finding> {
    let path = format!("crates/{name}/clippy.toml");
    let Some(file) = tree.file(&path) else {
        return vec![Finding::new(&path, 0, "a pure crate needs its determinism fence")];
    };
    let Ok(table) = file.text.parse::<Table>() else {
        return vec![Finding::new(&path, 0, "not readable as TOML")];
    };
    let mut findings = Vec::new();
    let root = tree.file(ROOT).and_then(|file| file.text.parse::<Table>().ok()).unwrap_or_default();
    for (key, value) in &root {
        if table.get(key) != Some(value) {
            let message =
                format!("`{key}` differs from the root's clippy.toml, which this replaces");
            findings.push(Finding::new(&path, 0, message));
        }
    }
    for key in LINTS.map(|lint| lint.replace('_', "-")) {
        if table.get(&key).and_then(|list| list.as_array()).is_none_or(Vec::is_empty) {
            findings.push(Finding::new(&path, 0, format!("`{key}` is missing")));
        }
    }
    let model = tree.file(&format!("crates/{}/clippy.toml", PURE[0]));
    if model.is_some_and(|model| model.text != file.text) {
        findings.push(Finding::new(
            &path,
            0,
            "the fence is one text, the same in every pure crate",
        ));
    }
    findings
}

fn waived_lints(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, rust) in tree.rust() {
        let is_pure = PURE.iter().any(|name| file.path.starts_with(&format!("crates/{name}/")));
        if !is_pure || file.is_test() || OUTSIDE.iter().any(|path| file.path.starts_with(path)) {
            continue;
        }
        for word in rust.words() {
            if LINTS.contains(&word.text) && !rust.is_test_line(word.line) {
                let message = format!("`{}` cannot be waived in a pure crate", word.text);
                findings.push(Finding::new(&file.path, word.line, message));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::tree::planted;
    use super::*;

    const FENCE: &str = "max = 70\ndisallowed-methods = [\"a\"]\ndisallowed-types = [\"b\"]\n";

    fn messages(files: &[(&str, &str)]) -> Vec<String> {
        let mut all = vec![("clippy.toml", "max = 70\n"), ("crates/session/Cargo.toml", "")];
        all.extend(files);
        check(&planted(&all)).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn a_whole_fence_is_accepted() {
        assert!(messages(&[("crates/session/clippy.toml", FENCE)]).is_empty());
    }

    #[test]
    fn a_missing_or_thinner_fence_is_found() {
        assert_eq!(messages(&[]), ["a pure crate needs its determinism fence"]);
        let thin = [("crates/session/clippy.toml", "max = 71\ndisallowed-types = []\n")];
        assert_eq!(messages(&thin).len(), 3);
        let differing = format!("{FENCE}# and more\n");
        let found = messages(&[
            ("crates/session/clippy.toml", FENCE),
            ("crates/sim/Cargo.toml", ""),
            ("crates/sim/clippy.toml", &differing),
        ]);
        assert_eq!(found, ["the fence is one text, the same in every pure crate"]);
    }

    #[test]
    fn a_waived_lint_is_found_outside_of_tests_and_programs() {
        let waived = "//! .\n#[allow(clippy::disallowed_methods)]\nfn f() {}\n";
        let fence = ("crates/session/clippy.toml", FENCE);
        let found = |path| messages(&[fence, (path, waived)]).len();
        assert_eq!(found("crates/protocol/src/store.rs"), 1);
        assert_eq!(found("crates/sim/src/bin/sim.rs"), 0);
        assert_eq!(found("crates/protocol/tests/golden.rs"), 0);
        assert_eq!(found("crates/replica/src/driver.rs"), 0);
    }
}
