// Middleware for Express, Connect, and Node's own `http`: the tenant is `req.tenant`.

import { replyTo } from "./denials.js";
import { TenantgateError } from "./errors.js";
import { getCurrentTenant } from "./middleware.js";
import { checkFeature, tenancy } from "./tenancy.js";

export function createTenantMiddleware(options) {
  const { identify } = tenancy(options);
  return async (req, res, next) => {
    let found;
    try {
      found = await identify(req);
    } catch (error) {
      return errorHandler(error, req, res, next);
    }
    const { tenant, credential, headers, decision, done } = found;
    Object.assign(req, { tenant, credential, decision });
    for (const [name, value] of Object.entries(headers)) res.setHeader(name, value);
    // Whoever has left already is not heard leaving.
    if (done && res.closed) quietly(done);
    else if (done) res.once("close", () => quietly(done));
    next();
  };
}

/** Does what changes nothing for whoever asked. */
const quietly = async (run) => {
  try {
    await run();
  } catch {
    // A slot that is not given back ends by itself.
  }
};

export function requireFeature(feature, options) {
  return async (req, res, next) => {
    try {
      await checkFeature(getCurrentTenant(req), feature, options);
    } catch (error) {
      return errorHandler(error, req, res, next);
    }
    next();
  };
}

export function errorHandler(error, req, res, next) {
  if (!(error instanceof TenantgateError) || res.headersSent) return next(error);
  const { status, headers, body } = replyTo(error, req.headers.accept);
  res.writeHead(status, headers);
  res.end(req.method === "HEAD" ? undefined : body);
}
