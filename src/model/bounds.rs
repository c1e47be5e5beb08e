//! Every bound of the product, with its unit and its reason. Exceeding a bound gives a clear error
//! and loses nothing, unless the constant says otherwise.

/// Bytes of a host name: the maximum in DNS (RFC 1035 §2.3.4).
pub const MAX_HOST_BYTES: usize = 253;
/// Bytes of a request path. Common servers accept no more.
pub const MAX_PATH_BYTES: usize = 8_192;
/// Bytes of a query string. The same as for the path.
pub const MAX_QUERY_BYTES: usize = 8_192;
/// Bytes of a value that names a tenant in a header or query parameter: enough for an id, too few
/// for a payload.
pub const MAX_SIGNAL_BYTES: usize = 128;
/// Bytes of a tenant id: with its prefix it fits a Durable Object name and a KV key (512 bytes).
pub const MAX_TENANT_ID_BYTES: usize = 128;
/// Bytes of a slug: one DNS label (RFC 1035 §2.3.4).
pub const MAX_SLUG_BYTES: usize = 63;
/// Bytes of the key of a feature, limit, plan, add-on or variant.
pub const MAX_KEY_BYTES: usize = 64;
/// Bytes of the body of a request to one of the gate's own endpoints.
pub const MAX_BODY_BYTES: usize = 65_536;
/// Milliseconds within which a body must arrive, so that slow senders do not hold requests open.
pub const MAX_BODY_MS: u64 = 30_000;
/// Bytes of a catalog: parsed within a few milliseconds, and well below KV's 25 MiB per value.
pub const MAX_CATALOG_BYTES: usize = 4 << 20;
/// Bytes of a tenant record.
pub const MAX_RECORD_BYTES: usize = 256 << 10;
/// Bytes of a text in a document whose type has no smaller bound. The longest useful text is a
/// public key in PEM.
pub const MAX_TEXT_BYTES: usize = 2_048;
/// Nesting depth of a feature's JSON value.
pub const MAX_JSON_DEPTH: usize = 32;
/// Problems in the report on one document. The report says if there are more.
pub const MAX_PROBLEMS: usize = 100;
/// Features in a catalog: four times the largest plan in the benchmarks.
pub const MAX_FEATURES: usize = 4_096;
/// Rules of one feature. They are evaluated in order, so their number bounds the time of a
/// decision.
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
/// Bytes of a usage event's `id`, `source` and `type`, each, and of the path to its value.
pub const MAX_EVENT_NAME_BYTES: usize = 255;
/// Usage events in one batch.
pub const MAX_EVENTS: usize = 1_000;
/// Bytes of a batch of usage events.
pub const MAX_USAGE_BODY_BYTES: usize = 1 << 20;
/// Bytes of one usage event as forwarded: every intermediary (CloudEvents 1.0 §5) and queue accepts
/// this many.
pub const MAX_EVENT_BYTES: usize = 65_536;
/// Milliseconds by which a usage event may be late and still count in the period of its time: the
/// longest month, plus time to notice the delay.
pub const MAX_EVENT_LATE_MS: u64 = 40 * 86_400_000;
/// Milliseconds within which an origin must send its response headers, unless the route sets
/// `timeout_ms`.
pub const ORIGIN_MS: u64 = 60_000;
/// Maximum `timeout_ms` of a route, in milliseconds.
pub const MAX_ORIGIN_MS: u64 = 600_000;
/// Features in the catalog's `origin.assertion`.
pub const MAX_ASSERTED_FEATURES: usize = 32;
/// Bytes of `features` and of `limits` in an assertion, each: room for as many plain features as an
/// assertion may have. Many servers accept no more than 16 KB of headers in all.
pub const MAX_ASSERTED_BYTES: usize = 4_096;
/// Headers in the catalog's `allow_headers`. Each request is compared with all of them.
pub const MAX_ORIGIN_HEADERS: usize = 64;
/// Bytes of a header name.
pub const MAX_HEADER_NAME_BYTES: usize = 128;
/// Recorded changes of a metric's period settings, per tenant. Later changes have no effect.
pub const MAX_ERAS: usize = 256;
/// Milliseconds by which a usage event's time may be in the future, because clocks differ.
pub const MAX_EVENT_AHEAD_MS: u64 = 300_000;
/// Minimum milliseconds for which a ledger remembers usage events; the maximum is twice that. This
/// is as long as an event may be late: an event that is sent again with the same time is either
/// remembered or rejected, and never counts twice.
pub const EVENT_ONCE_MS: u64 = MAX_EVENT_LATE_MS;
/// Usage events forwarded in one batch: the maximum of a queue.
pub const MAX_OUTBOX_BATCH: u32 = 100;
/// Bytes of usage events forwarded in one batch, unless a single event is larger. A queue accepts
/// at most 256 KB.
pub const MAX_OUTBOX_BYTES: u32 = 200_000;
/// Bytes of text that a ledger writes to `SQLite` in one value, unless a single text is larger.
/// Encoded as JSON, the text may be twice as long, and Cloudflare accepts at most 2 MB.
pub const MAX_SLICE_BYTES: usize = 512 << 10;
/// Bytes of the name of a limit's unit.
pub const MAX_UNIT_BYTES: usize = 64;
/// Limits in a catalog.
pub const MAX_LIMITS: usize = 256;
/// Budgets that one request may charge, including those of ancestors. They are charged in one
/// transaction.
pub const MAX_CHARGES: usize = 64;
/// Plan versions in a catalog, and add-ons, each.
pub const MAX_PLANS: usize = 1_024;
/// Routes in a catalog. They are searched by longest prefix first.
pub const MAX_ROUTES: usize = 512;
/// Resolution strategies in a catalog.
pub const MAX_STRATEGIES: usize = 8;
/// Base domains, reserved labels and central hosts, each.
pub const MAX_HOSTS: usize = 256;
/// Headers that a custom resolver receives.
pub const MAX_VARY: usize = 16;
/// Domains of one tenant, and of one licence.
pub const MAX_DOMAINS: usize = 256;
/// Milliseconds for which an override or a contract may still apply after its end: a quarter of a
/// year, for renewals that are still being negotiated.
pub const MAX_GRACE_MS: u64 = 90 * 86_400_000;
/// Bytes of a tenant's display name.
pub const MAX_NAME_BYTES: usize = 200;
/// Bytes of an admin token's name.
pub const MAX_TOKEN_NAME_BYTES: usize = 120;
/// Generations of admin tokens, each made with the one before, starting with the operator's. Each
/// request looks up the whole chain.
pub const MAX_TOKEN_GENERATIONS: usize = 8;
/// Tenants that one page of an impact report compares.
pub const MAX_IMPACT_PAGE: u64 = 1_000;
/// Recorded requests that one impact report replays.
pub const MAX_REPLAYED: usize = 1_000;
/// Default number of days for which the data of a deleted tenant is kept.
pub const DEFAULT_RETENTION_DAYS: u64 = 30;
/// Maximum number of days for which the data of a deleted tenant is kept.
pub const MAX_RETENTION_DAYS: u64 = 3_650;
/// Milliseconds for which the slug of a deleted tenant is not reassigned, because bookmarks, mails
/// and caches still contain it.
pub const SLUG_QUARANTINE_MS: u64 = 90 * 86_400_000;
/// Entries in one page of a list in the admin API.
pub const MAX_PAGE: u64 = 1_000;
/// Direct sub-tenants of one tenant, unless the catalog's `sub_tenants` allows fewer.
pub const MAX_CHILDREN: u64 = 10_000;
/// Tenants that move to another family together. Their counters travel between the two ledgers in
/// one message.
pub const MAX_MOVING: usize = 500;
/// Working API keys of one tenant, and licences, each.
pub const MAX_ISSUED: u64 = 1_000;
/// Changes that a tenant's admins may make per day, enough for people and their scripts.
pub const ADMIN_DAY_CHANGES: u64 = 2_000;
/// Changes that a tenant's admins may make at once.
pub const ADMIN_BURST_CHANGES: u64 = 120;
/// All descendants of a root share one further budget of the same size. Each of them may use at
/// most one part in `ADMIN_SHARES` of it.
pub const ADMIN_SHARES: u64 = 4;
/// Bytes that the changes of a tenant's admins may write per day. The ten gigabytes that a database
/// holds last for two years, or for one if descendants use their budget too.
pub const ADMIN_DAY_BYTES: u64 = 12 << 20;
/// Bytes that the changes of a tenant's admins may write at once.
pub const ADMIN_BURST_BYTES: u64 = 4 << 20;
/// Bytes that a change writes in addition to its body.
pub const ADMIN_ROW_BYTES: u64 = 2_048;
/// Maximum milliseconds for which a replaced API key keeps working.
pub const MAX_OVERLAP_MS: u64 = 90 * 86_400_000;
/// Milliseconds after which an expired or revoked API key is deleted.
pub const ENDED_KEY_KEPT_MS: u64 = 30 * 86_400_000;
/// API keys that one run of the scheduled task deletes.
pub const ENDED_KEYS_TOGETHER: u64 = 100;
/// Days for which denials are kept.
pub const DENIALS_KEPT_DAYS: u64 = 90;
/// Bytes of the entries of one page of the admin API, unless a single entry is larger.
pub const MAX_PAGE_BYTES: u64 = 1 << 20;
/// Latest catalog versions that are kept regardless of their age.
pub const CATALOGS_KEPT: u64 = 100;
/// Milliseconds for which older catalog versions are kept.
pub const CATALOG_KEPT_MS: u64 = 90 * 86_400_000;
/// Domains that a tenant has claimed but not proven.
pub const MAX_PENDING_DOMAINS: u64 = 32;
/// Bytes of one part of a catalog in D1, which accepts at most 2 MB per value.
pub const MAX_CATALOG_PART_BYTES: usize = 1 << 20;
/// Tenants that a bulk job changes in one slice. Each needs a few statements of one transaction.
pub const JOB_SLICE: u64 = 50;
/// Milliseconds before an isolate first records a tenant's denials with the same code again. The
/// interval doubles while denials continue.
pub const DENIAL_GATHER_MS: u64 = 10_000;
/// Maximum of that interval in milliseconds, so that a flood of denials does not become a flood of
/// writes.
pub const DENIAL_SAMPLE_MS: u64 = 600_000;
/// Counters of denials by tenant and code in one isolate. Beyond that, counting starts again.
pub const MAX_COUNTED_DENIALS: usize = 4_096;
/// Minimum milliseconds for which the admin API remembers an idempotency key.
pub const ADMIN_ONCE_MS: u64 = 86_400_000;
/// Milliseconds after which an isolate reads the feed in the background of a request.
pub const FEED_SOFT_MS: u64 = 5_000;
/// Milliseconds after which an isolate reads the feed before it decides. Together with the time of
/// that read, this bounds how long any change can go unnoticed.
pub const FEED_FIRM_MS: u64 = 10_000;
/// Milliseconds between two reads of the feed that an unknown tenant causes: how long a new tenant
/// can be unknown to an isolate that has looked it up before.
pub const FEED_MISS_MS: u64 = 200;
/// The same interval after repeated reads without changes.
pub const MAX_FEED_MISS_MS: u64 = 2_000;
/// Changes in one page of the feed.
pub const MAX_FEED: u64 = 500;
/// Pages of the feed in one read. Beyond that, all snapshots are marked stale.
pub const MAX_FEED_PAGES: usize = 20;
/// Milliseconds within which D1 must return the feed, because a request may be waiting.
pub const FEED_DEADLINE_MS: u32 = 1_000;
/// Milliseconds before its start from which a new isolate reads the feed: the lifetime of KV's
/// cache, plus a margin.
pub const FEED_LATELY_MS: u64 = 120_000;
/// Milliseconds for which a changed snapshot is read from D1: the lifetime of KV's cache, plus time
/// to retry a publication.
pub const STRONG_MS: u64 = 600_000;
/// Changed keys that an isolate remembers individually. Beyond that, all keys are read from D1 for
/// [`STRONG_MS`].
pub const MAX_STRONG: usize = 16_384;
/// Valid secrets of open endpoints that one isolate remembers.
pub const MAX_GUESTS: usize = 4_096;
/// Client addresses whose requests to open endpoints one isolate counts.
pub const MAX_KNOCKING: usize = 8_192;
/// Milliseconds for which a support ticket can be redeemed.
pub const TICKET_MS: u64 = 60_000;
/// Milliseconds for which the API key from a support ticket works.
pub const SUPPORT_MS: u64 = 15 * 60_000;
/// Milliseconds for which a change remains in the feed after its publication: longer than the
/// lifetime of KV's cache and the longest time that an isolate goes without reading the feed.
pub const FEED_KEPT_MS: u64 = 3_600_000;

/// Maximum milliseconds for which a signed licence may be used without contacting the gate: a
/// quarter of a year.
pub const MAX_OFFLINE_MS: u64 = 90 * 86_400_000;
/// Minimum milliseconds without a check after which an activation may end. Instances check when
/// they start, and some run for a long time.
pub const MIN_ACTIVATION_MS: u64 = 60_000;
/// Maximum milliseconds without a check after which an activation may end.
pub const MAX_ACTIVATION_MS: u64 = 365 * 86_400_000;
/// Bytes of the name of an instance that activates a licence.
pub const MAX_INSTANCE_BYTES: usize = 128;

/// Discounts of a contract, and credits of a service level, each.
pub const MAX_CONTRACT_TERMS: usize = 32;
/// Maximum days within which an invoice must be paid.
pub const MAX_NET_DAYS: u64 = 365;
/// Bytes of a tenant's brand name.
pub const MAX_BRAND_NAME_BYTES: usize = 120;
/// Shards in a catalog.
pub const MAX_SHARDS: usize = 1_024;
/// Maximum number of read replicas of a shard: their names are part of a header.
pub const MAX_REPLICAS: usize = 8;
/// Overrides of one tenant.
pub const MAX_OVERRIDES: usize = 1_024;
/// Add-ons of one tenant.
pub const MAX_ADDONS: usize = 64;
/// Bytes of a token's subject (`OpenID` Connect Core §2).
pub const MAX_SUBJECT_BYTES: usize = 255;
/// Tenants in a line, from the tenant itself to its root.
pub const MAX_HIERARCHY_DEPTH: usize = 8;
/// The largest limit, cost or level: far below 2^53, so that JavaScript represents it and sums of
/// it exactly.
pub const MAX_QUANTITY: u64 = 1_000_000_000_000;
/// The largest rate and burst, in units per window. Multiplied by the longest window it fits 64
/// bits, so that rates are exact integers.
pub const MAX_RATE: u64 = 1_000_000_000;
/// The longest window of a rate or window limit, in milliseconds. Use a quota for more than a day.
pub const MAX_WINDOW_MS: u64 = 86_400_000;
/// Bytes of a token, including its signature: the most that common servers accept in one header.
pub const MAX_TOKEN_BYTES: usize = 8_192;
/// Bytes of a `Cookie` header that is searched for a token.
pub const MAX_COOKIE_BYTES: usize = 16_384;
/// Bytes of the name or path of a claim, and of a token's `typ`.
pub const MAX_CLAIM_BYTES: usize = 128;
/// Scopes of a route, a key or a token.
pub const MAX_SCOPES: usize = 64;
/// Bytes of one scope.
pub const MAX_SCOPE_BYTES: usize = 128;
/// Issuers in a catalog.
pub const MAX_ISSUERS: usize = 256;
/// Audiences of one issuer, and of one token.
pub const MAX_AUDIENCES: usize = 16;
/// Tenants that an issuer lists by id. Use a prefix for more.
pub const MAX_NAMED_TENANTS: usize = 256;
/// Keys of one issuer in the catalog.
pub const MAX_ISSUER_KEYS: usize = 16;
/// Bytes of a `kid`.
pub const MAX_KEY_ID_BYTES: usize = 128;
/// Bytes of an issuer's `iss`, and of the URL of its keys: with its prefix it fits a KV key (512
/// bytes).
pub const MAX_URL_BYTES: usize = 480;
/// Bytes of a published key set: room for the largest keys, with certificates that are ignored.
pub const MAX_JWKS_BYTES: usize = 131_072;
/// Keys in a published key set.
pub const MAX_JWKS_KEYS: usize = 64;
/// Minimum bits of an RSA key (NIST SP 800-131A).
pub const MIN_RSA_BITS: usize = 2_048;
/// Maximum bits of an RSA key. The cost of verification grows with the square.
pub const MAX_RSA_BITS: usize = 4_096;
/// Default milliseconds by which the clocks of issuer and gate may differ.
pub const DEFAULT_LEEWAY_MS: u64 = 30_000;
/// Maximum leeway in milliseconds. With more, expiry would lose its meaning.
pub const MAX_LEEWAY_MS: u64 = 300_000;
/// Bytes of subject and scopes of a verified token that is cached, and of an assertion that is
/// reused. Larger ones are processed anew each time, so that they cannot fill an isolate's memory.
pub const MAX_REMEMBERED_BYTES: usize = 2_048;
/// Verified tokens that one isolate caches.
pub const MAX_CACHED_TOKENS: usize = 4_096;
/// Signatures whose verification by the platform has ended and whose requests have not gone on.
pub const MAX_ANSWERED_SIGNATURES: usize = 64;
/// Tokens whose signatures the platform is verifying. Beyond that, some are paid for twice.
pub const MAX_ASKED_SIGNATURES: usize = 1_024;
/// Rejected tokens that one isolate remembers, by their digests alone.
pub const MAX_REFUSED_TOKENS: usize = 8_192;
/// Bytes of a client snapshot: no more than a catalog can contain.
pub const MAX_CLIENT_SNAPSHOT_BYTES: usize = MAX_CATALOG_BYTES;
/// Seconds for which a page may wait for a change of its features (`Prefer: wait`): less than
/// proxies wait for a response.
pub const MAX_WAIT_S: u64 = 30;
/// Waiting requests of pages in one isolate. Beyond that, requests are answered immediately.
pub const MAX_HELD: usize = 4_096;
/// Waiting requests of pages of one family in one isolate. Each browser tab waits by itself.
pub const MAX_HELD_BY_ONE: usize = 256;
/// Milliseconds after which a waiting request checks for a change again.
pub const WAIT_STEP_MS: u32 = 1_000;
/// Direct and indirect prerequisites of one feature. Each is evaluated whenever the feature is.
pub const MAX_REQUIRED: usize = 64;
/// Context attributes of one request.
pub const MAX_ATTRIBUTES: usize = 64;
/// Bytes of the value of one context attribute. A longer value counts as absent, so that the time
/// of a rule stays bounded.
pub const MAX_ATTRIBUTE_BYTES: usize = 1_024;
/// Features that one request may ask for.
pub const MAX_ASKED_FEATURES: usize = 256;
/// Bytes of all caches of one isolate together, out of the platform's 128 MB. A test adds them up.
pub const MAX_CACHE_BYTES: usize = 64 << 20;
/// Bytes of cached tenant records and of the entitlements compiled from them.
pub const MAX_TENANT_CACHE_BYTES: usize = 24 << 20;
/// Bytes of cached API key records, including known absences.
pub const MAX_KEY_CACHE_BYTES: usize = 4 << 20;
/// Bytes of cached client snapshots.
pub const MAX_CLIENT_SNAPSHOT_CACHE_BYTES: usize = 4 << 20;
/// Families and tenants for which one isolate caches small values, such as epochs and changes.
pub const MAX_CACHED_TENANTS: usize = 4_096;
/// Index entries (slug or domain to id, including known absences) that one isolate caches.
pub const MAX_CACHED_INDEX: usize = 8_192;
/// Counters of `local` limits in one isolate. Beyond that, the isolate starts counting again.
pub const MAX_LOCAL_COUNTERS: usize = 65_536;
/// Bytes of an idempotency key.
pub const MAX_IDEMPOTENCY_KEY_BYTES: usize = 255;
/// Minimum milliseconds for which a ledger remembers idempotency keys; the maximum is twice that.
pub const ONCE_MS: u64 = 86_400_000;
/// Latest idempotency keys that a ledger in this process remembers.
pub const MAX_LOCAL_KEYS: usize = 65_536;
/// Bytes of a message to a ledger: ledger requests that travel together, each far smaller than the
/// body that it came from.
pub const MAX_LEDGER_MESSAGE_BYTES: usize = 16 << 20;
/// Ledger requests that wait for a ledger's next commit. Further ones are denied with
/// `LEDGER_UNAVAILABLE`.
pub const MAX_LEDGER_QUEUE: usize = 4_096;

/// Milliseconds after which a snapshot is refreshed in the background of a request.
pub const SOFT_AGE_MS: u64 = 300_000;
/// Milliseconds after which a snapshot is fetched again before it is used. If that fails, the old
/// one is used. Together with KV's own cache (60 s), this bounds how long a suspension can go
/// unnoticed while KV is readable.
pub const FIRM_AGE_MS: u64 = 600_000;
/// Milliseconds after which a snapshot is no longer used.
pub const HARD_AGE_MS: u64 = 86_400_000;
/// Milliseconds for which an unknown name is cached as unknown.
pub const NEGATIVE_AGE_MS: u64 = 30_000;
/// Milliseconds between two attempts to refresh the same snapshot.
pub const REFRESH_INTERVAL_MS: u64 = 10_000;
/// Milliseconds after which a client may retry if the cause of a denial passes by itself.
pub const RETRY_AFTER_MS: u64 = 5_000;
/// Milliseconds within which a custom resolver must return.
pub const CUSTOM_RESOLVER_MS: u64 = 2_000;

/// Milliseconds for which an isolate may spend a lease without contacting the ledger. Bounds how
/// long units can lie idle and how long a change in the ledger can go unnoticed.
pub const LEASE_MS: u64 = 10_000;
/// Milliseconds after the end of a lease within which its isolate can still report what it spent:
/// the time of a message, plus the difference of clocks.
pub const LEASE_GRACE_MS: u64 = 5_000;
/// Milliseconds for which a request waits for the reply to a claim that another request of the same
/// isolate has sent.
pub const LEASE_ANSWER_MS: u64 = 5_000;
/// Milliseconds for which an isolate repeats a ledger's refusal without asking again, if the ledger
/// is near.
pub const LEASE_DRY_MS: u64 = 100;
/// Maximum of that time for a distant ledger, in milliseconds. Below it, the time equals the round
/// trip.
pub const MAX_LEASE_DRY_MS: u64 = 1_000;
/// Milliseconds for which one request may wait for ledgers and snapshots in total, before it is
/// denied with `LEDGER_UNAVAILABLE` or `SNAPSHOT_UNAVAILABLE`, whatever `on_error` says, because
/// other requests were served meanwhile. A message that is already in flight has its own timeout.
pub const PATIENCE_MS: u64 = 8_000;
/// Leases of one ledger: the number of isolates times the number of limits that they spend.
pub const MAX_LEASES: usize = 65_536;
/// Leases in one message: at most this many in use, and this many ended. Fits [`MAX_BODY_BYTES`].
pub const MAX_CLAIMS: usize = 64;
/// Leases of one isolate. A new lease beyond that takes the place of an idle one.
pub const MAX_HELD_LEASES: usize = 16_384;
/// Holds of one ledger: reservations that are not settled, and requests in flight under a
/// concurrency limit.
pub const MAX_HOLDS: usize = 65_536;
/// Default milliseconds for which a reservation holds its units.
pub const DEFAULT_HOLD_MS: u64 = 60_000;
/// Maximum milliseconds for which a reservation or a request in flight may hold units.
pub const MAX_HOLD_MS: u64 = 86_400_000;
/// Milliseconds after which a request may be retried if all slots of a concurrency limit were
/// taken. When a slot becomes free is unknown.
pub const CONCURRENCY_RETRY_MS: u64 = 1_000;
/// Changed snapshots that a ledger reports in one reply. The others follow in the next.
pub const MAX_NEWS: usize = 64;
/// Quota periods that move with tenants to another family: about a tenth of what a message can
/// hold.
pub const MAX_MOVED_PERIODS: usize = 10_000;
/// Quota periods in an export. Reports contain the earlier ones.
pub const MAX_EXPORTED_QUOTAS: usize = 2_000;
/// CORS policies in a catalog.
pub const MAX_CORS: usize = 64;
/// Origins of a CORS policy. Each request of a page is compared with all of them.
pub const MAX_CORS_ORIGINS: usize = 256;
/// Methods of a CORS policy, and headers, each. A response to a preflight lists all of them.
pub const MAX_CORS_HEADERS: usize = 64;
/// Bytes of the headers that a preflight asks for and its response repeats.
pub const MAX_CORS_ASKED_BYTES: usize = 4_096;
/// Maximum seconds for which a browser may cache a preflight: Firefox's maximum.
pub const MAX_CORS_AGE_S: u64 = 86_400;
/// Circuit breakers in a catalog.
pub const MAX_BREAKERS: usize = 64;
/// The longest window of a circuit breaker, in milliseconds.
pub const MAX_BREAKER_WINDOW_MS: u64 = 3_600_000;
/// Maximum milliseconds for which a circuit breaker stays open before it allows trials.
pub const MAX_BREAKER_OPEN_MS: u64 = 86_400_000;
/// Maximum trials of a half-open circuit breaker.
pub const MAX_BREAKER_TRIALS: u64 = 100;
/// Milliseconds after which a trial without a reported result is replaced by another.
pub const BREAKER_TRIAL_MS: u64 = 60_000;
/// Milliseconds after which a request may be retried if all trials of a half-open circuit breaker
/// are in flight.
pub const BREAKER_RETRY_MS: u64 = 1_000;
/// Circuit breakers whose state one isolate caches. Beyond that, all are dropped and fetched anew.
pub const MAX_KNOWN_BREAKERS: usize = 16_384;
/// Maximum units that an isolate claims in advance.
pub const MAX_LEASE_UNITS: u64 = 1_000_000;

/// Milliseconds after which an API key record is refreshed in the background of a request.
pub const KEY_SOFT_AGE_MS: u64 = 30_000;
/// Milliseconds after which an API key record is fetched again before it is used. Together with
/// KV's own cache (60 s), this bounds how long a revoked key can work.
pub const KEY_HARD_AGE_MS: u64 = 60_000;
/// Milliseconds after which published keys are refreshed in the background of a request.
pub const JWKS_SOFT_AGE_MS: u64 = 600_000;
/// Milliseconds after which published keys are fetched again before they are used. If that fails,
/// the old ones are used. Bounds how long a key that its issuer has withdrawn can work.
pub const JWKS_FIRM_AGE_MS: u64 = 1_200_000;
/// Milliseconds for which published keys are used while their issuer is unreachable.
pub const JWKS_HARD_AGE_MS: u64 = 86_400_000;
/// Milliseconds between two fetches of the same published keys, however many unknown `kid`s arrive.
pub const JWKS_COOLDOWN_MS: u64 = 30_000;
/// Milliseconds within which an issuer must send its keys.
pub const JWKS_TIMEOUT_MS: u64 = 5_000;
/// Milliseconds for which an assertion is valid.
pub const ASSERTION_LIFETIME_MS: u64 = 60_000;
/// Signed assertions that one isolate keeps for reuse.
pub const MAX_CACHED_ASSERTIONS: usize = 4_096;

/// Patterns of realtime channels in a catalog.
pub const MAX_CHANNEL_PATTERNS: usize = 256;
/// Bytes of the name of a realtime channel.
pub const MAX_CHANNEL_BYTES: usize = 64;
/// Channels of one connection. They are part of what the runtime keeps of a hibernated socket,
/// which is at most 16 KiB.
pub const MAX_CHANNELS: usize = 32;
/// Bytes of a message that a member of a tenant sends over its socket, as at comparable services.
pub const MAX_SOCKET_MESSAGE_BYTES: usize = 32 << 10;
/// Bytes of the first message of a socket without a credential: a token and its envelope.
pub const MAX_AUTH_MESSAGE_BYTES: usize = 8 << 10;
/// Milliseconds within which a socket without a credential must present one.
pub const AUTH_MS: u64 = 30_000;
/// Sockets without a credential in one hub or lobby.
pub const MAX_WAITING_SOCKETS: usize = 64;
/// Sockets without a credential of one client in one hub or lobby.
pub const MAX_WAITING_BY_ONE: usize = 5;
/// Sockets of one hub. The runtime allows 32,768; a message to 4,096 takes about 0.13 s to send.
pub const MAX_SOCKETS: usize = 4_096;
/// Objects in which sockets wait that name no tenant yet. A client's network chooses one.
pub const MAX_LOBBIES: u32 = 64;
/// Messages of such a socket before it is admitted.
pub const MAX_EARLY_MESSAGES: u32 = 16;
/// Unsent bytes of all sockets of one client in a lobby, closed ones included. Beyond that, a
/// socket that it does not read is closed.
pub const MAX_CLIENT_UNSENT_BYTES: u32 = 2 << 20;
/// Hubs of one tenant.
pub const MAX_SHARDS_OF_HUB: u32 = 32;
/// Messages of one socket per second.
pub const MAX_SOCKET_RATE: u64 = 100;
/// Messages of one socket at once. A socket that sends on beyond it is closed.
pub const MAX_SOCKET_BURST: u64 = 200;
/// Unsent bytes of one socket. Beyond that, its reader is behind: it receives nothing until it has
/// read, and then what it has missed.
pub const MAX_UNSENT_BYTES: u32 = 64 << 10;
/// Unsent bytes of all sockets of one hub. Beyond that, the sockets with the most are closed.
pub const MAX_HUB_UNSENT_BYTES: u32 = 16 << 20;
/// Milliseconds after which a reader that is still behind is disconnected.
pub const BEHIND_MS: u64 = 30_000;
/// Milliseconds between two looks at readers that are behind while they read.
pub const MIN_DRAIN_MS: u64 = 4;
/// Milliseconds between two looks at readers that are behind while they do not read.
pub const DRAIN_MS: u64 = 2_000;
/// Messages that a hub keeps for clients that return.
pub const MAX_LOG_MESSAGES: usize = 5_000;
/// Bytes of the messages that a hub keeps.
pub const MAX_LOG_BYTES: usize = 4 << 20;
/// Milliseconds for which a hub keeps a message.
pub const LOG_MS: u64 = 300_000;
/// Messages in one request of the operator's code.
pub const MAX_PUBLISHED: usize = 100;
/// Bytes of a request of the operator's code with messages.
pub const MAX_PUBLISHED_BODY_BYTES: usize = 1 << 20;
/// Tenants below one that receive a message to all of them.
pub const MAX_DESCENDANTS: u64 = 1_000;
/// Bytes of the request that opened a socket without a credential, which the runtime keeps until
/// there is one.
pub const MAX_GUEST_QUESTION_BYTES: usize = 4_096;
/// Messages in one frame to a client that takes several at once.
pub const MAX_PACKED: usize = 64;
/// Bytes of the messages in one frame.
pub const MAX_PACKED_BYTES: usize = 32 << 10;
/// Milliseconds for which a user without a connection is still present, so that a reconnection is
/// not seen.
pub const PRESENCE_MS: u64 = 10_000;
/// Users in the answer to a question for presence.
pub const MAX_PRESENT: usize = 200;
/// Milliseconds before the end of a credential at which its connection is told.
pub const EXPIRY_NOTICE_MS: u64 = 60_000;
/// Milliseconds for which a hub relies on what it last heard of its tenant. After that, nothing
/// enters or leaves before it has asked again.
pub const HUB_TRUST_MS: u64 = 8_000;
/// Milliseconds after which a hub tries again what has failed, and gives up what it no longer
/// needs: slots, and its place in the list of hubs.
pub const HUB_RETRY_MS: u64 = 10_000;
/// Slots of a limit of kind `concurrency` that a hub holds ahead of its connections.
pub const HUB_SLOTS: u64 = 16;
/// Milliseconds for which a hub holds slots. It holds them again at half of that.
pub const HUB_HOLD_MS: u64 = 3_600_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds up the maximum size of each cache of an isolate in bytes: its budget, or its entries
    /// times the size of one.
    #[test]
    fn caches_fit_their_budget() {
        // A name, an id, times, and the overhead of the map.
        let named = |entries: usize| entries * (2 * MAX_HOST_BYTES + MAX_TENANT_ID_BYTES + 128);
        let caches = [
            MAX_TENANT_CACHE_BYTES,
            MAX_KEY_CACHE_BYTES,
            MAX_CLIENT_SNAPSHOT_CACHE_BYTES,
            // Slugs, domains, and hosts as they arrived.
            2 * named(MAX_CACHED_INDEX),
            // Verified tokens and signed assertions. Their sizes are bounded, and most use less
            // than a tenth of the bound.
            (MAX_CACHED_TOKENS + MAX_CACHED_ASSERTIONS) * MAX_REMEMBERED_BYTES / 4,
            (MAX_REFUSED_TOKENS + MAX_ASKED_SIGNATURES) * 128,
            MAX_ANSWERED_SIGNATURES * (MAX_TOKEN_BYTES + 1_024),
            MAX_LOCAL_COUNTERS * 96,
            MAX_HELD_LEASES * 384,
        ];
        let sum: usize = caches.iter().sum();
        assert!(sum <= MAX_CACHE_BYTES, "{sum} bytes");
    }
}
