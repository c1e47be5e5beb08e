// What a Worker uses with the gate inside: the same for `tenantgate/workers` and
// `tenantgate/worker`, which differ in the module behind it.

import { edgeGates } from "./edge-gate.js";
import { tenantMiddleware } from "./hono-middleware.js";
import { options as known } from "./input.js";
import { byGate } from "./tenancy.js";
import { fetchMiddleware } from "./with-tenant.js";

/** `edgeGate`, `tenants` and `withTenant` of a built Worker; see `edgeGates`. */
export const inWorker = (instance, Binding) => middlewareOf(edgeGates(instance, Binding));

/** Makes a handler one that Hono's `app.route(path, …)` accepts: it reads `routes`, as of an application. */
export const mountable = (answer) => Object.assign(answer, { routes: [{ basePath: "/", path: "/*", method: "ALL", handler: answer }] });

/**
 * The middleware by a function that returns the gate of an invocation. `gateOf`: the same for the
 * context of a framework.
 */
export function middlewareOf(edgeGate, gateOf = (c) => edgeGate(c.env, c.executionCtx)) {
  const identify = (options, what) => {
    const { gate = gateOf, customResolver } = known(options, ["gate", "customResolver"], what);
    return byGate(gate, customResolver);
  };
  return {
    edgeGate,
    tenants: (options) => tenantMiddleware(identify(options, "`tenants`")),
    withTenant: (handle, options) => fetchMiddleware(identify(options, "`withTenant`"), handle),
  };
}
