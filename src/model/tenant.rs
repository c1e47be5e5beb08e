//! Tenant records: who a customer is, what it bought, and what was agreed besides.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::Value;

use super::bounds::{
    MAX_ADDONS, MAX_CATALOG_BYTES, MAX_DOMAINS, MAX_GRACE_MS, MAX_HIERARCHY_DEPTH, MAX_KEY_BYTES, MAX_OVERRIDES,
    MAX_RECORD_BYTES,
};
use super::resolution::{HOST_EXPECTED, is_host};
use super::{
    Allowance, ApiKey, Branding, BreakerMode, Catalog, Contract, DataRoute, Epoch, FeatureValue, Key, PlanRef,
    Problems, Quantity, Read, Reader, Slug, TenantId, UnixMillis, Unread, choice, document, json_bytes,
};

choice! {
    /// Where a tenant stands in its life.
    pub enum Status {
        /// Served.
        Active = "active",
        /// Being set up; come back soon.
        Provisioning = "provisioning",
        /// Stopped by the operator.
        Suspended = "suspended",
        /// Stopped by the tenant itself.
        Inactive = "inactive",
        /// Under maintenance; come back soon.
        Maintenance = "maintenance",
        /// Gone; its name means nobody.
        Deleted = "deleted",
    }
}

choice! {
    /// Whether a domain is the tenant's.
    pub enum DomainState {
        /// Claimed, not yet proven: names nobody.
        Pending = "pending",
        /// Proven.
        Verified = "verified",
    }
}

document! {
    /// A tenant.
    pub struct Tenant {
        /// Never changes, never reused.
        id: TenantId,
        /// Its name in hosts and paths.
        slug: Slug,
        /// For people.
        name: Option<String> = None,
        /// Where it stands in its life. Default `active`.
        status: Status = Status::Active,
        /// The plan version it bought. Required unless it has a parent, whose plan it then shares.
        plan: Option<PlanRef> = None,
        /// A plan version that it tries instead for a while.
        trial: Option<Trial> = None,
        /// The tenant it belongs to.
        parent: Option<TenantId> = None,
        /// Grows with every publication of this record.
        epoch: Epoch = Epoch(1),
        /// Domains of its own.
        domains: Vec<Domain> = Vec::new(),
        /// Exceptions for this tenant and its descendants: the strongest tier but kill.
        overrides: Vec<Override> = Vec::new(),
        /// Add-ons it bought.
        addons: Vec<Key> = Vec::new(),
        /// What was agreed instead of the plan.
        contract: Option<Contract> = None,
        /// Circuit breakers that do not move by themselves, or do where the catalog says otherwise: for this tenant and its
        /// descendants.
        breakers: BTreeMap<Key, BreakerMode> = BTreeMap::new(),
        /// Credentials issued before are refused: tokens by `iat`, API keys by `created_at`. Default: none.
        credentials_from: Option<UnixMillis> = None,
        /// Where its billing periods start. Default 1970-01-01, so months begin on the first.
        billing_anchor: UnixMillis = UnixMillis::default(),
        /// Where its data lives; for conditions.
        region: Option<String> = None,
        /// Places that may serve it. Default: everywhere.
        residency: Vec<String> = Vec::new(),
        /// Where its data lives; handed to the origin.
        data_route: Option<DataRoute> = None,
        /// How it looks.
        branding: Option<Branding> = None,
        /// Anything else; kept, not read.
        metadata: Option<Unread> = None,
    } => Tenant::check
}

document! {
    /// A domain of a tenant's own.
    pub struct Domain {
        /// The exact host, as A-labels.
        host: String,
        /// Whether it is proven. Default `pending`.
        state: DomainState = DomainState::Pending,
    }
}

document! {
    /// An exception: a feature's value, or a limit's allowance.
    pub struct Override {
        /// The feature it is for.
        feature: Option<Key> = None,
        /// The feature's value. `false`, `0` and `""` are values.
        value: Option<FeatureValue> = None,
        /// The limit it is for.
        limit: Option<Key> = None,
        /// The limit's allowance.
        allowance: Option<Allowance> = None,
        /// From when it holds. Default: always.
        starts_at: Option<UnixMillis> = None,
        /// Until when it holds, exclusive. Default: for ever.
        ends_at: Option<UnixMillis> = None,
        /// Milliseconds after `ends_at` in which it still serves where nothing of its tier is in force, up to 7776000000 (90
        /// days); decisions say so. Default 0.
        grace_ms: Quantity = Quantity(0),
        /// Why.
        reason: Option<String> = None,
        /// Who.
        actor: Option<String> = None,
    } => Override::check
}

document! {
    /// A plan version on trial. When it has ended the tenant lives by its own plan again; what it has used stays used.
    pub struct Trial {
        /// The plan version.
        plan: PlanRef,
        /// From when it holds. Default: always.
        starts_at: Option<UnixMillis> = None,
        /// Until when it holds, exclusive.
        ends_at: UnixMillis,
    } => Trial::check
}

impl Trial {
    fn check(&self, r: &mut Reader) {
        check_dates(self.starts_at, Some(self.ends_at), r);
    }
}

pub(super) fn check_grace(Quantity(grace_ms): Quantity, ends_at: Option<UnixMillis>, r: &mut Reader) {
    if grace_ms > MAX_GRACE_MS || grace_ms > 0 && ends_at.is_none() {
        r.at("grace_ms", |r| r.problem(grace_ms.to_string(), format!("0 to {MAX_GRACE_MS}, after an `ends_at`")));
    }
}

impl Tenant {
    /// About how many bytes it holds.
    pub(crate) fn bytes(&self) -> usize {
        let overrides = self.overrides.iter().map(|one| {
            let texts = [&one.reason, &one.actor].into_iter().flatten().map(String::len).fold(0, usize::saturating_add);
            texts.saturating_add(one.value.as_deref().map_or(0, json_bytes)).saturating_add(size_of::<Override>())
        });
        let domains = self.domains.iter().map(|domain| domain.host.len().saturating_add(size_of::<Domain>()));
        let contract = self.contract.as_ref().map(Contract::bytes);
        let parts = overrides.chain(domains).chain(contract);
        let lists = self.addons.len().saturating_add(self.residency.len()).saturating_add(self.breakers.len());
        parts.fold(size_of::<Self>().saturating_add(lists.saturating_mul(MAX_KEY_BYTES)), usize::saturating_add)
    }

    /// Parses a record by itself.
    ///
    /// # Errors
    /// All problems, each with its JSON path.
    ///
    /// # Examples
    /// ```
    /// use tenantgate::model::Tenant;
    /// let tenant = Tenant::parse(r#"{"id": "t_acme", "slug": "acme", "plan": "pro@2"}"#).unwrap();
    /// assert_eq!(tenant.plan.unwrap().as_str(), "pro@2");
    /// assert!(Tenant::parse(r#"{"id": "t_acme", "slug": "Acme Inc", "plan": "pro"}"#).unwrap_err().0.len() == 2);
    /// ```
    pub fn parse(text: &str) -> Result<Self, Problems> {
        Reader::run(|r| {
            let value = r.json(text, MAX_RECORD_BYTES)?;
            Self::read(&value, r)
        })
    }

    /// Parses a record, and checks it against the catalog that it will live by.
    ///
    /// # Errors
    /// All problems, each with its JSON path.
    pub fn parse_against(text: &str, catalog: &Catalog) -> Result<Self, Problems> {
        Reader::run(|r| {
            let value = r.json(text, MAX_RECORD_BYTES)?;
            let tenant = Self::read(&value, r)?;
            tenant.check_against(catalog, r);
            Some(tenant)
        })
    }

    /// A record after a change. INVARIANT (a change is judged by what it changes): what was wrong with the record before, as names that a
    /// catalog has dropped, does not stand in the way.
    ///
    /// # Errors
    /// The problems that the record did not have before.
    pub fn parse_changed(before: &str, after: &str, catalog: &Catalog) -> Result<Self, Problems> {
        let Err(problems) = Self::parse_against(after, catalog) else { return Self::parse(after) };
        let known = Self::parse_against(before, catalog).err().unwrap_or(Problems(Vec::new()));
        match problems.beyond(&known) {
            new if new.0.is_empty() => Self::parse(after),
            new => Err(new),
        }
    }

    /// What can be judged without a catalog.
    fn check(&self, r: &mut Reader) {
        if self.plan.is_none() && self.parent.is_none() {
            r.at("plan", |r| {
                r.problem("nothing", "a plan version such as `pro@1`: only tenants with a parent share a plan")
            });
        }
        if self.parent.as_ref() == Some(&self.id) {
            r.at("parent", |r| r.problem("the tenant itself", "another tenant"));
        }
        r.at("domains", |r| {
            r.at_most(self.domains.len(), MAX_DOMAINS);
            for (index, domain) in self.domains.iter().enumerate() {
                if !is_host(&domain.host) {
                    r.at_index(index, |r| {
                        r.at("host", |r| r.unexpected::<()>(&Value::from(domain.host.as_str()), HOST_EXPECTED))
                    });
                }
            }
        });
        r.at("addons", |r| r.at_most(self.addons.len(), MAX_ADDONS));
        r.at("overrides", |r| r.at_most(self.overrides.len(), MAX_OVERRIDES));
    }

    /// What can be judged only beside a catalog.
    fn check_against(&self, catalog: &Catalog, r: &mut Reader) {
        if let Some(plan) = self.plan.as_ref().filter(|plan| !catalog.plans.contains_key(*plan)) {
            r.at("plan", |r| r.problem(format!("`{plan}`"), "a plan version of the catalog"));
        }
        if let Some(trial) = self.trial.as_ref().filter(|trial| !catalog.plans.contains_key(&trial.plan)) {
            r.at("trial", |r| {
                r.at("plan", |r| r.problem(format!("`{}`", trial.plan), "a plan version of the catalog"))
            });
        }
        if catalog.is_reserved(&self.slug) {
            r.at("slug", |r| r.problem(format!("`{}`, which is reserved", self.slug), "a label that is not reserved"));
        }
        r.at("domains", |r| {
            for (index, domain) in self.domains.iter().enumerate() {
                let under = |base: &str| {
                    domain.host.strip_suffix(base).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
                };
                if catalog.resolution.base_domains().any(under) {
                    r.at_index(index, |r| {
                        r.at("host", |r| {
                            r.unexpected::<()>(
                                &Value::from(domain.host.as_str()),
                                "a host that is neither a base domain nor under one",
                            )
                        })
                    });
                }
            }
        });
        r.at("addons", |r| {
            for (index, addon) in
                self.addons.iter().enumerate().filter(|(_, addon)| !catalog.addons.contains_key(*addon))
            {
                r.at_index(index, |r| r.problem(format!("`{addon}`"), "an add-on of the catalog"));
            }
        });
        r.at("overrides", |r| {
            for (index, entry) in self.overrides.iter().enumerate() {
                r.at_index(index, |r| {
                    if let (Some(feature), Some(value)) = (&entry.feature, &entry.value) {
                        r.at("value", |r| catalog.check_grant(feature, value, r));
                    }
                    if let (Some(key), Some(allowance)) = (&entry.limit, &entry.allowance) {
                        match catalog.limits.get(key) {
                            Some(limit) => r.at("allowance", |r| allowance.check(limit.kind, r)),
                            None => r.at("limit", |r| r.problem(format!("`{key}`"), "a limit of the catalog")),
                        }
                    }
                });
            }
        });
        r.at("breakers", |r| {
            for key in self.breakers.keys().filter(|key| !catalog.breakers.contains_key(*key)) {
                r.at(key.as_str(), |r| r.problem("an unknown breaker", "a key of the catalog's `breakers`"));
            }
        });
        if let Some(contract) = &self.contract {
            r.at("contract", |r| catalog.check_bundle(&contract.features, &contract.limits, r));
        }
        let shard = self.data_route.as_ref().and_then(|route| route.shard.as_ref());
        if let Some(shard) = shard.filter(|shard| !catalog.shards.contains_key(*shard)) {
            r.at("data_route", |r| {
                r.at("shard", |r| r.problem(format!("`{shard}`"), "a key of the catalog's `shards`"))
            });
        }
    }
}

impl Override {
    fn check(&self, r: &mut Reader) {
        let feature =
            self.feature.is_some() && self.value.is_some() && self.limit.is_none() && self.allowance.is_none();
        // Of a limit `null` is no value.
        let valued = self.value.as_deref().is_some_and(|value| !value.is_null());
        let limit = self.limit.is_some() && self.allowance.is_some() && self.feature.is_none() && !valued;
        if !feature && !limit {
            r.problem("an override", "either `feature` with `value`, or `limit` with `allowance`");
        }
        check_dates(self.starts_at, self.ends_at, r);
        check_grace(self.grace_ms, self.ends_at, r);
    }
}

pub(super) fn check_dates(starts_at: Option<UnixMillis>, ends_at: Option<UnixMillis>, r: &mut Reader) {
    if let (Some(start), Some(end)) = (starts_at, ends_at)
        && end <= start
    {
        r.at("ends_at", |r| r.problem(end.to_string(), format!("a time after {start}")));
    }
}

document! {
    /// A catalog, the tenants that live by it and their API keys, in one document.
    struct SeedParts {
        /// The catalog.
        catalog: Value,
        /// The tenants.
        tenants: Vec<Value>,
        /// Records of API keys.
        api_keys: Vec<Value> = Vec::new(),
    }
}

/// A catalog, the tenants that live by it and their API keys.
#[derive(Debug, Clone, PartialEq)]
pub struct Seed {
    /// The catalog.
    pub catalog: Catalog,
    /// The tenants.
    pub tenants: Vec<Tenant>,
    /// Records of API keys.
    pub api_keys: Vec<ApiKey>,
}

/// Checks `{"catalog": …, "tenants": […], "api_keys": […]}` as a whole: each part, and that they fit together.
///
/// # Errors
/// All problems, each with its JSON path.
pub fn parse_seed(text: &str) -> Result<Seed, Problems> {
    Reader::run(|r| {
        // Many records fit beside one catalog; the bound keeps a mistaken file from filling memory.
        let value = r.json(text, MAX_CATALOG_BYTES.saturating_mul(16))?;
        let seed = SeedParts::read(&value, r)?;
        let catalog = r.at("catalog", |r| Catalog::read_checked(&seed.catalog, r));
        let tenants: Option<Vec<Tenant>> = r.at("tenants", |r| {
            let tenants = read_all(&seed.tenants, r, |tenant: &Tenant, r| {
                if let Some(catalog) = &catalog {
                    tenant.check_against(catalog, r);
                }
            })?;
            check_family(&tenants, r);
            Some(tenants)
        });
        let ids: Option<FxHashSet<_>> =
            tenants.as_ref().map(|tenants| tenants.iter().map(|tenant| &tenant.id).collect());
        let mut seen = BTreeSet::new();
        let api_keys = r.at("api_keys", |r| {
            read_all(&seed.api_keys, r, |key: &ApiKey, r| {
                if ids.as_ref().is_some_and(|ids| !ids.contains(&key.tenant)) {
                    r.at("tenant", |r| r.problem(format!("`{}`", key.tenant), "the id of a tenant in this document"));
                }
                if !seen.insert(key.id.clone()) {
                    r.at("id", |r| r.problem(format!("`{}`, which another key has", key.id), "a name of its own"));
                }
            })
        });
        Some(Seed { catalog: catalog?, tenants: tenants?, api_keys: api_keys? })
    })
}

fn read_all<T: Read>(values: &[Value], r: &mut Reader, mut check: impl FnMut(&T, &mut Reader)) -> Option<Vec<T>> {
    let read = values.iter().enumerate().map(|(index, value)| {
        r.at_index(index, |r| {
            let read = T::read(value, r)?;
            check(&read, r);
            Some(read)
        })
    });
    let read: Vec<_> = read.collect();
    read.into_iter().collect()
}

/// Ids, slugs and domains are unique; parents exist; nobody is its own ancestor.
fn check_family(tenants: &[Tenant], r: &mut Reader) {
    let parents: FxHashMap<_, _> = tenants.iter().map(|tenant| (&tenant.id, tenant.parent.as_ref())).collect();
    let (mut ids, mut slugs, mut hosts) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (index, tenant) in tenants.iter().enumerate() {
        r.at_index(index, |r| {
            let names = [
                ("id", tenant.id.as_str(), ids.insert(&tenant.id)),
                ("slug", tenant.slug.as_str(), slugs.insert(&tenant.slug)),
            ];
            for (field, name, _) in names.into_iter().filter(|(_, _, fresh)| !fresh) {
                r.at(field, |r| r.problem(format!("`{name}`, which another tenant has"), "a name of its own"));
            }
            for domain in tenant.domains.iter().filter(|domain| !hosts.insert(domain.host.as_str())) {
                r.at("domains", |r| {
                    r.problem(format!("`{}`, which is claimed twice", domain.host), "a host of its own")
                });
            }
            let mut ancestor = tenant.parent.as_ref();
            for _ in 1..MAX_HIERARCHY_DEPTH {
                match ancestor.map(|id| (id, parents.get(id))) {
                    None => return,
                    Some((id, None)) => {
                        return r.at("parent", |r| r.problem(format!("`{id}`"), "the id of a tenant in this document"));
                    }
                    Some((_, Some(next))) => ancestor = *next,
                }
            }
            if ancestor.is_some() {
                r.at("parent", |r| {
                    r.problem("a circle or a long line", format!("at most {MAX_HIERARCHY_DEPTH} generations"))
                });
            }
        });
    }
}
