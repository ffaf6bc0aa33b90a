//! Where values come from: files and the environment become one tree that remembers, for every
//! value, which of them said it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use ::config::{Environment, FileFormat, Format, Map, Source, Value, ValueKind};

use super::error::{ConfigError, Fault, Place, Problem};

/// Beginning of the variables that set keys: `REPLICA__SESSION__IDLE_TIMEOUT`.
const PREFIX: &str = "REPLICA";

/// Between the parts of the name of a variable.
const SEPARATOR: &str = "__";

/// What the `config` crate calls the environment in [`Value::origin`].
const ENVIRONMENT: &str = "the environment";

/// Longest file that is read, in bytes. A configuration has a few thousand.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Longest value that is shown in a message, in characters.
const SHOWN_CHARS_MAX: usize = 80;

/// Parts of a key. Every part is a table within a table, and trees are walked by recursion.
const KEY_PARTS_MAX: usize = 16;

/// A text in TOML, and where it is from.
#[derive(Clone, Debug)]
pub(super) struct Text {
    /// How messages call it.
    label: String,
    /// What its relative paths start from.
    folder: PathBuf,
    toml: String,
}

impl Text {
    pub(super) fn new(label: &str, folder: &Path, toml: &str) -> Self {
        Self { label: label.to_owned(), folder: folder.to_owned(), toml: toml.to_owned() }
    }

    pub(super) fn read(path: &Path) -> Result<Self, ConfigError> {
        let label = path.display().to_string();
        match read_bounded(path, FILE_BYTES_MAX) {
            Ok(toml) => Ok(Self { label, folder: folder_of(path), toml }),
            Err(fault) => Err(about_file(label, fault).into()),
        }
    }

    fn parse(&self) -> Result<Map<String, Value>, Fault> {
        if let Some(line) = self.toml.lines().position(has_deep_key) {
            let line = line + 1;
            return Err(Fault::Syntax(format!(
                "line {line}: a key of more than {KEY_PARTS_MAX} parts"
            )));
        }
        Format::parse(&FileFormat::Toml, Some(&self.label), &self.toml)
            .map_err(|error| Fault::Syntax(one_line(&error.to_string())))
    }
}

/// True for a line with a key of too many parts. The parser limits how deep tables and lists may
/// be written within each other, but not this.
fn has_deep_key(line: &str) -> bool {
    let (mut quote, mut escaped, mut parts) = (None, false, 1);
    for character in line.chars() {
        match (quote, character) {
            (Some('"'), '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (Some(open), _) if open == character && !escaped => quote = None,
            (None, '"' | '\'') => quote = Some(character),
            (None, '#') => return false,
            (None, '.') => parts += 1,
            (None, '=' | ',' | '[' | '{') => parts = 1,
            _ => {}
        }
        escaped = false;
        if parts > KEY_PARTS_MAX {
            return true;
        }
    }
    false
}

/// The whole of a text file, unless it is too long or no text.
pub(super) fn read_bounded(path: &Path, bytes_max: u64) -> Result<String, Fault> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(Fault::Unreadable)?;
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(Fault::Unreadable)?;
    if bytes.len() as u64 > bytes_max {
        return Err(Fault::TooLong { bytes_max });
    }
    String::from_utf8(bytes).map_err(|_| Fault::NotUtf8)
}

fn folder_of(path: &Path) -> PathBuf {
    path.parent().map(Path::to_owned).unwrap_or_default()
}

fn about_file(label: String, fault: Fault) -> Problem {
    Problem { place: Place::File(label), key: String::new(), value: None, fault }
}

/// `TOML parse error at line 3, column 5`, a drawing, and the reason in the last line.
fn one_line(error: &str) -> String {
    let mut lines = error.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    let reason = lines.next_back();
    match (first.strip_prefix("TOML parse error at "), reason) {
        (Some(position), Some(reason)) => format!("{position}: {reason}"),
        _ => first.to_owned(),
    }
}

/// Lays one table over another, value by value.
fn merge(into: &mut Value, from: &Map<String, Value>) {
    if !matches!(into.kind, ValueKind::Table(_)) {
        into.kind = ValueKind::Table(Map::new());
    }
    let ValueKind::Table(table) = &mut into.kind else { return };
    for (key, value) in from {
        match (&value.kind, table.get_mut(key)) {
            (ValueKind::Table(inner), Some(present)) => merge(present, inner),
            _ => drop(table.insert(key.clone(), value.clone())),
        }
    }
}

/// Everything that was said, the later over the earlier: files in their order, then the
/// environment.
#[derive(Clone)]
pub(super) struct Layers {
    root: Value,
    /// Label and folder of each text, in order.
    files: Vec<(String, PathBuf)>,
}

impl Layers {
    /// `tables` are the keys that variables cannot set as a whole.
    pub(super) fn new(
        texts: &[Text],
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        tables: &[String],
    ) -> Result<Self, ConfigError> {
        let mut root = Value::new(None, Map::<String, Value>::new());
        let mut problems = Vec::new();
        for text in texts {
            match text.parse() {
                Ok(parsed) => merge(&mut root, &parsed),
                Err(fault) => problems.push(about_file(text.label.clone(), fault)),
            }
        }
        let variables = own_variables(variables, tables, &mut problems);
        let environment = Environment::with_prefix(PREFIX)
            .prefix_separator(SEPARATOR)
            .separator(SEPARATOR)
            .source(Some(variables.into_iter().collect()));
        match environment.collect() {
            Ok(said) => merge_variables(&mut root, said),
            Err(error) => {
                let fault = Fault::App(one_line(&error.to_string()));
                problems.push(about_file(ENVIRONMENT.to_owned(), fault));
            }
        }
        if !problems.is_empty() {
            return Err(ConfigError::new(problems));
        }
        let files = texts.iter().map(|text| (text.label.clone(), text.folder.clone())).collect();
        Ok(Self { root, files })
    }

    pub(super) fn root_mut(&mut self) -> &mut Value {
        &mut self.root
    }

    /// The value of a key with its section.
    pub(super) fn find(&self, key: &str) -> Option<&Value> {
        key.split('.').try_fold(&self.root, |value, part| table_of(value)?.get(part))
    }

    /// Takes a value out, so that the rest can be read without it.
    pub(super) fn remove(&mut self, key: &str) {
        let (path, last) = key.rsplit_once('.').unwrap_or(("", key));
        let parts = path.split('.').filter(|part| !part.is_empty());
        let mut table = &mut self.root;
        for part in parts {
            let ValueKind::Table(inner) = &mut table.kind else { return };
            let Some(next) = inner.get_mut(part) else { return };
            table = next;
        }
        if let ValueKind::Table(inner) = &mut table.kind {
            inner.remove(last);
        }
    }

    /// Where a key was said.
    pub(super) fn place(&self, key: &str) -> Place {
        self.find(key).map_or(Place::Default, |value| self.place_of(key, value))
    }

    /// Where the value of `key` was said; for a table, its first value.
    pub(super) fn place_of(&self, key: &str, value: &Value) -> Place {
        if let Some(table) = table_of(value)
            && let Some((first, inner)) = sorted(table).first()
        {
            return self.place_of(&format!("{key}.{first}"), inner);
        }
        match value.origin() {
            Some(ENVIRONMENT) => Place::Variable(variable(key)),
            Some(label) => Place::File(label.to_owned()),
            None => self.files_place(),
        }
    }

    /// The files that a missing key could have been in.
    pub(super) fn files_place(&self) -> Place {
        if self.files.is_empty() {
            return Place::File(ENVIRONMENT.to_owned());
        }
        let labels: Vec<&str> = self.files.iter().map(|(label, _)| label.as_str()).collect();
        Place::File(labels.join(", "))
    }

    /// The value of a key as it was said.
    pub(super) fn shown(&self, key: &str) -> Option<String> {
        self.find(key).map(shown)
    }

    /// A path starts from the folder of the file that says it, a default from the folder of the
    /// first file, and one in the environment from the working directory.
    pub(super) fn resolve(&self, key: &str, path: &str) -> PathBuf {
        let folder = match self.place(key) {
            Place::File(label) => self.files.iter().find(|(known, _)| *known == label),
            Place::Default => self.files.first(),
            Place::Variable(_) => None,
        };
        folder.map_or_else(|| PathBuf::from(path), |(_, folder)| folder.join(path))
    }
}

/// Lays what the variables say over `root`. The parts of their names are taken for what they are;
/// the `config` crate would read `LIST[7]` as an expression that makes a list of eight.
fn merge_variables(root: &mut Value, said: Map<String, Value>) {
    for (key, value) in said {
        let (path, last) =
            key.rsplit_once('.').map_or((None, &*key), |(path, last)| (Some(path), last));
        let leaf = Map::from([(last.to_owned(), value)]);
        let parts = path.into_iter().flat_map(|path| path.rsplit('.'));
        let within = |inner, part: &str| Map::from([(part.to_owned(), Value::new(None, inner))]);
        merge(root, &parts.fold(leaf, within));
    }
}

/// The entries of a value that is a table.
pub(super) fn table_of(value: &Value) -> Option<&Map<String, Value>> {
    if let ValueKind::Table(table) = &value.kind { Some(table) } else { None }
}

/// True for a value that a variable of the environment said.
pub(super) fn is_variable(value: &Value) -> bool {
    value.origin() == Some(ENVIRONMENT)
}

/// The entries of a table in the order of their keys, so that messages do not depend on hashing.
pub(super) fn sorted(table: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    entries
}

/// A value in a message.
fn shown(value: &Value) -> String {
    let text = match &value.kind {
        ValueKind::Table(_) => "a table".to_owned(),
        ValueKind::Array(_) => "a list".to_owned(),
        ValueKind::String(text) => format!("{text:?}"),
        ValueKind::Float(number) => format!("{number:?}"),
        ValueKind::Nil => "nothing".to_owned(),
        ValueKind::Boolean(_)
        | ValueKind::I64(_)
        | ValueKind::I128(_)
        | ValueKind::U64(_)
        | ValueKind::U128(_) => value.to_string(),
    };
    beginning(&text)
}

/// A text that is not too long for a message.
pub(super) fn beginning(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The variable that sets a key.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{SEPARATOR}{}", key.replace('.', SEPARATOR).to_uppercase())
}

/// The variables that are meant for us, by name; what cannot be read of them becomes a problem.
fn own_variables(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    tables: &[String],
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, String> {
    let mut own = BTreeMap::new();
    for (name, value) in variables {
        let Some(name) = name.to_str().map(str::to_uppercase) else { continue };
        let Some(key) = key_of(&name) else { continue };
        let is_deep = key.split('.').count() > KEY_PARTS_MAX;
        match value.into_string() {
            _ if is_deep => {
                let fault = Fault::TooDeep { parts_max: KEY_PARTS_MAX };
                problems.push(about_variable(beginning(&name), beginning(&key), fault));
            }
            Ok(value) => drop(own.insert(name, (key, value))),
            Err(_) => problems.push(about_variable(name, key, Fault::NotUtf8)),
        }
    }
    // A variable for a table and one for a key of it would overwrite each other in no order.
    for (name, (key, _)) in &own {
        let inner = own.values().find(|(other, _)| is_within(other, key)).map(|(other, _)| other);
        if tables.contains(key) || inner.is_some() {
            let example =
                inner.map_or_else(|| format!("{name}{SEPARATOR}KEY"), |key| variable(key));
            problems.push(about_variable(name.clone(), key.clone(), Fault::Table { example }));
        }
    }
    own.into_iter().map(|(name, (_, value))| (name, value)).collect()
}

fn key_of(name: &str) -> Option<String> {
    let rest = name.strip_prefix(PREFIX)?.strip_prefix(SEPARATOR)?;
    Some(rest.replace(SEPARATOR, ".").to_lowercase())
}

fn is_within(key: &str, table: &str) -> bool {
    key.strip_prefix(table).is_some_and(|rest| rest.starts_with('.'))
}

fn about_variable(name: String, key: String, fault: Fault) -> Problem {
    Problem { place: Place::Variable(name), key, value: None, fault }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_of_many_parts_are_deep() {
        let dots = "a.".repeat(KEY_PARTS_MAX);
        for deep in [format!("{dots}a = 1"), format!("[{dots}a]"), format!("x = {{ {dots}a = 1 }}")]
        {
            assert!(has_deep_key(&deep), "{deep}");
        }
        for flat in [
            format!("a = \"{dots}a\""),
            format!("a = \"\\\"{dots}a\""),
            format!("a = '{dots}a'"),
            format!("# {dots}a"),
            format!("{}a = 1", "a.".repeat(KEY_PARTS_MAX - 1)),
            "x = { a.b = 1.5, c.d = 1.5 }".repeat(20),
        ] {
            assert!(!has_deep_key(&flat), "{flat}");
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(beginning("ä"), "ä");
        assert_eq!(beginning(&"ä".repeat(100)).chars().count(), SHOWN_CHARS_MAX + 1);
    }
}
