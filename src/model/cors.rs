//! CORS: which pages of other origins may read the answers of a group of routes.

use serde_json::Value;

use super::bounds::{MAX_CORS_AGE_S, MAX_CORS_HEADERS, MAX_CORS_ORIGINS, MAX_HEADER_NAME_BYTES};
use super::limit::Quantity;
use super::resolution::{is_host, is_token};
use super::{Reader, document};

document! {
    /// Which pages of other origins may read the answers of a group of routes (CORS). The gate answers preflights itself, before it asks
    /// for a credential, and sets the headers on all answers of these routes, also on denials and on what the origin answers.
    pub struct Cors {
        /// Origins whose pages may: `https://app.example.com`, `https://*.example.com` for one label more, or `*` alone for all.
        origins: Vec<String>,
        /// Methods that pages may use. Default: `GET`, `HEAD`, `POST`, `PUT`, `PATCH` and `DELETE`.
        methods: Vec<String> = Vec::new(),
        /// Headers that pages may send. Default: whatever a page asks for.
        headers: Option<Vec<String>> = None,
        /// Headers of the origin's answers that pages may read, beside `RateLimit-Policy`, `RateLimit`, `Retry-After`, `ETag` and
        /// `WWW-Authenticate`.
        expose_headers: Vec<String> = Vec::new(),
        /// Whether pages may send cookies and read what comes back. Not with `*`. Default false.
        credentials: bool = false,
        /// Seconds for which a browser remembers a preflight, 0 to 86400. Default 600.
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
                            "an origin as browsers write it: scheme and host in lower case, no path, no default port; or `*` alone",
                        )
                    });
                }
            }
            if self.credentials && self.origins.iter().any(|origin| origin == ANY) {
                r.problem("`*` with `credentials`", "origins by name: browsers refuse this, and it would open every tenant");
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
                        r.at_index(index, |r| {
                            r.unexpected::<()>(&Value::from(header.as_str()), "the name of a header")
                        });
                    }
                }
            });
        }
        r.at("methods", |r| r.at_most(self.methods.len(), MAX_CORS_HEADERS));
        if self.max_age_s.0 > MAX_CORS_AGE_S {
            r.at("max_age_s", |r| r.problem(self.max_age_s.0.to_string(), format!("0 to {MAX_CORS_AGE_S}")));
        }
    }

    /// Whether pages of every origin may read the answers.
    pub fn allows_all(&self) -> bool {
        self.origins.iter().any(|origin| origin == ANY)
    }

    /// Whether pages of an origin, as a browser writes it, may read the answers.
    pub fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|allowed| match allowed.split_once("*.") {
            // INVARIANT (whole labels): `*` stands for one label, so that no other site's name ends like one of ours.
            Some((scheme, base)) => origin
                .strip_prefix(scheme)
                .and_then(|host| host.strip_suffix(base)?.strip_suffix('.'))
                .is_some_and(is_label),
            None => allowed == ANY || allowed == origin,
        })
    }
}

/// Whether a text is one label of a host. What is allowed is repeated in a header, so nothing else passes.
fn is_label(text: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    !text.is_empty() && text.bytes().all(is_plain)
}

/// Every origin.
const ANY: &str = "*";

/// Whether a text is an origin as browsers serialise it, or one with `*` for the first label. Others would never match.
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
    fn origins_are_whole_names() {
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
    fn what_could_never_match_is_refused() {
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
