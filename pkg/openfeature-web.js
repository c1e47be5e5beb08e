// A provider for the OpenFeature web SDK: features of the page's tenant, evaluated in the page, kept up to date, and there
// without a network from the last good snapshot.

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

  /** The SDK says that the provider is ready after this; that it serves what is old is to be heard then. */
  #remind() {
    if (this.#client.stale) setTimeout(() => this.#client.stale && this.#tellStale(), 0);
  }

  #tellStale() {
    this.events.emit(ClientProviderEvents.Stale, { message: "the last good snapshot serves" });
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
