// The entry `tenantgate/worker`: the complete gateway as a Worker, prebuilt. Alone it is the module
// that a deployment names as `main`; in another Worker, `gateway` answers the gate's own endpoints.

import { WorkerEntrypoint } from "cloudflare:workers";
import { isOurs } from "./denials.js";
import handler from "./dist/worker/entry.js";
import { EdgeBinding } from "./dist/worker/index.js";
import * as instance from "./dist/worker/instance.js";
import { inWorker, mountable } from "./in-worker.js";
import { attributes, details, failed, unanswered } from "./openfeature-details.js";

export default handler;
export * from "./worker-exports.js";
export { TenantHub } from "./dist/worker/tenant_hub.js";
export { TenantLedger } from "./dist/worker/tenant_ledger.js";
export const { edgeGate, tenants, withTenant } = inWorker(instance, EdgeBinding);

/** The handler of the scheduled event, for a Worker that exports its own `fetch`. */
export const scheduled = handler.scheduled;

export function gateway() {
  return mountable((c) => handler.fetch(c.req.raw, c.env, c.executionCtx));
}

/**
 * The gate for other Workers, by RPC: `env.GATE.take("t_acme", { exports: 1 })`. The caller's
 * service binding names this class as its `entrypoint`.
 */
export class TenantGate extends WorkerEntrypoint {
  get #gate() {
    return edgeGate(this.env, this.ctx);
  }

  fetch(request) {
    return handler.fetch(request, this.env, this.ctx);
  }

  decide(request, options) {
    return this.#gate.decide(request, options);
  }

  /**
   * The decision in its full form, or `problems` of the question: RPC keeps only the text of an
   * error.
   */
  async ask(question) {
    try {
      return await this.#gate.ask(question);
    } catch (error) {
      if (error?.code === "INVALID_DOCUMENT") return { problems: error.problems };
      throw error;
    }
  }

  explain(request, question) {
    return this.#gate.explain(request, question);
  }

  async features(tenant, context) {
    return (await this.#gate.features(tenant, context)).toJSON();
  }

  check(tenant, limits, options) {
    return this.#gate.check(tenant, limits, options);
  }

  take(tenant, limits, options) {
    return this.#gate.take(tenant, limits, options);
  }

  release(tenant, limits, options) {
    return this.#gate.release(tenant, limits, options);
  }

  set(tenant, limits, options) {
    return this.#gate.set(tenant, limits, options);
  }

  limits(tenant) {
    return this.#gate.limits(tenant);
  }

  meter(tenant, limits, options) {
    return this.#gate.meter(tenant, limits, options);
  }

  reserve(tenant, limits, options) {
    return this.#gate.reserve(tenant, limits, options);
  }

  settle(tenant, hold, limits) {
    return this.#gate.settle(tenant, hold, limits);
  }

  /** Sends messages to the sockets of a tenant. Errors of the gate are values. */
  publishMessages(body) {
    return this.#own("POST", "messages", {}, body);
  }

  listConnections(tenant, cursor) {
    return this.#own("GET", "connections", { tenant, cursor });
  }

  closeConnection(tenant, id) {
    return this.#own("DELETE", "connections", { tenant, id });
  }

  presence(tenant, channel) {
    return this.#own("GET", "presence", { tenant, channel });
  }

  /** Asks one of the operator's endpoints. */
  async #own(method, name, query, body) {
    const given = Object.entries(query).filter(([, value]) => value !== undefined);
    const request = new Request(`https://gate/_gate/v1/${name}?${new URLSearchParams(given)}`, {
      method, headers: { authorization: `Bearer ${this.env.OPERATOR_TOKEN}` }, ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const response = await handler.fetch(request, this.env, this.ctx);
    const answer = await response.json();
    return response.ok ? answer : { error: { ...answer.error, status: response.status } };
  }

  async getBooleanValue(key, fallback, context) {
    return (await this.getBooleanDetails(key, fallback, context)).value;
  }

  async getStringValue(key, fallback, context) {
    return (await this.getStringDetails(key, fallback, context)).value;
  }

  async getNumberValue(key, fallback, context) {
    return (await this.getNumberDetails(key, fallback, context)).value;
  }

  async getObjectValue(key, fallback, context) {
    return (await this.getObjectDetails(key, fallback, context)).value;
  }

  getBooleanDetails(key, fallback, context) {
    return this.#details(key, "boolean", fallback, context);
  }

  getStringDetails(key, fallback, context) {
    return this.#details(key, "string", fallback, context);
  }

  getNumberDetails(key, fallback, context) {
    return this.#details(key, "number", fallback, context);
  }

  getObjectDetails(key, fallback, context) {
    return this.#details(key, "object", fallback, context);
  }

  /** The value of a feature, and why. Never throws: a flag that cannot be read has its default. */
  async #details(key, kind, fallback, context) {
    const { tenant, ...rest } = Object(context);
    try {
      if (typeof tenant !== "string") {
        return { flagKey: key, ...failed(fallback, "INVALID_CONTEXT", "the context needs the attribute `tenant`, the tenant's id") };
      }
      const features = await this.#gate.features(tenant, attributes(rest));
      return { flagKey: key, ...details(features.get(key), kind, fallback) };
    } catch (error) {
      return { flagKey: key, ...(isOurs(error) ? unanswered(error, fallback) : failed(fallback, "GENERAL", String(error))) };
    }
  }
}
