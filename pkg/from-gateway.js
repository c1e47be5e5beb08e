// A gate for an application behind the gateway: the gateway has decided, and its signed assertion
// says for which tenant.

import { ConfigurationError, GateFailedError, InputError, UnauthenticatedError } from "./errors.js";
import { factsOf, headersOf } from "./facts.js";
import { verifyAssertion } from "./gate.js";
import { fetcher, options as known, textual } from "./input.js";
import { Questions } from "./questions.js";
import { RemoteGate } from "./remote.js";

const ASSERTION = "x-tenant-assertion";
/** Milliseconds for which fetched keys are used, and between two fetches for an unknown key. */
const KEYS_MS = 600_000;
const AGAIN_MS = 30_000;

export function fromGateway(options) {
  return new Gateway(known(options, ["service", "url", "token", "fetch", "audience", "timeoutMs"], "`fromGateway`"));
}

class Gateway extends Questions {
  #audience;
  #url;
  #fetch;
  #timeoutMs;
  #remote;
  #keys;
  #fetchedAt = -Infinity;

  constructor(given) {
    super();
    const { audience, timeoutMs = 2_000, ...more } = given;
    if (textual(audience, "`audience`") === "") throw new InputError("`audience` must be the gateway's ASSERTION_AUDIENCE");
    if (!Object.hasOwn(given, "service") && !URL.canParse(String(given.url))) throw new InputError("`fromGateway` needs `service` or `url`");
    this.#audience = audience;
    this.#url = String(given.url ?? "https://gate").replace(/\/+$/, "");
    this.#fetch = fetcher(given);
    this.#timeoutMs = timeoutMs;
    if (Object.hasOwn(given, "service") || Object.hasOwn(given, "token")) this.#remote = new RemoteGate({ ...more, timeoutMs });
  }

  /** For middleware: the decision that the gateway has made. */
  async answer(request) {
    const { headers } = factsOf(request, [ASSERTION]);
    const token = headersOf(headers, [ASSERTION])[ASSERTION];
    if (token === undefined) throw new UnauthenticatedError({}, { cause: new Error("the assertion is missing: the request has not come through the gateway") });
    const { sub, slug, plan, credential } = await this.#verified(token);
    const tenant = { id: sub, slug, plan, status: "active" };
    return { status: 200, headers: {}, path: null, decision: { allowed: true, code: "ALLOWED", tenant, credential, features: {}, limits: [] } };
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
    const age = Date.now() - this.#fetchedAt;
    if (age > KEYS_MS) await this.#fetchKeys();
    const verify = () => verifyAssertion(token, { audience: this.#audience, keys: this.#keys });
    try {
      return verify();
    } catch (error) {
      // The gateway may have a new key since.
      if (error.code !== "UNAUTHENTICATED" || age < AGAIN_MS || age > KEYS_MS) throw error;
      await this.#fetchKeys();
      return verify();
    }
  }

  /** Fetches the gateway's public keys. If that fails, the last ones serve. */
  async #fetchKeys() {
    try {
      const response = await this.#fetch(`${this.#url}/_gate/jwks.json`, { signal: AbortSignal.timeout(this.#timeoutMs) });
      if (!response.ok) throw new Error(`its status is ${response.status}`);
      const { keys } = await response.json();
      if (!Array.isArray(keys)) throw new Error("its answer is not a key set");
      this.#keys = { keys };
    } catch (error) {
      if (this.#keys === undefined) throw new GateFailedError("the gateway's keys could not be fetched", error, 503);
    }
    this.#fetchedAt = Date.now();
  }
}
