//! What a page may know of its tenant's features: only those that say so (`client`), only rules that can apply to the tenant,
//! and nothing that names another one.

use std::collections::BTreeMap;

use super::entitlements::Entitlements;
use super::plans::Plans;
use crate::flags::{Answer, Slots, Subject, TENANT_ATTRIBUTES, holds_for};
use crate::model::{Epoch, Feature, Key, Rule, UnixMillis};

/// The features of one tenant that a page may know.
#[derive(Debug)]
pub struct Visible<'a> {
    /// The tenant.
    pub tenant: &'a Entitlements,
    /// The catalog's version.
    pub catalog: Epoch,
    /// When something dated of the tenant changes next, if it does.
    pub valid_until: Option<UnixMillis>,
    /// Features that have one answer, whoever asks; where they stand below too, once what they require is on.
    pub settled: Vec<Answer>,
    /// Features whose answer depends on the context, as far as they can apply.
    pub features: BTreeMap<&'a Key, Feature>,
}

impl<'a> Visible<'a> {
    /// What may be known of a tenant's features at `now`.
    pub fn new(plans: &'a Plans, tenant: &'a Entitlements, now: UnixMillis) -> Self {
        let all = &plans.catalog.features;
        let nobody = Slots::from_elem(None, plans.features.attributes().len());
        let facts = tenant.facts(&nobody, now);
        let granted = |key: &Key| {
            let id = plans.features.id(key.as_str()).and_then(|id| usize::try_from(id).ok());
            id.and_then(|id| tenant.grants().get(id)).is_some_and(Option::is_some)
        };
        // What may differ between two who look at the same tenant's pages.
        let open: BTreeMap<&Key, Vec<Rule>> = all
            .iter()
            .filter(|(key, feature)| feature.client && !feature.kill && !granted(key))
            .map(|(key, feature)| (key, applicable(feature, facts.subject, now)))
            .filter(|(_, rules)| rules.first().is_some_and(|rule| !is_constant(rule)))
            .collect();
        let (mut settled, mut features) = (Vec::new(), BTreeMap::new());
        for (key, feature) in all.iter().filter(|(_, feature)| feature.client) {
            let requires: Vec<Key> = required(all, feature).into_iter().filter(|key| open.contains_key(key)).collect();
            // One that lacks something that no context brings is off for all. What that requires in turn is among `required`.
            let lacking = |key: &Key| {
                let id = plans.features.id(key.as_str());
                !open.contains_key(key) && !id.is_some_and(|id| plans.features.is_on_by_itself(id, facts))
            };
            let off = feature.kill || required(all, feature).iter().any(lacking);
            let depends = !off && (open.contains_key(key) || !requires.is_empty());
            if !depends || granted(key) {
                settled.extend(plans.features.id(key.as_str()).and_then(|id| {
                    // Where it depends, its own worth: whether what it requires is on is found out in the page.
                    if depends { plans.features.granted(id, facts) } else { plans.features.evaluate(id, facts) }
                }));
            }
            if depends {
                let rules = if granted(key) { Vec::new() } else { applicable(feature, facts.subject, now) };
                features.insert(key, told(feature, requires, rules));
            }
        }
        let valid_until = Some(tenant.valid_until()).filter(|until| *until != UnixMillis::MAX);
        Self { tenant, catalog: plans.catalog.version, valid_until, settled, features }
    }
}

/// The rules that can still apply to a tenant, up to the first that always does; what they ask of the tenant is answered.
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

/// Whether a rule is a rollout by something that the tenant has not.
fn lacks(rule: &Rule, subject: Subject<'_>) -> bool {
    rule.rollout.as_ref().is_some_and(|rollout| match rollout.by.as_str() {
        "tenant.plan" => subject.plan.is_none(),
        "tenant.region" => subject.region.is_none(),
        _ => false,
    })
}

/// Whether a rule always says the same to this tenant.
fn is_constant(rule: &Rule) -> bool {
    let by_tenant = rule.rollout.as_ref().is_none_or(|rollout| TENANT_ATTRIBUTES.contains(&rollout.by.as_str()));
    rule.when.is_empty() && rule.starts_at.is_none() && rule.ends_at.is_none() && by_tenant
}

/// Everything that a feature requires, directly or by way of others.
fn required(all: &BTreeMap<Key, Feature>, feature: &Feature) -> Vec<Key> {
    let mut found: Vec<Key> = Vec::new();
    let mut open: Vec<&Key> = feature.requires.iter().collect();
    while let Some(key) = open.pop() {
        if !found.contains(key) {
            found.push(key.clone());
            open.extend(all.get(key).into_iter().flat_map(|feature| &feature.requires));
        }
    }
    found
}

/// A feature as it is told to pages.
fn told(feature: &Feature, requires: Vec<Key>, rules: Vec<Rule>) -> Feature {
    let served = |variant: &Key| {
        rules.iter().any(|rule| {
            let split = rule.rollout.iter().flat_map(|rollout| &rollout.split).map(|entry| &entry.variant);
            split.chain([&rule.variant]).any(|named| named.as_ref() == Some(variant))
        })
    };
    let variants = feature.variants.iter().filter(|(key, _)| served(key));
    Feature {
        variants: variants.map(|(key, value)| (key.clone(), value.clone())).collect(),
        type_: feature.type_,
        default: feature.default.clone(),
        kill: false,
        client: true,
        description: None,
        requires,
        rules,
    }
}
