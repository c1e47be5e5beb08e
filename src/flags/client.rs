//! Feature evaluation in a page, from a client snapshot.

use super::answer::AnswerId;
use super::answer::{Answer, Grant, Tier};
use super::rules::{Facts, Subject};
use super::set::FeatureSet;
use crate::model::{ClientSnapshot, ClientTenant, Problems, SettledTier, UnixMillis};
use crate::resolve::Attribute;

/// The features of one tenant that its pages may know.
///
/// # Examples
/// ```
/// use tenantgate::{flags::ClientFlags, model::UnixMillis, resolve::Attribute};
/// let flags = ClientFlags::parse(r#"{
///     "tenant": {"id": "t_acme", "slug": "acme", "plan": "pro@1"}, "catalog": 1, "epoch": 1,
///     "features": {"beta": {"rules": [
///         {"name": "nl", "when": [{"attribute": "country", "op": "eq", "value": "NL"}], "value": true}
///     ]}}
/// }"#).unwrap();
/// let context = flags.set().slots(&[("country", Attribute::Text("NL"))]);
/// let id = flags.set().id("beta").unwrap();
/// let outcome = flags.set().outcome(id, flags.facts(&context, UnixMillis::new(0))).unwrap();
/// assert!(flags.answer(id, outcome).unwrap().enabled);
/// ```
#[derive(Debug)]
pub struct ClientFlags {
    tenant: ClientTenant,
    set: FeatureSet,
    /// The decided value of features that still depend on prerequisites, by feature number.
    grants: Vec<Option<Grant>>,
}

impl ClientFlags {
    /// Parses a snapshot. Decided features need no evaluation, unless they require features that
    /// do. The other members of the snapshot are left to the caller.
    ///
    /// # Errors
    /// All problems, each with its JSON path.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        let ClientSnapshot { tenant, features, settled, .. } = ClientSnapshot::parse(text)?;
        let grants = features.keys().map(|key| settled.get(key).map(|own| Grant::new(&own.value, own.tier.into())));
        Ok(Self { tenant, set: FeatureSet::new(&features), grants: grants.collect() })
    }

    /// The features whose answer depends on the context.
    pub const fn set(&self) -> &FeatureSet {
        &self.set
    }

    /// The answer with the given id.
    pub fn answer(&self, id: u32, outcome: AnswerId) -> Option<Answer> {
        self.set.answer(id, outcome, self.facts(&[], UnixMillis::default()))
    }

    /// The facts by which features are evaluated.
    pub fn facts<'a>(&'a self, context: &'a [Option<Attribute<'a>>], now: UnixMillis) -> Facts<'a> {
        let ClientTenant { id, slug, plan, region } = &self.tenant;
        let plan = plan.as_ref().map(crate::model::PlanRef::as_str);
        let subject = Subject { id: id.as_str(), slug: slug.as_str(), plan, region: region.as_deref() };
        Facts { subject, grants: &self.grants, context, now }
    }
}

impl From<SettledTier> for Tier {
    fn from(tier: SettledTier) -> Self {
        match tier {
            SettledTier::Kill => Self::Kill,
            SettledTier::Override => Self::Override,
            SettledTier::Addon => Self::Addon,
            SettledTier::Contract => Self::Contract,
            SettledTier::Plan => Self::Plan,
            SettledTier::Default => Self::Default,
        }
    }
}
