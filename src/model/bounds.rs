//! Every bound of the product, each with its unit and reason. Past a bound there is a clear error, and nothing is lost;
//! where a constant says otherwise, it says so.

/// Bytes of a host name: the longest that DNS can carry (RFC 1035 §2.3.4).
pub const MAX_HOST_BYTES: usize = 253;
/// Bytes of a request path; longer than what common servers accept.
pub const MAX_PATH_BYTES: usize = 8_192;
/// Bytes of a query string; as for the path.
pub const MAX_QUERY_BYTES: usize = 8_192;
/// Bytes of a value that names a tenant in a header or query parameter: room for an id, no room for a payload.
pub const MAX_SIGNAL_BYTES: usize = 128;
/// Bytes of a tenant id: fits a Durable Object name and a KV key (512) with its prefix.
pub const MAX_TENANT_ID_BYTES: usize = 128;
/// Bytes of a slug: one DNS label (RFC 1035 §2.3.4).
pub const MAX_SLUG_BYTES: usize = 63;
/// Bytes of a feature, limit, plan, add-on or variant key.
pub const MAX_KEY_BYTES: usize = 64;
/// Bytes of a body sent to the gate's own endpoints.
pub const MAX_BODY_BYTES: usize = 65_536;
/// Bytes of a catalog: parsed in a few milliseconds, well below KV's 25 MiB a value.
pub const MAX_CATALOG_BYTES: usize = 4 << 20;
/// Bytes of a tenant record.
pub const MAX_RECORD_BYTES: usize = 256 << 10;
/// Depth of nesting in a feature's JSON value.
pub const MAX_JSON_DEPTH: usize = 32;
/// Problems reported for one document; the report says when there were more.
pub const MAX_PROBLEMS: usize = 100;
/// Features in a catalog: four times the largest plan that is benchmarked.
pub const MAX_FEATURES: usize = 4_096;
/// Rules of one feature: evaluated in order, so they bound a decision's time.
pub const MAX_RULES: usize = 64;
/// Conditions of one rule.
pub const MAX_CONDITIONS: usize = 32;
/// Values of one condition.
pub const MAX_CONDITION_VALUES: usize = 1_024;
/// Variants of one feature, and entries of one rollout.
pub const MAX_VARIANTS: usize = 64;
/// Prerequisites of one feature.
pub const MAX_PREREQUISITES: usize = 16;
/// Limits in a catalog.
pub const MAX_LIMITS: usize = 256;
/// Limits one request may charge, its ancestors' included: they are taken in one transaction.
pub const MAX_CHARGES: usize = 64;
/// Plan versions in a catalog, and add-ons.
pub const MAX_PLANS: usize = 1_024;
/// Routes in a catalog: searched longest prefix first.
pub const MAX_ROUTES: usize = 512;
/// Resolution strategies configured side by side.
pub const MAX_STRATEGIES: usize = 8;
/// Base domains, reserved labels and central hosts, each.
pub const MAX_HOSTS: usize = 256;
/// Domains of one tenant.
pub const MAX_DOMAINS: usize = 256;
/// Overrides of one tenant.
pub const MAX_OVERRIDES: usize = 1_024;
/// Add-ons of one tenant.
pub const MAX_ADDONS: usize = 64;
/// Tenants from a project up to its root, both included.
pub const MAX_HIERARCHY_DEPTH: usize = 8;
/// The largest limit, cost or level: integers that JavaScript represents exactly stay below 2^53.
pub const MAX_QUANTITY: u64 = 1_000_000_000_000;
/// The largest rate and burst, in units per window: times the longest window it still fits 64 bits, so that rates are
/// exact integers.
pub const MAX_RATE: u64 = 1_000_000_000;
/// The longest window of a rate limit, in milliseconds: beyond a day, use a quota.
pub const MAX_WINDOW_MS: u64 = 86_400_000;
/// Context attributes of one request.
pub const MAX_ATTRIBUTES: usize = 64;
/// Bytes of one context attribute's value; a longer one counts as absent, so that a rule's time stays bounded.
pub const MAX_ATTRIBUTE_BYTES: usize = 1_024;
/// Features that one request may ask for.
pub const MAX_ASKED_FEATURES: usize = 256;
/// Tenant records that one isolate keeps, with their compiled form.
pub const MAX_CACHED_TENANTS: usize = 4_096;
/// Index entries (slug or domain to id, and proven absences) that one isolate keeps.
pub const MAX_CACHED_INDEX: usize = 16_384;
/// Counters of `local` limits that one isolate keeps; past it, it starts counting anew.
pub const MAX_LOCAL_COUNTERS: usize = 65_536;
/// Requests that wait for one ledger's next commit; more are refused with `LEDGER_UNAVAILABLE`.
pub const MAX_LEDGER_QUEUE: usize = 4_096;

/// Milliseconds after which a snapshot is refreshed behind the request.
pub const SOFT_AGE_MS: u64 = 300_000;
/// Milliseconds after which a snapshot is no longer trusted.
pub const HARD_AGE_MS: u64 = 86_400_000;
/// Milliseconds for which an unknown name is remembered as unknown.
pub const NEGATIVE_AGE_MS: u64 = 30_000;
/// Milliseconds between two attempts to refresh the same snapshot.
pub const REFRESH_INTERVAL_MS: u64 = 10_000;
/// Milliseconds a client is asked to wait where a condition will pass by itself.
pub const RETRY_AFTER_MS: u64 = 5_000;
/// Milliseconds a custom resolver may take.
pub const CUSTOM_RESOLVER_MS: u64 = 2_000;
