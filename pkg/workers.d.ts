import type { AnyGate, AnyRequest, Context, Credential, Features, Question, ShortDecision, TenantGateOf, TenantQuestions, Transcript } from "./index.js";
import type { Tenant } from "./middleware.js";

export * from "./errors.js";
export { denialOf, Features } from "./index.js";

/** The part of an invocation's context that the gate uses. */
export interface InvocationContext {
  waitUntil(promise: Promise<unknown>): void;
}

/** Options of one decision. */
export interface DecideOptions {
  /** Attributes for rules, in addition to those of the request. */
  context?: Context;
  /** The keys of features to evaluate, at most 256. */
  features?: string[];
  /** Decide as usual, but take nothing. Default false. */
  look?: boolean;
}

/**
 * The gate of one invocation. All gates of an isolate share snapshots and leases, so making one
 * costs next to nothing.
 */
export interface EdgeGate<C = unknown> extends AnyGate, TenantQuestions<true, C> {
  /**
   * Decides one request from what the isolate holds, and charges its limits. Returns null, and
   * takes nothing, if a snapshot has to be fetched or the ledger has to be asked.
   */
  decideNow(request: AnyRequest, options?: DecideOptions): ShortDecision | null;
  /** Decides one request and charges its limits. Waits only if it has to. */
  decide(request: AnyRequest, options?: DecideOptions): Promise<ShortDecision>;
  /**
   * Evaluates all features of a tenant.
   * @throws {DeniedError} if the tenant is not served
   */
  features(tenant: string, context?: Context): Promise<Features<C>>;
  /**
   * Decides a question in its full form.
   * @throws {DocumentError} if the question is invalid; carries all its problems
   */
  ask(question: Question): Promise<Transcript>;
  /** Explains step by step how a request would be decided. Takes nothing. */
  explain(request: AnyRequest, question?: Question): Promise<Transcript>;
  /** The question of a request, for `ask`. Omits headers that no strategy reads. */
  question(request: AnyRequest): Question;
}

/**
 * The gate in your Worker: it reads snapshots from the KV namespace `SNAPSHOTS`, and its limits are
 * counted by the Durable Object `LEDGER`, exactly over all isolates.
 * @param env the Worker's environment, with the bindings `SNAPSHOTS`, `LEDGER` and, to see changes
 *   within seconds, `CONTROL_DB`
 * @param ctx the context of the invocation
 * @throws {ConfigurationError} if a binding is missing; says which line to add
 * @example
 * export default {
 *   async fetch(request: Request, env: object, ctx: ExecutionContext) {
 *     const { allowed, code, tenant } = await edgeGate(env, ctx).decide(request);
 *     return allowed ? new Response(`Hello ${tenant?.slug}`) : new Response(code, { status: 403 });
 *   },
 * };
 */
export function edgeGate<C = unknown>(env: object, ctx: InvocationContext): EdgeGate<C>;

/**
 * The Durable Object that counts, one for each family of tenants. Export it from your Worker.
 * @example
 * export { TenantLedger };
 */
export class TenantLedger {
  constructor(state: any, env: any);
  fetch(request: Request): Promise<Response>;
  alarm(): Promise<void>;
}

/** The variables that `tenants` sets. `new Hono<TenantEnv>()` knows their types. */
export type { TenantEnv } from "./hono.js";

/**
 * Middleware for Hono: decides each request by the gate in this Worker. The tenant is
 * `c.get("tenant")`, and `c.get("gate")` asks about it.
 * @param options `gate`: a gate, or a function that returns it for Hono's context; default
 *   `edgeGate(c.env, c.executionCtx)`. `customResolver`: for the strategy `custom`
 * @example
 * const app = new Hono<TenantEnv>();
 * app.use(tenants());
 * app.post("/exports", requireFeature("exports"), async (c) => {
 *   const { allowed } = await c.get("gate").take({ exports: 1 });
 *   return allowed ? c.body(null, 202) : c.body(null, 429);
 * });
 */
export function tenants(options?: {
  gate?: AnyGate | ((c: any) => AnyGate);
  customResolver?: (request: unknown) => Promise<string | null> | string | null;
}): import("hono").MiddlewareHandler<import("./hono.js").TenantEnv>;

/** What `withTenant` gives a handler. */
export interface Served {
  /** On public routes, where no tenant is known, this and `gate` are null. */
  tenant: Tenant;
  credential: Credential | null;
  decision: ShortDecision;
  /** Asks about the tenant. */
  gate: TenantGateOf;
}

/**
 * Middleware for the `fetch` of a Worker: decides each request by the gate in this Worker. A denied
 * request is answered; of an allowed one the limits are headers of the response, and its slot in a
 * limit of concurrency is free once the response has ended.
 * @param options `gate`: a gate, or a function that returns it for `{ env, executionCtx }`; default
 *   `edgeGate(env, ctx)`. `customResolver`: for the strategy `custom`
 * @example
 * export default {
 *   fetch: withTenant(async (request, env, ctx, { tenant }) => new Response(`Hello ${tenant.slug}`)),
 * };
 */
export function withTenant<E = any>(
  handle: (request: Request, env: E, ctx: any, served: Served) => Response | Promise<Response>,
  options?: {
    gate?: AnyGate | ((c: { env: E; executionCtx: any }) => AnyGate);
    customResolver?: (request: unknown) => Promise<string | null> | string | null;
  },
): (request: Request, env: E, ctx: any) => Promise<Response>;

export { onError, requireFeature } from "./hono.js";
export { getCurrentTenant, owned } from "./middleware.js";
