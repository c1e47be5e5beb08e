// Middleware for Hono: the tenant is `c.get("tenant")`.

import { isOurs, ownResponse, replyTo } from "./denials.js";
import { getCurrentTenant } from "./middleware.js";
import { report } from "./reports.js";
import { ended, finished, withHeaders } from "./responses.js";
import { checkFeature, featureOptions, tenancy } from "./tenancy.js";

export function createTenantMiddleware(options) {
  const { identify } = tenancy(options);
  return async (c, next) => {
    let found;
    try {
      found = await identify(c.req.raw);
    } catch (error) {
      if (isOurs(error)) return answer(c, error);
      throw error;
    }
    const { tenant, credential, headers, decision, done } = found;
    c.set("tenant", tenant);
    c.set("credential", credential);
    c.set("decision", decision);
    try {
      await next();
      const response = await finished(c.req, withHeaders(c.res, headers), done, waitUntilOf(c, done));
      // Set anew, or Hono would carry headers over from the old one, which may not be written in.
      if (response !== c.res) {
        c.res = undefined;
        c.res = response;
      }
    } catch (error) {
      await ended(done, waitUntilOf(c, done));
      throw error;
    }
  };
}

/** For what is still to be done, where there is any and the runtime has one; Hono throws where it has none. */
function waitUntilOf(c, done) {
  if (done.length === 0) return undefined;
  try {
    return c.executionCtx.waitUntil.bind(c.executionCtx);
  } catch {
    return undefined;
  }
}

export function requireFeature(feature, options) {
  const how = featureOptions(options);
  return async (c, next) => {
    try {
      await checkFeature(getCurrentTenant(c), feature, c, how);
    } catch (error) {
      if (error?.code !== "FEATURE_NOT_AVAILABLE") throw error;
      const { upgrade_url, current_plan } = error.details;
      return c.json({ error: "Feature not available", feature, upgrade_url, current_plan }, 403);
    }
    await next();
  };
}

export function onError(error, c) {
  if (isOurs(error)) return answer(c, error);
  // Errors of others are treated as Hono does by itself: they keep the response that they bring along, or are logged.
  const response = ownResponse(error);
  if (response) return c.newResponse(response.body, response);
  console.error(error);
  return answer(c, error);
}

/** By way of the context, which knows the headers that were set before. */
function answer(c, error) {
  const { status, headers, body } = replyTo(error, c.req.header("accept"));
  if (isOurs(error)) report(error, status);
  return c.body(c.req.method === "HEAD" ? null : body, status, headers);
}
