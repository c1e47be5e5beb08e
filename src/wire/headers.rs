//! Response headers of a decision: `RateLimit-Policy` and `RateLimit`
//! (draft-ietf-httpapi-ratelimit-headers-10), `Retry-After`, `WWW-Authenticate` (RFC 9110 §11.6.1,
//! RFC 6750 §3).

use std::fmt::Write as _;

use crate::gate::{Decision, LimitCheck};
use crate::ledger::Meter;
use crate::model::{Scope, UnixMillis};

/// Returns the seconds for `Retry-After`: rounded up, at least 1, never less than the `t` of the
/// limit that refuses.
pub fn retry_after_s(decision: &Decision) -> Option<u64> {
    decision.extras().retry_after_ms.map(whole_seconds)
}

/// Returns the value of `WWW-Authenticate`, which names the credentials that a caller may present.
/// It reveals no more about an invalid token than the codes of RFC 6750.
pub fn www_authenticate(decision: &Decision) -> Option<String> {
    let challenge = decision.extras().challenge.as_ref()?;
    let mut schemes = Vec::new();
    if challenge.token || challenge.invalid_token {
        let mut bearer = format!("Bearer {REALM}");
        if challenge.invalid_token {
            bearer.push_str(", error=\"invalid_token\"");
        } else if !challenge.scopes.is_empty() {
            let scopes: Vec<_> = challenge.scopes.iter().map(Scope::as_str).collect();
            bearer.push_str(&format!(", error=\"insufficient_scope\", scope=\"{}\"", scopes.join(" ")));
        }
        schemes.push(bearer);
    }
    if challenge.api_key {
        schemes.push(format!("ApiKey {REALM}"));
    }
    Some(schemes.join(", "))
}

const REALM: &str = "realm=\"tenantgate\"";

/// Returns the values of `RateLimit-Policy` and `RateLimit`, or `None` if no limit was charged.
///
/// A limit with several budgets in the tenant's line is reported once, by the budget with the
/// fewest units left. Shadow limits and unlimited allowances are omitted, because they promise
/// nothing.
pub fn rate_limit_headers(decision: &Decision) -> Option<(String, String)> {
    let (mut policies, mut states) = (String::new(), String::new());
    for (index, gauged) in decision.limits.iter().enumerate() {
        let Some(verdict) = gauged.verdict.filter(|_| !gauged.budget.shadow) else { continue };
        let Some(limit) = verdict.limit.filter(|_| tightest(decision, index, gauged)) else { continue };
        let wait_ms =
            if verdict.allowed { verdict.reset_ms } else { verdict.retry_after_ms.unwrap_or(verdict.reset_ms) };
        let (comma, key) = (if policies.is_empty() { "" } else { ", " }, &gauged.budget.limit);
        // Writing to a string cannot fail.
        let _ = write!(policies, "{comma}\"{key}\";q={limit}");
        if let Some(window_ms) = window_ms(gauged.budget.meter) {
            let _ = write!(policies, ";w={}", whole_seconds(window_ms));
        }
        let _ = write!(states, "{comma}\"{key}\";r={}", verdict.remaining);
        if wait_ms > 0 {
            let _ = write!(states, ";t={}", whole_seconds(wait_ms));
        }
    }
    (!policies.is_empty()).then_some((policies, states))
}

/// Whether no other budget of the same limit has fewer units left.
fn tightest(decision: &Decision, index: usize, gauged: &LimitCheck) -> bool {
    let rank =
        |gauged: &LimitCheck, index: usize| (gauged.verdict.map_or(u64::MAX, |verdict| verdict.remaining), index);
    decision
        .limits
        .iter()
        .enumerate()
        .filter(|(_, other)| {
            other.budget.limit == gauged.budget.limit && other.verdict.is_some_and(|verdict| verdict.limit.is_some())
        })
        .all(|(other_index, other)| rank(gauged, index) <= rank(other, other_index))
}

fn window_ms(meter: Meter) -> Option<u64> {
    match meter {
        Meter::Rate(rate) => Some(rate.window_ms),
        Meter::Window { window_ms, .. } => Some(window_ms),
        Meter::Quota { starts_ms, ends_ms, .. } => Some(UnixMillis::new(ends_ms).since(UnixMillis::new(starts_ms))),
        Meter::Gauge { .. } | Meter::Concurrency { .. } => None,
    }
}

fn whole_seconds(millis: u64) -> u64 {
    millis.div_ceil(1_000).max(1)
}
