import type { ErrorHandler, MiddlewareHandler } from "hono";
import type { Credential, ShortDecision, TenantGateOf } from "./index.js";
import type { FeatureOptions, Tenant, TenantOptions } from "./middleware.js";

/**
 * The variables that the middleware sets. `new Hono<TenantEnv>()` knows the types of
 * `c.get("tenant")` and the others.
 */
export interface TenantEnv<C = unknown> {
  Variables: { tenant: Tenant; credential: Credential | null; decision: ShortDecision | null; gate: TenantGateOf<C> };
}

/**
 * Finds the tenant of a request. With a `gate`, the gate makes the whole decision. Replies to
 * denied requests with their status.
 * @example
 * const app = new Hono<TenantEnv>();
 * app.use(createTenantMiddleware({ gate }));
 * app.get("/", (c) => c.json({ tenant: c.get("tenant").slug }));
 */
export function createTenantMiddleware(options: TenantOptions): MiddlewareHandler<TenantEnv>;

/**
 * Denies a request unless its tenant has a feature, with 403 and `{error, feature, upgrade_url,
 * current_plan}`.
 * @example
 * app.post("/api/v1/webhooks", requireFeature("webhooks", { gate }), handleWebhooks);
 */
export function requireFeature(feature: string, options?: FeatureOptions): MiddlewareHandler<any>;

/**
 * Replies to the package's errors with `{"error": {code, message, details}}`, and writes the reason
 * of a failure (5xx) to the console, in one line. Treats other errors as Hono does: an error that
 * carries a response, such as `HTTPException`, keeps it; the rest are logged and get the reply 500
 * `INTERNAL`, without details.
 * @example
 * app.onError(onError);
 */
export const onError: ErrorHandler<any>;
