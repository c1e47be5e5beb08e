//! How a tenant looks. Every value is safe to put into a page: what could break out of an attribute or a style is refused.

use serde_json::Value;

use super::bounds::{MAX_BRAND_NAME_BYTES, MAX_URL_BYTES};
use super::resolution::is_host;
use super::{Read, Reader, document};

document! {
    /// How a tenant looks, for portals, mails and documentation.
    pub struct Branding {
        /// What it calls itself; no `<`, `>`, `&`, quotes or control characters.
        name: Option<BrandName> = None,
        /// Its logo, `https`.
        logo_url: Option<WebUrl> = None,
        /// Its main colour, such as `#0a7cff`.
        primary_color: Option<Color> = None,
        /// Its second colour.
        accent_color: Option<Color> = None,
        /// The family of its font: letters, digits, blanks and `-`.
        font_family: Option<FontFamily> = None,
        /// The domain that its mails are sent from.
        sender_domain: Option<SenderDomain> = None,
        /// Its documentation, `https`.
        docs_url: Option<WebUrl> = None,
        /// Where its people find help, `https`.
        support_url: Option<WebUrl> = None,
    }
}

macro_rules! safe_text {
    ($(#[doc = $doc:literal])* $Name:ident, $expected:literal, $valid:expr) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $Name(String);

        impl $Name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Read for $Name {
            fn read(value: &Value, r: &mut Reader) -> Option<Self> {
                let valid: fn(&str) -> bool = $valid;
                let text = value.as_str().filter(|text| valid(text));
                text.map(|text| Self(text.to_owned())).or_else(|| r.unexpected(value, $expected))
            }
        }

        #[cfg(feature = "schema")]
        impl schemars::JsonSchema for $Name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($Name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "description": $expected })
            }
        }
    };
}

safe_text!(
    /// A name that is safe in HTML.
    BrandName, "1 to 120 bytes without `<`, `>`, `&`, quotes or control characters",
    |text| !text.is_empty() && text.len() <= MAX_BRAND_NAME_BYTES
        && !text.chars().any(|c| matches!(c, '<' | '>' | '&' | '"' | '\'' | '`') || c.is_control())
);
safe_text!(
    /// An `https` URL that is safe in HTML and CSS.
    WebUrl, "an `https://` URL of a host and plain characters, at most 480 bytes",
    |text| text.len() <= MAX_URL_BYTES && text.strip_prefix("https://").is_some_and(|rest| {
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        is_host(host) && path.bytes().all(|b| {
            b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'.' | b'_' | b'~' | b'%' | b'?' | b'=' | b'&' | b'#' | b'+' | b'@' | b':' | b',')
        })
    })
);
safe_text!(
    /// A colour in hexadecimal.
    Color, "a colour such as `#0a7cff`",
    |text| text.strip_prefix('#').is_some_and(|hex| hex.len() == 6 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
);
safe_text!(
    /// A font's family.
    FontFamily, "1 to 64 letters, digits, blanks and `-`",
    |text| !text.is_empty() && text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b' ' | b'-'))
);
safe_text!(
    /// A domain that mails are sent from.
    SenderDomain, "a domain of two labels or more, lower case, as A-labels",
    |text| is_host(text) && text.contains('.') && !text.contains('_')
);
