//! Names: tenant ids, slugs, keys, plan references, key ids and scopes; and epochs. A name can only
//! be made by parsing, so that a value of one of these types is always valid.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::bounds::{MAX_CHANNEL_BYTES, MAX_KEY_BYTES, MAX_SCOPE_BYTES, MAX_SLUG_BYTES, MAX_TENANT_ID_BYTES};
use super::{Read, Reader};

macro_rules! name {
    ($(#[doc = $doc:literal])* $Name:ident, $max:expr, $pattern:literal, $valid:expr) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $Name(Arc<str>);

        impl $Name {
            /// The regular expression that valid text matches, for schemas and messages.
            pub const PATTERN: &'static str = $pattern;

            /// Parses text that matches [`Self::PATTERN`] and is not too long. Returns `None`
            /// otherwise.
            pub fn parse(text: &str) -> Option<Self> {
                Self::is_valid(text).then(|| Self(text.into()))
            }

            /// Whether [`Self::parse`] would accept the text. Does not allocate.
            pub fn is_valid(text: &str) -> bool {
                let valid: fn(&str) -> bool = $valid;
                !text.is_empty() && text.len() <= $max && valid(text)
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The text, as a shared pointer.
            pub fn shared(&self) -> Arc<str> {
                Arc::clone(&self.0)
            }
        }

        impl fmt::Display for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Borrow<str> for $Name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Read for $Name {
            fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
                value.as_str().and_then(Self::parse).or_else(|| {
                    reader.unexpected(value, concat!("text that matches `", $pattern, "`"))
                })
            }
        }

        #[cfg(feature = "schema")]
        impl schemars::JsonSchema for $Name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($Name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": $pattern, "maxLength": $max })
            }
        }
    };
}

name!(
    /// A tenant's id: opaque, never changed and never reused.
    ///
    /// # Examples
    /// ```
    /// use tenantgate::model::TenantId;
    /// assert!(TenantId::parse("t_acme").is_some());
    /// assert!(TenantId::parse("../victim").is_none());
    /// ```
    TenantId, MAX_TENANT_ID_BYTES, "^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$",
    |text| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
);

name!(
    /// A tenant's name in hosts and paths: one DNS label in lower case, not an A-label. May change.
    ///
    /// `constructor` and `prototype` are invalid, because every JavaScript object has members of
    /// these names.
    Slug, MAX_SLUG_BYTES, "^(?!xn--|constructor$|prototype$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
    |text| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && text.as_bytes().first() != Some(&b'-') && text.as_bytes().last() != Some(&b'-') && !text.starts_with("xn--")
        && text != "constructor" && text != "prototype"
);

name!(
    /// The key of a feature, limit, add-on or variant. Case-sensitive: `SSO` is not `sso`.
    Key, MAX_KEY_BYTES, "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$",
    |text| text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
);

name!(
    /// A plan and its version: `pro@2`.
    PlanRef, MAX_KEY_BYTES, "^[A-Za-z0-9][A-Za-z0-9_.-]*@[1-9][0-9]{0,8}$",
    |text| text.split_once('@').is_some_and(|(name, version)| {
        Key::is_valid(name)
            && version.len() <= 9
            && version.bytes().all(|b| b.is_ascii_digit())
            && !version.starts_with('0')
            && !version.is_empty()
    })
);

name!(
    /// The name of a realtime channel, such as `orders` or `chat:42`.
    ChannelName, MAX_CHANNEL_BYTES, "^[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}$",
    |text| text.bytes().all(is_of_channel) && text.starts_with(|c: char| c.is_ascii_alphanumeric())
);

name!(
    /// The name of a channel, or the beginning of names with `*` at its end.
    ChannelPattern, MAX_CHANNEL_BYTES, "^([A-Za-z0-9][A-Za-z0-9_.:-]*)?\\*?$",
    |text| {
        let prefix = text.strip_suffix('*').unwrap_or(text);
        prefix.is_empty() || ChannelName::is_valid(prefix)
    }
);

const fn is_of_channel(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-')
}

name!(
    /// The id of an API key: its public part.
    KeyId, 16, "^[0-9A-Za-z]{16}$",
    |text| text.len() == 16 && text.bytes().all(|b| b.is_ascii_alphanumeric())
);

name!(
    /// A scope of a credential (RFC 6749 §3.3), such as `api.read`.
    Scope, MAX_SCOPE_BYTES, "^[!#-\\[\\]-~]+$",
    |text| text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\'))
);

/// The number of a document's publication. It only grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Read for Epoch {
    fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
        super::limit::quantity(value, reader).map(Self)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Epoch {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Epoch".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "integer", "minimum": 0, "maximum": super::bounds::MAX_QUANTITY })
    }
}
