//! No unfinished business: work that is left over is an issue, not a marker in the source.

use super::Finding;
use super::rust_source::RustSource;
use super::tree::{File, Tree};

const MACROS: [&str; 2] = ["todo", "unimplemented"];
const MARKERS: [&str; 3] = ["FIXME", "XXX", "TODO"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files() {
        match &file.rust {
            Some(rust) => findings.extend(check_rust(file, rust)),
            None => findings.extend(check_text(file)),
        }
    }
    findings
}

fn check_rust(file: &File, rust: &RustSource) -> Vec<Finding> {
    let words = rust.words();
    let macros =
        words.iter().filter(|word| MACROS.contains(&word.text) && word.after.starts_with('!'));
    let mut findings: Vec<Finding> = macros
        .map(|word| Finding::new(&file.path, word.line, format!("`{}!` is left over", word.text)))
        .collect();
    for comment in rust.comments() {
        findings.extend(marked(file, comment.line, &comment.text));
    }
    findings
}

/// Text may speak about a marker in a code span; everything else may not at all.
fn check_text(file: &File) -> Vec<Finding> {
    let has_spans = file.path.ends_with(".md");
    let lines = file.numbered().filter(|(_, line)| !(has_spans && line.contains('`')));
    lines.filter_map(|(number, line)| marked(file, number, line)).collect()
}

fn marked(file: &File, number: usize, line: &str) -> Option<Finding> {
    let mut words = line.split(|character: char| !character.is_alphanumeric());
    let word = words.find(|word| MARKERS.contains(word))?;
    Some(Finding::new(&file.path, number, format!("`{word}` is left over")))
}

#[cfg(test)]
mod tests {
    use super::super::tree::planted;
    use super::*;

    #[test]
    fn markers_and_macros_are_found() {
        let code = format!("//! .\n// {}: later\nfn a() {{ {}!() }}\n", MARKERS[0], MACROS[0]);
        let lines: Vec<usize> =
            check(&planted(&[("a.rs", &code)])).iter().map(|finding| finding.line).collect();
        assert_eq!(lines.len(), 2);
        assert!(lines.contains(&2) && lines.contains(&3));
        assert_eq!(check(&planted(&[("a.sh", &format!("# {} this\n", MARKERS[1]))])).len(), 1);
    }

    #[test]
    fn names_literals_and_code_spans_are_no_markers() {
        let code = format!("//! .\nfn todo() {{ a(\"{}\"); }}\n", MARKERS[0]);
        let text = format!("no `{}` here, and {}X is a number\n", MARKERS[0], MARKERS[1]);
        assert!(check(&planted(&[("a.rs", &code), ("a.md", &text)])).is_empty());
    }
}
