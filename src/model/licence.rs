//! Licence keys: what software that runs elsewhere may be used for, and where.

use serde_json::Value;

use super::bounds::{MAX_ACTIVATION_MS, MAX_DOMAINS, MAX_OFFLINE_MS, MIN_ACTIVATION_MS};
use super::resolution::is_host;
use super::{Quantity, Read, Reader, UnixMillis, choice, document};

choice! {
    /// Where a licence stands.
    pub enum LicenceStatus {
        /// It is good.
        Active = "active",
        /// Stopped for a while.
        Suspended = "suspended",
        /// Ended for good.
        Revoked = "revoked",
    }
}

document! {
    /// What a licence is for.
    pub struct LicenceTerms {
        /// For people.
        name: Option<String> = None,
        /// Where it stands. Default `active`.
        status: LicenceStatus = LicenceStatus::Active,
        /// Hosts that it is good for: exact ones such as `example.com`, or `*.example.com` for those with one label more.
        domains: Vec<DomainPattern> = Vec::new(),
        /// From when it is good. Default: always.
        starts_at: Option<UnixMillis> = None,
        /// Until when it is good, exclusive. Default: for ever.
        expires_at: Option<UnixMillis> = None,
        /// Instances that may be activated. Default: any number.
        max_activations: Option<Quantity> = None,
        /// Milliseconds for which a signed token may stand in for an answer, up to 7776000000 (90 days). Default 604800000, a
        /// week; 0: no token.
        offline_ms: Quantity = Quantity(604_800_000),
        /// Milliseconds after which an instance that has not asked gives up its place, 60000 to 31536000000 (a year). Default: never.
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
        super::tenant::check_dates(self.starts_at, self.expires_at, r);
    }

    /// Why the licence is not good on `host` at `now`; `None`: it is.
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
    /// What becomes of the question whether a licence is good.
    pub enum LicenceCode {
        /// It is.
        Valid = "VALID",
        /// There is no such licence.
        Unknown = "LICENCE_UNKNOWN",
        /// It is suspended.
        Suspended = "LICENCE_SUSPENDED",
        /// It was revoked.
        Revoked = "LICENCE_REVOKED",
        /// It has expired.
        Expired = "LICENCE_EXPIRED",
        /// It is not good yet.
        NotYet = "LICENCE_NOT_YET_VALID",
        /// It is not for this domain.
        DomainNotAllowed = "DOMAIN_NOT_ALLOWED",
        /// As many instances are activated as may be.
        ActivationsExceeded = "ACTIVATIONS_EXCEEDED",
        /// Its tenant is not served.
        TenantInactive = "TENANT_INACTIVE",
    }
}

/// A host, or `*.` and a host: then those with exactly one label before it. INVARIANT (whole labels): never a part of one, so
/// that neither `evil-example.com` nor `example.com.evil.net` passes for `example.com`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainPattern(String);

impl DomainPattern {
    /// Whether a host is meant. Letters' case, one trailing dot and a port do not matter.
    ///
    /// # Examples
    /// ```
    /// use tenantgate::model::DomainPattern;
    /// let pattern = DomainPattern::parse("*.example.com").unwrap();
    /// assert!(pattern.covers("Shop.Example.com."));
    /// for other in ["example.com", "a.b.example.com", "shop.example.com.evil.net", "shopexample.com", ".example.com"] {
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

    /// Reads a pattern.
    pub fn parse(text: &str) -> Option<Self> {
        let host = text.strip_prefix("*.").unwrap_or(text);
        (is_host(host) && (host.contains('.') || host == "localhost")).then(|| Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Read for DomainPattern {
    fn read(value: &Value, r: &mut Reader) -> Option<Self> {
        value.as_str().and_then(Self::parse).or_else(|| r.unexpected(value, "a host, or `*.` and a host, as A-labels"))
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
