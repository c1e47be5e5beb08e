//! A tenant's branding. Every value is safe in HTML attributes and CSS: values that could break out
//! of either are rejected.

use serde_json::Value;

use super::bounds::{MAX_BRAND_NAME_BYTES, MAX_URL_BYTES};
use super::resolution::is_host;
use super::{Read, Reader, document};

document! {
    /// A tenant's branding, for portals, mails and documentation.
    pub struct Branding {
        /// The tenant's brand name. No `<`, `>`, `&`, quotes or control characters.
        name: Option<BrandName> = None,
        /// The URL of the logo, `https`.
        logo_url: Option<WebUrl> = None,
        /// The primary colour, such as `#0a7cff`.
        primary_color: Option<Color> = None,
        /// The accent colour.
        accent_color: Option<Color> = None,
        /// The font family: letters, digits, spaces and `-`.
        font_family: Option<FontFamily> = None,
        /// The domain from which the tenant's mails are sent.
        sender_domain: Option<SenderDomain> = None,
        /// The URL of the documentation, `https`.
        docs_url: Option<WebUrl> = None,
        /// The URL of the support page, `https`.
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
    /// A brand name that is safe in HTML.
    BrandName, "1 to 120 bytes without `<`, `>`, `&`, quotes or control characters",
    |text| !text.is_empty() && text.len() <= MAX_BRAND_NAME_BYTES
        && !text.chars().any(|c| matches!(c, '<' | '>' | '&' | '"' | '\'' | '`') || c.is_control())
);
safe_text!(
    /// An `https` URL that is safe in HTML and CSS.
    WebUrl, "an `https://` URL of a host without port and plain characters, at most 480 bytes",
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
    /// A font family.
    FontFamily, "1 to 64 letters, digits, spaces and `-`",
    |text| !text.is_empty() && text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b' ' | b'-'))
);
safe_text!(
    /// A domain from which mails are sent.
    SenderDomain, "a domain of at least two labels, in lower case, as A-labels",
    |text| is_host(text) && text.contains('.') && !text.contains('_')
);
