//! Turns values into types without guessing: a fraction is no whole number, a number is no text,
//! and the text of an environment variable becomes what the type asks for.
//!
//! The `config` crate's own conversion rounds 1.5 to 2, takes `"yes"` for 1 and an empty list in
//! the environment for a list of one empty text, and its errors do not say where.

use std::fmt::{Display, Write as _};
use std::str::FromStr;

use ::config::{Map, Value, ValueKind};
use serde::de::value::{MapAccessDeserializer, StringDeserializer};
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, Expected, IntoDeserializer as _,
    MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use super::error::Fault;
use super::source::{is_variable, sorted, table_of};

/// Reads `value`, which is that of `key`.
pub(super) fn read<T: DeserializeOwned>(value: &Value, key: &str) -> Result<T, StrictError> {
    T::deserialize(Strict { value, key: key.to_owned() }).map_err(|error| error.at(key))
}

/// What is wrong, and with which key.
#[derive(Debug)]
pub(super) struct StrictError {
    /// `None` until the innermost key is known.
    key: Option<String>,
    /// The field of the key that is too much or missing.
    field: Option<String>,
    fault: Fault,
}

impl StrictError {
    fn new(fault: Fault) -> Self {
        Self { key: None, field: None, fault }
    }

    fn at(mut self, key: &str) -> Self {
        if self.key.is_none() {
            self.key = Some(match self.field.take() {
                Some(field) => format!("{key}.{field}"),
                None => key.to_owned(),
            });
        }
        self
    }

    /// The key and what is wrong with it.
    pub(super) fn into_parts(self) -> (String, Fault) {
        (self.key.unwrap_or_default(), self.fault)
    }
}

impl Display for StrictError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.key.as_deref().unwrap_or_default(), self.fault)
    }
}

impl std::error::Error for StrictError {}

impl de::Error for StrictError {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(Fault::App(message.to_string()))
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Fault::Type { expected: plain(&expected.to_string()) })
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(unexpected, expected)
    }

    fn unknown_variant(_: &str, variants: &'static [&'static str]) -> Self {
        let mut expected = String::new();
        for (index, variant) in variants.iter().enumerate() {
            let comma = match index {
                0 => "",
                _ if index + 1 == variants.len() => " or ",
                _ => ", ",
            };
            // Writing to a text cannot fail.
            let _ = write!(expected, "{comma}{variant:?}");
        }
        Self::new(Fault::Type { expected })
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let nearest = super::nearest::nearest(field, expected.iter().copied());
        let fault = Fault::UnknownKey { nearest: nearest.map(str::to_owned) };
        Self { field: Some(field.to_owned()), ..Self::new(fault) }
    }

    fn missing_field(field: &'static str) -> Self {
        Self { field: Some(field.to_owned()), ..Self::new(Fault::MissingApp) }
    }
}

/// What serde says in words of its own, in ours.
fn plain(expected: &str) -> String {
    let plain = match expected {
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" => "a whole number, not negative",
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a string" => "a text in quotes",
        "a duration" => "a duration with its unit, such as \"10ms\", \"30s\", \"30m\" or \"24h\"",
        other => other,
    };
    plain.to_owned()
}

struct Strict<'a> {
    value: &'a Value,
    key: String,
}

impl Strict<'_> {
    /// The text of a variable, which has no type of its own.
    fn variable(&self) -> Option<&str> {
        let ValueKind::String(text) = &self.value.kind else { return None };
        is_variable(self.value).then(|| text.trim())
    }

    /// The text of a variable read as `T`, if it is one.
    fn parsed<T: FromStr>(&self) -> Option<T> {
        self.variable()?.parse().ok()
    }

    fn unexpected(&self) -> Unexpected<'_> {
        match &self.value.kind {
            ValueKind::String(text) => Unexpected::Str(text),
            ValueKind::Boolean(value) => Unexpected::Bool(*value),
            ValueKind::Float(value) => Unexpected::Float(*value),
            ValueKind::Table(_) => Unexpected::Map,
            ValueKind::Array(_) => Unexpected::Seq,
            ValueKind::I64(value) => Unexpected::Signed(*value),
            ValueKind::U64(value) => Unexpected::Unsigned(*value),
            ValueKind::I128(_) | ValueKind::U128(_) => Unexpected::Other("a large number"),
            ValueKind::Nil => Unexpected::Unit,
        }
    }

    fn table<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, StrictError> {
        match table_of(self.value) {
            Some(table) => visitor.visit_map(Entries::new(table, self.key)),
            None => Err(de::Error::invalid_type(self.unexpected(), &visitor)),
        }
    }
}

macro_rules! parse_variable {
    ($($method:ident $number:ty => $visit:ident),* $(,)?) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, StrictError> {
            match self.parsed::<$number>() {
                Some(number) => visitor.$visit(number),
                None => self.deserialize_any(visitor),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for Strict<'_> {
    type Error = StrictError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, StrictError> {
        match &self.value.kind {
            ValueKind::Nil => visitor.visit_unit(),
            ValueKind::Boolean(value) => visitor.visit_bool(*value),
            ValueKind::I64(number) => visitor.visit_i64(*number),
            ValueKind::I128(number) => visitor.visit_i128(*number),
            ValueKind::U64(number) => visitor.visit_u64(*number),
            ValueKind::U128(number) => visitor.visit_u128(*number),
            ValueKind::Float(number) => visitor.visit_f64(*number),
            ValueKind::String(text) => visitor.visit_str(text),
            ValueKind::Array(items) => {
                visitor.visit_seq(Items { items: items.iter(), key: &self.key })
            }
            ValueKind::Table(_) => self.table(visitor),
        }
    }

    parse_variable! {
        deserialize_bool bool => visit_bool,
        deserialize_i8 i64 => visit_i64,
        deserialize_i16 i64 => visit_i64,
        deserialize_i32 i64 => visit_i64,
        deserialize_i64 i64 => visit_i64,
        deserialize_i128 i128 => visit_i128,
        deserialize_u8 u64 => visit_u64,
        deserialize_u16 u64 => visit_u64,
        deserialize_u32 u64 => visit_u64,
        deserialize_u64 u64 => visit_u64,
        deserialize_u128 u128 => visit_u128,
        deserialize_f32 f64 => visit_f64,
        deserialize_f64 f64 => visit_f64,
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, StrictError> {
        if matches!(self.value.kind, ValueKind::Nil) {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, StrictError> {
        visitor.visit_newtype_struct(self)
    }

    /// A list in a variable is divided by commas; an empty one has no elements.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, StrictError> {
        let Some(text) = self.variable() else { return self.deserialize_any(visitor) };
        let origin = self.value.origin().map(str::to_owned);
        let parts = text.split(',').map(str::trim).filter(|_| !text.is_empty());
        let items: Vec<Value> = parts.map(|part| Value::new(origin.as_ref(), part)).collect();
        visitor.visit_seq(Items { items: items.iter(), key: &self.key })
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, StrictError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, StrictError> {
        self.table(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, StrictError> {
        self.table(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, StrictError> {
        if let ValueKind::String(name) = &self.value.kind {
            let name: StringDeserializer<StrictError> = name.clone().into_deserializer();
            visitor.visit_enum(name)
        } else if let Some(table) = table_of(self.value) {
            visitor.visit_enum(MapAccessDeserializer::new(Entries::new(table, self.key)))
        } else {
            Err(de::Error::unknown_variant("", variants))
        }
    }

    forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct tuple_struct identifier ignored_any
    }
}

/// The entries of a table.
struct Entries<'a> {
    entries: std::vec::IntoIter<(&'a String, &'a Value)>,
    /// The entry whose key has been read and whose value has not.
    value: Option<(&'a String, &'a Value)>,
    key: String,
}

impl<'a> Entries<'a> {
    fn new(table: &'a Map<String, Value>, key: String) -> Self {
        Self { entries: sorted(table).into_iter(), value: None, key }
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = StrictError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, StrictError> {
        self.value = self.entries.next();
        let Some((key, _)) = self.value else { return Ok(None) };
        let name: StringDeserializer<StrictError> = key.clone().into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, StrictError> {
        let Some((name, value)) = self.value.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        let key = format!("{}.{name}", self.key);
        seed.deserialize(Strict { value, key: key.clone() }).map_err(|error| error.at(&key))
    }
}

/// The elements of a list.
struct Items<'a> {
    items: std::slice::Iter<'a, Value>,
    key: &'a str,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = StrictError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, StrictError> {
        let Some(value) = self.items.next() else { return Ok(None) };
        seed.deserialize(Strict { value, key: self.key.to_owned() }).map(Some)
    }
}
