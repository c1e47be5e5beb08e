//! The features of one tenant that a web page may know.
//!
//! Only features marked `client` are included, with only the rules that can apply to the tenant.
//! Conditions on the tenant are evaluated and removed. Conditions on the context and the names of
//! rules are published as they stand.

use std::collections::{BTreeMap, BTreeSet};

use super::catalog::CompiledCatalog;
use super::entitlements::Entitlements;

use crate::flags::{Answer, Slots, Subject, TENANT_ATTRIBUTES, holds_for};
use crate::model::{Epoch, Feature, Key, Rule, UnixMillis, gather};

/// The features of one tenant that a page may know.
#[derive(Debug)]
pub struct ClientView<'a> {
    /// The tenant.
    pub tenant: &'a Entitlements,
    /// The catalog's version.
    pub catalog: Epoch,
    /// When the next dated term of the tenant starts or ends.
    pub valid_until: Option<UnixMillis>,
    /// Features with one answer for all users. A feature that also stands in `features` has this
    /// answer once its prerequisites are on.
    pub constant: Vec<Answer>,
    /// Features whose answer depends on the context, reduced to what can apply.
    pub features: BTreeMap<&'a Key, Feature>,
}

impl<'a> ClientView<'a> {
    /// The view of a tenant's features at `now`.
    pub fn new(catalog: &'a CompiledCatalog, tenant: &'a Entitlements, now: UnixMillis) -> Self {
        let all = &catalog.document.features;
        let nobody = Slots::from_elem(None, catalog.features.attributes().len());
        let facts = tenant.facts(&nobody, now);
        let granted =
            |id: u32| usize::try_from(id).is_ok_and(|id| tenant.grants().get(id).is_some_and(Option::is_some));
        // Features whose answer may differ between two users of one tenant.
        let varies =
            |feature: &Feature| applicable(feature, facts.subject, now).first().is_some_and(|rule| !is_constant(rule));
        let open = (0..).zip(all).filter(|(id, (_, feature))| feature.client && !feature.kill && !granted(*id));
        let open: BTreeSet<&Key> = gather(open.filter(|(_, (_, feature))| varies(feature)).map(|(_, (key, _))| key));
        let (mut constant, mut features) = (Vec::new(), BTreeMap::new());
        let set = &catalog.features;
        for (id, (key, feature)) in (0..).zip(all).filter(|(_, (_, feature))| feature.client) {
            let requires: Vec<Key> =
                set.requires(id).map(|(_, key)| key).filter(|key| open.contains(key)).cloned().collect();
            // A feature is off for all users if it lacks a prerequisite that no context turns on.
            let lacking = |(id, key): (u32, &Key)| !open.contains(key) && !set.is_on_by_itself(id, facts);
            let off = feature.kill || set.requires(id).any(lacking);
            let depends = !off && (open.contains(key) || !requires.is_empty());
            let granted = granted(id);
            if !depends || granted {
                // The page itself evaluates prerequisites that depend on the context.
                constant.extend(if depends { set.granted(id, facts) } else { set.evaluate(id, facts) });
            }
            if depends {
                let rules = if granted { Vec::new() } else { applicable(feature, facts.subject, now) };
                features.insert(key, published(feature, requires, rules));
            }
        }
        let valid_until = Some(tenant.valid_until()).filter(|until| *until != UnixMillis::MAX);
        Self { tenant, catalog: catalog.document.version, valid_until, constant, features }
    }
}

/// The rules that can still apply to a tenant, up to the first that always does. Conditions on the
/// tenant are evaluated and removed.
fn applicable(feature: &Feature, subject: Subject<'_>, now: UnixMillis) -> Vec<Rule> {
    let mut rules = Vec::new();
    for rule in &feature.rules {
        let over = rule.ends_at.is_some_and(|ends| ends <= now);
        let foreign = rule.when.iter().any(|condition| holds_for(subject, condition) == Some(false));
        if over || foreign || lacks(rule, subject) {
            continue;
        }
        let mut rule = rule.clone();
        rule.when.retain(|condition| holds_for(subject, condition).is_none());
        rule.starts_at = rule.starts_at.filter(|starts| now < *starts);
        let last = is_constant(&rule);
        rules.push(rule);
        if last {
            break;
        }
    }
    rules
}

/// Whether a rule is a rollout by an attribute that the tenant lacks.
fn lacks(rule: &Rule, subject: Subject<'_>) -> bool {
    rule.rollout.as_ref().is_some_and(|rollout| match rollout.by.as_str() {
        "tenant.plan" => subject.plan.is_none(),
        "tenant.region" => subject.region.is_none(),
        _ => false,
    })
}

/// Whether a rule gives all users of the tenant the same answer.
fn is_constant(rule: &Rule) -> bool {
    let by_tenant = rule.rollout.as_ref().is_none_or(|rollout| TENANT_ATTRIBUTES.contains(&rollout.by.as_str()));
    rule.when.is_empty() && rule.starts_at.is_none() && rule.ends_at.is_none() && by_tenant
}

/// A feature as pages see it.
fn published(feature: &Feature, requires: Vec<Key>, rules: Vec<Rule>) -> Feature {
    let served = |variant: &Key| {
        rules.iter().any(|rule| {
            let split = rule.rollout.iter().flat_map(|rollout| &rollout.split).map(|entry| &entry.variant);
            split.chain([&rule.variant]).any(|named| named.as_ref() == Some(variant))
        })
    };
    let variants = feature.variants.iter().filter(|(key, _)| served(key));
    Feature {
        variants: gather(variants.map(|(key, value)| (key.clone(), value.clone()))),
        type_: feature.type_,
        default: feature.default.clone(),
        kill: false,
        client: true,
        description: None,
        requires,
        rules,
    }
}
