// Middleware for Hono: the tenant is `c.get("tenant")`.

import { replyTo } from "./denials.js";
import { FeatureNotAvailableError, TenantgateError } from "./errors.js";
import { getCurrentTenant } from "./middleware.js";
import { finished } from "./responses.js";
import { checkFeature, tenancy } from "./tenancy.js";

export function createTenantMiddleware(options) {
  const { identify } = tenancy(options);
  return async (c, next) => {
    let found;
    try {
      found = await identify(c.req.raw);
    } catch (error) {
      if (error instanceof TenantgateError) return answer(c, error);
      throw error;
    }
    const { tenant, credential, headers, decision, done } = found;
    c.set("tenant", tenant);
    c.set("credential", credential);
    c.set("decision", decision);
    try {
      await next();
    } catch (error) {
      // Hono catches errors; what is thrown and is none comes here.
      if (done) await done();
      throw error;
    }
    // A socket is handed on as it is.
    if (c.res.status !== 101 && !c.res.webSocket) for (const [name, value] of Object.entries(headers)) c.res.headers.set(name, value);
    if (done) {
      const { res } = c;
      c.res = undefined;
      c.res = finished(c.req, res, [done]);
    }
  };
}

export function requireFeature(feature, options) {
  return async (c, next) => {
    try {
      await checkFeature(getCurrentTenant(c), feature, options);
    } catch (error) {
      if (!(error instanceof FeatureNotAvailableError)) throw error;
      const { upgrade_url, current_plan } = error.details;
      return c.json({ error: "Feature not available", feature, upgrade_url, current_plan }, 403);
    }
    await next();
  };
}

export function onError(error, c) {
  return answer(c, error);
}

function answer(c, error) {
  const { status, headers, body } = replyTo(error, c.req.header("accept"));
  return new Response(c.req.method === "HEAD" ? null : body, { status, headers });
}
