//! Quota periods that have ended: the total of each, under the allowance that it ended with.
//!
//! A counter holds one period. When the next one begins, the total of the last is stored for good,
//! so that overage can be billed later whatever the settings are then.

use serde::{Deserialize, Serialize};

use super::quota::Quota;

/// A quota period and its total.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaPeriod {
    /// Start of the period, in milliseconds since 1970.
    pub starts_ms: u64,
    /// End of the period, exclusive.
    pub ends_ms: u64,
    /// Units used. Units that were leased when the period ended count as used.
    pub used: u64,
    /// The limit when the quota was last judged. `None` if unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Whether the quota may exceed its limit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub over: bool,
}

/// A query for the periods of a tenant's quotas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaInquiry<'a> {
    /// The tenant.
    pub tenant: &'a str,
    /// Only periods that end after this time, in milliseconds since 1970.
    pub from_ms: u64,
    /// Only periods that start at or before this time, in milliseconds since 1970.
    pub to_ms: u64,
}

impl QuotaPeriod {
    pub(super) fn is_within(&self, inquiry: &QuotaInquiry<'_>) -> bool {
        self.ends_ms > inquiry.from_ms && self.starts_ms <= inquiry.to_ms
    }
}

impl From<Quota> for QuotaPeriod {
    fn from(quota: Quota) -> Self {
        let (starts_ms, ends_ms) = quota.period();
        let (limit, over) = quota.terms();
        Self { starts_ms, ends_ms, used: quota.total(), limit, over }
    }
}
