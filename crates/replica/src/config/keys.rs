//! Which keys there are, and what is wrong with a key that is none of them.

use ::config::{Value, ValueKind};

use super::error::{Fault, Problem};
use super::nearest::nearest;
use super::raw::{APP, MEMBERS, REFUSED, tables as tables_with_keys};
use super::source::{Layers, beginning};

/// Every key that can be set, with its section, sorted.
pub(super) fn all() -> Vec<String> {
    let tables = tables();
    let mut keys: Vec<String> = tables_with_keys()
        .into_iter()
        .flat_map(|(table, keys)| keys.iter().map(move |key| format!("{table}.{key}")))
        .filter(|key| key == MEMBERS || !tables.contains(key))
        .chain([APP.to_owned()])
        .collect();
    keys.sort();
    keys
}

/// The keys that are tables and cannot be set as a whole.
pub(super) fn tables() -> Vec<String> {
    let named = tables_with_keys().into_iter().map(|(table, _)| table);
    named.chain([APP, MEMBERS]).map(str::to_owned).collect()
}

/// Takes out of the tree what is no known key, and says what is wrong with it.
pub(super) fn take_unknown(layers: &mut Layers) -> Vec<Problem> {
    let known = Known { keys: all(), tables: tables() };
    let mut unknown = Vec::new();
    known.take_others(layers.root_mut(), "", &mut unknown);
    unknown.sort_by(|(key, _), (other, _)| key.cmp(other));
    let problem = |(key, value): (String, Value)| {
        let (place, fault) = (layers.place_of(&key, &value), known.fault(&key));
        Problem { place, key, value: None, fault }
    };
    unknown.into_iter().map(problem).collect()
}

struct Known {
    keys: Vec<String>,
    tables: Vec<String>,
}

impl Known {
    fn take_others(&self, value: &mut Value, table: &str, unknown: &mut Vec<(String, Value)>) {
        let ValueKind::Table(entries) = &mut value.kind else { return };
        entries.retain(|name, value| {
            let key = key_of(table, name);
            let is_table = self.tables.contains(&key);
            let is_known = is_table || self.keys.contains(&key);
            if !is_known {
                unknown.push((key, value.clone()));
            } else if is_table && !self.keys.contains(&key) {
                self.take_others(value, &key, unknown);
            }
            is_known
        });
    }

    fn fault(&self, key: &str) -> Fault {
        if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| *refused == key) {
            return Fault::Refused(reason);
        }
        let known = self.keys.iter().chain(&self.tables).map(String::as_str);
        Fault::UnknownKey { nearest: nearest(key, known).map(str::to_owned) }
    }
}

/// A name with a dot or a line break in it is one name, and is shown in quotes.
fn key_of(table: &str, name: &str) -> String {
    let is_plain = !name.contains(|letter: char| letter == '.' || letter.is_control());
    let name = if is_plain { beginning(name) } else { beginning(&format!("{name:?}")) };
    if table.is_empty() { name } else { format!("{table}.{name}") }
}
