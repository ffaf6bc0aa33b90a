//! Words that belong to one place of the source: the names of fenced crates, and the two words in
//! which the replication modes differ. Looks at code only; a comment may say them.

use super::Finding;
use super::rust_source::{RustSource, Word};
use super::tree::{File, Tree};

struct Fence {
    /// What the finding calls it.
    word: &'static str,
    is_match: fn(&Word<'_>, &str) -> bool,
    /// Beginnings of the paths that may say it.
    places: &'static [&'static str],
    /// Whether tests may say it anywhere.
    is_free_in_tests: bool,
}

const WIRE: &[&str] = &["crates/protocol/src/codec", "crates/protocol/src/wire"];
const MEMBERSHIP: &[&str] = &["crates/membership/"];
const TRANSPORT: &[&str] = &["crates/transport/"];

const FENCES: [Fence; 11] = [
    named("bincode", WIRE),
    named("openraft", MEMBERSHIP),
    named("redb", MEMBERSHIP),
    named("quinn", TRANSPORT),
    named("quinn_proto", TRANSPORT),
    named("rustls", TRANSPORT),
    named("webpki", TRANSPORT),
    named("rcgen", TRANSPORT),
    named("hashbrown", &["crates/protocol/src/store"]),
    Fence {
        word: "mode",
        is_match: says_mode,
        places: &[
            "crates/replica/src/config",
            "crates/replica/tests/config",
            "crates/sim/src/bin/sim/main",
        ],
        is_free_in_tests: false,
    },
    Fence {
        word: "copies",
        is_match: reads_copies,
        places: &["crates/protocol/src/placement", "crates/replica/src/config"],
        is_free_in_tests: true,
    },
];

const fn named(word: &'static str, places: &'static [&'static str]) -> Fence {
    Fence { word, is_match: is_named, places, is_free_in_tests: false }
}

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let ours = |file: &File| !file.path.starts_with("scripts/");
    tree.rust()
        .filter(|(file, _)| ours(file))
        .flat_map(|(file, rust)| check_file(file, rust))
        .collect()
}

fn check_file(file: &File, rust: &RustSource) -> Vec<Finding> {
    let strangers = FENCES.iter().filter(|fence| {
        let is_home = fence.places.iter().any(|place| file.path.starts_with(place));
        !(is_home || fence.is_free_in_tests && file.is_test())
    });
    let strangers: Vec<&Fence> = strangers.collect();
    let mut findings = Vec::new();
    for word in rust.words() {
        let is_test = rust.is_test_line(word.line);
        for fence in &strangers {
            if !(fence.is_free_in_tests && is_test) && (fence.is_match)(&word, fence.word) {
                let message =
                    format!("`{}` belongs to {} only", fence.word, fence.places.join(", "));
                findings.push(Finding::new(&file.path, word.line, message));
            }
        }
    }
    findings
}

fn is_named(word: &Word<'_>, name: &str) -> bool {
    word.text == name
}

/// Any identifier with the word in it, but for the permissions of files.
fn says_mode(word: &Word<'_>, name: &str) -> bool {
    let plural = format!("{name}s");
    let is_said = humps(word.text).iter().any(|hump| *hump == name || *hump == plural);
    is_said && !is_permission(word)
}

/// The standard library calls permissions so: `options.mode(bits)`, `Permissions::from_mode(bits)`
/// and `permissions().mode()`. Ours has no setters, so a call with arguments is not our mode.
fn is_permission(word: &Word<'_>) -> bool {
    let before = word.before.trim_end();
    let sets = before.ends_with(['.', ':']) && word.after.starts_with('(');
    before.ends_with("permissions().") || sets && !word.after.starts_with("()")
}

/// A field or a method of that name; the place where a view is built is no such.
fn reads_copies(word: &Word<'_>, name: &str) -> bool {
    word.text == name && word.before.trim_end().ends_with('.')
}

/// The parts of `snake_case` and `CamelCase` names, in lower case.
fn humps(name: &str) -> Vec<String> {
    let mut humps = vec![String::new()];
    let mut was_lower = false;
    for character in name.chars() {
        if character == '_' || (character.is_uppercase() && was_lower) {
            humps.push(String::new());
        }
        was_lower = character.is_lowercase();
        if let (Some(hump), true) = (humps.last_mut(), character != '_') {
            hump.extend(character.to_lowercase());
        }
    }
    humps
}

#[cfg(test)]
mod tests {
    use super::super::tree::planted;
    use super::*;

    fn findings(path: &str, code: &str) -> usize {
        check(&planted(&[(path, code)])).len()
    }

    #[test]
    fn a_fenced_crate_is_named_in_its_place_only() {
        assert_eq!(findings("crates/protocol/src/message.rs", "#[derive(bincode::Encode)]"), 1);
        assert_eq!(findings("crates/protocol/tests/golden.rs", "use bincode::config;"), 1);
        assert_eq!(findings("crates/protocol/src/wire.rs", "use bincode::config;"), 0);
        assert_eq!(findings("crates/replica/src/driver.rs", "use quinn::Endpoint; use rustls;"), 2);
        assert_eq!(findings("crates/replica/src/driver.rs", "// quinn\nlet a = \"rustls\";"), 0);
    }

    #[test]
    fn the_mode_is_said_in_the_configuration_only() {
        for code in ["let mode = 1;", "enum ReplicationMode {}", "fn set_mode(x: u8) {}", "modes()"]
        {
            assert_eq!(findings("crates/replica/src/driver.rs", code), 1, "{code}");
            assert_eq!(findings("crates/replica/src/config/file.rs", code), 0, "{code}");
        }
        assert_eq!(findings("crates/sim/src/model.rs", "struct Model; let modern = 1;"), 0);
    }

    #[test]
    fn permissions_of_files_are_not_the_mode() {
        let code = "options.mode(bits); Permissions::from_mode(0o700); file.permissions().mode();";
        assert_eq!(findings("crates/transport/src/identity.rs", code), 0);
    }

    #[test]
    fn copies_are_read_by_placement_only() {
        assert_eq!(findings("crates/protocol/src/repair.rs", "if view.copies > 2 {}"), 1);
        assert_eq!(findings("crates/protocol/src/view.rs", "View { copies: 3 }"), 0);
        assert_eq!(findings("crates/protocol/src/placement.rs", "view.copies"), 0);
        let test = "#[cfg(test)]\nmod tests {\n fn a() { view.copies; }\n}\n";
        assert_eq!(findings("crates/protocol/src/view.rs", test), 0);
    }
}
