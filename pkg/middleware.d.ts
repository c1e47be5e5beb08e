import type { AnyGate, Context, Credential, Decision, RemoteGate, TenantRecord } from "./index.js";

export * from "./errors.js";

/** A tenant, as handlers see it: what `lookupTenant` returned, or what the gate knows. */
export interface Tenant {
  id: string;
  slug: string;
  /** The plan it lives by, such as `pro@2`. */
  plan?: string | null;
  /** `suspended`, `inactive`, `provisioning`, `maintenance` and `deleted` are not served. Default: active. */
  status?: string;
  /** Units by quota, for `createQuotaMiddleware`. */
  quotas?: Record<string, number | "unlimited">;
  metadata?: Record<string, unknown>;
  [more: string]: unknown;
}

/** Where a request names its tenant. */
export type ResolutionStrategy =
  | "subdomain" | "custom_domain" | "custom-domain" | "path" | "header" | "query" | "jwt" | "api_key" | "api-key" | "custom";

/** How tenants are found, and how their data is kept apart. An option of a strategy that `resolution` does not name is refused. */
export interface IsolationConfig {
  /** How data is kept apart; for your own use, checked and handed on. */
  strategy?: "shared" | "schema" | "database" | "hybrid";
  /** Where requests name their tenant. Several must agree. */
  resolution: ResolutionStrategy | ResolutionStrategy[];
  /** `agree`: all that is said must be one tenant, the default; `first`: the first that is said decides. */
  mode?: "agree" | "first";
  /** `subdomain`: the domains under which tenants live. Default: whatever stands behind the first of three labels or more. */
  baseDomains?: string[];
  /** `subdomain`, and `path` with the prefix `/`: labels that are no tenants. Default: www, api, admin, app, mail, static, status and others. */
  reserved?: string[];
  /** Hosts that name no tenant by themselves. */
  centralHosts?: string[];
  /** `custom_domain`: the id of the tenant that has verified this host; null: nobody. Required there. */
  domainLookup?: (host: string) => Promise<string | null> | string | null;
  /** `jwt`, `api_key`: whether a request has to show one. Default `required`; what is shown must be good either way. */
  credentials?: "required" | "optional";
  /** `path`: what stands before the tenant; `/`: the tenant is the first segment. Default `/t/`. */
  pathPrefix?: string;
  /** `header`, `api_key`: the header's name. Default `X-Tenant-ID` and `X-API-Key`. With both it is that of `header`. */
  headerName?: string;
  /** `query`: default `tenant`. */
  queryParam?: string;
  /** `jwt`: verifies a token and returns its claims; throws where it is not good. Required there. */
  verifyToken?: (token: string) => Promise<Record<string, unknown>> | Record<string, unknown>;
  /**
   * `jwt`: the claim that names the tenant. A claim of exactly this name counts first, also one with dots or a URL; then the path that
   * the dots spell. Default `tenant_id`.
   */
  jwtClaim?: string;
  /** `jwt`: the cookie that holds the token, where `Authorization` has none. Default: none. */
  cookieName?: string;
  /** `api_key`: the tenant of a key; null: the key is not good. `scopes` of what it returns are the key's. Required there. */
  apiKeyLookup?: (key: string) => Promise<Tenant | null> | Tenant | null;
  /** `api_key`: the header's name, beside a `headerName` of `header`. Default `X-API-Key`. */
  apiKeyHeader?: string;
  /** `custom`: the tenant's id; null: the request names nobody. Throwing is 503 `RESOLVER_FAILED`, never "nobody". Required there. */
  customResolver?: (request: unknown) => Promise<string | null> | string | null;
}

/**
 * Looks a tenant up: by its slug, where a host names it (`by: "slug"`), otherwise by its id. One that has another name than it was
 * looked up by is not taken; nor is a `status` that is not known.
 */
export type LookupTenant = (tenantId: string, how: { by: "slug" | "id" }) => Promise<Tenant | null> | Tenant | null;

/** How the tenant is found: by a gate, or by your own lookup. */
export type TenantOptions =
  | {
      gate: AnyGate;
      /** For the strategy `custom` of the catalog: whom the request names; null: nobody. */
      customResolver?: (request: unknown) => Promise<string | null> | string | null;
      config?: undefined;
      lookupTenant?: undefined;
    }
  | { config: IsolationConfig; lookupTenant: LookupTenant; gate?: undefined };

/** What a handler is given beside the body. */
export interface HandlerContext<Env = unknown> {
  request: Request;
  /** What the runtime gave: bindings of a Worker. */
  env: Env;
  /** What the runtime gave: `waitUntil` of a Worker. */
  execution: unknown;
  /** The scopes that the handler asks for. */
  scopes: string[];
  /** The tenant; null before `createTenantMiddleware` has run, and in handlers without it. */
  tenant: Tenant | null;
  /** What the caller showed, verified. */
  credential: (Partial<Credential> & { readonly scopes: readonly string[] | string }) | null;
  /** The gate's decision, where there is a gate. */
  decision: Decision | null;
  /** Headers that the response will have. */
  headers: Record<string, string>;
  /** What is to be done once the response has ended. */
  done: (() => unknown)[];
}

/** One step before the handler: answers by itself, or goes on with `next()`, once. */
export type Middleware = (ctx: HandlerContext, next: () => Promise<unknown>) => Promise<unknown> | unknown;

/** Writes entries of a log. */
export type Logger = Record<"debug" | "info" | "warn" | "error", (message: string, fields?: Record<string, unknown>) => void>;

/** Who calls, as an application knows it. Where it says of which tenant, requests of other tenants are refused. */
export interface Caller {
  /** A list, or text with blanks between them. */
  scopes: string[] | string;
  /** The id of the caller's tenant. */
  tenant?: string;
  [more: string]: unknown;
}

/**
 * Says once, for the whole application, which gate is asked and how callers are known.
 * @param settings `gate`: for `resolveFeature`, `meterUsage` and others; `authenticate`: who calls, with `scopes`; null: nobody
 * @example
 * configure({ gate: new RemoteGate({ url, token }), authenticate: async (request) => ({ scopes: await scopesOf(request) }) });
 */
export function configure(settings?: {
  gate?: AnyGate;
  authenticate?: (request: Request) => Promise<Caller | null> | Caller | null;
}): void;

/**
 * A handler for `fetch`: what it returns is answered as JSON, a `Response` as it is; errors as `{"error": {code, message, details}}`
 * with their status. Errors that bring a response along (`getResponse`), such as Hono's `HTTPException`, keep it. A JSON body is parsed.
 * @param handle does the work
 * @param options `scopes`: what a caller's credential must allow, default none; it comes from `configure({ authenticate })` or from
 *   the tenant's token or API key, and without one the answer is 401. `middleware`: runs before, in order. `logger`: default one
 *   line of JSON each on the console, with the tenant. `maxBodyBytes`: of a body that is parsed, default 1 MiB; beyond, 413
 * @example
 * export default { fetch: handler(async (body, ctx) => ({ hello: getCurrentTenant(ctx).slug }), { middleware: [createTenantMiddleware({ gate })] }) };
 */
export function handler<Body = any>(
  handle: (body: Body, ctx: HandlerContext<any>, logger: Logger) => unknown,
  options?: { scopes?: string[]; middleware?: Middleware[]; logger?: (ctx: HandlerContext) => Logger; maxBodyBytes?: number },
): (request: Request, env?: unknown, execution?: unknown) => Promise<Response>;

/**
 * Finds the tenant of a request. With a `gate` the whole decision is made: routes, features, limits.
 * @throws {ConfigurationError} at once, where something is missing that a strategy needs
 * @example
 * createTenantMiddleware({ config: { strategy: "shared", resolution: "subdomain" }, lookupTenant });
 */
export function createTenantMiddleware(options: TenantOptions): Middleware;

/**
 * Enforces a quota with each request: at once in the ledger of a gate, or by what `checkUsage` says.
 * @param options `quotaKey`: which; `checkUsage`: units used so far; `limit`: units allowed, default the tenant's
 *   `quotas[quotaKey]`, and without those nothing is allowed; `cost`: of one request, default 1; `gate`: default the configured one
 * @throws {QuotaExceededError} used + cost is more than the limit
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
 * Checks quotas by what `checkUsage` says of each.
 * @param quotas units allowed by quota; `"unlimited"` bounds nothing
 * @param options `cost`: units that are about to be used of each, default 1
 * @returns how each stands
 * @throws {QuotaExceededError} for the first that is exceeded, with all of them in `details.violations`
 * @throws {InputError} a number that is negative, fractional, or none
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
 * The tenant of a context: of a handler, of Hono, of an Express request.
 * @throws {TenantNotFoundError} there is none
 * @example
 * const tenant = getCurrentTenant(ctx);
 */
export function getCurrentTenant(ctx: unknown): Tenant;

/** How features are looked up. */
export interface FeatureOptions {
  /** Default: the configured one. */
  gate?: AnyGate;
  /** What rules ask about, such as `targeting_key`; a function of the context, Hono's context or the request. Default: nothing. */
  context?: Context | ((ctx: any) => Promise<Context> | Context);
  /** Your own plans, instead of a gate: `features` is a list of keys, or values by key. */
  getTenantPlan?: (tenantId: string) => Promise<{ name?: string; features: string[] | Record<string, unknown> } | null>;
  /** Where people go who want more. Default `/pricing`. */
  upgradeUrl?: string;
}

/**
 * Lets a request pass whose tenant has a feature.
 * @throws {FeatureNotAvailableError} it has not
 * @example
 * handler(work, { middleware: [createTenantMiddleware({ gate }), requireFeature("webhooks", { gate })] });
 */
export function requireFeature(feature: string, options?: FeatureOptions): Middleware;

/**
 * A feature's value for a tenant: override, plan, global default, in this order; `false` for one that nobody knows.
 * @example
 * if (await resolveFeature("t_acme", "webhooks")) send();
 */
export function resolveFeature(tenantId: string, feature: string, context?: Context, options?: { gate?: AnyGate }): Promise<unknown>;

/**
 * Counts what was used of a limit, also beyond it: it has happened.
 * @param metric the key of a quota
 * @param quantity whole units; default 1
 * @param options `id`: under one id it counts once, for a day at least; default a random one
 * @throws {InputError} a quantity that is negative, fractional, or none
 * @example
 * await meterUsage("t_acme", "api_calls", 3, { id: "request-4711" });
 */
export function meterUsage(tenantId: string, metric: string, quantity?: number, options?: { gate?: AnyGate; id?: string }): Promise<void>;

/**
 * Whether one more unit of a limit may be used; takes nothing.
 * @throws {DeniedError} the tenant is not served
 * @example
 * if (!(await checkLimit("t_acme", "api_calls"))) return tooMuch();
 */
export function checkLimit(tenantId: string, metric: string, options?: { gate?: AnyGate }): Promise<boolean>;

/**
 * Sets up a tenant by way of the Worker: see `RemoteGate.provisionTenant`.
 * @example
 * const { tenant, apiKey } = await provisionTenant({ company: "Hooli", selectedPlan: "pro@2" });
 */
export function provisionTenant(
  tenantData: Parameters<RemoteGate["provisionTenant"]>[0],
  options?: { gate?: RemoteGate; idempotencyKey?: string },
): Promise<{ tenant: TenantRecord; apiKey: string | null }>;

/**
 * Conditions for a query of one tenant's data: a `tenant_id` that the caller gives cannot win.
 * @throws {InputError} the id is empty: a query without a tenant would read everybody's
 * @example
 * db.licenses.findMany(withTenantScope("t_acme").where({ status: "active" }));
 */
export function withTenantScope(tenantId: string): {
  where<Conditions extends object>(conditions?: Conditions): Omit<Conditions, "tenant_id"> & { tenant_id: string };
};
