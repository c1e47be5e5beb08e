//! Tenant records: who the tenant is, what it bought, and what was agreed with it.
//!
//! A record is checked twice: by itself, when it is parsed, and against the catalog that it refers
//! to ([`Tenant::parse_against`]). [`parse_seed`] does both for a whole document of catalog,
//! tenants and API keys.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::Value;

use super::bounds::{
    MAX_ADDONS, MAX_CATALOG_BYTES, MAX_DOMAINS, MAX_HIERARCHY_DEPTH, MAX_KEY_BYTES, MAX_OVERRIDES, MAX_RECORD_BYTES,
};
use super::dates::{check_dates, check_grace};
use super::resolution::{HOST_EXPECTED, is_host};
use super::{
    Allowance, ApiKey, Branding, BreakerMode, Catalog, Contract, DataRoute, Epoch, FeatureValue, Key, PlanRef,
    Problems, Quantity, Read, Reader, Slug, TenantId, UnixMillis, Unread, choice, document, json_bytes,
};

choice! {
    /// The status of a tenant.
    pub enum Status {
        /// The tenant is served.
        Active = "active",
        /// The tenant is being created. Retry later.
        Provisioning = "provisioning",
        /// Stopped by the operator.
        Suspended = "suspended",
        /// Stopped by the tenant.
        Inactive = "inactive",
        /// Under maintenance. Retry later.
        Maintenance = "maintenance",
        /// Deleted. Its names no longer resolve.
        Deleted = "deleted",
    }
}

choice! {
    /// Whether the tenant has proven that it owns a domain.
    pub enum DomainState {
        /// Claimed but not yet proven. Does not resolve.
        Pending = "pending",
        /// Proven.
        Verified = "verified",
    }
}

document! {
    /// A tenant.
    pub struct Tenant {
        /// The id. Never changes and is never reused.
        id: TenantId,
        /// The tenant's name in hosts and paths.
        slug: Slug,
        /// Display name. Not interpreted.
        name: Option<String> = None,
        /// The status. Default `active`.
        status: Status = Status::Active,
        /// The plan version that the tenant bought. Required, unless the tenant has a parent and
        /// shares its plan.
        plan: Option<PlanRef> = None,
        /// A plan version that replaces the plan for a limited time.
        trial: Option<Trial> = None,
        /// The parent tenant.
        parent: Option<TenantId> = None,
        /// Grows with every publication of this record.
        epoch: Epoch = Epoch(1),
        /// The tenant's own domains.
        domains: Vec<Domain> = Vec::new(),
        /// Overrides for this tenant and its descendants: the strongest tier except kill.
        overrides: Vec<Override> = Vec::new(),
        /// The add-ons that the tenant bought.
        addons: Vec<Key> = Vec::new(),
        /// The contract, which takes precedence over the plan.
        contract: Option<Contract> = None,
        /// Modes of circuit breakers for this tenant and its descendants, where they differ from
        /// the catalog.
        breakers: BTreeMap<Key, BreakerMode> = BTreeMap::new(),
        /// Credentials issued before this time are rejected: tokens by `iat`, API keys by
        /// `created_at`. Default: no credentials are rejected.
        credentials_from: Option<UnixMillis> = None,
        /// The start of billing periods. Default 1970-01-01, so that months start on the first.
        billing_anchor: UnixMillis = UnixMillis::default(),
        /// The region. Chooses the shard, and conditions can read it.
        region: Option<String> = None,
        /// The places that may serve the tenant. Default: all.
        residency: Vec<String> = Vec::new(),
        /// Where the tenant's data is stored. Passed to the origin.
        data_route: Option<DataRoute> = None,
        /// The tenant's branding.
        branding: Option<Branding> = None,
        /// Any other data. Stored, but not interpreted.
        metadata: Option<Unread> = None,
    } => Tenant::check
}

document! {
    /// A domain that belongs to a tenant.
    pub struct Domain {
        /// The exact host, as A-labels.
        host: String,
        /// Whether ownership is proven. Default `pending`.
        state: DomainState = DomainState::Pending,
    }
}

document! {
    /// An override: a feature's value, or a limit's allowance.
    pub struct Override {
        /// The feature.
        feature: Option<Key> = None,
        /// The feature's value. `false`, `0` and `""` are values too.
        value: Option<FeatureValue> = None,
        /// The limit.
        limit: Option<Key> = None,
        /// The limit's allowance.
        allowance: Option<Allowance> = None,
        /// When it takes effect. Default: no start time.
        starts_at: Option<UnixMillis> = None,
        /// When it ends, exclusive. Default: never.
        ends_at: Option<UnixMillis> = None,
        /// Milliseconds after `ends_at` for which the override still applies if nothing else of its
        /// tier is in force, at most 7776000000 (90 days). Decisions report it. Default 0.
        grace_ms: Quantity = Quantity(0),
        /// The reason.
        reason: Option<String> = None,
        /// Who made the override.
        actor: Option<String> = None,
    } => Override::check
}

document! {
    /// A plan version on trial. After it ends, the tenant's own plan applies again; used units stay
    /// counted.
    pub struct Trial {
        /// The plan version.
        plan: PlanRef,
        /// When it takes effect. Default: no start time.
        starts_at: Option<UnixMillis> = None,
        /// When it ends, exclusive.
        ends_at: UnixMillis,
    } => Trial::check
}

impl Trial {
    fn check(&self, r: &mut Reader) {
        check_dates(self.starts_at, Some(self.ends_at), r);
    }
}

impl Tenant {
    /// The approximate number of bytes that the record occupies in memory.
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

    /// Parses a record and checks it by itself.
    ///
    /// # Errors
    /// All problems, each with its JSON path.
    ///
    /// # Examples
    /// ```
    /// use tenantgate::model::Tenant;
    /// let tenant = Tenant::parse(r#"{"id": "t_acme", "slug": "acme", "plan": "pro@2"}"#).unwrap();
    /// assert_eq!(tenant.plan.unwrap().as_str(), "pro@2");
    /// let invalid = r#"{"id": "t_acme", "slug": "Acme Inc", "plan": "pro"}"#;
    /// assert_eq!(Tenant::parse(invalid).unwrap_err().0.len(), 2);
    /// ```
    pub fn parse(text: &str) -> Result<Self, Problems> {
        Reader::run(|r| {
            let value = r.json(text, MAX_RECORD_BYTES)?;
            Self::read(&value, r)
        })
    }

    /// Parses a record and checks it against a catalog.
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

    /// Parses a record after a change.
    ///
    /// INVARIANT (a change is judged by what it changes): problems that the record had before the
    /// change, such as names that the catalog has since dropped, do not block the change.
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

    /// Checks the record without a catalog.
    fn check(&self, r: &mut Reader) {
        if self.plan.is_none() && self.parent.is_none() {
            r.at("plan", |r| {
                r.problem("nothing", "a plan version such as `pro@1`: only a tenant with a parent may omit it")
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

    /// Checks the record's references to the catalog.
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
        // In an override of a limit, `"value": null` means absent.
        let valued = self.value.as_deref().is_some_and(|value| !value.is_null());
        let limit = self.limit.is_some() && self.allowance.is_some() && self.feature.is_none() && !valued;
        if !feature && !limit {
            r.problem("a wrong set of fields", "either `feature` with `value`, or `limit` with `allowance`");
        }
        check_dates(self.starts_at, self.ends_at, r);
        check_grace(self.grace_ms, self.ends_at, r);
    }
}

document! {
    /// A catalog, its tenants and their API keys, in one document.
    struct SeedParts {
        /// The catalog.
        catalog: Value,
        /// The tenants.
        tenants: Vec<Value>,
        /// The API key records.
        api_keys: Vec<Value> = Vec::new(),
    }
}

/// A catalog, its tenants and their API keys.
#[derive(Debug, Clone, PartialEq)]
pub struct Seed {
    /// The catalog.
    pub catalog: Catalog,
    /// The tenants.
    pub tenants: Vec<Tenant>,
    /// The API key records.
    pub api_keys: Vec<ApiKey>,
}

/// Parses `{"catalog": …, "tenants": […], "api_keys": […]}` and checks each part and the references
/// between them.
///
/// # Errors
/// All problems, each with its JSON path.
pub fn parse_seed(text: &str) -> Result<Seed, Problems> {
    Reader::run(|r| {
        // Room for many records beside one catalog. The bound keeps a wrong file from filling
        // memory.
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
                    r.at("id", |r| r.problem(format!("`{}`, which another key has", key.id), "a unique id"));
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

/// Checks that ids, slugs and domains are unique, that parents exist, and that no tenant is its own
/// ancestor.
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
                r.at(field, |r| r.problem(format!("`{name}`, which another tenant has"), "a unique value"));
            }
            for domain in tenant.domains.iter().filter(|domain| !hosts.insert(domain.host.as_str())) {
                r.at("domains", |r| r.problem(format!("`{}`, which is claimed twice", domain.host), "a unique host"));
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
                    r.problem(
                        "a cycle, or a line that is too long",
                        format!("at most {MAX_HIERARCHY_DEPTH} generations"),
                    )
                });
            }
        });
    }
}
