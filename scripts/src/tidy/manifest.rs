//! Crate edges: which of our crates may depend on which, and which outside crates are fenced into
//! one of ours. Reads every `Cargo.toml`; the tables here are the only place that says so.

use toml::{Table, Value};

use super::Finding;
use super::tree::{File, Tree};

/// Each crate of the workspace with those of ours it may depend on, tests and builds included.
/// A new edge is a change of its own, with its reason in the commit message.
const EDGES: [(&str, &[&str]); 11] = [
    ("session", &[]),
    ("protocol", &["session"]),
    ("transport", &[]),
    ("membership", &["session", "protocol"]),
    ("sim", &["session", "protocol"]),
    ("replica", &["session", "protocol", "membership", "transport"]),
    ("adapters", &["replica"]),
    ("node", &["replica", "sim", "transport"]),
    ("cluster-tests", &["session", "protocol", "membership", "replica", "node", "transport"]),
    ("bench", &["replica", "session", "protocol"]),
    ("scripts", &[]),
];

/// Outside crates that only one of ours may depend on.
const FENCED: [(&str, &str); 9] = [
    ("openraft", "membership"),
    ("redb", "membership"),
    ("quinn", "transport"),
    ("quinn-proto", "transport"),
    ("rustls", "transport"),
    ("rustls-webpki", "transport"),
    ("rcgen", "transport"),
    ("config", "replica"),
    ("bincode", "protocol"),
];

const ROOT: &str = "Cargo.toml";
const SECTIONS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// One entry of a dependency section.
pub(super) struct Dependency<'a> {
    /// The package, whatever name it has been given locally.
    pub(super) package: String,
    pub(super) section: &'static str,
    pub(super) value: &'a Value,
}

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let (manifests, mut findings) = parse_all(tree);
    let empty = Table::new();
    let root =
        manifests.iter().find(|(file, _)| file.path == ROOT).map_or(&empty, |(_, table)| table);
    for (file, table) in manifests.iter().filter(|(file, _)| file.path != ROOT) {
        findings.extend(check_package(file, table, root));
    }
    findings
}

/// Every `Cargo.toml` of the tree that can be read, and findings for the others.
pub(super) fn parse_all(tree: &Tree) -> (Vec<(&File, Table)>, Vec<Finding>) {
    let (mut manifests, mut findings) = (Vec::new(), Vec::new());
    for file in tree.ending(ROOT) {
        match file.text.parse::<Table>() {
            Ok(table) => manifests.push((file, table)),
            Err(error) => findings.push(Finding::new(&file.path, 0, error.message())),
        }
    }
    (manifests, findings)
}

fn check_package(file: &File, table: &Table, root: &Table) -> Vec<Finding> {
    let folder = folder_of(&file.path);
    let name = table.get("package").and_then(|package| package.get("name")?.as_str());
    let is_fuzz = folder == "fuzz";
    if !is_fuzz && name != Some(folder) {
        return vec![Finding::new(&file.path, 0, "a package is named as its folder")];
    }
    let owner = if is_fuzz { folder_of(parent(&file.path)) } else { folder };
    let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == owner) else {
        let message = format!("`{owner}` is missing in the table of crate edges");
        return vec![Finding::new(&file.path, 0, message)];
    };
    let mut findings = Vec::new();
    if !is_fuzz && !takes_workspace_lints(table) {
        findings.push(Finding::new(&file.path, 0, "`[lints] workspace = true` is missing"));
    }
    for dependency in dependencies(table, root) {
        // Fuzz targets use the crate they lie in, and a crate's tests may turn on its own features.
        let is_itself = dependency.package == owner;
        if !is_itself && let Some(message) = objection(owner, allowed, &dependency.package) {
            findings.push(Finding::new(&file.path, 0, message));
        }
    }
    findings
}

fn objection(owner: &str, allowed: &[&str], package: &str) -> Option<String> {
    let is_ours = EDGES.iter().any(|(name, _)| *name == package);
    if is_ours && !allowed.contains(&package) {
        return Some(format!("`{owner}` must not depend on `{package}`"));
    }
    let (_, keeper) = FENCED.iter().find(|(fenced, _)| *fenced == package)?;
    (*keeper != owner).then(|| format!("only `{keeper}` may depend on `{package}`"))
}

/// All dependencies of a package: the three sections, and the same for single targets.
pub(super) fn dependencies<'a>(table: &'a Table, root: &Table) -> Vec<Dependency<'a>> {
    let targets = table.get("target").and_then(Value::as_table);
    let scopes = targets.into_iter().flat_map(Table::values).filter_map(Value::as_table);
    let mut found = Vec::new();
    for scope in std::iter::once(table).chain(scopes) {
        for section in SECTIONS {
            let entries = scope.get(section).and_then(Value::as_table).into_iter().flatten();
            found.extend(entries.map(|(name, value)| Dependency {
                package: package_name(name, value, root),
                section,
                value,
            }));
        }
    }
    found
}

/// `name = { package = "…" }`, here or in the workspace's table.
fn package_name(name: &str, value: &Value, root: &Table) -> String {
    let shared = || root.get("workspace")?.get("dependencies")?.get(name);
    let renamed = |value: &Value| Some(value.get("package")?.as_str()?.to_owned());
    renamed(value).or_else(|| renamed(shared()?)).unwrap_or_else(|| name.to_owned())
}

fn takes_workspace_lints(table: &Table) -> bool {
    let workspace = table.get("lints").and_then(|lints| lints.get("workspace"));
    workspace.and_then(Value::as_bool) == Some(true)
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// The name of the folder that a file lies in.
fn folder_of(path: &str) -> &str {
    let folder = parent(path);
    folder.rsplit_once('/').map_or(folder, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::super::tree::planted;
    use super::*;

    const LINTS: &str = "[lints]\nworkspace = true\n";

    fn messages(path: &str, package: &str, rest: &str) -> Vec<String> {
        let text = format!("[package]\nname = \"{package}\"\n{LINTS}{rest}");
        let root = "[workspace.dependencies]\nwire = { package = \"bincode\", version = \"2\" }\n";
        let tree = planted(&[("Cargo.toml", root), (path, &text)]);
        check(&tree).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn an_edge_of_the_table_is_allowed() {
        let rest = "[dependencies]\nsession = { workspace = true }\nbincode = \"2\"\n";
        assert!(messages("crates/protocol/Cargo.toml", "protocol", rest).is_empty());
    }

    #[test]
    fn an_edge_outside_the_table_is_found_in_every_section() {
        for section in ["dependencies", "dev-dependencies", "target.'cfg(unix)'.build-dependencies"]
        {
            let rest = format!("[{section}]\nprotocol = {{ workspace = true }}\n");
            let found = messages("crates/session/Cargo.toml", "session", &rest);
            assert_eq!(found, ["`session` must not depend on `protocol`"], "{section}");
        }
    }

    #[test]
    fn a_fenced_crate_is_found_under_another_name() {
        let here = "[dependencies]\nq = { package = \"quinn\", version = \"0.11\" }\n";
        assert_eq!(
            messages("crates/replica/Cargo.toml", "replica", here),
            ["only `transport` may depend on `quinn`"]
        );
        let shared = "[dependencies]\nwire = { workspace = true }\n";
        assert_eq!(
            messages("crates/session/Cargo.toml", "session", shared),
            ["only `protocol` may depend on `bincode`"]
        );
    }

    #[test]
    fn fuzz_targets_use_their_crate_and_what_it_may_use() {
        let rest = "[dependencies]\nprotocol = { path = \"..\" }\nsession = { path = \"../s\" }\n";
        assert!(messages("crates/protocol/fuzz/Cargo.toml", "protocol-fuzz", rest).is_empty());
        let rest = "[dependencies]\nreplica = { path = \"../r\" }\n";
        let found = messages("crates/protocol/fuzz/Cargo.toml", "protocol-fuzz", rest);
        assert_eq!(found, ["`protocol` must not depend on `replica`"]);
    }

    #[test]
    fn unknown_misnamed_and_unlinted_packages_are_found() {
        assert_eq!(
            messages("crates/cache/Cargo.toml", "cache", ""),
            ["`cache` is missing in the table of crate edges"]
        );
        assert_eq!(
            messages("crates/session/Cargo.toml", "sessions", ""),
            ["a package is named as its folder"]
        );
        let tree = planted(&[("crates/sim/Cargo.toml", "[package]\nname = \"sim\"\n")]);
        assert_eq!(check(&tree)[0].message, "`[lints] workspace = true` is missing");
    }

    #[test]
    fn a_broken_manifest_is_a_finding() {
        let tree = planted(&[("crates/sim/Cargo.toml", "[package\n")]);
        assert_eq!(check(&tree).len(), 1);
    }
}
