// Middleware for Express, Connect, and Node's own `http`: the tenant is `req.tenant`.

import { isOurs, replyTo } from "./denials.js";
import { tenancy } from "./lookup.js";
import { report } from "./reports.js";
import { ended } from "./responses.js";
import { checkFeature, featureOptions, getCurrentTenant } from "./tenancy.js";

export function createTenantMiddleware(options) {
  const identify = tenancy(options);
  return async (req, res, next) => {
    try {
      const { tenant, credential, headers, decision, gate = null, done } = await identify(req, req);
      // A response that has closed already emits no `close` event.
      if (res.closed) ended(done);
      else res.once("close", () => ended(done));
      Object.assign(req, { tenant, credential, decision, gate });
      // Other middleware, such as a timeout, may have replied in the meantime.
      if (!res.headersSent) for (const [name, value] of Object.entries(headers)) res.setHeader(name, value);
    } catch (error) {
      return errorHandler(error, req, res, next);
    }
    next();
  };
}

export function requireFeature(feature, options) {
  const how = featureOptions(options);
  return async (req, res, next) => {
    try {
      await checkFeature(getCurrentTenant(req), feature, req, how);
    } catch (error) {
      return errorHandler(error, req, res, next);
    }
    next();
  };
}

export function errorHandler(error, req, res, next) {
  if (!isOurs(error) || res.headersSent) return next(error);
  const { status, headers, body } = replyTo(error, req.headers.accept);
  report(error, status);
  res.writeHead(status, headers);
  res.end(req.method === "HEAD" ? undefined : body);
}
