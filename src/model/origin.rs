//! The origin policy: which parts of a client's request the origin receives.

use super::bounds::{MAX_ASSERTED_FEATURES, MAX_HEADER_NAME_BYTES, MAX_ORIGIN_HEADERS};
use super::resolution::is_token;
use super::{Key, Reader, choice, document};

choice! {
    /// Which of the client's headers the origin receives.
    pub enum HeaderMode {
        /// All headers except those that could make an origin serve another route, method, host or
        /// scheme than the one decided on: names with characters other than letters, digits and
        /// `-`, and names that override one of these, such as `X-Original-URL`.
        Safe = "safe",
        /// Only headers that standards or browsers define.
        Strict = "strict",
    }
}

document! {
    /// Which parts of a client's request the origin receives.
    pub struct Origin {
        /// Which of the client's headers the origin receives: `safe` or `strict`. Default `safe`.
        headers: HeaderMode = HeaderMode::Safe,
        /// Names of further headers that the origin receives. Headers that name a tenant or that
        /// the gate sets are not allowed.
        allow_headers: Vec<String> = Vec::new(),
        /// Whether the query parameter `_method` is forwarded. An origin that takes the method from
        /// it must not be behind routes that differ by method. Default false.
        method_override: bool = false,
        /// Whether the origin adds `X-Forwarded-Prefix` to its paths itself. Otherwise the gate
        /// adds it to `Location` and to the paths of cookies. Default false.
        adds_prefix: bool = false,
        /// What the assertion tells the origin in addition to tenant, plan and caller. Default:
        /// nothing.
        assertion: Option<AssertionClaims> = None,
    } => Origin::check
}

document! {
    /// What an assertion tells the origin in addition to tenant, plan and caller.
    pub struct AssertionClaims {
        /// Features whose values are the claim `features`. At most 32. The claim is left out if it
        /// is larger than 4 KiB.
        features: Vec<Key> = Vec::new(),
        /// Whether the claim `limits` has the limits that the request was charged to. Each request
        /// then has an assertion of its own. The claim is left out if it is larger than 4 KiB.
        /// Default false.
        limits: bool = false,
    } => AssertionClaims::check
}

impl AssertionClaims {
    fn check(&self, r: &mut Reader) {
        r.at("features", |r| r.at_most(self.features.len(), MAX_ASSERTED_FEATURES));
    }
}

impl Origin {
    fn check(&self, r: &mut Reader) {
        r.at("allow_headers", |r| {
            r.at_most(self.allow_headers.len(), MAX_ORIGIN_HEADERS);
            for (index, name) in self.allow_headers.iter().enumerate() {
                let own = name.to_ascii_lowercase();
                if !is_token(name) || name.len() > MAX_HEADER_NAME_BYTES {
                    r.at_index(index, |r| r.problem(format!("`{name}`"), "a header name"));
                } else if own.starts_with("x-tenant-") || OWN.contains(&own.as_str()) {
                    r.at_index(index, |r| {
                        r.problem(format!("`{name}`"), "a header that the gate neither sets nor hides")
                    });
                }
            }
        });
    }

    /// The policy in the form that the adapter reads: the mode, then the allowed headers, separated
    /// by commas.
    pub fn policy(&self) -> String {
        let names = self.allow_headers.iter().map(|name| format!(",{}", name.to_ascii_lowercase()));
        std::iter::once(self.headers.as_str().to_owned()).chain(names).collect()
    }
}

/// Headers that the gate sets, and headers of the connection.
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
