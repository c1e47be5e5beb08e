//! Licences: the terms under which software that runs outside the gate may be used.
//!
//! A licence has a status, a validity period, hosts and a maximum number of activations.
//! [`LicenceTerms::refusal`] checks everything except the activations, which the admin API counts
//! in D1.

use serde_json::Value;

use super::bounds::{MAX_ACTIVATION_MS, MAX_DOMAINS, MAX_OFFLINE_MS, MIN_ACTIVATION_MS};
use super::resolution::is_host;
use super::{Quantity, Read, Reader, UnixMillis, choice, document};

choice! {
    /// The status of a licence.
    pub enum LicenceStatus {
        /// The licence is in force.
        Active = "active",
        /// Temporarily not in force.
        Suspended = "suspended",
        /// Permanently ended.
        Revoked = "revoked",
    }
}

document! {
    /// The terms of a licence.
    pub struct LicenceTerms {
        /// Display name. Not interpreted.
        name: Option<String> = None,
        /// The status. Default `active`.
        status: LicenceStatus = LicenceStatus::Active,
        /// Hosts on which the licence is valid: an exact host such as `example.com`, or
        /// `*.example.com` for hosts with exactly one more label. Default: all hosts.
        domains: Vec<DomainPattern> = Vec::new(),
        /// Start of validity. Default: no start time.
        starts_at: Option<UnixMillis> = None,
        /// End of validity, exclusive. Default: never.
        expires_at: Option<UnixMillis> = None,
        /// Maximum number of activated instances. Default: unlimited.
        max_activations: Option<Quantity> = None,
        /// Milliseconds for which a signed token may be used without contacting the gate, at most
        /// 7776000000 (90 days). Default 604800000 (one week). 0 issues no token.
        offline_ms: Quantity = Quantity(604_800_000),
        /// Milliseconds without a check after which an instance loses its activation, 60000 to
        /// 31536000000 (one year). Default: never.
        activation_ms: Option<Quantity> = None,
    } => LicenceTerms::check
}

impl LicenceTerms {
    fn check(&self, r: &mut Reader) {
        r.at("domains", |r| r.at_most(self.domains.len(), MAX_DOMAINS));
        if self.offline_ms.0 > MAX_OFFLINE_MS {
            r.at("offline_ms", |r| r.problem(self.offline_ms.0.to_string(), format!("0 to {MAX_OFFLINE_MS}")));
        }
        let idle = MIN_ACTIVATION_MS..=MAX_ACTIVATION_MS;
        if let Some(Quantity(given)) = self.activation_ms.filter(|given| !idle.contains(&given.0)) {
            let expected = format!("{MIN_ACTIVATION_MS} to {MAX_ACTIVATION_MS}");
            r.at("activation_ms", |r| r.problem(given.to_string(), expected));
        }
        super::dates::check_dates(self.starts_at, self.expires_at, r);
    }

    /// The reason why the licence is not valid on `host` at `now`, or `None` if it is valid.
    pub fn refusal(&self, host: Option<&str>, now: UnixMillis) -> Option<LicenceCode> {
        match self.status {
            LicenceStatus::Revoked => return Some(LicenceCode::Revoked),
            LicenceStatus::Suspended => return Some(LicenceCode::Suspended),
            LicenceStatus::Active => {}
        }
        if self.expires_at.is_some_and(|at| at <= now) {
            return Some(LicenceCode::Expired);
        }
        if self.starts_at.is_some_and(|at| at > now) {
            return Some(LicenceCode::NotYet);
        }
        let covers = |host: &str| self.domains.iter().any(|pattern| pattern.covers(host));
        if !self.domains.is_empty() && !host.is_some_and(covers) {
            return Some(LicenceCode::DomainNotAllowed);
        }
        None
    }
}

choice! {
    /// The result of a licence check.
    pub enum LicenceCode {
        /// The licence is valid.
        Valid = "VALID",
        /// The licence does not exist.
        Unknown = "LICENCE_UNKNOWN",
        /// The licence is suspended.
        Suspended = "LICENCE_SUSPENDED",
        /// The licence was revoked.
        Revoked = "LICENCE_REVOKED",
        /// The licence has expired.
        Expired = "LICENCE_EXPIRED",
        /// The licence is not valid yet.
        NotYet = "LICENCE_NOT_YET_VALID",
        /// The licence is not valid on this domain.
        DomainNotAllowed = "DOMAIN_NOT_ALLOWED",
        /// The maximum number of instances is activated.
        ActivationsExceeded = "ACTIVATIONS_EXCEEDED",
        /// The licence's tenant is not served.
        TenantInactive = "TENANT_INACTIVE",
    }
}

/// A host, or `*.` followed by a host for hosts with exactly one more label.
///
/// INVARIANT (whole labels): a pattern never matches part of a label. Neither `evil-example.com`
/// nor `example.com.evil.net` matches `example.com`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainPattern(String);

impl DomainPattern {
    /// Whether the pattern covers a host. Letter case, one trailing dot and a port are ignored.
    ///
    /// # Examples
    /// ```
    /// use tenantgate::model::DomainPattern;
    /// let pattern = DomainPattern::parse("*.example.com").unwrap();
    /// assert!(pattern.covers("Shop.Example.com."));
    /// for other in ["example.com", "a.b.example.com", "shop.example.com.evil.net", "shopexample.com"] {
    ///     assert!(!pattern.covers(other), "{other}");
    /// }
    /// ```
    pub fn covers(&self, host: &str) -> bool {
        let port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let host = host.rsplit_once(':').filter(|(_, after)| port(after)).map_or(host, |(host, _)| host);
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        match self.0.strip_prefix("*.") {
            None => host == self.0,
            Some(base) => host
                .strip_suffix(base)
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(|label| is_host(label) && !label.contains('.')),
        }
    }

    /// Parses a pattern. Returns `None` if it is invalid.
    pub fn parse(text: &str) -> Option<Self> {
        let host = text.strip_prefix("*.").unwrap_or(text);
        (is_host(host) && (host.contains('.') || host == "localhost")).then(|| Self(text.to_owned()))
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Read for DomainPattern {
    fn read(value: &Value, r: &mut Reader) -> Option<Self> {
        value
            .as_str()
            .and_then(Self::parse)
            .or_else(|| r.unexpected(value, "a host, or `*.` followed by a host, with A-labels"))
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for DomainPattern {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DomainPattern".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^(\\*\\.)?[a-z0-9_-]+(\\.[a-z0-9_-]+)*$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_compared_by_whole_labels() {
        let exact = DomainPattern::parse("example.com").unwrap();
        for host in ["example.com", "EXAMPLE.com.", "example.com:8443"] {
            assert!(exact.covers(host), "{host}");
        }
        for host in [
            "",
            "example.co",
            "evil-example.com",
            "example.com.evil.net",
            "www.example.com",
            "example.com/",
            "xexample.com",
            "example.com1",
        ] {
            assert!(!exact.covers(host), "{host}");
        }
        for text in ["*", "*.com.", "*.*.example.com", "a*.example.com", "example.com/", "*com", "com", ""] {
            assert!(DomainPattern::parse(text).is_none(), "{text}");
        }
        assert!(!DomainPattern::parse("*.example.com").unwrap().covers("*.example.com"));
    }
}
