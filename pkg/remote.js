// A gate in another process: the Worker decides, and its ledgers count for all callers. Asked by
// HTTP, or by RPC through a service binding. Needs no WebAssembly: also the entry
// `tenantgate/remote`.

import { statusOf } from "./codes.js";
import { denial } from "./denials.js";
import { Deployment, timeout } from "./deployment.js";
import { DocumentError, GateFailedError, InputError } from "./errors.js";
import { factsOf, headersOf } from "./facts.js";
import { Features } from "./features.js";
import { fetcher, options as known, readable, text } from "./input.js";
import { Questions, short } from "./questions.js";

/** The headers that strategies read by default. */
const SIGNALS = ["authorization", "cookie", "x-tenant-id", "x-api-key"];
/** The headers that determine whether the gate accepts a cookie as a credential. */
const OF_COOKIES = ["sec-fetch-site", "origin", "upgrade"];

export * from "./errors.js";
export { denialOf } from "./denials.js";
export { Features };

export class RemoteGate extends Questions {
  #deployment;
  #service;
  #timeoutMs;
  #headers;

  constructor(options) {
    super();
    const given = known(options, ["url", "token", "headers", "fetch", "service", "timeoutMs"], "`RemoteGate`");
    const { headers = SIGNALS, timeoutMs = 2_000 } = given;
    // A binding to the entrypoint `TenantGate` needs no token: only the account's own Workers have
    // it.
    const byRpc = Object.hasOwn(given, "service") && !Object.hasOwn(given, "token");
    if (!Array.isArray(headers) || headers.some((name) => typeof name !== "string")) throw new InputError("`headers` must be a list of header names");
    if (byRpc) {
      fetcher(given);
      this.#timeoutMs = timeout(timeoutMs);
      this.#service = given.service;
    } else {
      const { url = Object.hasOwn(given, "service") ? "https://gate" : undefined } = given;
      this.#deployment = new Deployment({ ...given, url, timeoutMs });
    }
    const names = headers.map((name) => name.toLowerCase());
    this.#headers = [...new Set(names.includes("cookie") ? [...names, ...OF_COOKIES] : names)];
  }

  async decide(request, question = {}) {
    const { decision } = await this.ask(asked({ ...this.question(request), ...question }));
    return short(decision);
  }

  async features(tenant, context = {}) {
    const { decision } = await this.ask({ tenant, context: readable(context), all_features: true, look: true });
    if (!decision.allowed) throw denial(decision);
    const keys = Object.keys(decision.features);
    return new Features(new Map(keys.map((key, place) => [key, place])), Object.values(decision.features));
  }

  async ask(question) {
    if (this.#service) return this.#call(question);
    const { response, body: decision } = await this.#deployment.call("POST", "/_gate/v1/decide", question, { fits: isDecision });
    const headers = {};
    for (const name of ["ratelimit-policy", "ratelimit", "retry-after"]) {
      if (response.headers.has(name)) headers[name] = response.headers.get(name);
    }
    if (decision.code === "UNAUTHENTICATED") headers["www-authenticate"] = 'Bearer realm="tenantgate"';
    return { status: statusOf(decision.code), headers, path: null, decision };
  }

  /** Asks by RPC, within the same time as by HTTP. */
  async #call(question) {
    // Serialized by the runtime, which refuses what JSON leaves out.
    const plain = JSON.parse(text(question));
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer within ${this.#timeoutMs} ms`)), this.#timeoutMs);
    });
    let answer;
    try {
      answer = await Promise.race([this.#service.ask(plain), late]);
    } catch (error) {
      throw new GateFailedError("the gate could not be reached: the service binding must name the entrypoint `TenantGate`", error, 503);
    } finally {
      clearTimeout(timer);
    }
    if (answer.problems) throw new DocumentError(answer.problems);
    return answer;
  }

  explain(request, question = {}) {
    return this.ask(asked({ ...this.question(request), ...question, look: true, explain: true }));
  }

  question(request) {
    const { method, host, path, query, headers, ...more } = factsOf(request, this.#headers);
    return { method, host, path, query, headers: headersOf(headers, this.#headers), ...more };
  }

  async provisionTenant({ company, selectedPlan, ...more }, { idempotencyKey = crypto.randomUUID() } = {}) {
    if (this.#service) throw new InputError("`provisionTenant` needs the option `token`: tenants are set up by the admin API");
    const body = { api_key_scopes: [], ...more };
    if (company !== undefined) body.name = company;
    if (selectedPlan !== undefined) body.plan = selectedPlan;
    const { body: { tenant, api_key: apiKey } } = await this.#deployment.call("POST", "/_gate/v1/admin/tenants", body, {
      headers: { "idempotency-key": idempotencyKey }, fits: ({ tenant }) => typeof tenant?.id === "string",
    });
    return { tenant, apiKey };
  }
}

const isDecision = ({ allowed, features, limits }) => typeof allowed === "boolean" && features && Array.isArray(limits);

/** The question with only those attributes of its context that rules can read. */
const asked = ({ context, ...question }) => (context === undefined ? question : { ...question, context: readable(context) });
