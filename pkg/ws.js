// The entry `tenantgate/ws`: the sockets of a deployment's tenants, named by the environment
// variables that the command line reads too.

import { createConnectionStore, defaultStore } from "./connection-store.js";

export { createConnectionStore };

export const connectionStore = defaultStore(() => {
  const { TENANTGATE_URL: url, TENANTGATE_TOKEN: token } = globalThis.process?.env ?? {};
  const missing = url && token ? undefined : "`connectionStore` needs the environment variables TENANTGATE_URL and TENANTGATE_TOKEN, or call `createConnectionStore({ url, token })`";
  return { url, token, missing };
});
