// The entry `tenantgate/workers`: the gate in your own Worker, its middleware for Hono, and the
// ledger's class. Import from here or from `tenantgate/worker`, not from both: each has a module
// and so a gate of its own.

import { EdgeBinding } from "./dist/edge/index.js";
import * as instance from "./dist/edge/instance.js";
import { inWorker } from "./in-worker.js";

export * from "./worker-exports.js";
export { TenantLedger } from "./dist/edge/tenant_ledger.js";
export const { edgeGate, tenants, withTenant } = inWorker(instance, EdgeBinding);
