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
/// Milliseconds that a body may take to arrive, so that nobody holds requests open by sending slowly.
pub const MAX_BODY_MS: u64 = 30_000;
/// Bytes of a catalog: parsed in a few milliseconds, well below KV's 25 MiB a value.
pub const MAX_CATALOG_BYTES: usize = 4 << 20;
/// Bytes of a tenant record.
pub const MAX_RECORD_BYTES: usize = 256 << 10;
/// Bytes of a text in a document, where nothing says fewer: a public key in PEM is the longest that is useful.
pub const MAX_TEXT_BYTES: usize = 2_048;
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
/// Metrics in a catalog.
pub const MAX_METRICS: usize = 256;
/// Bytes of what an event of usage calls itself: `id`, `source` and `type`, each; and of the path to its value.
pub const MAX_EVENT_NAME_BYTES: usize = 255;
/// Events of usage in one batch.
pub const MAX_EVENTS: usize = 1_000;
/// Bytes of a batch of events of usage.
pub const MAX_USAGE_BODY_BYTES: usize = 1 << 20;
/// Bytes of one event of usage, as it is handed on: what every intermediary takes (CloudEvents 1.0 §5), and a queue.
pub const MAX_EVENT_BYTES: usize = 65_536;
/// Milliseconds by which an event may be late and still fall into the period of its time: the longest month, and time to notice.
pub const MAX_EVENT_LATE_MS: u64 = 40 * 86_400_000;
/// Milliseconds that an origin has for the head of its answer, where the route does not say.
pub const ORIGIN_MS: u64 = 60_000;
/// The most that a route may say.
pub const MAX_ORIGIN_MS: u64 = 600_000;
/// Headers that a catalog allows for the origin: each request is compared with them.
pub const MAX_ORIGIN_HEADERS: usize = 64;
/// Bytes of the name of a header.
pub const MAX_HEADER_NAME_BYTES: usize = 128;
/// Changes of a metric's periods that are recorded, of each tenant; later ones do not count.
pub const MAX_ERAS: usize = 256;
/// Milliseconds by which an event may be ahead: clocks that differ.
pub const MAX_EVENT_AHEAD_MS: u64 = 300_000;
/// Milliseconds for which a ledger remembers events of usage, at least; at most twice that. As long as an event may be late:
/// told again with its time, it is remembered or refused, and never counts twice.
pub const EVENT_ONCE_MS: u64 = MAX_EVENT_LATE_MS;
/// Events that are handed on in one batch: the most that a queue takes.
pub const MAX_OUTBOX_BATCH: u32 = 100;
/// Bytes of events that are handed on in one batch, or by itself the first of it: the most that a queue takes is 256 KB.
pub const MAX_OUTBOX_BYTES: u32 = 200_000;
/// Bytes of texts that a ledger hands to `SQLite` in one piece, or one text by itself: as JSON they may be twice as long, and
/// Cloudflare takes up to 2 MB.
pub const MAX_SLICE_BYTES: usize = 512 << 10;
/// Bytes of the name of a limit's unit.
pub const MAX_UNIT_BYTES: usize = 64;
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
/// Headers that a custom resolver reads.
pub const MAX_VARY: usize = 16;
/// Domains of one tenant.
pub const MAX_DOMAINS: usize = 256;
/// Milliseconds for which an override or a contract may serve beyond its end: a quarter, for renewals that are negotiated.
pub const MAX_GRACE_MS: u64 = 90 * 86_400_000;
/// Bytes of a tenant's name for people.
pub const MAX_NAME_BYTES: usize = 200;
/// Bytes of an admin token's name.
pub const MAX_TOKEN_NAME_BYTES: usize = 120;
/// Admin tokens that made each other, from the operator's on: each request looks at all of them.
pub const MAX_TOKEN_GENERATIONS: usize = 8;
/// Tenants that one page of a dry run compares.
pub const MAX_IMPACT_PAGE: u64 = 1_000;
/// Recorded questions that one dry run asks again.
pub const MAX_REPLAYED: usize = 1_000;
/// Days for which the data of a tenant that has left is kept, unless it is said otherwise.
pub const DEFAULT_RETENTION_DAYS: u64 = 30;
/// The longest that the data of a tenant that has left is kept, in days.
pub const MAX_RETENTION_DAYS: u64 = 3_650;
/// Milliseconds for which nobody gets a slug that a deleted tenant had: bookmarks, mails and caches know it.
pub const SLUG_QUARANTINE_MS: u64 = 90 * 86_400_000;
/// Entries of a page that the admin API lists.
pub const MAX_PAGE: u64 = 1_000;
/// Tenants below one tenant, unless the catalog's `sub_tenants` says fewer.
pub const MAX_CHILDREN: u64 = 10_000;
/// Tenants that move to another family together: their counts are one message between two ledgers.
pub const MAX_MOVING: usize = 500;
/// API keys that work, and licences, of one tenant.
pub const MAX_ISSUED: u64 = 1_000;
/// Changes that a tenant's own admins may make in a day, and at once: enough for people and their scripts.
pub const ADMIN_DAY_CHANGES: u64 = 2_000;
/// See [`ADMIN_DAY_CHANGES`].
pub const ADMIN_BURST_CHANGES: u64 = 120;
/// All tenants below a root have as much again together, and each of them at most this part of it.
pub const ADMIN_SHARES: u64 = 4;
/// Bytes that those changes may write in a day, and at once: ten gigabytes, all that a database takes, are two years of it, or one
/// where tenants below use theirs too.
pub const ADMIN_DAY_BYTES: u64 = 12 << 20;
/// See [`ADMIN_DAY_BYTES`].
pub const ADMIN_BURST_BYTES: u64 = 4 << 20;
/// Bytes that a change writes beside what its body says.
pub const ADMIN_ROW_BYTES: u64 = 2_048;
/// The longest that a key which is replaced works on, in milliseconds.
pub const MAX_OVERLAP_MS: u64 = 90 * 86_400_000;
/// Milliseconds after which an API key that has ended is deleted.
pub const ENDED_KEY_KEPT_MS: u64 = 30 * 86_400_000;
/// Keys that one turn of the clock deletes.
pub const ENDED_KEYS_TOGETHER: u64 = 100;
/// Days for which denials are kept.
pub const DENIALS_KEPT_DAYS: u64 = 90;
/// Bytes of the entries of one page of the admin API, or one entry by itself.
pub const MAX_PAGE_BYTES: u64 = 1 << 20;
/// Versions of the catalog that are kept however old they are; and for how long the others are.
pub const CATALOGS_KEPT: u64 = 100;
/// See [`CATALOGS_KEPT`].
pub const CATALOG_KEPT_MS: u64 = 90 * 86_400_000;
/// Domains that a tenant may have claimed and not proven.
pub const MAX_PENDING_DOMAINS: u64 = 32;
/// Bytes of one piece of a catalog in D1, which takes at most 2 MB a value.
pub const MAX_CATALOG_PART_BYTES: usize = 1 << 20;
/// Tenants that a long run changes in one slice: each is a few statements of one transaction.
pub const JOB_SLICE: u64 = 50;
/// Milliseconds between the first two notes of one isolate of a tenant's denials with the same code. The time doubles while denials go on.
pub const DENIAL_GATHER_MS: u64 = 10_000;
/// The most that it becomes, so that a flood of denials is no flood of writes.
pub const DENIAL_SAMPLE_MS: u64 = 600_000;
/// Denials, by tenant and code, that one isolate counts; past it, counting begins anew.
pub const MAX_COUNTED_DENIALS: usize = 4_096;
/// Milliseconds for which an idempotency key of the admin API is remembered, at least.
pub const ADMIN_ONCE_MS: u64 = 86_400_000;
/// Milliseconds after which an isolate reads behind a request which snapshots have changed.
pub const FEED_SOFT_MS: u64 = 5_000;
/// Milliseconds after which an isolate reads which snapshots have changed before it decides: with the time of that reading, the
/// bound on how long any change may go unseen.
pub const FEED_FIRM_MS: u64 = 10_000;
/// Milliseconds between two readings of the feed because a tenant is not known: how long one that was set up elsewhere may be
/// unknown to an isolate that was asked for it before.
pub const FEED_MISS_MS: u64 = 200;
/// The same, where one reading after the other brings nothing.
pub const MAX_FEED_MISS_MS: u64 = 2_000;
/// Changes of one page of the feed.
pub const MAX_FEED: u64 = 500;
/// Pages that one reading of the feed takes; past it, everything that is held is doubted.
pub const MAX_FEED_PAGES: usize = 20;
/// Milliseconds that D1 may take to say what has changed: somebody may wait.
pub const FEED_DEADLINE_MS: u32 = 1_000;
/// Milliseconds back from which an isolate that starts reads the feed: KV's cache, and some.
pub const FEED_LATELY_MS: u64 = 120_000;
/// Milliseconds for which what has changed is read from D1: KV's cache, and time for a publication to be tried again.
pub const STRONG_MS: u64 = 600_000;
/// Changed keys that an isolate remembers by name; past it, everything is read from D1 for a while.
pub const MAX_STRONG: usize = 16_384;
/// Secrets that were good at open endpoints which one isolate remembers.
pub const MAX_GUESTS: usize = 4_096;
/// Addresses whose knocking at the open endpoints one isolate counts.
pub const MAX_KNOCKING: usize = 8_192;
/// Milliseconds for which a ticket of support may be redeemed.
pub const TICKET_MS: u64 = 60_000;
/// Milliseconds for which the API key behind a ticket works.
pub const SUPPORT_MS: u64 = 15 * 60_000;
/// Milliseconds for which a change stands in the feed after it was published: longer than KV's cache, and than any isolate
/// goes on without reading.
pub const FEED_KEPT_MS: u64 = 3_600_000;

/// Milliseconds for which a signed licence may be used without asking, at most: a quarter.
pub const MAX_OFFLINE_MS: u64 = 90 * 86_400_000;
/// Milliseconds without a question after which an activation may end by itself: instances ask when they start, and some run for long.
pub const MIN_ACTIVATION_MS: u64 = 60_000;
/// See [`MIN_ACTIVATION_MS`].
pub const MAX_ACTIVATION_MS: u64 = 365 * 86_400_000;
/// Bytes of the name of an instance that activates a licence.
pub const MAX_INSTANCE_BYTES: usize = 128;

/// Discounts of a contract, and credits of a service level.
pub const MAX_CONTRACT_TERMS: usize = 32;
/// Days until an invoice is to be paid, at most.
pub const MAX_NET_DAYS: u64 = 365;
/// Bytes of what a tenant calls itself.
pub const MAX_BRAND_NAME_BYTES: usize = 120;
/// Places that hold data of tenants.
pub const MAX_SHARDS: usize = 1_024;
/// Overrides of one tenant.
pub const MAX_OVERRIDES: usize = 1_024;
/// Add-ons of one tenant.
pub const MAX_ADDONS: usize = 64;
/// Bytes of a token's subject (`OpenID` Connect Core §2).
pub const MAX_SUBJECT_BYTES: usize = 255;
/// Tenants from a project up to its root, both included.
pub const MAX_HIERARCHY_DEPTH: usize = 8;
/// The largest limit, cost or level: integers that JavaScript represents exactly stay below 2^53.
pub const MAX_QUANTITY: u64 = 1_000_000_000_000;
/// The largest rate and burst, in units per window: times the longest window it still fits 64 bits, so that rates are
/// exact integers.
pub const MAX_RATE: u64 = 1_000_000_000;
/// The longest window of a rate limit, in milliseconds: beyond a day, use a quota.
pub const MAX_WINDOW_MS: u64 = 86_400_000;
/// Bytes of a token, its signature included: what common servers take in one header.
pub const MAX_TOKEN_BYTES: usize = 8_192;
/// Bytes of a `Cookie` header in which a token is looked for.
pub const MAX_COOKIE_BYTES: usize = 16_384;
/// Bytes of the text that names a claim, its path included, and of a token's `typ`.
pub const MAX_CLAIM_BYTES: usize = 128;
/// Scopes of a route, a key or a token.
pub const MAX_SCOPES: usize = 64;
/// Bytes of one scope.
pub const MAX_SCOPE_BYTES: usize = 128;
/// Issuers in a catalog.
pub const MAX_ISSUERS: usize = 256;
/// Audiences of one issuer, and of one token.
pub const MAX_AUDIENCES: usize = 16;
/// Tenants that an issuer may speak for by name; more have a prefix.
pub const MAX_NAMED_TENANTS: usize = 256;
/// Keys of one issuer in the catalog.
pub const MAX_ISSUER_KEYS: usize = 16;
/// Bytes of the name of a key in tokens.
pub const MAX_KEY_ID_BYTES: usize = 128;
/// Bytes of an issuer's name, and of the URL of its keys: fits a KV key (512) with its prefix.
pub const MAX_URL_BYTES: usize = 480;
/// Bytes of a published set of keys: its largest keys, with certificates that are not looked at.
pub const MAX_JWKS_BYTES: usize = 131_072;
/// Keys of a published set.
pub const MAX_JWKS_KEYS: usize = 64;
/// Bits of an RSA key, at least (NIST SP 800-131A).
pub const MIN_RSA_BITS: usize = 2_048;
/// Bits of an RSA key, at most: verification grows with the square.
pub const MAX_RSA_BITS: usize = 4_096;
/// Milliseconds by which clocks of issuer and gate may differ, unless the issuer says otherwise.
pub const DEFAULT_LEEWAY_MS: u64 = 30_000;
/// The largest leeway: beyond, an expired token is no longer expired.
pub const MAX_LEEWAY_MS: u64 = 300_000;
/// Bytes of subject and scopes of a token that is remembered once verified, and of an assertion that is used again: larger
/// ones are dealt with anew, so that nobody fills an isolate's memory with them.
pub const MAX_REMEMBERED_BYTES: usize = 2_048;
/// Verified tokens that one isolate remembers.
pub const MAX_CACHED_TOKENS: usize = 4_096;
/// Refused tokens that one isolate remembers, by their digests alone.
pub const MAX_REFUSED_TOKENS: usize = 8_192;
/// Bytes of what a page is told of its tenant's features: no more than a catalog may have.
pub const MAX_CLIENT_SNAPSHOT_BYTES: usize = MAX_CATALOG_BYTES;
/// Seconds for which a page may wait for a change of its features (`Prefer: wait`), less than proxies wait for an answer.
pub const MAX_WAIT_S: u64 = 30;
/// Questions of pages that one isolate holds at the same time; past it they are answered at once.
pub const MAX_HELD: usize = 4_096;
/// The same, of one family of tenants: a quarter of a thousand tabs, of which each waits for itself.
pub const MAX_HELD_BY_ONE: usize = 256;
/// Milliseconds after which whoever waits for a change looks again.
pub const WAIT_STEP_MS: u32 = 1_000;
/// Features that one may require in all, directly or by way of others: each is looked at whenever that one is.
pub const MAX_REQUIRED: usize = 64;
/// Context attributes of one request.
pub const MAX_ATTRIBUTES: usize = 64;
/// Bytes of one context attribute's value; a longer one counts as absent, so that a rule's time stays bounded.
pub const MAX_ATTRIBUTE_BYTES: usize = 1_024;
/// Features that one request may ask for.
pub const MAX_ASKED_FEATURES: usize = 256;
/// Bytes that all caches of one isolate may hold together, of the 128 MB that the platform gives it. A test adds them up.
pub const MAX_CACHE_BYTES: usize = 64 << 20;
/// Bytes of tenants' records and of what is compiled from them.
pub const MAX_TENANT_CACHE_BYTES: usize = 24 << 20;
/// Bytes of API keys' records, proven absences included.
pub const MAX_KEY_CACHE_BYTES: usize = 4 << 20;
/// Bytes of what pages are told of their tenants' features.
pub const MAX_TOLD_BYTES: usize = 4 << 20;
/// Families and tenants of which one isolate remembers something small: epochs, news.
pub const MAX_CACHED_TENANTS: usize = 4_096;
/// Index entries (slug or domain to id, and proven absences) that one isolate keeps.
pub const MAX_CACHED_INDEX: usize = 8_192;
/// Counters of `local` limits that one isolate keeps; past it, it starts counting anew.
pub const MAX_LOCAL_COUNTERS: usize = 65_536;
/// Bytes of an idempotency key.
pub const MAX_IDEMPOTENCY_KEY_BYTES: usize = 255;
/// Milliseconds for which a ledger remembers idempotency keys, at least; at most twice that.
pub const ONCE_MS: u64 = 86_400_000;
/// Idempotency keys that a ledger in this process remembers, the latest.
pub const MAX_LOCAL_KEYS: usize = 65_536;
/// Bytes of a message to a ledger: orders that travel together, each far smaller than the body that it came from.
pub const MAX_LEDGER_MESSAGE_BYTES: usize = 16 << 20;
/// Orders that wait for one ledger's next commit; more are refused with `LEDGER_UNAVAILABLE`.
pub const MAX_LEDGER_QUEUE: usize = 4_096;

/// Milliseconds after which a snapshot is refreshed behind the request.
pub const SOFT_AGE_MS: u64 = 300_000;
/// Milliseconds after which a snapshot is fetched again before it is used, and used all the same where that fails: with
/// KV's own cache (60 s), the bound on how long a suspension may go unseen while KV can be read.
pub const FIRM_AGE_MS: u64 = 600_000;
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

/// Milliseconds for which units of a lease may be spent without a word with the ledger: how long units can lie idle, and how
/// long a change in the ledger can go unseen.
pub const LEASE_MS: u64 = 10_000;
/// Milliseconds after a lease's end in which its isolate can still say what became of it: the time of a message, and of
/// clocks that differ.
pub const LEASE_GRACE_MS: u64 = 5_000;
/// Milliseconds after which an isolate no longer waits for an answer that somebody else in it has asked for.
pub const LEASE_ANSWER_MS: u64 = 5_000;
/// Milliseconds for which an isolate repeats a ledger's refusal without asking again, where the ledger is near.
pub const LEASE_DRY_MS: u64 = 100;
/// The same where it is far: as long as the question took, at most this long.
pub const MAX_LEASE_DRY_MS: u64 = 1_000;
/// Milliseconds that one request may wait for ledgers and snapshots, all its waits together, until it is refused with
/// `LEDGER_UNAVAILABLE`, whatever `on_error` says: others were served meanwhile. A message that is under way by then keeps its own time.
pub const PATIENCE_MS: u64 = 8_000;
/// Leases of one ledger: isolates times limits that they spend of.
pub const MAX_LEASES: usize = 65_536;
/// Leases of which one message speaks, of those in use and of those that have ended each: fits [`MAX_BODY_BYTES`].
pub const MAX_CLAIMS: usize = 64;
/// Leases of one isolate; past it, further limits are asked for each time.
pub const MAX_HELD_LEASES: usize = 16_384;
/// Holds of one ledger: reservations that are not settled yet, and requests in flight under a concurrency limit.
pub const MAX_HOLDS: usize = 65_536;
/// Milliseconds for which a reservation holds its units, unless it says otherwise.
pub const DEFAULT_HOLD_MS: u64 = 60_000;
/// The longest that a reservation, or a request in flight, may hold units, in milliseconds.
pub const MAX_HOLD_MS: u64 = 86_400_000;
/// Milliseconds after which a request is asked to come back that found all slots of a concurrency limit taken: nobody knows
/// when one becomes free.
pub const CONCURRENCY_RETRY_MS: u64 = 1_000;
/// Changed snapshots that a ledger tells of in one answer; the others follow with the next.
pub const MAX_NEWS: usize = 64;
/// Periods of quotas that go along when tenants move to another family: about a tenth of what a message may hold.
pub const MAX_MOVED_PERIODS: usize = 10_000;
/// Periods of quotas in an export; reports have those before.
pub const MAX_EXPORTED_QUOTAS: usize = 2_000;
/// CORS policies in a catalog.
pub const MAX_CORS: usize = 64;
/// Origins of a CORS policy: each request of a page is compared with them.
pub const MAX_CORS_ORIGINS: usize = 256;
/// Methods of a CORS policy, and headers: an answer names all of them.
pub const MAX_CORS_HEADERS: usize = 64;
/// Bytes of what a preflight asks for that are repeated in its answer.
pub const MAX_CORS_ASKED_BYTES: usize = 4_096;
/// Seconds for which a browser is told to remember a preflight: Firefox's bound.
pub const MAX_CORS_AGE_S: u64 = 86_400;
/// Circuit breakers in a catalog.
pub const MAX_BREAKERS: usize = 64;
/// The longest window of a circuit breaker, in milliseconds.
pub const MAX_BREAKER_WINDOW_MS: u64 = 3_600_000;
/// The longest that a circuit breaker stays open before calls are tried, in milliseconds.
pub const MAX_BREAKER_OPEN_MS: u64 = 86_400_000;
/// Calls that a half-open circuit breaker tries at most.
pub const MAX_BREAKER_TRIALS: u64 = 100;
/// Milliseconds after which a trial whose end nobody told is tried again.
pub const BREAKER_TRIAL_MS: u64 = 60_000;
/// Milliseconds after which a call is asked to come back that found all trials of a half-open circuit breaker under way.
pub const BREAKER_RETRY_MS: u64 = 1_000;
/// Circuit breakers of which one isolate remembers how they stand; past it, all are forgotten and asked for anew.
pub const MAX_KNOWN_BREAKERS: usize = 16_384;
/// Units that an isolate asks to have beforehand.
pub const MAX_LEASE_UNITS: u64 = 1_000_000;

/// Milliseconds after which an API key's record is refreshed behind the request.
pub const KEY_SOFT_AGE_MS: u64 = 30_000;
/// Milliseconds after which an API key's record is fetched again before it is trusted: with KV's own cache (60 s), the
/// bound on how long a revoked key may work.
pub const KEY_HARD_AGE_MS: u64 = 60_000;
/// Milliseconds after which published keys are refreshed behind the request.
pub const JWKS_SOFT_AGE_MS: u64 = 600_000;
/// Milliseconds after which published keys are fetched again before they are used, and used all the same where that fails:
/// the bound on how long a key may work that its issuer has withdrawn.
pub const JWKS_FIRM_AGE_MS: u64 = 1_200_000;
/// Milliseconds for which published keys are trusted while their issuer cannot be reached.
pub const JWKS_HARD_AGE_MS: u64 = 86_400_000;
/// Milliseconds between two fetches of the same published keys, whatever unknown `kid`s arrive.
pub const JWKS_COOLDOWN_MS: u64 = 30_000;
/// Milliseconds that an issuer may take to send its keys.
pub const JWKS_TIMEOUT_MS: u64 = 5_000;
/// Milliseconds for which an origin may trust the gate's assertion of a tenant.
pub const ASSERTION_LIFETIME_MS: u64 = 60_000;
/// Signed assertions that one isolate keeps for use again.
pub const MAX_CACHED_ASSERTIONS: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    /// What each cache of an isolate holds at worst, in bytes: entries times what one of them weighs, or its budget.
    #[test]
    fn caches_fit_their_budget() {
        // A name, an id, times, and what the map adds.
        let named = |entries: usize| entries * (2 * MAX_HOST_BYTES + MAX_TENANT_ID_BYTES + 128);
        let caches = [
            MAX_TENANT_CACHE_BYTES,
            MAX_KEY_CACHE_BYTES,
            MAX_TOLD_BYTES,
            // Slugs, domains, and hosts as they arrived.
            2 * named(MAX_CACHED_INDEX),
            // Verified tokens and signed assertions: what their issuers say is bounded, most say less than a tenth of it.
            (MAX_CACHED_TOKENS + MAX_CACHED_ASSERTIONS) * MAX_REMEMBERED_BYTES / 4,
            MAX_REFUSED_TOKENS * 128,
            MAX_LOCAL_COUNTERS * 96,
            MAX_HELD_LEASES * 384,
        ];
        let sum: usize = caches.iter().sum();
        assert!(sum <= MAX_CACHE_BYTES, "{sum} bytes");
    }
}
