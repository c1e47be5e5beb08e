// A provider for the OpenFeature server SDK. The attribute `tenant` of the evaluation context is
// the tenant's id.

import { OpenFeatureEventEmitter, ServerProviderEvents } from "@openfeature/server-sdk";
import { attributes, details, failed, unanswered } from "./openfeature-details.js";

export class TenantgateProvider {
  metadata = { name: "tenantgate" };
  runsOn = "server";
  events = new OpenFeatureEventEmitter();
  #gate;
  #stop = () => {};
  #reached = true;

  constructor(gate) {
    if (typeof gate?.features !== "function") throw new TypeError("the provider needs a `Gate` or a `RemoteGate`");
    this.#gate = gate;
  }

  async initialize() {
    this.#stop = this.#gate.onChange?.(() => this.events.emit(ServerProviderEvents.ConfigurationChanged, {})) ?? (() => {});
  }

  async onClose() {
    this.#stop();
  }

  resolveBooleanEvaluation(key, fallback, context) {
    return this.#resolve(key, "boolean", fallback, context);
  }

  resolveStringEvaluation(key, fallback, context) {
    return this.#resolve(key, "string", fallback, context);
  }

  resolveNumberEvaluation(key, fallback, context) {
    return this.#resolve(key, "number", fallback, context);
  }

  resolveObjectEvaluation(key, fallback, context) {
    return this.#resolve(key, "object", fallback, context);
  }

  async #resolve(key, kind, fallback, { tenant, ...context }) {
    if (typeof tenant !== "string") {
      return failed(fallback, "INVALID_CONTEXT", "the context needs the attribute `tenant`, the tenant's id");
    }
    try {
      const features = await this.#gate.features(tenant, attributes(context));
      this.#reach(true);
      return details(features.get(key), kind, fallback);
    } catch (error) {
      if (error?.code === "GATE_FAILED") this.#reach(false, error.message);
      return unanswered(error, fallback);
    }
  }

  /** Emits one event when the gate becomes unreachable, and one when it becomes reachable again. */
  #reach(reached, message) {
    if (this.#reached === reached) return;
    this.#reached = reached;
    if (reached) this.events.emit(ServerProviderEvents.Ready, {});
    else this.events.emit(ServerProviderEvents.Error, { message });
  }
}
