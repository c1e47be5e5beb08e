// Middleware for Hono: the tenant is `c.get("tenant")`, and `c.get("gate")` asks about it.

import { tenantMiddleware } from "./hono-middleware.js";
import { tenancy } from "./lookup.js";

export { onError, requireFeature } from "./hono-middleware.js";

export const createTenantMiddleware = (options) => tenantMiddleware(tenancy(options));
