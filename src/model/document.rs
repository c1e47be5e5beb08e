//! Reading documents: one declaration gives the type, the reader that reports every problem, and the JSON Schema.
//!
//! serde stops at the first error; whoever mends a catalog wants all of them. So a document is read from a parsed
//! [`serde_json::Value`] by [`Read`], which goes on after a problem and remembers where it was.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use super::bounds::{MAX_PROBLEMS, MAX_TEXT_BYTES};

/// One thing wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Problem {
    /// Where: a JSON path such as `$.plans["pro@1"].limits.requests`.
    pub path: String,
    /// What stands there, shortened.
    pub found: String,
    /// What may stand there.
    pub expected: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: found {}, expected {}", self.path, self.found, self.expected)
    }
}

/// All problems of a document, in the order of the document; at most [`MAX_PROBLEMS`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Those that are not among `known`, wherever in a list they stand.
    #[must_use]
    pub fn beyond(self, known: &Self) -> Self {
        let place = |problem: &Problem| -> String { problem.path.chars().filter(|c| !c.is_ascii_digit()).collect() };
        let is_known = |problem: &Problem| {
            let like = |other: &&Problem| other.found == problem.found && other.expected == problem.expected;
            known.0.iter().filter(like).any(|other| place(other) == place(problem))
        };
        Self(self.0.into_iter().filter(|problem| !is_known(problem)).collect())
    }
}

/// Collects problems while a document is read.
pub(crate) struct Reader {
    problems: Vec<Problem>,
    path: String,
    /// Members that nobody knows are left out: whoever wrote them may be newer than the reader.
    lenient: bool,
    /// Bytes of a text, where its type does not say fewer.
    max_text_bytes: usize,
}

impl Problem {
    /// A problem of a member, by the keys that lead there.
    pub fn at(keys: &[&str], found: &str, expected: &str) -> Self {
        let mut reader = Reader::new();
        for key in keys {
            reader.enter(key);
        }
        Self { path: reader.path, found: found.to_owned(), expected: expected.to_owned() }
    }
}

impl Reader {
    pub(crate) fn new() -> Self {
        Self { problems: Vec::new(), path: String::from("$"), lenient: false, max_text_bytes: MAX_TEXT_BYTES }
    }

    /// Takes longer texts, such as the headers of a request.
    pub(crate) fn take_texts_of(&mut self, max_bytes: usize) {
        self.max_text_bytes = max_bytes;
    }

    /// Reads a whole document: `Ok` only if there was no problem at all.
    pub(crate) fn run<T>(read: impl FnOnce(&mut Self) -> Option<T>) -> Result<T, Problems> {
        let mut reader = Self::new();
        match read(&mut reader) {
            Some(document) if reader.problems.is_empty() => Ok(document),
            _ => Err(Problems(reader.problems)),
        }
    }

    /// The same, but for members that nobody knows.
    pub(crate) fn run_leniently<T>(read: impl FnOnce(&mut Self) -> Option<T>) -> Result<T, Problems> {
        Self::run(|reader| {
            reader.lenient = true;
            read(reader)
        })
    }

    /// Parses JSON text of at most `max_bytes`.
    pub(crate) fn json(&mut self, text: &str, max_bytes: usize) -> Option<Value> {
        if text.len() > max_bytes {
            return self.refuse(format!("{} bytes", text.len()), format!("at most {max_bytes} bytes"));
        }
        match serde_json::from_str(text) {
            Ok(value) => Some(value),
            Err(error) => self.refuse(error.to_string(), "a JSON document"),
        }
    }

    /// Records a problem at the current path.
    pub(crate) fn problem(&mut self, found: impl Into<String>, expected: impl Into<String>) {
        self.record(found.into(), expected.into());
    }

    // What follows is called from every field of every document: out of line, it is there once.
    #[inline(never)]
    fn record(&mut self, found: String, expected: String) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem { path: self.path.clone(), found, expected });
        } else if self.problems.len() == MAX_PROBLEMS {
            self.problems.push(Problem {
                path: String::from("$"),
                found: String::from("more problems"),
                expected: format!("at most {MAX_PROBLEMS} in one report; mend these first"),
            });
        }
    }

    /// Records a problem and ends the reading of this value.
    pub(crate) fn refuse<T>(&mut self, found: impl Into<String>, expected: impl Into<String>) -> Option<T> {
        self.record(found.into(), expected.into());
        None
    }

    /// Records that `value` is not what was expected.
    pub(crate) fn unexpected<T>(&mut self, value: &Value, expected: impl Into<String>) -> Option<T> {
        self.record(shorten(value), expected.into());
        None
    }

    /// Runs `read` one step deeper, at a key.
    pub(crate) fn at<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.enter(key);
        let result = read(self);
        self.path.truncate(length);
        result
    }

    /// Runs `read` one step deeper, at an index.
    pub(crate) fn at_index<T>(&mut self, index: usize, read: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.enter_index(index);
        let result = read(self);
        self.path.truncate(length);
        result
    }

    /// Extends the path by a key; returns how long it was.
    #[inline(never)]
    fn enter(&mut self, key: &str) -> usize {
        let length = self.path.len();
        let plain = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let step = if plain { format!(".{key}") } else { format!("[{}]", Value::from(key)) };
        self.path.push_str(&step);
        length
    }

    #[inline(never)]
    fn enter_index(&mut self, index: usize) -> usize {
        let length = self.path.len();
        self.path.push_str(&format!("[{index}]"));
        length
    }

    /// The members of an object; members that are not in `known` are problems.
    pub(crate) fn object<'v>(&mut self, value: &'v Value, known: &[&str]) -> Option<&'v Map<String, Value>> {
        let Value::Object(members) = value else {
            return self.unexpected(value, "an object");
        };
        // Editors find the schema of a document by this member; it says nothing else.
        let is_known = |name: &str| known.contains(&name) || name == "$schema" && self.path == "$";
        for name in members.keys().filter(|name| !self.lenient && !is_known(name)).collect::<Vec<_>>() {
            self.at(name, |r| r.problem("an unknown field", format!("one of {}", quoted(known))));
        }
        Some(members)
    }

    /// A list of at most `max` entries.
    pub(crate) fn list<T>(
        &mut self,
        value: &Value,
        max: usize,
        mut read: impl FnMut(&Value, &mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Value::Array(entries) = value else {
            return self.unexpected(value, "a list");
        };
        self.at_most(entries.len(), max)?;
        let read: Vec<_> = entries.iter().enumerate().map(|(i, v)| self.at_index(i, |r| read(v, r))).collect();
        read.into_iter().collect()
    }

    /// Refuses more than `max` entries.
    pub(crate) fn at_most(&mut self, count: usize, max: usize) -> Option<()> {
        if count > max { self.refuse(format!("{count} entries"), format!("at most {max}")) } else { Some(()) }
    }
}

/// Something that can stand in a document.
pub(crate) trait Read: Sized {
    /// Whether `null` is one of its values. For all others it is as good as nothing.
    const HAS_NULL: bool = false;

    /// Reads `value`; `None` means that a problem was recorded.
    fn read(value: &Value, reader: &mut Reader) -> Option<Self>;
}

impl Read for bool {
    fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
        value.as_bool().or_else(|| reader.unexpected(value, "true or false"))
    }
}

/// INVARIANT (every text has a bound): what a type does not bound by itself is bounded here.
impl Read for String {
    fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
        let Some(text) = value.as_str() else { return reader.unexpected(value, "a string") };
        let max = reader.max_text_bytes;
        if text.len() > max {
            return reader.refuse(format!("{} bytes", text.len()), format!("at most {max} bytes"));
        }
        Some(text.to_owned())
    }
}

/// Any JSON value, of which nothing is kept: what is only handed on costs no memory where nobody reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unread;

impl Read for Unread {
    fn read(_: &Value, _: &mut Reader) -> Option<Self> {
        Some(Self)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Unread {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Unread".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        true.into()
    }
}

impl Read for Value {
    fn read(value: &Value, _: &mut Reader) -> Option<Self> {
        Some(plain(value))
    }
}

/// A JSON value with one spelling for each number: `7.0` is 7, as whoever wrote it means.
pub(crate) fn plain(value: &Value) -> Value {
    /// Whole numbers up to here have a float of their own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) => match number.as_f64() {
            #[expect(clippy::cast_possible_truncation, reason = "a whole number within the range")]
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() <= EXACT => Value::from(float as i64),
            _ => value.clone(),
        },
        Value::Array(entries) => entries.iter().map(plain).collect(),
        Value::Object(members) => members.iter().map(|(key, value)| (key.clone(), plain(value))).collect(),
        _ => value.clone(),
    }
}

/// About how many bytes a JSON value holds in memory: many times its text, where it is of small parts.
pub(crate) fn json_bytes(value: &Value) -> usize {
    const NODE: usize = size_of::<Value>();
    // A member of an object is a place in a tree and a key of its own.
    const MEMBER: usize = 96;
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => NODE,
        Value::String(text) => NODE.saturating_add(text.len()),
        Value::Array(items) => items.iter().map(json_bytes).fold(NODE, usize::saturating_add),
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| key.len().saturating_add(json_bytes(value)).saturating_add(MEMBER))
            .fold(NODE, usize::saturating_add),
    }
}

impl<T: Read> Read for Option<T> {
    fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
        if value.is_null() && !T::HAS_NULL { Some(None) } else { T::read(value, reader).map(Some) }
    }
}

impl<T: Read> Read for Vec<T> {
    fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
        reader.list(value, usize::MAX, T::read)
    }
}

impl<K: Read + Ord, T: Read> Read for BTreeMap<K, T> {
    fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
        let Value::Object(members) = value else {
            return reader.unexpected(value, "an object");
        };
        let mut read = Some(Self::new());
        for (name, member) in members {
            let entry = reader.at(name, |r| {
                let key = K::read(&Value::from(name.as_str()), r);
                let value = T::read(member, r);
                Some((key?, value?))
            });
            match (&mut read, entry) {
                (Some(map), Some((key, value))) => drop(map.insert(key, value)),
                _ => read = None,
            }
        }
        read
    }
}

/// A map of entries, inserted one by one: collecting brings a sorting algorithm along for every type of map, 8 KB of
/// WebAssembly each.
pub(crate) fn map_of<K: Ord, V>(entries: impl IntoIterator<Item = (K, V)>) -> BTreeMap<K, V> {
    let mut map = BTreeMap::new();
    for (key, value) in entries {
        map.insert(key, value);
    }
    map
}

/// A field's name in documents: Rust's keywords carry a trailing underscore in code (`type_`).
pub(crate) fn field_name(identifier: &'static str) -> &'static str {
    identifier.trim_end_matches('_')
}

/// `` `a`, `b`, `c` ``
pub(crate) fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn shorten(value: &Value) -> String {
    const MAX_CHARS: usize = 60;
    let text = match value {
        Value::Object(_) => return String::from("an object"),
        Value::Array(_) => return String::from("a list"),
        other => other.to_string(),
    };
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// Declares a struct of a document: fields without a default are required, unknown fields are problems. What follows
/// `=>` judges what was read, by itself; references between parts are judged when the whole document has been read.
macro_rules! document {
    ($(#[doc = $doc:literal])* $vis:vis struct $Name:ident {
        $($(#[doc = $field_doc:literal])* $field:ident : $Type:ty $(= $default:expr)?),* $(,)?
    } $(=> $check:path)?) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq)]
        $vis struct $Name {
            $($(#[doc = $field_doc])* pub $field: $Type,)*
        }

        impl $crate::model::Read for $Name {
            fn read(value: &::serde_json::Value, reader: &mut $crate::model::Reader) -> Option<Self> {
                let members = reader.object(value, &[$($crate::model::field_name(stringify!($field))),*])?;
                $(let $field: Option<$Type> = match members.get($crate::model::field_name(stringify!($field))) {
                    Some(value) => reader.at($crate::model::field_name(stringify!($field)), |r| $crate::model::Read::read(value, r)),
                    None => document!(@absent reader $field $($default)?),
                };)*
                let read = Self { $($field: $field?,)* };
                $($check(&read, reader);)?
                Some(read)
            }
        }

        #[cfg(feature = "schema")]
        impl ::schemars::JsonSchema for $Name {
            fn schema_name() -> ::std::borrow::Cow<'static, str> {
                stringify!($Name).into()
            }
            fn json_schema(generator: &mut ::schemars::SchemaGenerator) -> ::schemars::Schema {
                let mut properties = ::serde_json::Map::new();
                let mut required: Vec<&str> = Vec::new();
                $(
                    let mut schema = generator.subschema_for::<$Type>();
                    schema.insert("description".into(), concat!($($field_doc),*).trim().into());
                    properties.insert($crate::model::field_name(stringify!($field)).into(), schema.into());
                    if document!(@required $($default)?) { required.push($crate::model::field_name(stringify!($field))); }
                )*
                ::schemars::json_schema!({
                    "type": "object",
                    "description": concat!($($doc),*).trim(),
                    "properties": properties,
                    "required": required,
                    "additionalProperties": false,
                })
            }
        }
    };
    (@absent $reader:ident $field:ident) => {
        $reader.at($crate::model::field_name(stringify!($field)), |r| r.refuse("nothing", "a value: the field is required"))
    };
    (@absent $reader:ident $field:ident $default:expr) => { Some($default) };
    (@required) => { true };
    (@required $default:expr) => { false };
}

/// Declares a choice between names.
macro_rules! choice {
    ($(#[doc = $doc:literal])* $vis:vis enum $Name:ident {
        $($(#[doc = $variant_doc:literal])* $Variant:ident = $text:literal $(| $alias:literal)*),* $(,)?
    }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis enum $Name {
            $($(#[doc = $variant_doc])* $Variant,)*
        }

        impl $Name {
            /// The name that stands in documents.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$Variant => $text,)* }
            }
        }

        impl ::serde::Serialize for $Name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl $crate::model::Read for $Name {
            fn read(value: &::serde_json::Value, reader: &mut $crate::model::Reader) -> Option<Self> {
                match value.as_str() {
                    $(Some($text $(| $alias)*) => Some(Self::$Variant),)*
                    _ => reader.unexpected(value, concat!("one of" $(, " `", $text, "`")*)),
                }
            }
        }

        #[cfg(feature = "schema")]
        impl ::schemars::JsonSchema for $Name {
            fn schema_name() -> ::std::borrow::Cow<'static, str> {
                stringify!($Name).into()
            }
            fn json_schema(_: &mut ::schemars::SchemaGenerator) -> ::schemars::Schema {
                ::schemars::json_schema!({
                    "type": "string",
                    "description": concat!($($doc),*).trim(),
                    "enum": [$($text, $($alias,)*)*],
                })
            }
        }
    };
}

pub(crate) use {choice, document};
