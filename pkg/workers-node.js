// The entries `tenantgate/workers` and `tenantgate/worker` in Node, for tests of an application:
// the gate is the one of `testGate`, in the `env` that the test gives the application.

import { ConfigurationError } from "./errors.js";
import { middlewareOf, mountable } from "./in-worker.js";
import { ANSWER, Questions } from "./questions.js";

export * from "./worker-exports.js";

/** The member of `env` with the gate of `testGate`. */
export const TEST = Symbol.for("tenantgate.test");

function tested(env) {
  if (env?.[TEST] === undefined) throw new ConfigurationError("in Node the gate needs the `env` of `testGate`: `const { env } = testGate(catalog, tenants)`");
  return env[TEST];
}

/** The gate in memory with the methods of a Worker's. */
class TestedGate extends Questions {
  #gate;
  #now;

  constructor({ gate, now }) {
    super();
    this.#gate = gate;
    this.#now = now;
  }

  decideNow(request, options) {
    return this.#gate.decide(request, { ...options, now: this.#now() });
  }

  async decide(request, options) {
    return this.decideNow(request, options);
  }

  async features(tenant, context) {
    return this.#gate.features(tenant, context, { now: this.#now() });
  }

  async ask(question) {
    return this.#gate.ask(question, { now: this.#now() });
  }

  async [ANSWER](request, named) {
    return this.#gate[ANSWER](request, named, this.#now());
  }

  async explain(request, question) {
    return this.#gate.explain(request, { ...question, now: this.#now() });
  }

  question(request) {
    return this.#gate.question(request);
  }
}

const gateIn = (env) => new TestedGate(tested(env));
// Hono throws for a context that a test has not given.
export const { edgeGate, tenants, withTenant } = middlewareOf(gateIn, ({ env }) => gateIn(env));

const handler = {
  fetch: (request, env) => tested(env).service.fetch(request),
  async scheduled() {},
};

export default handler;
export const { scheduled } = handler;

export function gateway() {
  return mountable((c) => handler.fetch(c.req.raw, c.env));
}

/** Classes that a Worker exports for its bindings. In Node nothing calls them. */
export class TenantLedger {}
export class TenantHub {}
export class TenantGate {}
