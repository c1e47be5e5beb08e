import type { IncomingMessage, ServerResponse } from "node:http";
import type { Credential, Decision } from "./index.js";
import type { FeatureOptions, Tenant, TenantOptions } from "./middleware.js";

/** What the middleware sets on the request. */
export interface TenantRequest {
  tenant: Tenant;
  credential: Credential | null;
  decision: Decision | null;
}

/** Connect-style middleware: Express, Connect, or called by hand with Node's `http`. */
export type ConnectMiddleware = (req: IncomingMessage, res: ServerResponse, next: (error?: unknown) => void) => Promise<void>;

/**
 * Finds the tenant of a request, `req.tenant`; with a `gate` the whole decision is made. Denials are answered with their status. The
 * host is Express's `req.hostname`: `X-Forwarded-Host` counts where the setting `trust proxy` trusts the proxy, and nowhere else.
 * @example
 * app.use(createTenantMiddleware({ gate }));
 */
export function createTenantMiddleware(options: TenantOptions): ConnectMiddleware;

/**
 * Lets a request pass whose tenant has a feature.
 * @example
 * app.post("/api/v1/webhooks", requireFeature("webhooks", { gate }), handleWebhooks);
 */
export function requireFeature(feature: string, options?: FeatureOptions): ConnectMiddleware;

/**
 * Answers the package's errors as `{"error": {code, message, details}}`, and writes the reason of failures (5xx) to the console, in one
 * line; others go on. The last `app.use`.
 * @example
 * app.use(errorHandler);
 */
export function errorHandler(error: unknown, req: IncomingMessage, res: ServerResponse, next: (error?: unknown) => void): void;
