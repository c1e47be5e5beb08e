// A gate for an application behind the gateway: the gateway has decided, and its signed assertion
// says for which tenant.

import { ConfigurationError, GateFailedError, InputError, UnauthenticatedError } from "./errors.js";
import { factsOf, headersOf } from "./facts.js";
import { verifyAssertion } from "./gate.js";
import { fetcher, options as known, textual } from "./input.js";
import { ANSWER, Questions, short } from "./questions.js";
import { RemoteGate } from "./remote.js";

const ASSERTION = "x-tenant-assertion";
/** Milliseconds for which fetched keys are fresh. */
const FRESH_MS = 600_000;
/** Milliseconds after a fetch, successful or not, until the next one. */
const PAUSE_MS = 30_000;

export function fromGateway(options) {
  return new Gateway(known(options, ["service", "url", "token", "fetch", "audience", "timeoutMs"], "`fromGateway`"));
}

class Gateway extends Questions {
  #audience;
  #keys;
  #remote;

  constructor(given) {
    super();
    const { audience, timeoutMs = 2_000, ...more } = given;
    if (textual(audience, "`audience`") === "") throw new InputError("`audience` must be the gateway's ASSERTION_AUDIENCE");
    if (!Object.hasOwn(given, "service") && !URL.canParse(String(given.url))) throw new InputError("`fromGateway` needs `service` or `url`");
    this.#audience = audience;
    this.#keys = new Keys(`${String(given.url ?? "https://gate").replace(/\/+$/, "")}/_gate/jwks.json`, fetcher(given), timeoutMs);
    if (Object.hasOwn(given, "service") || Object.hasOwn(given, "token")) this.#remote = new RemoteGate({ ...more, timeoutMs });
  }

  async [ANSWER](request) {
    const { headers } = factsOf(request, [ASSERTION]);
    const token = headersOf(headers, [ASSERTION])[ASSERTION];
    if (token === undefined) throw new UnauthenticatedError({}, { cause: new Error("the assertion is missing: the request has not come through the gateway") });
    // `features` and `limits` are there if the catalog's `origin.assertion` asks for them,
    // `upgrade_url` if one of these features is off.
    const { sub, slug, plan, credential, features = {}, limits = [], upgrade_url } = await this.#verified(token);
    const tenant = { id: sub, slug, plan, status: "active" };
    return { headers: {}, decision: { ...short({ allowed: true, code: "ALLOWED", tenant, credential, features, limits }), upgrade_url } };
  }

  question() {
    throw new ConfigurationError("the gateway has decided this request already");
  }

  async ask(question) {
    return this.#asked().ask(question);
  }

  async features(tenant, context) {
    return this.#asked().features(tenant, context);
  }

  #asked() {
    if (this.#remote) return this.#remote;
    throw new ConfigurationError("questions about a tenant need the option `service` or `token` of `fromGateway`");
  }

  async #verified(token) {
    const verify = (keys) => verifyAssertion(token, { audience: this.#audience, keys });
    const keys = await this.#keys.current();
    try {
      return verify(keys);
    } catch (error) {
      // The gateway may have a new key since.
      const newer = error.code === "UNAUTHENTICATED" && (await this.#keys.newer());
      if (!newer) throw error;
      return verify(newer);
    }
  }
}

/** The gateway's public keys. While they cannot be fetched, the last ones serve. */
class Keys {
  #url;
  #fetch;
  #timeoutMs;
  #held;
  #freshUntil = -Infinity;
  #nextFetchAt = -Infinity;

  constructor(url, fetch, timeoutMs) {
    this.#url = url;
    this.#fetch = fetch;
    this.#timeoutMs = timeoutMs;
  }

  async current() {
    if (Date.now() >= this.#freshUntil) await this.newer();
    return this.#held;
  }

  /**
   * Fetches the keys, unless that was tried a moment ago: a token with an invalid signature must
   * not cause a fetch each time. Returns undefined if there are no newer keys.
   */
  async newer() {
    if (this.#held !== undefined && Date.now() < this.#nextFetchAt) return undefined;
    try {
      const response = await this.#fetch(this.#url, { signal: AbortSignal.timeout(this.#timeoutMs) });
      if (!response.ok) throw new Error(`its status is ${response.status}`);
      const { keys } = await response.json();
      if (!Array.isArray(keys)) throw new Error("its answer is not a key set");
      this.#freshUntil = Date.now() + FRESH_MS;
      return this.#held = { keys };
    } catch (error) {
      if (this.#held === undefined) throw new GateFailedError("the gateway's keys could not be fetched", error, 503);
      return undefined;
    } finally {
      this.#nextFetchAt = Date.now() + PAUSE_MS;
    }
  }
}
