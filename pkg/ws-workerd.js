// The entry `tenantgate/ws` in a Worker: the sockets of the gate behind the service binding `GATE`,
// or of the Worker itself if it exports `TenantGate`.

import * as workers from "cloudflare:workers";
import { createConnectionStore, defaultStore } from "./connection-store.js";

export { createConnectionStore };

export const connectionStore = defaultStore(() => {
  const service = workers.env?.GATE ?? workers.exports?.TenantGate;
  const missing = service
    ? undefined
    : '`connectionStore` needs a binding to the gate in wrangler.jsonc: "services": [{ "binding": "GATE", "service": "tenantgate", "entrypoint": "TenantGate" }]';
  return { service, missing };
});
