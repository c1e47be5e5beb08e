// What a Worker uses with the gate inside: the same for `tenantgate/workers` and
// `tenantgate/worker`, which differ in the module behind it.

import { edgeGates } from "./edge-gate.js";
import { tenantMiddleware } from "./hono-middleware.js";
import { options as known } from "./input.js";
import { byGate } from "./tenancy.js";

/** `edgeGate` and `tenants` of a built Worker; see `edgeGates`. */
export function inWorker(instance, Binding) {
  const edgeGate = edgeGates(instance, Binding);
  const gateOf = (c) => edgeGate(c.env, c.executionCtx);
  return {
    edgeGate,
    tenants(options) {
      const { gate = gateOf, customResolver } = known(options, ["gate", "customResolver"], "`tenants`");
      return tenantMiddleware(byGate(gate, customResolver));
    },
  };
}
