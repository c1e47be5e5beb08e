import type { IncomingMessage, ServerResponse } from "node:http";
import type { Credential, ShortDecision, TenantGateOf } from "./index.js";
import type { FeatureOptions, Tenant, TenantOptions } from "./middleware.js";

/** What the middleware sets on the request. */
export interface TenantRequest {
  tenant: Tenant;
  credential: Credential | null;
  decision: ShortDecision | null;
  /** The gate for questions about the tenant; null without a gate. */
  gate: TenantGateOf | null;
}

/** Connect-style middleware: for Express and Connect, or called directly with Node's `http`. */
export type ConnectMiddleware = (req: IncomingMessage, res: ServerResponse, next: (error?: unknown) => void) => Promise<void>;

/**
 * Sets `req.tenant` to the tenant of the request. With a `gate`, the gate makes the whole decision.
 * Replies to denied requests with their status. The host is Express's `req.hostname`:
 * `X-Forwarded-Host` counts only if the setting `trust proxy` trusts the proxy.
 * @example
 * app.use(createTenantMiddleware({ gate }));
 */
export function createTenantMiddleware(options: TenantOptions): ConnectMiddleware;

/**
 * Denies a request unless its tenant has a feature.
 * @example
 * app.post("/api/v1/webhooks", requireFeature("webhooks", { gate }), handleWebhooks);
 */
export function requireFeature(feature: string, options?: FeatureOptions): ConnectMiddleware;

/**
 * Replies to the package's errors with `{"error": {code, message, details}}`, and writes the reason
 * of a failure (5xx) to the console, in one line. Passes other errors on. Register it with the last
 * `app.use`.
 * @example
 * app.use(errorHandler);
 */
export function errorHandler(error: unknown, req: IncomingMessage, res: ServerResponse, next: (error?: unknown) => void): void;
