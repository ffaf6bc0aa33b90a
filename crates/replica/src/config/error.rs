//! What can be wrong with a configuration: where it was said, which key, which value, what to do.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;
use transport::{IdentityError, NameError, NodeName};

/// A configuration that cannot be used: everything wrong that was found, one line each.
///
/// `Debug` prints what `Display` does, so that a `main` that returns it shows the lines.
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    /// `problems` must not be empty.
    pub(super) fn new(problems: Vec<Problem>) -> Self {
        debug_assert!(!problems.is_empty());
        Self { problems }
    }

    /// What was found; at least one.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self::new(vec![problem])
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let line_break = if index == 0 { "" } else { "\n" };
            write!(f, "{line_break}{problem}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for ConfigError {}

/// One thing that is wrong; its `Display` is one line that names place, key, value and remedy.
#[derive(Debug)]
pub struct Problem {
    /// Where it was said.
    pub(super) place: Place,
    /// The key with its section, as in `session.idle_timeout`; empty if it is about a whole file.
    pub(super) key: String,
    /// The value as it was said; `None` if there is none, or if it does not matter.
    pub(super) value: Option<String>,
    /// What is wrong with it, and what to do.
    pub(super) fault: Fault,
}

impl Problem {
    /// The key with its section, as in `session.idle_timeout`; empty if it is about a whole file.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What is wrong.
    pub fn fault(&self) -> &Fault {
        &self.fault
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.key.as_str(), &self.value) {
            ("", _) => write!(f, "{} {}", self.place, self.fault),
            (key, None) => write!(f, "{}: {key} {}", self.place, self.fault),
            (key, Some(value)) => write!(f, "{}: {key} = {value} {}", self.place, self.fault),
        }
    }
}

/// Where a value was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// In a file, named as it was given.
    File(String),
    /// In this variable of the environment.
    Variable(String),
    /// Nowhere: it is the default.
    Default,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(label) => f.write_str(label),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// What is wrong with a value or a file. Each message is a predicate that ends in the remedy.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Fault {
    /// A file is missing or cannot be read.
    #[error("cannot be read ({0}); correct the path, or make the file with `replica-node cert`")]
    Unreadable(io::Error),
    /// A file is larger than anything sensible.
    #[error("is longer than {bytes_max} bytes; give the right file")]
    TooLong {
        /// Most bytes that are read.
        bytes_max: u64,
    },
    /// Bytes that are no UTF-8.
    #[error("is not UTF-8; write it in plain text")]
    NotUtf8,
    /// A file is no TOML.
    #[error("is not TOML: {0}; correct the line")]
    Syntax(String),
    /// The name of a variable has more parts than any key.
    #[error("has more than {parts_max} parts; correct the name of the variable")]
    TooDeep {
        /// Most parts of a key.
        parts_max: usize,
    },
    /// No key of that name exists.
    #[error("is not a known key; {}", did_you_mean(.nearest.as_deref()))]
    UnknownKey {
        /// The known key that resembles it most.
        nearest: Option<String>,
    },
    /// The key is known, and cannot be set.
    #[error("cannot be set: {0}; remove it")]
    Refused(&'static str),
    /// A variable of the environment names a table.
    #[error("is a table; set its keys one by one, as in {example}=…")]
    Table {
        /// A variable for one key of the table.
        example: String,
    },
    /// A value of another type, or one that cannot be read as what it should be.
    #[error("must be {expected}")]
    Type {
        /// What it should be.
        expected: String,
    },
    /// A key without a default has no value.
    #[error("is missing; add {example}")]
    Missing {
        /// How it is written.
        example: &'static str,
    },
    /// A field that the embedding program needs in `[app]` has no value.
    #[error("is missing; add it")]
    MissingApp,
    /// A value outside of its bounds.
    #[error("is out of bounds; use {min} to {max}")]
    OutOfBounds {
        /// The least value allowed.
        min: String,
        /// The greatest value allowed.
        max: String,
    },
    /// A name of a node or a cluster that is no DNS label.
    #[error("cannot be used: {0}")]
    Name(#[from] NameError),
    /// The same address twice.
    #[error("is also the address of {other}; give every member an address of its own")]
    DuplicateAddress {
        /// The member that has it already.
        other: NodeName,
    },
    /// The node itself is not in the list of members.
    #[error(
        "names the node {name}, which is not in cluster.members ({members}); add it there, or correct the name"
    )]
    NotAMember {
        /// The name of this node.
        name: NodeName,
        /// The members there are.
        members: String,
    },
    /// The certificate is for another node than the configuration.
    #[error(
        "does not agree with the certificate, which is for the node {certificate}; correct the name, or give the certificate of that node in tls.cert"
    )]
    OtherCertificate {
        /// The name in the certificate.
        certificate: NodeName,
    },
    /// The address that this node announces is not the one that the others have.
    #[error(
        "differs from cluster.members.{name} = \"{listed}\"; make the two equal, or remove node.advertise"
    )]
    OtherAddress {
        /// The name of this node.
        name: NodeName,
        /// Its address in the list of members.
        listed: String,
    },
    /// More copies are asked for than there are members to hold them.
    #[error("needs {needed} nodes, but cluster.members has {members}; {remedy}")]
    TooFewMembers {
        /// How many nodes it takes.
        needed: usize,
        /// How many there are.
        members: usize,
        /// What to do.
        remedy: &'static str,
    },
    /// Members that the configuration fixes all hold every session.
    #[error(
        "needs members that are agreed at run time; put cluster.seeds and cluster.expect in the place of cluster.members"
    )]
    FixedMembers,
    /// The Raft directory cannot be used.
    #[error("cannot be used: {0}")]
    DataDir(membership::OpenError),
    /// A value that cannot be together with another one.
    #[error("{relation} {other}; {remedy}")]
    Contradiction {
        /// How it stands to the other one.
        relation: &'static str,
        /// The other key and its value.
        other: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A file of secrets that others can read.
    #[error("can be read by others (permissions {permissions:04o}); run: chmod 600 {}", .path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        permissions: u32,
    },
    /// A file of keys without a key.
    #[error("holds no key; add one line of 32 random bytes in base64")]
    NoKey,
    /// A file of keys with more keys than are tried.
    #[error("holds more than {keys_max} keys; remove the oldest, at the end")]
    TooManyKeys {
        /// Most keys that are tried.
        keys_max: usize,
    },
    /// A line that is no key. It is not shown, because it may be a secret.
    #[error("has a line {line} that is neither base64 nor hexadecimal; write one key a line")]
    KeyEncoding {
        /// Counted from 1.
        line: usize,
    },
    /// A key that can be guessed.
    #[error("has a key of {bytes} bytes in line {line}; use at least {bytes_min} random bytes")]
    ShortKey {
        /// Counted from 1.
        line: usize,
        /// Length of the key.
        bytes: usize,
        /// Least length of a key.
        bytes_min: usize,
    },
    /// A file of the certificate that makes no identity of a node.
    #[error("cannot be used: {0}")]
    Identity(Box<IdentityError>),
    /// What the network part cannot be started with.
    #[error("cannot be used: {0}")]
    Start(transport::StartError),
    /// What the embedding program says about its own keys.
    #[error("cannot be used: {0}")]
    App(String),
}

fn did_you_mean(nearest: Option<&str>) -> String {
    match nearest {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => "remove it (keys of your own belong into [app])".to_owned(),
    }
}
