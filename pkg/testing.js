// A gate for tests of applications: it answers like a deployed one, from memory.

import "#entry";
import { InputError } from "./errors.js";
import { Gate } from "./gate.js";
import { options as known } from "./input.js";
import { TEST } from "./workers-node.js";

export function testGate(catalog, tenants = [], options) {
  const { now = Date.now, ...more } = known(options, ["now", "keys", "secrets", "apiKeys", "environment"], "`testGate`");
  if (typeof now !== "function") throw new InputError("`now` must be a function that returns milliseconds since 1970");
  const gate = new Gate(catalog, tenants, more);
  const service = new Service(gate, now);
  return { gate, service, env: { [TEST]: { gate, service, now } } };
}

/** Stands for the service binding of a deployed gate: by HTTP, and by RPC. */
class Service {
  #gate;
  #now;

  constructor(gate, now) {
    this.#gate = gate;
    this.#now = now;
  }

  async fetch(input, init) {
    const request = new Request(input, init);
    const { pathname } = new URL(request.url);
    if (pathname === "/_gate/healthz") return Response.json({ status: "ok" });
    if (request.method !== "POST" || pathname !== "/_gate/v1/decide") return error(404, "NOT_FOUND", "there is no such endpoint");
    const { problems, headers, decision } = this.ask(await request.text());
    if (problems) return error(400, "BAD_REQUEST", "the question is invalid", { problems });
    return Response.json(decision, { headers });
  }

  ask(question) {
    try {
      return this.#gate.ask(question, { now: this.#now() });
    } catch (error) {
      if (error?.code === "INVALID_DOCUMENT") return { problems: error.problems };
      throw error;
    }
  }
}

const error = (status, code, message, details = {}) => Response.json({ error: { code, message, details } }, { status });
