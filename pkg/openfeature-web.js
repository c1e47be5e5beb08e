// A provider for the OpenFeature web SDK: evaluates the features of the page's tenant in the page,
// follows changes, and serves the last good snapshot without a network.

import { OpenFeatureEventEmitter, ClientProviderEvents } from "@openfeature/web-sdk";
import { attributes, details, unanswered } from "./openfeature-details.js";

export class TenantgateWebProvider {
  metadata = { name: "tenantgate" };
  runsOn = "client";
  events = new OpenFeatureEventEmitter();
  #client;

  constructor(client) {
    if (typeof client?.evaluate !== "function") throw new TypeError("the provider needs a `FeatureClient`");
    this.#client = client;
    client.addEventListener("change", ({ detail: { changed } }) => {
      this.events.emit(ClientProviderEvents.ConfigurationChanged, { flagsChanged: changed });
    });
    client.addEventListener("stale", () => this.#tellStale());
    client.addEventListener("fresh", () => this.events.emit(ClientProviderEvents.Ready, {}));
  }

  async initialize(context = {}) {
    this.#client.context = attributes(context);
    await this.#client.ready;
    this.#remind();
  }

  onContextChange(_, context) {
    this.#client.context = attributes(context);
    this.#remind();
  }

  /**
   * Emits the stale event again: the SDK marks the provider as ready after these calls, which would
   * hide an earlier event.
   */
  #remind() {
    if (this.#client.stale) setTimeout(() => this.#client.stale && this.#tellStale(), 0);
  }

  #tellStale() {
    this.events.emit(ClientProviderEvents.Stale, { message: "the provider serves the last good snapshot" });
  }

  async onClose() {
    this.#client.close();
  }

  resolveBooleanEvaluation(key, fallback) {
    return this.#resolve(key, "boolean", fallback);
  }

  resolveStringEvaluation(key, fallback) {
    return this.#resolve(key, "string", fallback);
  }

  resolveNumberEvaluation(key, fallback) {
    return this.#resolve(key, "number", fallback);
  }

  resolveObjectEvaluation(key, fallback) {
    return this.#resolve(key, "object", fallback);
  }

  #resolve(key, kind, fallback) {
    try {
      return details(this.#client.get(key), kind, fallback);
    } catch (error) {
      return unanswered(error, fallback);
    }
  }
}
