import type { AnyGate, Context, Credential, ShortDecision, RemoteGate, TenantGateOf, TenantQuestions, TenantRecord } from "./index.js";

export * from "./errors.js";

/** A tenant for handlers: the result of `lookupTenant`, or the gate's description of it. */
export interface Tenant {
  id: string;
  slug: string;
  /** The tenant's plan version, such as `pro@2`. */
  plan?: string | null;
  /**
   * Default `active`. Tenants with `suspended`, `inactive`, `provisioning`, `maintenance` or
   * `deleted` are not served.
   */
  status?: string;
  /** Allowed units by quota, for `createQuotaMiddleware`. */
  quotas?: Record<string, number | "unlimited">;
  metadata?: Record<string, unknown>;
  [more: string]: unknown;
}

/** A strategy: a way to find the tenant in a request. */
export type ResolutionStrategy =
  | "subdomain" | "custom_domain" | "custom-domain" | "path" | "header" | "query" | "jwt" | "api_key" | "api-key" | "custom";

/**
 * How the middleware finds tenants without a gate, and how the application separates their data. An
 * option of a strategy that `resolution` does not include is an error.
 */
export interface IsolationConfig {
  /** How your application separates the data of tenants. Checked, but not used by the package. */
  strategy?: "shared" | "schema" | "database" | "hybrid";
  /** The strategies that find the tenant. */
  resolution: ResolutionStrategy | ResolutionStrategy[];
  /**
   * `agree`, the default: all signals must name the same tenant; `first`: the first signal decides.
   */
  mode?: "agree" | "first";
  /**
   * `subdomain`: the domains whose subdomains are tenants. Default: the host without its first
   * label, if it has at least three.
   */
  baseDomains?: string[];
  /**
   * `subdomain`, and `path` with the prefix `/`: labels that never name a tenant. Default: www,
   * api, admin, app, mail, static, status and others.
   */
  reserved?: string[];
  /** Hosts that do not name a tenant. */
  centralHosts?: string[];
  /**
   * Required for `custom_domain`: returns the id of the tenant that has verified a host, or null.
   */
  domainLookup?: (host: string) => Promise<string | null> | string | null;
  /**
   * `jwt`, `api_key`: whether a request must present a credential. Default `required`. A presented
   * credential must be valid.
   */
  credentials?: "required" | "optional";
  /**
   * `path`: the prefix before the tenant; with `/`, the tenant is the first segment. Default `/t/`.
   */
  pathPrefix?: string;
  /**
   * `header`, `api_key`: the header's name. Default `X-Tenant-ID` and `X-API-Key`. With both
   * strategies, that of `header`.
   */
  headerName?: string;
  /** `query`: the parameter's name. Default `tenant`. */
  queryParam?: string;
  /**
   * Required for `jwt`: verifies a token and returns its claims; throws if the token is invalid.
   */
  verifyToken?: (token: string) => Promise<Record<string, unknown>> | Record<string, unknown>;
  /**
   * `jwt`: the claim that names the tenant. A claim with exactly this name, which may contain dots
   * or be a URL, takes precedence over the path that the dots spell. Default `tenant_id`.
   */
  jwtClaim?: string;
  /** `jwt`: the cookie that may hold the token if `Authorization` does not. Default: no cookie. */
  cookieName?: string;
  /**
   * Required for `api_key`: returns the tenant of a key, with the key's `scopes`; null if the key
   * is invalid.
   */
  apiKeyLookup?: (key: string) => Promise<Tenant | null> | Tenant | null;
  /** `api_key`: the header's name if `headerName` is that of `header`. Default `X-API-Key`. */
  apiKeyHeader?: string;
  /**
   * Required for `custom`: returns the tenant's id, or null if the request names no tenant. If it
   * throws, the request is denied with 503 `RESOLVER_FAILED`.
   */
  customResolver?: (request: unknown) => Promise<string | null> | string | null;
}

/**
 * Looks up a tenant: by its slug if a host names it (`by: "slug"`), otherwise by its id. A result
 * with another slug or id is ignored, and a result with an unknown `status` counts as inactive.
 */
export type LookupTenant = (tenantId: string, how: { by: "slug" | "id" }) => Promise<Tenant | null> | Tenant | null;

/**
 * A gate for an application behind the gateway. Its middleware verifies the header
 * `X-Tenant-Assertion` instead of deciding again; questions about the tenant go to the gateway.
 * @param options `audience`: the gateway's `ASSERTION_AUDIENCE`; `service`: in Workers, a binding
 *   to the gateway's entrypoint `TenantGate`; otherwise `url`, and for questions `token`: see
 *   `RemoteGate`
 * @example
 * app.use(createTenantMiddleware({ gate: fromGateway({ url: "https://gate.example.com", audience: "https://app.example.com" }) }));
 */
export function fromGateway(options: {
  audience: string; service?: { fetch: any; ask?: any }; url?: string | URL; token?: string; fetch?: typeof globalThis.fetch; timeoutMs?: number;
}): AnyGate & TenantQuestions<true>;

/** How the middleware finds the tenant: with a gate, or with your own lookup. */
export type TenantOptions =
  | {
      /** A gate, or a function that returns it for the context of the handler or framework. */
      gate: AnyGate | ((ctx: any) => AnyGate);
      /**
       * For the strategy `custom` of the catalog: returns the name of the tenant, or null if the
       * request names none.
       */
      customResolver?: (request: unknown) => Promise<string | null> | string | null;
      config?: undefined;
      lookupTenant?: undefined;
    }
  | { config: IsolationConfig; lookupTenant: LookupTenant; gate?: undefined };

/** The second argument of a handler. */
export interface HandlerContext<Env = unknown> {
  request: Request;
  /** The runtime's second argument: in a Worker, its bindings. */
  env: Env;
  /** The runtime's third argument: in a Worker, the object with `waitUntil`. */
  execution: unknown;
  /** The scopes that the handler requires. */
  scopes: string[];
  /** The tenant; null before `createTenantMiddleware` has run, and in handlers without it. */
  tenant: Tenant | null;
  /** The caller's verified credential. */
  credential: (Partial<Credential> & { readonly scopes: readonly string[] | string }) | null;
  /** The gate's decision; null without a gate. */
  decision: ShortDecision | null;
  /** The gate for questions about the tenant; null without a gate. */
  gate: TenantGateOf | null;
  /** Headers that are added to the response. */
  headers: Record<string, string>;
  /** Functions that run when the response has ended. */
  done: (() => unknown)[];
}

/** A step before the handler: either replies itself, or calls `next()` once. */
export type Middleware = (ctx: HandlerContext, next: () => Promise<unknown>) => Promise<unknown> | unknown;

/** Writes log entries. */
export type Logger = Record<"debug" | "info" | "warn" | "error", (message: string, fields?: Record<string, unknown>) => void>;

/**
 * A caller that the application has authenticated. If it has a tenant, requests to other tenants
 * are denied.
 */
export interface Caller {
  /** A list, or a text with spaces between the scopes. */
  scopes: string[] | string;
  /** The id of the caller's tenant. */
  tenant?: string;
  [more: string]: unknown;
}

/**
 * Sets the gate and the authentication of the whole application. Call it once.
 * @param settings `gate`: for `resolveFeature`, `meterUsage` and others; `authenticate`: returns
 *   the caller with its `scopes`, or null
 * @example
 * configure({ gate: new RemoteGate({ url, token }), authenticate: async (request) => ({ scopes: await scopesOf(request) }) });
 */
export function configure(settings?: {
  gate?: AnyGate;
  authenticate?: (request: Request) => Promise<Caller | null> | Caller | null;
}): void;

/**
 * Makes a `fetch` handler. A JSON body is parsed. A result is sent as JSON, a `Response` unchanged,
 * and an error as `{"error": {code, message, details}}` with its status. An error that carries a
 * response (`getResponse`), such as Hono's `HTTPException`, keeps it.
 * @param handle handles a request
 * @param options `scopes`: the scopes that the caller's credential must have, default an empty
 *   list; the credential comes from `configure({ authenticate })` or is the tenant's token or API
 *   key, and a request without one gets 401. `middleware`: runs first, in order. `logger`: default
 *   one line of JSON for each entry on the console, with the tenant. `maxBodyBytes`: the maximum
 *   size of a body that is parsed, default 1 MiB; a larger one gets 413
 * @example
 * const middleware = [createTenantMiddleware({ gate })];
 * export default { fetch: handler(async (body, ctx) => ({ hello: getCurrentTenant(ctx).slug }), { middleware }) };
 */
export function handler<Body = any>(
  handle: (body: Body, ctx: HandlerContext<any>, logger: Logger) => unknown,
  options?: { scopes?: string[]; middleware?: Middleware[]; logger?: (ctx: HandlerContext) => Logger; maxBodyBytes?: number },
): (request: Request, env?: unknown, execution?: unknown) => Promise<Response>;

/**
 * Finds the tenant of a request. With a `gate`, the gate makes the whole decision: routes,
 * features, limits.
 * @throws {ConfigurationError} at once, if an option that a strategy requires is missing
 * @example
 * createTenantMiddleware({ config: { strategy: "shared", resolution: "subdomain" }, lookupTenant });
 */
export function createTenantMiddleware(options: TenantOptions): Middleware;

/**
 * Enforces a quota on each request, either in a gate's ledger, which also counts, or with the usage
 * that `checkUsage` returns.
 * @param options `quotaKey`: the quota's key; `checkUsage`: returns the units used so far; `limit`:
 *   the units allowed, default the tenant's `quotas[quotaKey]`, or 0 without one; `cost`: units of
 *   one request, default 1; `gate`: default the configured gate
 * @throws {QuotaExceededError} if used + cost exceeds the limit
 * @example
 * createQuotaMiddleware({ quotaKey: "apiRequests", checkUsage: async (tenantId) => usageOf(tenantId) });
 */
export function createQuotaMiddleware(options: {
  quotaKey: string;
  checkUsage?: (tenantId: string, quotaKey: string) => Promise<number> | number;
  limit?: number | "unlimited" | ((tenant: Tenant) => Promise<number | "unlimited"> | number | "unlimited");
  cost?: number;
  gate?: AnyGate;
}): Middleware;

/**
 * Checks quotas against the usage that `checkUsage` returns for each.
 * @param quotas allowed units by quota, or `"unlimited"`
 * @param options `cost`: units that are about to be used of each quota, default 1
 * @returns the limit, the usage and the remaining units of each quota
 * @throws {QuotaExceededError} for the first exceeded quota, with all exceeded quotas in
 *   `details.violations`
 * @throws {InputError} if a number is not a whole number of at least 0
 * @example
 * await checkQuotas("t_acme", { apiRequests: 10_000 }, async (id, key) => loadUsage(id, key));
 */
export function checkQuotas(
  tenantId: string,
  quotas: Record<string, number | "unlimited">,
  checkUsage: (tenantId: string, quotaKey: string) => Promise<number> | number,
  options?: { cost?: number },
): Promise<Record<string, { limit: number | "unlimited"; used: number; remaining: number | null }>>;

/**
 * Returns the tenant of a handler's context, of Hono's context, or of an Express request.
 * @throws {TenantNotFoundError} if it has no tenant
 * @example
 * const tenant = getCurrentTenant(ctx);
 */
export function getCurrentTenant(ctx: unknown): Tenant;

/**
 * The row, if it belongs to the current tenant. Another tenant's row does not exist for it, like one
 * that was not found.
 * @param options `column`: the row's member with the tenant's id, default `tenant_id`
 * @throws {TenantgateError} `NOT_FOUND`, with status 404, if the row is missing or another tenant's
 * @throws {ConfigurationError} if the row lacks the member
 * @example
 * const invoice = owned(ctx, await findInvoice(id));
 */
export function owned<Row extends object>(ctx: unknown, row: Row | null | undefined, options?: { column?: string }): Row;

/** How `requireFeature` evaluates a feature. */
export interface FeatureOptions {
  /** Default: the gate that has let the request in, or the configured one. */
  gate?: AnyGate;
  /**
   * Attributes for rules, such as `targeting_key`, or a function of the handler's context, Hono's
   * context or the Express request.
   */
  context?: Context | ((ctx: any) => Promise<Context> | Context);
  /** Your own plans instead of a gate: `features` is a list of keys, or values by key. */
  getTenantPlan?: (tenantId: string) => Promise<{ name?: string; features: string[] | Record<string, unknown> } | null>;
  /**
   * The address of a page where a customer can upgrade. Default: the catalog's `upgrade_url`, or
   * `/pricing` without a gate.
   */
  upgradeUrl?: string;
}

/**
 * Denies a request unless its tenant has a feature.
 * @throws {FeatureNotAvailableError} if the tenant does not have it
 * @example
 * handler(work, { middleware: [createTenantMiddleware({ gate }), requireFeature("webhooks", { gate })] });
 */
export function requireFeature(feature: string, options?: FeatureOptions): Middleware;

/**
 * Returns a feature's value for a tenant: from an override, the plan or the global default, in this
 * order; `false` for an unknown feature.
 * @example
 * if (await resolveFeature("t_acme", "webhooks")) send();
 */
export function resolveFeature(tenantId: string, feature: string, context?: Context, options?: { gate?: AnyGate }): Promise<unknown>;

/**
 * Counts past usage of a quota, even beyond its limit.
 * @param metric the key of a quota
 * @param quantity whole units; default 1
 * @param options `id`: the usage is counted once under this id, for at least a day; default a
 *   random id
 * @throws {InputError} if the quantity is not a whole number of at least 0
 * @example
 * await meterUsage("t_acme", "api_calls", 3, { id: "request-4711" });
 */
export function meterUsage(tenantId: string, metric: string, quantity?: number, options?: { gate?: AnyGate; id?: string }): Promise<void>;

/**
 * Returns whether one more unit of a limit may be used. Takes nothing.
 * @throws {DeniedError} if the tenant is not served
 * @example
 * if (!(await checkLimit("t_acme", "api_calls"))) return tooMuch();
 */
export function checkLimit(tenantId: string, metric: string, options?: { gate?: AnyGate }): Promise<boolean>;

/**
 * Sets up a tenant through the Worker: see `RemoteGate.provisionTenant`.
 * @example
 * const { tenant, apiKey } = await provisionTenant({ company: "Hooli", selectedPlan: "pro@2" });
 */
export function provisionTenant(
  tenantData: Parameters<RemoteGate["provisionTenant"]>[0],
  options?: { gate?: RemoteGate; idempotencyKey?: string },
): Promise<{ tenant: TenantRecord; apiKey: string | null }>;

/**
 * Builds conditions for a query of one tenant's data. Overwrites a `tenant_id` in the given
 * conditions.
 * @throws {InputError} if the id is empty, since a query without a tenant would read the data of
 *   all tenants
 * @example
 * db.licenses.findMany(withTenantScope("t_acme").where({ status: "active" }));
 */
export function withTenantScope(tenantId: string): {
  where<Conditions extends object>(conditions?: Conditions): Omit<Conditions, "tenant_id"> & { tenant_id: string };
};
