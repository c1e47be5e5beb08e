//! What stands behind the gate, and what it is told of a request.

use super::bounds::{MAX_HEADER_NAME_BYTES, MAX_ORIGIN_HEADERS};
use super::resolution::is_token;
use super::{Reader, choice, document};

choice! {
    /// Which headers of a client the origin is given.
    pub enum HeaderMode {
        /// All but those by which an origin may serve another route, method, host or scheme than was judged: names with other characters
        /// than letters, digits and `-`, and names that speak of such a thing, as `X-Original-URL` does.
        Safe = "safe",
        /// Those that standards and browsers know, and no others.
        Strict = "strict",
    }
}

document! {
    /// What the origin is told of a request.
    pub struct Origin {
        /// Which headers of a client it is given: `safe` or `strict`. Default `safe`.
        headers: HeaderMode = HeaderMode::Safe,
        /// Headers that it is given besides, by name. None that names a tenant, or that the gate sets.
        allow_headers: Vec<String> = Vec::new(),
        /// Whether the parameter `_method` of a query is handed on: an origin that takes it for the method must not do so behind routes
        /// that differ by it. Default false.
        method_override: bool = false,
        /// Whether the origin puts `X-Forwarded-Prefix` before its paths by itself. Otherwise the gate does so with `Location` and with
        /// paths of cookies. Default false.
        adds_prefix: bool = false,
    } => Origin::check
}

impl Origin {
    fn check(&self, r: &mut Reader) {
        r.at("allow_headers", |r| {
            r.at_most(self.allow_headers.len(), MAX_ORIGIN_HEADERS);
            for (index, name) in self.allow_headers.iter().enumerate() {
                let own = name.to_ascii_lowercase();
                if !is_token(name) || name.len() > MAX_HEADER_NAME_BYTES {
                    r.at_index(index, |r| r.problem(format!("`{name}`"), "the name of a header"));
                } else if own.starts_with("x-tenant-") || OWN.contains(&own.as_str()) {
                    r.at_index(index, |r| r.problem(format!("`{name}`"), "no header that the gate sets or hides"));
                }
            }
        });
    }

    /// The policy, as the adapter reads it.
    pub fn policy(&self) -> String {
        let names = self.allow_headers.iter().map(|name| format!(",{}", name.to_ascii_lowercase()));
        std::iter::once(self.headers.as_str().to_owned()).chain(names).collect()
    }
}

/// Headers that the gate sets, or that are of the connection.
const OWN: [&str; 9] = [
    "host",
    "connection",
    "transfer-encoding",
    "content-length",
    "upgrade",
    "x-forwarded-host",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-gate-explain",
];
