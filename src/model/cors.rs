//! CORS policies: which pages of other origins may read the responses of a group of routes.

use serde_json::Value;

use super::bounds::{MAX_CORS_AGE_S, MAX_CORS_HEADERS, MAX_CORS_ORIGINS, MAX_HEADER_NAME_BYTES};
use super::limit::Quantity;
use super::resolution::{is_host, is_token};
use super::{Reader, document};

document! {
    /// A CORS policy: which pages of other origins may read the responses of a group of routes. The
    /// gate answers preflights itself, before it asks for a credential. It sets the headers on all
    /// responses of these routes, including denials and the origin's own responses.
    pub struct Cors {
        /// Origins whose pages are allowed: `https://app.example.com`, `https://*.example.com` for
        /// exactly one more label, or `*` alone for all.
        origins: Vec<String>,
        /// Methods that pages may use. Default: `GET`, `HEAD`, `POST`, `PUT`, `PATCH` and `DELETE`.
        methods: Vec<String> = Vec::new(),
        /// Headers that pages may send. Default: all that a preflight asks for.
        headers: Option<Vec<String>> = None,
        /// Response headers that pages may read, in addition to `RateLimit-Policy`, `RateLimit`,
        /// `Retry-After`, `ETag` and `WWW-Authenticate`.
        expose_headers: Vec<String> = Vec::new(),
        /// Whether pages may send cookies and read the response. Not with `*`. Default false.
        credentials: bool = false,
        /// Seconds for which a browser caches a preflight, 0 to 86400. Default 600.
        max_age_s: Quantity = Quantity(600),
    } => Cors::check
}

impl Cors {
    fn check(&self, r: &mut Reader) {
        r.at("origins", |r| {
            r.at_most(self.origins.len(), MAX_CORS_ORIGINS);
            if self.origins.is_empty() {
                r.problem("an empty list", "at least one origin");
            }
            for (index, origin) in self.origins.iter().enumerate() {
                let all = origin == ANY && self.origins.len() == 1;
                if !all && !is_origin(origin) {
                    r.at_index(index, |r| {
                        r.unexpected::<()>(
                            &Value::from(origin.as_str()),
                            "an origin as browsers send it: scheme and host in lower case, no path, no default port; or `*` alone",
                        )
                    });
                }
            }
            if self.credentials && self.origins.iter().any(|origin| origin == ANY) {
                r.problem("`*` with `credentials`", "named origins: browsers reject `*` here, and it would open every tenant to every page");
            }
        });
        for (index, method) in self.methods.iter().enumerate() {
            if method.is_empty() || !method.bytes().all(|b| b.is_ascii_uppercase()) {
                r.at("methods", |r| {
                    r.at_index(index, |r| r.unexpected::<()>(&Value::from(method.as_str()), "a method in upper case"))
                });
            }
        }
        let lists =
            [("headers", self.headers.as_deref().unwrap_or_default()), ("expose_headers", &self.expose_headers)];
        for (name, list) in lists {
            r.at(name, |r| {
                r.at_most(list.len(), MAX_CORS_HEADERS);
                for (index, header) in list.iter().enumerate() {
                    if !is_token(header) || header.len() > MAX_HEADER_NAME_BYTES {
                        r.at_index(index, |r| r.unexpected::<()>(&Value::from(header.as_str()), "a header name"));
                    }
                }
            });
        }
        r.at("methods", |r| r.at_most(self.methods.len(), MAX_CORS_HEADERS));
        if self.max_age_s.0 > MAX_CORS_AGE_S {
            r.at("max_age_s", |r| r.problem(self.max_age_s.0.to_string(), format!("0 to {MAX_CORS_AGE_S}")));
        }
    }

    /// Whether the policy allows all origins.
    pub fn allows_all(&self) -> bool {
        self.origins.iter().any(|origin| origin == ANY)
    }

    /// Whether the policy allows an origin, written as browsers send it.
    pub fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|allowed| match allowed.split_once("*.") {
            // INVARIANT (whole labels): `*` matches exactly one label, so that no other site's name
            // can end like an allowed one.
            Some((scheme, base)) => origin
                .strip_prefix(scheme)
                .and_then(|host| host.strip_suffix(base)?.strip_suffix('.'))
                .is_some_and(is_label),
            None => allowed == ANY || allowed == origin,
        })
    }
}

/// Whether a text is one label of a host. An allowed origin is repeated in a response header, so
/// nothing else may pass.
fn is_label(text: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    !text.is_empty() && text.bytes().all(is_plain)
}

/// The entry that allows all origins.
const ANY: &str = "*";

/// Whether a text is an origin as browsers serialise it, or such an origin with `*` as its first
/// label. Any other entry would never match.
fn is_origin(text: &str) -> bool {
    let Some((scheme, authority)) = text.split_once("://") else { return false };
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.'));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let default = match scheme {
        "http" => "80",
        "https" => "443",
        _ => "",
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|n| n > 0 && n.to_string() == port) && port != default;
    let host = host.strip_prefix("*.").filter(|base| base.contains('.')).unwrap_or(host);
    is_scheme && is_host(host) && port.is_none_or(is_port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cors(value: &Value) -> Result<Cors, crate::model::Problems> {
        Reader::run(|r| crate::model::Read::read(value, r))
    }

    #[test]
    fn origins_match_by_whole_labels() {
        let policy = cors(&json!({ "origins": ["https://app.example.com", "https://*.tenants.example.com:8443", "capacitor://localhost"] }))
            .unwrap();
        let allowed = ["https://app.example.com", "https://acme.tenants.example.com:8443", "capacitor://localhost"];
        let others = [
            "http://app.example.com",
            "https://app.example.com.evil.example",
            "https://eviltenants.example.com:8443",
            "https://tenants.example.com:8443",
            "https://.tenants.example.com:8443",
            "https://a.b.tenants.example.com:8443",
            "https://acme.tenants.example.com",
            "https://evil.example/x.tenants.example.com:8443",
            "https://user@tenants.example.com:8443",
            "https://a\tb c.tenants.example.com:8443",
            "https://A.tenants.example.com:8443",
            "null",
            "*",
            "",
        ];
        assert!(allowed.iter().all(|origin| policy.allows(origin)));
        for origin in others {
            assert!(!policy.allows(origin), "{origin}");
        }
    }

    #[test]
    fn origins_that_could_never_match_are_rejected() {
        for origin in [
            "null",
            "app.example.com",
            "https://app.example.com/",
            "https://App.example.com",
            "https://app.example.com:443",
            "http://app.example.com:80",
            "https://app.example.com:0443",
            "https://app.example.com:0",
            "https://*",
            "https://*.com",
            "https://*.*.example.com",
            "https://a.*.example.com",
            "https://user@example.com",
            "https://",
            "://example.com",
            "*.example.com",
            "",
        ] {
            assert!(cors(&json!({ "origins": [origin] })).is_err(), "{origin}");
        }
        assert!(cors(&json!({ "origins": ["https://[::1]:8080"] })).is_ok());
        assert!(cors(&json!({ "origins": ["*"] })).is_ok());
        assert!(cors(&json!({ "origins": ["*"], "credentials": true })).is_err());
        assert!(cors(&json!({ "origins": ["*", "https://example.com"] })).is_err());
        assert!(cors(&json!({ "origins": [] })).is_err());
        assert!(cors(&json!({ "origins": ["*"], "max_age_s": 86_400 })).is_ok());
        assert!(cors(&json!({ "origins": ["*"], "max_age_s": 86_401 })).is_err());
        assert!(cors(&json!({ "origins": ["*"], "methods": ["get"] })).is_err());
        assert!(cors(&json!({ "origins": ["*"], "headers": ["x y"] })).is_err());
    }
}
