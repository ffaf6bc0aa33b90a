//! Tells code, comments and text literals of a Rust file apart, so that a check for a word does not
//! stumble over a sentence about it. Not a parser: it knows tokens, and the extent of inline tests.

use std::ops::Range;

/// One Rust file, taken apart.
pub(crate) struct RustSource {
    /// The text with comments and literals blanked out; every byte keeps its place.
    code: String,
    comments: Vec<Comment>,
    tests: Vec<Range<usize>>,
}

/// One line of a comment.
pub(crate) struct Comment {
    /// Counted from 1.
    pub(crate) line: usize,
    pub(crate) text: String,
    /// `///`, `//!` and their block forms.
    pub(crate) is_doc: bool,
}

/// One identifier or keyword.
pub(crate) struct Word<'a> {
    /// Counted from 1.
    pub(crate) line: usize,
    pub(crate) text: &'a str,
    /// The code before and after it, blanks included.
    pub(crate) before: &'a str,
    pub(crate) after: &'a str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

impl RustSource {
    pub(crate) fn parse(text: &str) -> Self {
        let mut code = String::with_capacity(text.len());
        let mut comments = Vec::new();
        let mut rest = text;
        let mut line = 1;
        while !rest.is_empty() {
            let (kind, length) = token(rest);
            let (token, tail) = rest.split_at(length);
            match kind {
                Kind::Code => code.push_str(token),
                Kind::Comment => comments.extend(comment_lines(token, line)),
                Kind::Literal => {}
            }
            if kind != Kind::Code {
                code.extend(token.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
            }
            line += token.matches('\n').count();
            rest = tail;
        }
        let tests = inline_tests(&code);
        Self { code, comments, tests }
    }

    pub(crate) fn comments(&self) -> &[Comment] {
        &self.comments
    }

    /// Whether this line, counted from 1, lies in an inline `#[cfg(test)] mod … { … }`.
    pub(crate) fn is_test_line(&self, line: usize) -> bool {
        self.tests.iter().any(|lines| lines.contains(&line))
    }

    /// Lines outside of inline tests.
    pub(crate) fn lines_without_tests(&self) -> usize {
        let tests: usize = self.tests.iter().map(ExactSizeIterator::len).sum();
        self.code.lines().count().saturating_sub(tests)
    }

    /// Every identifier and keyword of the code, in order.
    pub(crate) fn words(&self) -> Vec<Word<'_>> {
        let mut words = Vec::new();
        let (mut position, mut line) = (0, 1);
        while position < self.code.len() {
            let (before, rest) = self.code.split_at(position);
            let length = word_length(rest);
            if starts_word(rest) {
                let (text, after) = rest.split_at(length);
                words.push(Word { line, text, before, after });
            } else if rest.starts_with('\n') {
                line += 1;
            }
            position += length;
        }
        words
    }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn starts_word(rest: &str) -> bool {
    rest.chars().next().is_some_and(|first| is_word(first) && !first.is_ascii_digit())
}

/// Length in bytes of the word (or number) at the start, of the one character there if it is none.
fn word_length(rest: &str) -> usize {
    let end = rest.find(|character| !is_word(character)).unwrap_or(rest.len());
    end.max(rest.chars().next().map_or(0, char::len_utf8))
}

/// Kind and length in bytes of the token at the start of `rest`, which is not empty.
fn token(rest: &str) -> (Kind, usize) {
    if rest.starts_with("//") {
        return (Kind::Comment, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (Kind::Comment, block_comment_length(rest));
    }
    if rest.starts_with('"') {
        return (Kind::Literal, quoted_length(rest, '"'));
    }
    if rest.starts_with('\'') {
        return match character_length(rest) {
            Some(length) => (Kind::Literal, length),
            None => (Kind::Code, 1),
        };
    }
    if let Some(length) = prefixed_literal_length(rest) {
        return (Kind::Literal, length);
    }
    (Kind::Code, word_length(rest))
}

/// Block comments nest. An open one reaches to the end of the file.
fn block_comment_length(rest: &str) -> usize {
    let (mut depth, mut position) = (0_usize, 0);
    while position < rest.len() {
        let tail = &rest.as_bytes()[position..];
        if tail.starts_with(b"/*") {
            depth += 1;
            position += 2;
        } else if tail.starts_with(b"*/") {
            depth -= 1;
            position += 2;
            if depth == 0 {
                return position;
            }
        } else {
            position += 1;
        }
    }
    rest.len()
}

/// Length of a literal that starts and ends with `quote` and may hold `\` escapes.
fn quoted_length(rest: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (position, character) in rest.char_indices().skip(1) {
        if is_escaped {
            is_escaped = false;
        } else if character == '\\' {
            is_escaped = true;
        } else if character == quote {
            return position + quote.len_utf8();
        }
    }
    rest.len()
}

/// Length of a character literal, `None` for a lifetime.
fn character_length(rest: &str) -> Option<usize> {
    let mut characters = rest.char_indices().skip(1);
    let (_, first) = characters.next()?;
    if first == '\\' {
        return Some(quoted_length(rest, '\''));
    }
    let (position, second) = characters.next()?;
    (second == '\'').then_some(position + 1)
}

/// `r"…"`, `b"…"`, `c"…"`, `br#"…"#` and so on; `None` for anything else, `r#type` included.
fn prefixed_literal_length(rest: &str) -> Option<usize> {
    let prefix = rest.find(|character| !is_word(character))?;
    let (name, tail) = rest.split_at(prefix);
    if !matches!(name, "r" | "b" | "c" | "br" | "cr") {
        return None;
    }
    if !name.ends_with('r') {
        return tail.starts_with('"').then(|| prefix + quoted_length(tail, '"'));
    }
    let hashes = tail.find(|character| character != '#')?;
    let body = tail[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = body.find(&end).map_or(body.len(), |found| found + end.len());
    Some(prefix + hashes + 1 + length)
}

fn comment_lines(token: &str, line: usize) -> Vec<Comment> {
    let starts = ["///", "//!", "/**", "/*!"];
    let is_doc = starts.iter().any(|start| token.starts_with(start))
        && !["////", "/***", "/**/"].iter().any(|start| token.starts_with(start));
    let numbered = token.lines().zip(line..);
    numbered.map(|(text, line)| Comment { line, text: text.to_owned(), is_doc }).collect()
}

/// The lines of each `#[cfg(test)] mod … { … }`, from the attribute to the closing brace.
fn inline_tests(code: &str) -> Vec<Range<usize>> {
    const ATTRIBUTE: &str = "#[cfg(test)]";
    let mut ranges = Vec::new();
    let mut position = 0;
    while let Some(found) = code[position..].find(ATTRIBUTE) {
        let start = position + found;
        position = start + ATTRIBUTE.len();
        if let Some(length) = module_length(&code[position..]) {
            position += length;
            ranges.push(line_at(code, start)..line_at(code, position) + 1);
        }
    }
    ranges
}

fn line_at(code: &str, position: usize) -> usize {
    1 + code[..position].matches('\n').count()
}

/// Length of `mod name { … }`, with what stands before it: blanks and further attributes.
fn module_length(code: &str) -> Option<usize> {
    let open = code.find(['{', ';'])?;
    let head = &code[..open];
    let item = head.rsplit(']').next().unwrap_or(head).trim_start();
    if !code[open..].starts_with('{') || !item.starts_with("mod ") {
        return None;
    }
    let mut depth = 0_usize;
    for (position, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return Some(position + 1),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    Some(code.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let source = RustSource::parse(text);
        source.words().iter().map(|word| word.text.to_owned()).collect()
    }

    #[test]
    fn literals_and_comments_hold_no_words() {
        assert_eq!(words(r#"let a = "b \" c"; // d"#), ["let", "a"]);
        assert_eq!(words("/* a /* b */ c */ d"), ["d"]);
        assert_eq!(words("x(r#\"a \" b\"#, br\"c\", b\"d\", c\"e\") y"), ["x", "y"]);
        assert_eq!(words(r"a('\'', 'b', '\u{41}', b'c') d"), ["a", "b", "d"]);
    }

    #[test]
    fn lifetimes_and_raw_identifiers_are_code() {
        assert_eq!(words("fn f<'a>(x: &'a str)"), ["fn", "f", "a", "x", "a", "str"]);
        assert_eq!(words("r#type 0o600"), ["r", "type"]);
    }

    #[test]
    fn comments_know_their_lines_and_whether_they_document() {
        let source = RustSource::parse("//! one\nfn f() {} // two\n/** three\nfour */\n//// five");
        let seen: Vec<_> = source.comments().iter().map(|c| (c.line, c.is_doc)).collect();
        assert_eq!(seen, [(1, true), (2, false), (3, true), (4, true), (5, false)]);
    }

    #[test]
    fn inline_tests_end_at_their_brace() {
        let text =
            "fn a() {}\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n fn b() { \"}\"; }\n}\nfn c() {}\n";
        let source = RustSource::parse(text);
        let lines: Vec<_> = (1..=7).filter(|line| source.is_test_line(*line)).collect();
        assert_eq!(lines, [2, 3, 4, 5, 6]);
        assert_eq!(source.lines_without_tests(), 2);
    }

    #[test]
    fn a_test_module_in_a_file_of_its_own_has_no_extent_here() {
        let source = RustSource::parse("#[cfg(test)]\nmod tests;\nfn a() {}\n");
        assert!((1..=3).all(|line| !source.is_test_line(line)));
    }

    #[test]
    fn unfinished_tokens_reach_the_end() {
        for text in ["\"a", "/* a", "r#\"a", "'\\", "b\"", "'"] {
            assert!(words(text).is_empty(), "{text}");
        }
    }
}
