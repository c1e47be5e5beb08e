import type { ErrorHandler, MiddlewareHandler } from "hono";
import type { Credential, Decision } from "./index.js";
import type { FeatureOptions, Tenant, TenantOptions } from "./middleware.js";

/** What the middleware sets: `new Hono<TenantEnv>()` knows the types of `c.get("tenant")` and the others. */
export interface TenantEnv {
  Variables: { tenant: Tenant; credential: Credential | null; decision: Decision | null };
}

/**
 * Finds the tenant of a request; with a `gate` the whole decision is made. Denials are answered with their status.
 * @example
 * const app = new Hono<TenantEnv>();
 * app.use(createTenantMiddleware({ gate }));
 * app.get("/", (c) => c.json({ tenant: c.get("tenant").slug }));
 */
export function createTenantMiddleware(options: TenantOptions): MiddlewareHandler<TenantEnv>;

/**
 * Lets a request pass whose tenant has a feature. Otherwise 403 with `{error, feature, upgrade_url, current_plan}`.
 * @example
 * app.post("/api/v1/webhooks", requireFeature("webhooks", { gate }), handleWebhooks);
 */
export function requireFeature(feature: string, options?: FeatureOptions): MiddlewareHandler<any>;

/**
 * Answers the package's errors as `{"error": {code, message, details}}`, and writes the reason of failures (5xx) to the console, in one
 * line. Other errors are treated as Hono does by itself: those that bring a response along, such as `HTTPException`, keep it; the rest
 * are logged, and answered with 500 `INTERNAL`, which tells nothing of them.
 * @example
 * app.onError(onError);
 */
export const onError: ErrorHandler<any>;
