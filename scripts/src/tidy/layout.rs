//! Shape of a Rust file: it opens with its purpose, and it is not too long to be read.

use super::Finding;
use super::tree::Tree;

/// Lines of a file without its inline tests.
const LINES_MAX: usize = 500;

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, rust) in tree.rust() {
        if !file.text.starts_with("//!") {
            let message = "the first line says what the file is for: `//! …`";
            findings.push(Finding::new(&file.path, 1, message));
        }
        let lines = rust.lines_without_tests();
        if lines > LINES_MAX {
            let message = format!("{lines} lines without tests, at most {LINES_MAX}");
            findings.push(Finding::new(&file.path, 0, message));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::tree::planted;
    use super::*;

    #[test]
    fn a_file_without_its_purpose_is_found() {
        let tree = planted(&[("a.rs", "use std::fs;\n//! late\n"), ("b.rs", "//! In time.\n")]);
        let findings = check(&tree);
        assert_eq!(findings.len(), 1);
        assert_eq!((findings[0].path.as_str(), findings[0].line), ("a.rs", 1));
    }

    #[test]
    fn a_long_file_is_found_and_its_tests_are_not_counted() {
        let code = format!("//! Long.\n{}", "fn a() {}\n".repeat(LINES_MAX - 1));
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "fn b() {}\n".repeat(100));
        assert!(check(&planted(&[("a.rs", &format!("{code}{tests}"))])).is_empty());
        let findings = check(&planted(&[("a.rs", &format!("{code}fn c() {{}}\n{tests}"))]));
        assert_eq!(findings[0].message, "501 lines without tests, at most 500");
    }
}
