//! Citations of the protocol's rules. `docs/protocol.md` numbers them; code that fulfils one says
//! `Rule R3`, its test `Tests rule R3`. Each rule that is built has both, and nobody cites another.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use super::rust_source::RustSource;
use super::tree::{File, Tree};

const DOCUMENT: &str = "docs/protocol.md";
const LATER: &str = "(later)";

/// The simulator's stories cite rules in their comments.
const STORY: &str = ".txt";

struct Rule {
    line: usize,
    is_later: bool,
}

/// One place that names a rule.
struct Citation<'a> {
    path: &'a str,
    line: usize,
    id: String,
    side: Side,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Code,
    Test,
    /// `Tests rule` outside of a test, and `Rule` inside of one: they name a rule, and prove nothing.
    Neither,
}

/// Silent as long as the document does not exist.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(document) = tree.file(DOCUMENT) else {
        return Vec::new();
    };
    let (rules, mut findings) = rules(document);
    let citations: Vec<Citation<'_>> = tree.files().iter().flat_map(citations).collect();
    for citation in &citations {
        if !rules.contains_key(&citation.id) {
            let message = format!("{DOCUMENT} has no rule {}", citation.id);
            findings.push(Finding::new(citation.path, citation.line, message));
        }
    }
    let cited = |side: Side| -> BTreeSet<&str> {
        let matching = citations.iter().filter(|citation| citation.side == side);
        matching.map(|citation| citation.id.as_str()).collect()
    };
    for (side, words) in [(Side::Code, "code says `Rule"), (Side::Test, "test says `Tests rule")] {
        let cited = cited(side);
        let missing =
            rules.iter().filter(|(id, rule)| !rule.is_later && !cited.contains(id.as_str()));
        findings.extend(
            missing
                .map(|(id, rule)| Finding::new(DOCUMENT, rule.line, format!("no {words} {id}`"))),
        );
    }
    findings
}

/// The rules by their ids: paragraphs that begin with the bold id.
fn rules(document: &File) -> (BTreeMap<String, Rule>, Vec<Finding>) {
    let (mut rules, mut findings) = (BTreeMap::new(), Vec::new());
    for (line, text) in document.numbered() {
        let Some((id, rest)) = text.strip_prefix("**").and_then(|text| text.split_once("**"))
        else {
            continue;
        };
        if !is_id(id) {
            if is_id(id.trim_end_matches(['.', ':'])) {
                let message = format!("`**{id}**`: a rule's id stands alone between the stars");
                findings.push(Finding::new(DOCUMENT, line, message));
            }
            continue;
        }
        let is_later = rest.trim_start().starts_with(LATER);
        if rules.insert(id.to_owned(), Rule { line, is_later }).is_some() {
            findings.push(Finding::new(DOCUMENT, line, format!("rule {id} is there twice")));
        }
    }
    (rules, findings)
}

/// `R3`, `V10`, `D2a`, or one letter alone: `U`.
fn is_id(text: &str) -> bool {
    let digits = text.trim_start_matches(|letter: char| letter.is_ascii_uppercase());
    let letters = text.len() - digits.len();
    let suffix = digits.trim_start_matches(|digit: char| digit.is_ascii_digit());
    let count = digits.len() - suffix.len();
    let has_suffix = matches!(suffix.as_bytes(), [] | [b'a'..=b'z']);
    let is_bare = letters == 1 && digits.is_empty();
    is_bare || ((1..=3).contains(&letters) && (1..=2).contains(&count) && has_suffix)
}

fn citations(file: &File) -> Vec<Citation<'_>> {
    if file.path.starts_with("scripts/") {
        return Vec::new();
    }
    match &file.rust {
        Some(rust) => rust_citations(file, rust),
        None if file.path.ends_with(STORY) => story_citations(file),
        None => Vec::new(),
    }
}

/// The simulator's checkers are tests of the protocol, though they are no test code.
fn rust_citations<'a>(file: &'a File, rust: &RustSource) -> Vec<Citation<'a>> {
    let is_checker = file.path.starts_with("crates/sim/");
    let mut found = Vec::new();
    for comment in rust.comments() {
        let is_test = file.is_test() || rust.is_test_line(comment.line);
        for (id, says_tests) in cited_ids(&comment.text) {
            let side = match (says_tests, is_test) {
                (true, true) => Side::Test,
                (true, false) if is_checker => Side::Test,
                (false, false) => Side::Code,
                (true, false) | (false, true) => Side::Neither,
            };
            found.push(Citation { path: &file.path, line: comment.line, id, side });
        }
    }
    found
}

fn story_citations(file: &File) -> Vec<Citation<'_>> {
    let lines = file.numbered().filter(|(_, text)| text.trim_start().starts_with('#'));
    let cited = lines.flat_map(|(line, text)| {
        let side = |says_tests| {
            if says_tests { Side::Test } else { Side::Neither }
        };
        cited_ids(text).into_iter().map(move |(id, says_tests)| (line, id, side(says_tests)))
    });
    cited.map(|(line, id, side)| Citation { path: &file.path, line, id, side }).collect()
}

/// The ids after `Rule` or `Rules` (of either case), and whether `Tests` stands before it. A list
/// goes on over `,`, `and` and `or`.
fn cited_ids(text: &str) -> Vec<(String, bool)> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut found = Vec::new();
    for (position, word) in words.iter().enumerate() {
        let word = word.trim_start_matches(|character: char| !character.is_alphanumeric());
        if !matches!(word, "Rule" | "rule" | "Rules" | "rules") {
            continue;
        }
        let says_tests = position > 0 && words[position - 1].ends_with("Tests");
        for word in &words[position + 1..] {
            let id = word.trim_matches(|character: char| !character.is_alphanumeric());
            let id = id.split(['(', '\'']).next().unwrap_or(id);
            if is_id(id) {
                found.push((id.to_owned(), says_tests));
            } else if !matches!(id, "and" | "or") {
                break;
            }
            if word.ends_with(['.', ':', ';', ')']) {
                break;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::tree::planted;
    use super::*;

    const CODE: &str = "crates/protocol/src/store.rs";
    const TEST: &str = "crates/protocol/tests/apply.rs";

    fn messages(files: &[(&str, &str)]) -> Vec<String> {
        check(&planted(files)).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn ids_are_told_from_other_bold_words() {
        assert!(["R3", "V10", "U", "D2a", "INV1"].iter().all(|id| is_id(id)));
        assert!(
            ["MUST", "HLC", "I-COV", "r3", "R", "R3b4", ""]
                .iter()
                .filter(|id| is_id(id))
                .eq(["R"].iter())
        );
    }

    #[test]
    fn a_rule_with_both_citations_is_in_order() {
        let inline = "//! .\n// Rule T2: why.\n#[cfg(test)]\nmod tests {\n // Tests rule T2.\n}\n";
        let files = [
            (DOCUMENT, "# Rules\n\n**R3** A delta.\n\n**T2** Dead.\n\n**V4** (later) Views.\n"),
            (CODE, "//! Rule R3 lives here.\n"),
            (TEST, "//! .\n/// Tests rule R3.\nfn a() {}\n"),
            ("crates/protocol/src/sweep.rs", inline),
        ];
        assert!(messages(&files).is_empty());
    }

    #[test]
    fn a_missing_citation_is_found_on_each_side() {
        let document = (DOCUMENT, "**R3** A delta.\n");
        assert_eq!(
            messages(&[document]),
            ["no code says `Rule R3`", "no test says `Tests rule R3`"]
        );
        let code = (CODE, "//! .\n// Rules R3 and R3.\n// Tests rule R3\n");
        assert_eq!(messages(&[document, code]), ["no test says `Tests rule R3`"]);
        let test = (TEST, "//! .\n// Rule R3.\n// Tests rule R3\n");
        assert_eq!(messages(&[document, test]), ["no code says `Rule R3`"]);
    }

    #[test]
    fn a_citation_of_no_rule_is_found() {
        let document = (DOCUMENT, "**R3** (later) A delta.\n");
        let found = messages(&[document, (CODE, "//! .\n// See rules R3, R4 and K2. Then B1.\n")]);
        assert_eq!(found, ["docs/protocol.md has no rule R4", "docs/protocol.md has no rule K2"]);
    }

    #[test]
    fn checkers_and_stories_of_the_simulator_are_tests() {
        let document = (DOCUMENT, "**R3** A.\n");
        let code = (CODE, "//! Rule R3.\n");
        let checker = ("crates/sim/src/check.rs", "//! Tests rule R3.\n");
        assert!(messages(&[document, code, checker]).is_empty());
        let story = ("crates/sim/stories/gap.txt", "# Tests rule R3.\nwrite n1\n");
        assert!(messages(&[document, code, story]).is_empty());
    }

    #[test]
    fn a_rule_written_twice_or_unclearly_is_found() {
        let found = messages(&[(DOCUMENT, "**R3** (later)\n**R3** (later)\n**R4.** Text.\n")]);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0], "rule R3 is there twice");
    }
}
