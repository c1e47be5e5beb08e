import type { Document, Gate, GateOptions, Question, Transcript } from "./index.js";

/**
 * A gate for tests of your application. `service` takes the place of the service binding of a
 * deployed gate, for a `RemoteGate` or for calls by RPC; `gate` changes the catalog and tenants
 * while the test runs. `env` is the environment for an application that uses `tenantgate/workers` or
 * `tenantgate/worker`: in Node these have the gate of the `env` that they are given.
 * @param options those of `Gate`; `now`: the clock, a function that returns milliseconds since 1970
 * @example
 * const { service } = testGate(catalog, [{ id: "t_acme", slug: "acme", plan: "free@1" }]);
 * const app = createApp({ gate: new RemoteGate({ service }) });
 * @example
 * const { env } = testGate(catalog, [{ id: "t_acme", slug: "acme", plan: "free@1" }]);
 * const response = await app.request("/api", { headers: { "X-Tenant-ID": "acme" } }, env);
 */
export function testGate(catalog: Document, tenants?: Document[], options?: GateOptions & { now?: () => number }): {
  gate: Gate;
  service: {
    fetch(input: any, init?: any): Promise<Response>;
    ask(question: Question): Transcript;
  };
  env: object;
};
