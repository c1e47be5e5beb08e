//! A tenant's entitlements and remaining units, as JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use super::view::{AnswerView, LimitView, TenantView};
use crate::gate::Decision;

/// A tenant's features, each with its reason, and limits, each with the units that remain.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EntitlementsView<'a> {
    /// The tenant.
    pub tenant: Option<TenantView<'a>>,
    /// The catalog's version.
    pub catalog: u64,
    /// When the entitlements were compiled (RFC 3339).
    pub at: String,
    /// Every feature by key, evaluated without attributes.
    pub features: BTreeMap<&'a str, AnswerView<'a>>,
    /// Every limit that a ledger counts: the tenant's own before those of its ancestors.
    pub limits: Vec<LimitView<'a>>,
}

impl<'a> From<&'a Decision> for EntitlementsView<'a> {
    fn from(decision: &'a Decision) -> Self {
        let mut features = BTreeMap::new();
        for answer in &decision.features {
            features.insert(answer.key.as_ref(), answer.into());
        }
        Self {
            tenant: decision.tenant.as_deref().map(TenantView::from),
            catalog: decision.catalog.as_ref().map_or(0, |plans| plans.document().version.0),
            at: decision.decided_at.to_string(),
            features,
            limits: decision.limits.iter().map(|gauged| LimitView::new(gauged, decision)).collect(),
        }
    }
}
