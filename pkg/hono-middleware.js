// Middleware for Hono, by a function that identifies the tenant of a request. Needs no WebAssembly
// of its own.

import { isOurs, ownResponse, replyTo } from "./denials.js";
import { report } from "./reports.js";
import { ended, finished, withHeaders } from "./responses.js";
import { checkFeature, featureOptions, getCurrentTenant } from "./tenancy.js";

/** `identify`: see `byGate`. */
export function tenantMiddleware(identify) {
  return async (c, next) => {
    let found;
    try {
      found = await identify(c.req.raw, c);
    } catch (error) {
      if (isOurs(error)) return answer(c, error);
      throw error;
    }
    const { tenant, credential, headers, decision, gate = null, done } = found;
    c.set("tenant", tenant);
    c.set("credential", credential);
    c.set("decision", decision);
    c.set("gate", gate);
    try {
      await next();
      const response = await finished(c.req, withHeaders(c.res, headers), done, waitUntilOf(c, done));
      // Resetting first prevents Hono from copying headers of the old response, whose headers may
      // be immutable.
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

/**
 * The runtime's `waitUntil` if there is work left to do; undefined otherwise, or if the runtime has
 * no `waitUntil`, for which Hono throws.
 */
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
  // Other errors are treated as by Hono itself: an error that carries a response keeps it, and the
  // rest are logged.
  const response = ownResponse(error);
  if (response) return c.newResponse(response.body, response);
  console.error(error);
  return answer(c, error);
}

/** Replies through Hono's context, which adds the headers that were set before. */
function answer(c, error) {
  const { status, headers, body } = replyTo(error, c.req.header("accept"));
  if (isOurs(error)) report(error, status);
  return c.body(c.req.method === "HEAD" ? null : body, status, headers);
}
