// Written by `node scripts/types.mjs` from the JSON Schemas in `schema`.

type Key = string;
/**
 * How much of a limit is allowed. 0 blocks.
 */
type Allowance = Quantity | FullAllowance | "unlimited";
type Quantity = number;
/**
 * What happens when a limit is exceeded.
 */
type Overage = "hard" | "soft" | "paid";
/**
 * RFC 3339 text, or milliseconds since 1970-01-01T00:00:00Z
 */
type Time = string | number;
/**
 * A signature algorithm (RFC 7518, RFC 8037). `none` does not exist here.
 */
type Algorithm =
  "HS256" | "HS384" | "HS512" | "RS256" | "RS384" | "RS512" | "PS256" | "PS384" | "PS512" | "ES256" | "ES384" | "EdDSA";
type TenantId = string;
/**
 * The length of a quota's period.
 */
type Period = "hour" | "day" | "week" | "month" | "year";
type Scope = string;
/**
 * Where custom domains are looked up.
 */
type DomainLookup = "index";
/**
 * How a signal's value identifies the tenant.
 */
type Identifies = "slug" | "id";
/**
 * The credential that a route requires.
 */
type Auth = "none" | "any" | "jwt" | "api_key" | "api-key";
/**
 * a colour such as `#0a7cff`
 */
type Color = string;
/**
 * an `https://` URL of a host without port and plain characters, at most 480 bytes
 */
type WebUrl = string;
/**
 * 1 to 64 letters, digits, spaces and `-`
 */
type FontFamily = string;
/**
 * 1 to 120 bytes without `<`, `>`, `&`, quotes or control characters
 */
type BrandName = string;
/**
 * a domain of at least two labels, in lower case, as A-labels
 */
type SenderDomain = string;
/**
 * What controls a breaker's state.
 */
type BreakerMode = "auto" | "forced_open" | "forced-open" | "disabled";
type PlanRef = string;

/**
 * The catalog.
 */
export interface CatalogDocument {
  /**
   * Add-ons by key. An add-on grants its features and adds its limits to the plan's.
   */
  addons?: {
    [k: string]: Plan;
  };
  /**
   * Circuit breakers by key. Routes that name the same breaker form a group.
   */
  breakers?: {
    [k: string]: Breaker;
  };
  /**
   * CORS policies by key: which pages of other origins may read the responses of the routes that name the policy.
   */
  cors?: {
    [k: string]: Cors;
  };
  /**
   * Features by key.
   */
  features?: {
    [k: string]: Feature;
  };
  /**
   * Token issuers, by a name of your choice. For the strategy `jwt`.
   */
  issuers?: {
    [k: string]: Issuer;
  };
  /**
   * Limits by key.
   */
  limits?: {
    [k: string]: Limit;
  };
  /**
   * Usage metrics by key.
   */
  metrics?: {
    [k: string]: Metric;
  };
  /**
   * Which parts of a client's request the origin receives.
   */
  origin?: Origin | null;
  /**
   * Plan versions, such as `pro@2`. A version never changes: a change needs a new version.
   */
  plans?: {
    [k: string]: Plan;
  };
  /**
   * Sockets of tenants. Default: there are none.
   */
  realtime?: Realtime | null;
  resolution: Resolution;
  /**
   * What requests to each path need and cost. The longest matching prefix applies.
   */
  routes?: Route[];
  /**
   * Shards by key: the places that store tenant data.
   */
  shards?: {
    [k: string]: Shard;
  };
  /**
   * The gauge that counts a tenant's direct sub-tenants, so that plans can limit them. Default: they are not counted.
   */
  sub_tenants?: Key | null;
  /**
   * Defaults for the record of a new tenant, as a merge patch (RFC 7396).
   */
  tenant_defaults?: unknown;
  /**
   * The URL at which tenants can upgrade, as given in denials. Default `/pricing`.
   */
  upgrade_url?: string;
  /**
   * Grows with every publication. An isolate that has seen a version rejects older ones.
   */
  version: number;
}
/**
 * A plan version, or an add-on.
 */
interface Plan {
  /**
   * The granted features: a list of keys, or values by key.
   */
  features?:
    | Key[]
    | {
        [k: string]: unknown;
      };
  /**
   * The allowance of each limit.
   */
  limits?: {
    [k: string]: Allowance;
  };
  /**
   * Whether it is no longer sold. Tenants that have it keep it. Default false.
   */
  retired?: boolean;
  /**
   * Display name. Not interpreted.
   */
  title?: string | null;
}
/**
 * The long form of an allowance.
 */
interface FullAllowance {
  /**
   * Units of a rate that may be used at once. Default: the limit.
   */
  burst?: Quantity | null;
  /**
   * Units per window, per period, or at once.
   */
  limit: number;
  /**
   * What happens beyond the limit. Only for quotas and gauges. Default: the limit's `overage`.
   */
  overage?: Overage | null;
}
/**
 * A circuit breaker for a group of routes. Each tenant has its own. It counts forwarded requests: a call has failed if the origin responds with a status of 500 or above, or not at all. Denied requests are not counted.
 */
interface Breaker {
  /**
   * Description for readers. Not interpreted.
   */
  description?: string | null;
  /**
   * Percentage of failed calls at which the breaker opens, 1 to 100. Default 50.
   */
  failed_percent?: number;
  /**
   * Minimum number of calls in the window before the breaker can open, at least 1. Default 20.
   */
  min_calls?: number;
  /**
   * The mode, unless a tenant's record sets another one. Default `auto`.
   */
  mode?: "auto" | "forced_open" | "forced-open" | "disabled";
  /**
   * Milliseconds for which the breaker stays open before it allows trials, 1 to 86400000. Default 30000.
   */
  open_ms?: number;
  /**
   * Milliseconds until the response headers from which a call counts as slow. Default: no call is slow.
   */
  slow_ms?: Quantity | null;
  /**
   * Percentage of slow calls at which the breaker opens, 1 to 100. Default 100.
   */
  slow_percent?: number;
  /**
   * Number of trials, 1 to 100. The same percentages then close the breaker or open it again. Default 5.
   */
  trial_calls?: number;
  /**
   * Milliseconds for which a call is counted, 1000 to 3600000. Default 10000.
   */
  window_ms?: number;
}
/**
 * A CORS policy: which pages of other origins may read the responses of a group of routes. The gate answers preflights itself, before it asks for a credential. It sets the headers on all responses of these routes, including denials and the origin's own responses.
 */
interface Cors {
  /**
   * Whether pages may send cookies and read the response. Not with `*`. Default false.
   */
  credentials?: boolean;
  /**
   * Response headers that pages may read, in addition to `RateLimit-Policy`, `RateLimit`, `Retry-After`, `ETag` and `WWW-Authenticate`.
   */
  expose_headers?: string[];
  /**
   * Headers that pages may send. Default: all that a preflight asks for.
   */
  headers?: string[] | null;
  /**
   * Seconds for which a browser caches a preflight, 0 to 86400. Default 600.
   */
  max_age_s?: number;
  /**
   * Methods that pages may use. Default: `GET`, `HEAD`, `POST`, `PUT`, `PATCH` and `DELETE`.
   */
  methods?: string[];
  /**
   * Origins whose pages are allowed: `https://app.example.com`, `https://*.example.com` for exactly one more label, or `*` alone for all.
   */
  origins: string[];
}
/**
 * A feature. Its value comes from the strongest tier that has one: kill, override, add-on, contract, plan, and finally the default below, which rules refine.
 */
interface Feature {
  /**
   * Whether the feature is sent to browsers of the tenant, together with those of its rules that can apply to the tenant. Its prerequisites must be `client` features too. Default false.
   */
  client?: boolean;
  /**
   * The global default. Default: false for booleans; required for other types.
   */
  default?: unknown;
  /**
   * Description for readers. Not interpreted.
   */
  description?: string | null;
  /**
   * Turns the feature off for all tenants, whatever their tiers grant. For incidents. Default false.
   */
  kill?: boolean;
  /**
   * Prerequisites: features that must be on for this one to be on.
   */
  requires?: Key[];
  /**
   * Rules that refine the default. The first rule that matches serves its value.
   */
  rules?: Rule[];
  /**
   * The type of all values of the feature. Default `boolean`.
   */
  type?: "boolean" | "number" | "string" | "json";
  /**
   * Named values that rules and rollouts can serve.
   */
  variants?: {
        [k: string]: unknown;
  };
}
/**
 * A rule. It matches if all its conditions hold, and serves exactly one of `value`, `variant` and `rollout`.
 */
interface Rule {
  /**
   * When the rule stops matching, exclusive. Default: never.
   */
  ends_at?: Time | null;
  /**
   * The rule's name. Answers report it.
   */
  name: string;
  /**
   * Serves one of several values, each to a stable share of subjects.
   */
  rollout?: Rollout | null;
  /**
   * When the rule starts to match. Default: no start time.
   */
  starts_at?: Time | null;
  /**
   * Serves this value.
   */
  value?: unknown;
  /**
   * Serves this variant's value.
   */
  variant?: Key | null;
  /**
   * Conditions on the request's context. All must hold. Default: no conditions; the rule always matches.
   */
  when?: Condition[];
}
/**
 * A rollout. The same subject always falls into the same bucket (murmur3, as in flagd's fractional evaluation).
 */
interface Rollout {
  /**
   * The attribute that is hashed; numbers are hashed as text. Default `targeting_key`. `tenant.id` rolls out by tenant. If the attribute is absent, the rule does not match.
   */
  by?: string;
  /**
   * Text that is hashed before the attribute, so that features roll out independently. Default: the feature's key.
   */
  salt?: string | null;
  /**
   * The buckets in order, with relative weights.
   */
  split?: Weighted[];
}
/**
 * One bucket of a rollout. It serves exactly one of `value` and `variant`.
 */
interface Weighted {
  /**
   * Serves this value.
   */
  value?: unknown;
  /**
   * Serves this variant's value.
   */
  variant?: Key | null;
  /**
   * The bucket's share of the sum of all weights, 0 to 2147483647.
   */
  weight: number;
}
/**
 * A condition on one attribute. If the attribute is absent or of another type, the condition does not hold, not even negated. Only `exists` can test for absence.
 */
interface Condition {
  /**
   * An attribute of the context or of the tenant: `tenant.id`, `tenant.slug`, `tenant.plan`, `tenant.region`.
   */
  attribute: string;
  /**
   * Negates the condition. Default false.
   */
  not?: boolean;
  /**
   * The comparison.
   */
  op: "eq" | "in" | "lt" | "lte" | "gt" | "gte" | "starts_with" | "ends_with" | "contains" | "semver" | "exists";
  /**
   * The value to compare with. A list for `in`, absent for `exists`.
   */
  value?: unknown;
}
/**
 * An issuer of tokens. A token selects among the values here and can add none.
 */
interface Issuer {
  /**
   * The accepted signature algorithms, never taken from the token. HMAC algorithms cannot be mixed with others.
   */
  algorithms: Algorithm[];
  /**
   * Accepted audiences. `aud` must contain one of them.
   */
  audience: string[];
  /**
   * The exact value of `iss`.
   */
  issuer: string;
  /**
   * The https URL at which the issuer publishes its keys (RFC 7517).
   */
  jwks_url?: string | null;
  /**
   * The issuer's keys. Exclusive with `jwks_url`.
   */
  keys?: KeySource[];
  /**
   * Allowed clock difference in milliseconds, at most 300000. Default 30000.
   */
  leeway_ms?: number;
  /**
   * The claim that names the tenant: a name, or a path with dots. Default: the strategy's `jwt_claim`.
   */
  tenant_claim?: string | null;
  /**
   * The tenants that the issuer's tokens may name: a list of ids, `{"prefix": "t_eu_"}`, or `"all"`.
   */
  tenants:
    | [TenantId, ...TenantId[]]
    | {
        prefix: string;
      }
    | "all";
  /**
   * The required `typ` of the token's header, such as `at+jwt` (RFC 9068). Default: any.
   */
  typ?: string | null;
}
/**
 * A key: exactly one of `jwk`, `pem` and `secret`.
 */
interface KeySource {
  /**
   * A public key as JWK.
   */
  jwk?: unknown;
  /**
   * For `pem` and `secret`: the key's `kid` in tokens. Default: any `kid`, if this is the only key.
   */
  kid?: string | null;
  /**
   * A public key as PEM (`BEGIN PUBLIC KEY`).
   */
  pem?: string | null;
  /**
   * The name of a Worker secret that holds the key of an HMAC algorithm as text. Upper case.
   */
  secret?: string | null;
}
/**
 * A limit: what is counted, and how. Plans hold the allowances.
 */
interface Limit {
  /**
   * The allowance of plans that do not name the limit. Without it, every plan must name the limit.
   */
  default?: Allowance | null;
  /**
   * Description for readers. Not interpreted.
   */
  description?: string | null;
  /**
   * The kind: `rate`, `window`, `quota`, `gauge` or `concurrency`.
   */
  kind: "rate" | "window" | "quota" | "gauge" | "concurrency";
  /**
   * Maximum number of milliseconds for which a request in flight holds its slot, 1 to 86400000. Only for concurrency. Default 60000.
   */
  max_duration_ms?: Quantity | null;
  /**
   * Where the limit is counted. Default `leased`.
   */
  mode?: "strict" | "leased" | "local";
  /**
   * What happens if the ledger is unreachable. Default `open`.
   */
  on_error?: "open" | "closed";
  /**
   * What happens when a limit is exceeded.
   */
  overage?: "hard" | "soft" | "paid";
  /**
   * Length of the period. Only for quotas, where it is required.
   */
  period?: Period | null;
  /**
   * Whether the limit only counts and reports, and never denies. Default false.
   */
  shadow?: boolean;
  /**
   * Name of the unit for readers, such as `cpu_ms`, `rows` or `bytes`. Route costs and usage quantities are given in this unit.
   */
  unit?: string | null;
  /**
   * Length of the window in milliseconds, 1 to 86400000. Only for rates and windows, where it is required.
   */
  window_ms?: Quantity | null;
}
/**
 * A metric: which events it counts, and how.
 */
interface Metric {
  /**
   * How the events become one number. Default `sum`.
   */
  aggregation?: "sum" | "count" | "max" | "unique" | "latest";
  /**
   * Description for readers. Not interpreted.
   */
  description?: string | null;
  /**
   * The `type` of the events (CloudEvents 1.0).
   */
  event: string;
  /**
   * A quota that events are also counted against, if they fall into its current period. Only for `sum` and `count`. Reported usage has already happened, so it is counted even beyond the limit, and later requests are denied.
   */
  limit?: Key | null;
  /**
   * The length of a quota's period.
   */
  period?: "hour" | "day" | "week" | "month" | "year";
  /**
   * Name of the unit for readers.
   */
  unit?: string | null;
  /**
   * The location of the value in an event's `data`: a member, or a path with dots. The value is a whole number; for `unique`, also text. Not used by `count`. Default `quantity`.
   */
  value?: string;
}
/**
 * Which parts of a client's request the origin receives.
 */
interface Origin {
  /**
   * Whether the origin adds `X-Forwarded-Prefix` to its paths itself. Otherwise the gate adds it to `Location` and to the paths of cookies. Default false.
   */
  adds_prefix?: boolean;
  /**
   * Names of further headers that the origin receives. Headers that name a tenant or that the gate sets are not allowed.
   */
  allow_headers?: string[];
  /**
   * What the assertion tells the origin in addition to tenant, plan and caller. Default: nothing.
   */
  assertion?: AssertionClaims | null;
  /**
   * Which of the client's headers the origin receives: `safe` or `strict`. Default `safe`.
   */
  headers?: "safe" | "strict";
  /**
   * Whether the query parameter `_method` is forwarded. An origin that takes the method from it must not be behind routes that differ by method. Default false.
   */
  method_override?: boolean;
}
/**
 * What an assertion tells the origin in addition to tenant, plan and caller.
 */
interface AssertionClaims {
  /**
   * Features whose values are the claim `features`. At most 32. The claim is left out if it is larger than 4 KiB.
   */
  features?: Key[];
  /**
   * Whether the claim `limits` has the limits that the request was charged to. Each request then has an assertion of its own. The claim is left out if it is larger than 4 KiB. Default false.
   */
  limits?: boolean;
}
/**
 * Sockets of tenants at `/_gate/v1/connect`. The route of that path says which tenants and credentials may connect. Without this member there are no sockets.
 */
interface Realtime {
  broadcast?: Requirement;
  /**
   * Channels, by name. A name that ends with `*` stands for all names that begin so; the longest one that matches applies. Other channels do not exist.
   */
  channels?: {
    [k: string]: Channel;
  };
  /**
   * The limit of kind `concurrency` that counts a tenant's connections. Default: they are not counted.
   */
  connections?: Key | null;
  /**
   * Units of each limit that one published message costs.
   */
  limits?: {
    [k: string]: Quantity;
  };
  send?: Requirement3;
}
/**
 * What a member of a tenant needs: all that is named.
 */
interface Requirement {
  /**
   * The feature that the tenant must have.
   */
  feature?: Key | null;
  /**
   * The scopes that the member's credential must have.
   */
  scopes?: Scope[];
}
/**
 * A channel, or all channels of a pattern.
 */
interface Channel {
  /**
   * What a member needs to publish. Default: only the operator's own code publishes.
   */
  publish?: Requirement1 | null;
  subscribe?: Requirement2;
}
/**
 * What a member of a tenant needs: all that is named.
 */
interface Requirement1 {
  /**
   * The feature that the tenant must have.
   */
  feature?: Key | null;
  /**
   * The scopes that the member's credential must have.
   */
  scopes?: Scope[];
}
/**
 * What a member of a tenant needs: all that is named.
 */
interface Requirement2 {
  /**
   * The feature that the tenant must have.
   */
  feature?: Key | null;
  /**
   * The scopes that the member's credential must have.
   */
  scopes?: Scope[];
}
/**
 * What a member of a tenant needs: all that is named.
 */
interface Requirement3 {
  /**
   * The feature that the tenant must have.
   */
  feature?: Key | null;
  /**
   * The scopes that the member's credential must have.
   */
  scopes?: Scope[];
}
/**
 * How the gate finds the tenant of a request.
 */
interface Resolution {
  /**
   * Hosts that name no tenant: the gate's own names, IP literals in development, preview hosts.
   */
  central_hosts?: string[];
  /**
   * How several signals are combined. Default `agree`.
   */
  mode?: "agree" | "first";
  /**
   * The strategies, in the order in which they are tried.
   */
  strategies: Strategy[];
}
/**
 * One strategy, with its options. An option is only valid on the strategies that it names.
 */
interface Strategy {
  /**
   * `subdomain`: the domains under which tenants have their subdomains. Required there.
   */
  base_domains?: string[] | null;
  /**
   * `jwt`: the cookie that holds the token if `Authorization` does not. Default: no cookie.
   */
  cookie_name?: string | null;
  /**
   * `custom_domain`: where domains are looked up. Required there.
   */
  domain_lookup?: DomainLookup | null;
  /**
   * `jwt`: whether the token is forwarded to the origin. Default false.
   */
  forward?: boolean | null;
  /**
   * `header`, `api_key`: the header's name. Default `X-Tenant-ID` and `X-API-Key`.
   */
  header_name?: string | null;
  /**
   * `path`, `header`, `query`, `custom`, `jwt`: whether the value is a slug or an id. Default `slug`, but `id` for `jwt`, because a slug in a token would be valid for the slug's next owner too.
   */
  identifies?: Identifies | null;
  /**
   * `jwt`: the claim that names the tenant, unless the issuer sets `tenant_claim`: a name, or a path with dots. Default `tenant_id`.
   */
  jwt_claim?: string | null;
  /**
   * `path`: the path before the tenant's segment: `/t/`, or `/` if the tenant is the first segment. Default `/t/`.
   */
  prefix?: string | null;
  /**
   * `query`: the parameter's name. Default `tenant`.
   */
  query_param?: string | null;
  /**
   * `subdomain`, and `path` with the prefix `/`: labels or first segments that never name a tenant. Default: www, api, admin, app, mail, static, status, _dmarc and others. With the prefix `/`, the first segments of public and central routes are reserved too.
   */
  reserved?: string[] | null;
  /**
   * The part of the request that the strategy reads.
   */
  strategy:
    | "subdomain"
    | "custom_domain"
    | "custom-domain"
    | "path"
    | "header"
    | "query"
    | "jwt"
    | "api_key"
    | "api-key"
    | "custom";
  /**
   * `custom`: the only headers that the resolver receives and may read. Default: it receives all headers, and shared caches may store no response, because any header may have selected the tenant.
   */
  vary?: string[] | null;
}
/**
 * What requests to a path need and cost.
 */
interface Route {
  /**
   * Which requests the route accepts. Default `tenant`.
   */
  access?: "tenant" | "central" | "public";
  /**
   * Whether credentials of a tenant are also valid for its descendants. Default false.
   */
  act_for_descendants?: boolean;
  /**
   * The required credential. Default: `any` if the strategy `jwt` or `api_key` is configured, so that a forgotten route is closed; otherwise `none`.
   */
  auth?: Auth | null;
  /**
   * The route's circuit breaker.
   */
  breaker?: Key | null;
  /**
   * The route's CORS policy. The routes `/_gate/v1/features` and `/_gate/ofrep` may name one too.
   */
  cors?: Key | null;
  /**
   * The feature that the tenant must have.
   */
  feature?: Key | null;
  /**
   * Units of each limit that one request costs. 0 checks the limit without consuming units.
   */
  limits?: {
    [k: string]: Quantity;
  };
  /**
   * The methods that the route matches, in upper case. Other methods fall through to the next matching route. An origin that lets the body override the method (`_method`) must not be behind routes that differ by method. Default: all.
   */
  methods?: string[];
  /**
   * The path prefix. Matches the path and everything below it, by whole segments.
   */
  path: string;
  /**
   * Scopes that the token or API key must have, all of them.
   */
  scopes?: Scope[];
  /**
   * Milliseconds within which the origin must send its response headers, 1 to 600000. After that, the gate responds with 504. Default 60000.
   */
  timeout_ms?: Quantity | null;
}
/**
 * A shard: a place that stores tenant data.
 */
interface Shard {
  /**
   * Whether the shard accepts no new tenants. Default false.
   */
  closed?: boolean;
  /**
   * The shard's region. Tenants with a `region` are placed on shards in that region.
   */
  region?: string | null;
  /**
   * Its read replicas. Only requests that read are told of them.
   */
  replicas?: Key[];
}
/**
 * A tenant.
 */
export interface TenantDocument {
  /**
   * The add-ons that the tenant bought.
   */
  addons?: Key[];
  /**
   * RFC 3339 text, or milliseconds since 1970-01-01T00:00:00Z
   */
  billing_anchor?: string | number;
  /**
   * The tenant's branding.
   */
  branding?: Branding | null;
  /**
   * Modes of circuit breakers for this tenant and its descendants, where they differ from the catalog.
   */
  breakers?: {
    [k: string]: BreakerMode;
  };
  /**
   * The contract, which takes precedence over the plan.
   */
  contract?: Contract | null;
  /**
   * Credentials issued before this time are rejected: tokens by `iat`, API keys by `created_at`. Default: no credentials are rejected.
   */
  credentials_from?: Time | null;
  /**
   * Where the tenant's data is stored. Passed to the origin.
   */
  data_route?: DataRoute | null;
  /**
   * The tenant's own domains.
   */
  domains?: Domain[];
  /**
   * Grows with every publication of this record.
   */
  epoch?: number;
  /**
   * The id. Never changes and is never reused.
   */
  id: string;
  /**
   * Any other data. Stored, but not interpreted.
   */
  metadata?: unknown;
  /**
   * Display name. Not interpreted.
   */
  name?: string | null;
  /**
   * Overrides for this tenant and its descendants: the strongest tier except kill.
   */
  overrides?: Override[];
  /**
   * The parent tenant.
   */
  parent?: TenantId | null;
  /**
   * The plan version that the tenant bought. Required, unless the tenant has a parent and shares its plan.
   */
  plan?: PlanRef | null;
  /**
   * The region. Chooses the shard, and conditions can read it.
   */
  region?: string | null;
  /**
   * The places that may serve the tenant. Default: all.
   */
  residency?: string[];
  /**
   * The tenant's name in hosts and paths.
   */
  slug: string;
  /**
   * The status. Default `active`.
   */
  status?: "active" | "provisioning" | "suspended" | "inactive" | "maintenance" | "deleted";
  /**
   * A plan version that replaces the plan for a limited time.
   */
  trial?: Trial | null;
}
/**
 * A tenant's branding, for portals, mails and documentation.
 */
interface Branding {
  /**
   * The accent colour.
   */
  accent_color?: Color | null;
  /**
   * The URL of the documentation, `https`.
   */
  docs_url?: WebUrl | null;
  /**
   * The font family: letters, digits, spaces and `-`.
   */
  font_family?: FontFamily | null;
  /**
   * The URL of the logo, `https`.
   */
  logo_url?: WebUrl | null;
  /**
   * The tenant's brand name. No `<`, `>`, `&`, quotes or control characters.
   */
  name?: BrandName | null;
  /**
   * The primary colour, such as `#0a7cff`.
   */
  primary_color?: Color | null;
  /**
   * The domain from which the tenant's mails are sent.
   */
  sender_domain?: SenderDomain | null;
  /**
   * The URL of the support page, `https`.
   */
  support_url?: WebUrl | null;
}
/**
 * A contract with one tenant.
 */
interface Contract {
  /**
   * When the contract ends, exclusive. Default: never.
   */
  ends_at?: Time | null;
  /**
   * The granted features.
   */
  features?:
    | Key[]
    | {
        [k: string]: unknown;
      };
  /**
   * Milliseconds after `ends_at` for which the contract still applies, at most 7776000000 (90 days). Decisions report it. Default 0.
   */
  grace_ms?: number;
  /**
   * Allowances that replace the plan's.
   */
  limits?: {
    [k: string]: Allowance;
  };
  /**
   * The price. Stored, but not enforced.
   */
  price?: Price | null;
  /**
   * The promised service level. Stored, but not enforced.
   */
  sla?: Sla | null;
  /**
   * When the contract takes effect. Default: no start time.
   */
  starts_at?: Time | null;
}
/**
 * The price of a contract.
 */
interface Price {
  /**
   * The price of one interval, in the currency's minor unit (cents).
   */
  amount: number;
  /**
   * The currency (ISO 4217), such as `EUR`.
   */
  currency: string;
  /**
   * Volume discounts.
   */
  discounts?: Discount[];
  /**
   * How often the price is due. Default `year`.
   */
  interval?: "month" | "year";
  /**
   * Days within which an invoice must be paid, at most 365. Default 30.
   */
  net_days?: number;
}
/**
 * A volume discount.
 */
interface Discount {
  /**
   * The number of units of the limit from which the discount applies.
   */
  from: number;
  /**
   * The limit whose units are counted.
   */
  limit: string;
  /**
   * The discount in percent, 1 to 100.
   */
  percent: number;
}
/**
 * The promised service level, and the credits if it is missed.
 */
interface Sla {
  /**
   * The credits, from the least to the most severe.
   */
  credits?: Credit[];
  /**
   * The promised availability, in hundredths of a percent: 9995 is 99.95 %.
   */
  uptime_basis_points: number;
}
/**
 * The credit below a certain availability.
 */
interface Credit {
  /**
   * The availability below which the credit applies, in hundredths of a percent.
   */
  below_basis_points: number;
  /**
   * The credit in percent of the price, 1 to 100.
   */
  percent: number;
}
/**
 * Where a tenant's data is stored, as requested in its record.
 */
interface DataRoute {
  /**
   * The schema or database. Default: derived from the tenant's id, except for `shared`.
   */
  name?: Key | null;
  /**
   * The shard. Default: chosen when the tenant is created. Naming a shard pins the tenant to it.
   */
  shard?: Key | null;
  /**
   * How the data is isolated. Default `shared`.
   */
  strategy?: "shared" | "schema" | "database" | "hybrid";
}
/**
 * A domain that belongs to a tenant.
 */
interface Domain {
  /**
   * The exact host, as A-labels.
   */
  host: string;
  /**
   * Whether ownership is proven. Default `pending`.
   */
  state?: "pending" | "verified";
}
/**
 * An override: a feature's value, or a limit's allowance.
 */
interface Override {
  /**
   * Who made the override.
   */
  actor?: string | null;
  /**
   * The limit's allowance.
   */
  allowance?: Allowance | null;
  /**
   * When it ends, exclusive. Default: never.
   */
  ends_at?: Time | null;
  /**
   * The feature.
   */
  feature?: Key | null;
  /**
   * Milliseconds after `ends_at` for which the override still applies if nothing else of its tier is in force, at most 7776000000 (90 days). Decisions report it. Default 0.
   */
  grace_ms?: number;
  /**
   * The limit.
   */
  limit?: Key | null;
  /**
   * The reason.
   */
  reason?: string | null;
  /**
   * When it takes effect. Default: no start time.
   */
  starts_at?: Time | null;
  /**
   * The feature's value. `false`, `0` and `""` are values too.
   */
  value?: unknown;
}
/**
 * A plan version on trial. After it ends, the tenant's own plan applies again; used units stay counted.
 */
interface Trial {
  /**
   * RFC 3339 text, or milliseconds since 1970-01-01T00:00:00Z
   */
  ends_at: string | number;
  /**
   * The plan version.
   */
  plan: string;
  /**
   * When it takes effect. Default: no start time.
   */
  starts_at?: Time | null;
}

export {};
