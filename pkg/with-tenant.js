// Middleware for a Worker's `fetch`, by a function that identifies the tenant of a request.

import { isOurs, replyTo } from "./denials.js";
import { InputError } from "./errors.js";
import { report } from "./reports.js";
import { ended, finished, withHeaders } from "./responses.js";

/** `identify`: see `byGate`. */
export function fetchMiddleware(identify, handle) {
  if (typeof handle !== "function") throw new InputError("`withTenant` needs the handler of a request");
  return async (request, env, ctx) => {
    const waitUntil = ctx?.waitUntil?.bind(ctx);
    let [headers, done] = [{}, []];
    try {
      const found = await identify(request, { env, executionCtx: ctx });
      ({ headers, done } = found);
      const { tenant, credential, decision, gate = null } = found;
      const response = await handle(request, env, ctx, { tenant, credential, decision, gate });
      return await finished(request, withHeaders(response, headers), done, waitUntil);
    } catch (error) {
      await ended(done, waitUntil);
      if (!isOurs(error)) throw error;
      const reply = replyTo(error, request.headers.get("accept"));
      report(error, reply.status);
      return withHeaders(new Response(request.method === "HEAD" ? null : reply.body, reply), headers);
    }
  };
}
