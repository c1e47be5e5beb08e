//! Document parsing: one declaration yields the type, the parser and the JSON Schema.
//!
//! serde stops at the first error, but the author of a catalog wants to see all of them. Documents
//! are therefore parsed from a [`serde_json::Value`] by [`Read`], which records each problem with
//! its path in a [`Reader`] and continues. `document!` declares a struct and `choice!` an enum
//! of names.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use super::bounds::{MAX_PROBLEMS, MAX_TEXT_BYTES};

/// One problem in a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Problem {
    /// The JSON path, such as `$.plans["pro@1"].limits.requests`.
    pub path: String,
    /// The value found, shortened.
    pub found: String,
    /// The values allowed.
    pub expected: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: found {}, expected {}", self.path, self.found, self.expected)
    }
}

/// All problems of a document, in document order, at most [`MAX_PROBLEMS`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// The problems that are not in `known`. List indexes are ignored, because entries may have
    /// moved.
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

/// Collects problems while a document is parsed.
pub(crate) struct Reader {
    problems: Vec<Problem>,
    path: String,
    /// Ignores unknown members, because the writer may be newer than this parser.
    lenient: bool,
    /// Maximum bytes of a text whose type has no smaller bound.
    max_text_bytes: usize,
}

impl Problem {
    /// A problem at the member that `keys` lead to.
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

    /// Raises the bound on texts, for example for request headers.
    pub(crate) fn take_texts_of(&mut self, max_bytes: usize) {
        self.max_text_bytes = max_bytes;
    }

    /// Parses a whole document. Returns `Ok` only if there are no problems.
    pub(crate) fn run<T>(read: impl FnOnce(&mut Self) -> Option<T>) -> Result<T, Problems> {
        let mut reader = Self::new();
        match read(&mut reader) {
            Some(document) if reader.problems.is_empty() => Ok(document),
            _ => Err(Problems(reader.problems)),
        }
    }

    /// Like [`Self::run`], but ignores unknown members.
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

    // Every field of every document calls this function. Not inlining it keeps the WebAssembly
    // small.
    #[inline(never)]
    fn record(&mut self, found: String, expected: String) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem { path: self.path.clone(), found, expected });
        } else if self.problems.len() == MAX_PROBLEMS {
            self.problems.push(Problem {
                path: String::from("$"),
                found: String::from("more problems"),
                expected: format!("at most {MAX_PROBLEMS} in one report; fix these first"),
            });
        }
    }

    /// Records a problem and returns `None`, which abandons the current value.
    pub(crate) fn refuse<T>(&mut self, found: impl Into<String>, expected: impl Into<String>) -> Option<T> {
        self.record(found.into(), expected.into());
        None
    }

    /// Records that `value` is not the expected one, and returns `None`.
    pub(crate) fn unexpected<T>(&mut self, value: &Value, expected: impl Into<String>) -> Option<T> {
        self.record(shorten(value), expected.into());
        None
    }

    /// Runs `read` with the path extended by a key.
    pub(crate) fn at<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.enter(key);
        let result = read(self);
        self.path.truncate(length);
        result
    }

    /// Runs `read` with the path extended by an index.
    pub(crate) fn at_index<T>(&mut self, index: usize, read: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.enter_index(index);
        let result = read(self);
        self.path.truncate(length);
        result
    }

    /// Like nested calls of [`Self::at`].
    pub(crate) fn at_path<T>(&mut self, keys: &[&str], read: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        for key in keys {
            self.enter(key);
        }
        let result = read(self);
        self.path.truncate(length);
        result
    }

    /// Extends the path by a key. Returns the previous length of the path.
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

    /// The members of an object. Records a problem for each member that is not in `known`.
    pub(crate) fn object<'v>(&mut self, value: &'v Value, known: &[&str]) -> Option<&'v Map<String, Value>> {
        let Value::Object(members) = value else {
            return self.unexpected(value, "an object");
        };
        // Editors find a document's schema through this member. It has no other meaning.
        let is_known = |name: &str| known.contains(&name) || name == "$schema" && self.path == "$";
        for name in members.keys().filter(|name| !self.lenient && !is_known(name)).collect::<Vec<_>>() {
            self.at(name, |r| r.problem("an unknown field", format!("one of {}", quoted(known))));
        }
        Some(members)
    }

    /// Parses a list of at most `max` entries.
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

    /// Records a problem if there are more than `max` entries.
    pub(crate) fn at_most(&mut self, count: usize, max: usize) -> Option<()> {
        if count > max { self.refuse(format!("{count} entries"), format!("at most {max}")) } else { Some(()) }
    }
}

/// A type that can be parsed from a document.
pub(crate) trait Read: Sized {
    /// Whether `null` is a value of this type. For all other types, `null` means absent.
    const HAS_NULL: bool = false;

    /// Parses `value`. `None` means that a problem was recorded.
    fn read(value: &Value, reader: &mut Reader) -> Option<Self>;
}

impl Read for bool {
    fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
        value.as_bool().or_else(|| reader.unexpected(value, "true or false"))
    }
}

/// INVARIANT (every text has a bound): a text whose type sets no bound is bounded here.
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

/// Any JSON value, discarded. A field that the core only passes on costs no memory.
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

/// A JSON value with one representation for each number: `7.0` becomes 7.
pub(crate) fn plain(value: &Value) -> Value {
    /// The largest integer up to which every integer is exactly representable as a float.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) => match number.as_f64() {
            #[expect(clippy::cast_possible_truncation, reason = "a whole number within the range")]
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() <= EXACT => Value::from(float as i64),
            _ => value.clone(),
        },
        Value::Array(entries) => entries.iter().map(plain).collect(),
        Value::Object(members) => Value::Object(gather(members.iter().map(|(key, value)| (key.clone(), plain(value))))),
        _ => value.clone(),
    }
}

/// The approximate number of bytes that a JSON value occupies in memory. Many small parts occupy a
/// multiple of their text.
pub(crate) fn json_bytes(value: &Value) -> usize {
    const NODE: usize = size_of::<Value>();
    // Each member of an object has a tree node and an allocated key.
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

/// Builds a sorted map or set by inserting one item at a time. `collect` would instantiate a
/// sorting algorithm for each type of item, 8 KB of WebAssembly.
pub(crate) fn gather<C: Default + Extend<T>, T>(items: impl IntoIterator<Item = T>) -> C {
    let mut gathered = C::default();
    gathered.extend(items);
    gathered
}

/// A field's name in documents. Fields that are Rust keywords have a trailing underscore in code
/// (`type_`).
pub(crate) fn field_name(identifier: &'static str) -> &'static str {
    identifier.trim_end_matches('_')
}

/// Formats names as `` `a`, `b`, `c` ``.
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

/// Declares a document struct. Fields without a default are required, and unknown fields are
/// problems. The function after `=>` checks the struct by itself. References between parts of a
/// document are checked after the whole document has been parsed.
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

/// Declares an enum whose variants are names in documents.
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
            /// The name used in documents.
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
