//! Configuration: files and the environment in, one checked [`Config`] out.
//!
//! ```text
//!  defaults < files in order < environment     source   one tree that knows who said what
//!                  │
//!                  ▼
//!             known keys? right types?         keys, strict, raw
//!                  │
//!                  ▼
//!          bounds and combinations             check, cookie, limits
//!                  │
//!                  ▼
//!               Config                         section   whoever holds one need not check again
//! ```
//!
//! The number of copies is chosen by a word, `replication.mode`; this module turns the word into
//! the number, and nothing beyond it knows the word.

mod check;
mod cookie;
mod error;
mod keys;
mod limits;
mod memory;
mod nearest;
mod raw;
mod section;
mod source;
mod start;
mod strict;
mod token_keys;
mod units;

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use ::config::{Map, Value};
use serde::de::DeserializeOwned;
use transport::TlsPaths;

pub use error::{ConfigError, Fault, Problem};
pub use memory::Memory;
pub use section::{
    ClusterSection, CookieSection, LimitsSection, NodeSection, ReplicationSection, SameSite,
    SessionSection,
};
pub use token_keys::{TokenKeyFile, generate_token_key};
pub use units::{Address, AddressError};

pub use check::copies;

use check::Checker;
use source::{Layers, Text};

/// A checked configuration. `Debug` does not show the values in `[app]`, which may be secret.
#[derive(Clone)]
pub struct Config {
    node: NodeSection,
    cluster: ClusterSection,
    replication: ReplicationSection,
    session: SessionSection,
    tls: TlsPaths,
    limits: LimitsSection,
    layers: Layers,
}

impl Config {
    /// Reads a file, and the variables of the environment over it: `REPLICA__SESSION__IDLE_TIMEOUT`
    /// sets `session.idle_timeout`.
    ///
    /// A relative path in a file starts from the folder of that file, in a variable from the
    /// working directory.
    ///
    /// # Errors
    /// Everything that is wrong, one line each: file or variable, key, value and remedy.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        Self::load_all(&[path])
    }

    /// Reads several files, each over those before it, and the environment over all.
    ///
    /// # Errors
    /// Those of [`load`](Self::load).
    pub fn load_all<P: AsRef<Path>>(paths: &[P]) -> Result<Self, ConfigError> {
        Self::load_with(paths, std::env::vars_os())
    }

    /// As [`load_all`](Self::load_all), with other variables than those of this process.
    ///
    /// # Errors
    /// Those of [`load`](Self::load).
    pub fn load_with<P: AsRef<Path>, K: Into<OsString>, V: Into<OsString>>(
        paths: &[P],
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, ConfigError> {
        let texts: Result<Vec<_>, _> = paths.iter().map(|path| Text::read(path.as_ref())).collect();
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self::read(&texts?, variables)
    }

    /// Reads a text that is in no file, without the environment; for tests and for programs that
    /// write their configuration themselves. Its relative paths start from `folder`.
    ///
    /// # Errors
    /// Those of [`load`](Self::load); the text is called `configuration`.
    pub fn from_toml(text: &str, folder: impl AsRef<Path>) -> Result<Self, ConfigError> {
        Self::read(&[Text::new("configuration", folder.as_ref(), text)], [])
    }

    /// Every key that can be set, with its section, sorted; `cluster.members` and `app` hold
    /// further keys of any name.
    #[must_use]
    pub fn keys() -> Vec<String> {
        keys::all()
    }

    fn read(
        texts: &[Text],
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let mut layers = Layers::new(texts, variables, &keys::tables())?;
        let unknown = keys::take_unknown(&mut layers);
        let (raw, wrong) = raw_of(&layers);
        let problems: Vec<Problem> = unknown.into_iter().chain(wrong).collect();
        if !problems.is_empty() {
            return Err(ConfigError::new(problems));
        }
        Self::check(&raw, layers).map_err(ConfigError::new)
    }

    fn check(raw: &raw::Raw, layers: Layers) -> Result<Self, Vec<Problem>> {
        let mut checker = Checker::new(&layers);
        let node = check::node(&mut checker, &raw.node);
        let cluster = check::cluster(&mut checker, &raw.cluster);
        let members = cluster.as_ref().map_or(0, |cluster| cluster.members.len());
        let replication = check::replication(&mut checker, &raw.replication, members);
        let session = check::session(&mut checker, &raw.session);
        let tls = check::tls(&mut checker, &raw.tls);
        let limits = limits::check(&mut checker, &raw.limits);
        if let (Some(node), Some(cluster)) = (&node, &cluster)
            && let Some(name) = &node.name
        {
            check::own_member(&mut checker, "node.name", name, node, cluster);
        }
        let problems = checker.into_problems();
        match (node, cluster, session) {
            (Some(node), Some(cluster), Some(session)) if problems.is_empty() => {
                Ok(Self { node, cluster, replication, session, tls, limits, layers })
            }
            _ => Err(problems),
        }
    }

    /// The section `[app]` of the embedding program. Give `T` the attribute
    /// `#[serde(deny_unknown_fields)]`, so that a slip in a key is found.
    ///
    /// # Errors
    /// A value of another type than `T` asks for, or one that is missing.
    pub fn app<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        let empty = Value::new(None, Map::<String, Value>::new());
        let value = self.layers.find(raw::APP).unwrap_or(&empty);
        strict::read(value, raw::APP).map_err(|error| {
            let (key, fault) = error.into_parts();
            problem_at(&self.layers, key, fault).into()
        })
    }

    /// `[node]`
    #[must_use]
    pub fn node(&self) -> &NodeSection {
        &self.node
    }

    /// `[cluster]`
    #[must_use]
    pub fn cluster(&self) -> &ClusterSection {
        &self.cluster
    }

    /// `[replication]`
    #[must_use]
    pub fn replication(&self) -> &ReplicationSection {
        &self.replication
    }

    /// `[session]`
    #[must_use]
    pub fn session(&self) -> &SessionSection {
        &self.session
    }

    /// `[tls]`
    #[must_use]
    pub fn tls(&self) -> &TlsPaths {
        &self.tls
    }

    /// `[limits]`
    #[must_use]
    pub fn limits(&self) -> &LimitsSection {
        &self.limits
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let app = self.layers.find(raw::APP).and_then(source::table_of);
        let app_keys = app.map(|table| source::sorted(table).into_iter().map(|(key, _)| key));
        let app_keys: Vec<&String> = app_keys.into_iter().flatten().collect();
        f.debug_struct("Config")
            .field("node", &self.node)
            .field("cluster", &self.cluster)
            .field("replication", &self.replication)
            .field("session", &self.session)
            .field("tls", &self.tls)
            .field("limits", &self.limits)
            .field("app", &app_keys)
            .finish()
    }
}

/// Reads all sections; a value of a wrong type is noted and taken for absent, so that all are
/// found at once.
fn raw_of(layers: &Layers) -> (raw::Raw, Vec<Problem>) {
    let mut problems = Vec::new();
    let raw = raw::Raw {
        node: section(layers, "node", &mut problems),
        cluster: section(layers, "cluster", &mut problems),
        replication: section(layers, "replication", &mut problems),
        session: section(layers, "session", &mut problems),
        tls: section(layers, "tls", &mut problems),
        limits: section(layers, "limits", &mut problems),
    };
    (raw, problems)
}

fn section<T: DeserializeOwned + Default>(
    layers: &Layers,
    name: &str,
    problems: &mut Vec<Problem>,
) -> T {
    let mut rest = layers.clone();
    while let Some(value) = rest.find(name) {
        match strict::read(value, name) {
            Ok(section) => return section,
            Err(error) => {
                let (key, fault) = error.into_parts();
                let is_there = rest.find(&key).is_some();
                rest.remove(&key);
                problems.push(problem_at(layers, key, fault));
                if !is_there {
                    break;
                }
            }
        }
    }
    T::default()
}

fn problem_at(layers: &Layers, key: String, fault: Fault) -> Problem {
    let is_unknown = matches!(fault, Fault::UnknownKey { .. });
    let value = if is_unknown { None } else { layers.shown(&key) };
    let place = match layers.find(&key) {
        Some(value) => layers.place_of(&key, value),
        None => layers.files_place(),
    };
    Problem { place, key, value, fault }
}
