//! `cargo x tidy`: the rules of this workspace that neither the compiler nor clippy can check. One
//! module for each check; a check looks at the tree and returns findings, and changes nothing.

mod fence;
mod glossary;
mod layout;
mod manifest;
mod markers;
mod message_hash;
mod paths;
mod rules;
mod rust_source;
mod switches;
mod tree;
mod vocabulary;

use std::fmt::{self, Display};
use std::process::ExitCode;

use anyhow::Result;

use crate::workspace::Workspace;
use tree::Tree;

/// Something that is not as it has to be.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: String,
    /// Counted from 1; 0 for the file as a whole.
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(formatter, "{}: {}", self.path, self.message),
            line => write!(formatter, "{}:{line}: {}", self.path, self.message),
        }
    }
}

struct Check {
    name: &'static str,
    run: fn(&Tree) -> Vec<Finding>,
}

const CHECKS: [Check; 9] = [
    Check { name: "crate edges", run: manifest::check },
    Check { name: "determinism fence", run: fence::check },
    Check { name: "fenced words", run: vocabulary::check },
    Check { name: "file layout", run: layout::check },
    Check { name: "rule citations", run: rules::check },
    Check { name: "hash of message.rs", run: message_hash::check },
    Check { name: "glossary", run: glossary::check },
    Check { name: "paths and markers", run: paths_and_markers },
    Check { name: "test switches", run: switches::check },
];

fn paths_and_markers(tree: &Tree) -> Vec<Finding> {
    let mut findings = paths::check(tree);
    findings.extend(markers::check(tree));
    findings
}

/// Prints every finding, and a line for each check.
///
/// # Errors
/// The tree cannot be read.
pub(crate) fn run(workspace: &Workspace) -> Result<ExitCode> {
    let tree = Tree::load(workspace.root())?;
    let mut total = 0;
    for check in CHECKS {
        let mut findings = (check.run)(&tree);
        findings.sort();
        for finding in &findings {
            println!("{finding}");
        }
        println!("tidy: {}: {} findings", check.name, findings.len());
        total += findings.len();
    }
    Ok(if total == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Records the present hash of message.rs in the document.
///
/// # Errors
/// One of the two files is missing, or the document has no line for the hash.
pub(crate) fn bless(workspace: &Workspace) -> Result<()> {
    message_hash::bless(workspace.root())
}
