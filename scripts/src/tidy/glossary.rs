//! One word, one meaning: `docs/glossary.md` ends with a table of words that are not used, each with
//! the word to use instead. This looks for them in doc comments and in documents, outside of code.

use super::Finding;
use super::tree::{File, Tree};

const GLOSSARY: &str = "docs/glossary.md";
const HEADING: &str = "## Words not used";

struct Banned {
    word: String,
    instead: String,
}

/// Silent as long as the glossary does not exist.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(glossary) = tree.file(GLOSSARY) else {
        return Vec::new();
    };
    let banned = banned_words(&glossary.text);
    if banned.is_empty() {
        let message = format!("no table of words below `{HEADING}`");
        return vec![Finding::new(GLOSSARY, 0, message)];
    }
    let mut findings = Vec::new();
    for file in tree.files().iter().filter(|file| file.path != GLOSSARY) {
        for (number, text) in prose(file) {
            findings.extend(objections(file, number, &text, &banned));
        }
    }
    findings
}

/// The first two columns of the table: words, divided by commas, and what to say.
fn banned_words(glossary: &str) -> Vec<Banned> {
    let after = glossary.split_once(HEADING).map_or("", |(_, after)| after);
    let section = after.split("\n## ").next().unwrap_or(after);
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    let mut banned = Vec::new();
    for row in rows {
        let mut cells = row.trim_matches('|').split('|').map(str::trim);
        let (Some(words), Some(instead)) = (cells.next(), cells.next()) else {
            continue;
        };
        let words = words.split(',').map(|word| word.trim().to_lowercase());
        banned.extend(
            words
                .filter(|word| !word.is_empty())
                .map(|word| Banned { word, instead: instead.to_owned() }),
        );
    }
    banned
}

/// The lines of a file that are meant to be read: doc comments, or a document without its code.
fn prose(file: &File) -> Vec<(usize, String)> {
    if let Some(rust) = &file.rust {
        let comments = rust.comments().iter().filter(|comment| comment.is_doc);
        return without_code(comments.map(|comment| (comment.line, comment_text(&comment.text))));
    }
    let is_document = file.path.ends_with(".md");
    if is_document { without_code(file.numbered()) } else { Vec::new() }
}

fn comment_text(comment: &str) -> &str {
    comment.trim_start_matches(|character: char| "/!* ".contains(character))
}

/// Drops fenced blocks, and code spans and addresses within a line.
fn without_code<'a>(lines: impl Iterator<Item = (usize, &'a str)>) -> Vec<(usize, String)> {
    let mut is_code = false;
    let mut kept = Vec::new();
    for (number, line) in lines {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            let plain: Vec<&str> = line.split('`').step_by(2).collect();
            let plain = plain.join(" ");
            let words = plain.split_whitespace().filter(|word| !word.contains("://"));
            kept.push((number, words.collect::<Vec<_>>().join(" ").to_lowercase()));
        }
    }
    kept
}

fn objections(file: &File, number: usize, text: &str, banned: &[Banned]) -> Vec<Finding> {
    let matching = banned.iter().filter(|banned| says(text, &banned.word));
    let message = |banned: &Banned| format!("say {} instead of `{}`", banned.instead, banned.word);
    matching.map(|banned| Finding::new(&file.path, number, message(banned))).collect()
}

/// Whether the whole word, or its plural, is in the text; both in lower case.
fn says(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(position, _)| {
        let after = &text[position + word.len()..];
        let after = after.strip_prefix('s').unwrap_or(after);
        let is_inside = |character: Option<char>| {
            character.is_some_and(|character| character.is_alphanumeric() || character == '_')
        };
        !is_inside(text[..position].chars().next_back()) && !is_inside(after.chars().next())
    })
}

#[cfg(test)]
mod tests {
    use super::super::tree::planted;
    use super::*;

    const TABLE: &str = "# Glossary\n\n## Words not used\n\n| not | but | why |\n|---|---|---|\n\
        | anti-entropy, state transfer | repair | one word |\n| vnode | slot | |\n\n## More\n\n| a | b |\n";

    fn messages(path: &str, text: &str) -> Vec<String> {
        let tree = planted(&[(GLOSSARY, TABLE), (path, text)]);
        check(&tree).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn a_banned_word_is_found_in_documents_and_doc_comments() {
        let expected = ["say repair instead of `anti-entropy`"];
        assert_eq!(messages("docs/a.md", "Then Anti-Entropy runs.\n"), expected);
        assert_eq!(messages("crates/a/src/b.rs", "//! Starts anti-entropy.\n"), expected);
        assert_eq!(messages("README.md", "Two vnodes.\n"), ["say slot instead of `vnode`"]);
    }

    #[test]
    fn code_addresses_and_longer_words_are_left_alone() {
        let text = "`vnode` https://example.org/vnode vnodesque\n```\nvnode\n```\n";
        assert!(messages("docs/a.md", text).is_empty());
        assert!(messages("crates/a/src/b.rs", "//! .\n// vnode\nlet vnode = 1;\n").is_empty());
    }

    #[test]
    fn a_glossary_without_its_table_is_found() {
        assert_eq!(check(&planted(&[(GLOSSARY, "# Glossary\n")])).len(), 1);
    }
}
