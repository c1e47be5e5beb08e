// A gate in another process: the Worker decides, and its ledgers count for all callers. Asked by
// HTTP, or by RPC through a service binding. Needs no WebAssembly: also the entry
// `tenantgate/remote`.

import { statusOf } from "./codes.js";
import { denial } from "./denials.js";
import { DocumentError, GateFailedError, InputError, TenantgateError } from "./errors.js";
import { factsOf, headersOf } from "./facts.js";
import { Features } from "./features.js";
import { fetcher, options as known, readable, text } from "./input.js";
import { Questions, short } from "./questions.js";

/** The headers that strategies read by default. */
const SIGNALS = ["authorization", "cookie", "x-tenant-id", "x-api-key"];
/** The headers that determine whether the gate accepts a cookie as a credential. */
const OF_COOKIES = ["sec-fetch-site", "origin", "upgrade"];
/** A timer with a longer delay fires at once. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

export * from "./errors.js";
export { denialOf } from "./denials.js";
export { Features };

export class RemoteGate extends Questions {
  #url;
  #token;
  #fetch;
  #service;
  #timeoutMs;
  #headers;

  constructor(options) {
    super();
    const given = known(options, ["url", "token", "headers", "fetch", "service", "timeoutMs"], "`RemoteGate`");
    const { token, headers = SIGNALS, timeoutMs = 2_000 } = given;
    const wrong = (sentence) => { throw new InputError(sentence); };
    // A binding to the entrypoint `TenantGate` needs no token: only the account's own Workers have
    // it.
    const byRpc = Object.hasOwn(given, "service") && !Object.hasOwn(given, "token");
    const url = byRpc ? "" : String(given.url ?? (Object.hasOwn(given, "service") ? "https://gate" : undefined));
    if (!byRpc && (!/^https?:/i.test(url) || !URL.canParse(url))) wrong("`url` must be the Worker's address, such as https://gate.example.com");
    // `fetch` would refuse any other token, with an error that contains the token.
    if (!byRpc && (typeof token !== "string" || !/^[\x21-\x7e]+$/.test(token))) {
      wrong("`token` must be the Worker's OPERATOR_TOKEN, without spaces or line breaks");
    }
    if (!Array.isArray(headers) || headers.some((name) => typeof name !== "string")) wrong("`headers` must be a list of header names");
    if (typeof timeoutMs !== "number" || !(timeoutMs > 0 && timeoutMs <= MAX_TIMEOUT_MS)) {
      wrong(`\`timeoutMs\` must be a number of milliseconds greater than 0 and at most ${MAX_TIMEOUT_MS}`);
    }
    this.#url = url.replace(/\/+$/, "");
    this.#token = token;
    this.#fetch = fetcher(given);
    if (byRpc) this.#service = given.service;
    this.#timeoutMs = timeoutMs;
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
    const response = await this.#send("POST", "/_gate/v1/decide", question);
    const decision = await this.#body(response, isDecision);
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
    const response = await this.#send("POST", "/_gate/v1/admin/tenants", body, { "idempotency-key": idempotencyKey });
    const { tenant, api_key: apiKey } = await this.#body(response, ({ tenant }) => typeof tenant?.id === "string");
    return { tenant, apiKey };
  }

  async #send(method, path, body, headers = {}) {
    const init = {
      method,
      headers: { authorization: `Bearer ${this.#token}`, "content-type": "application/json", ...headers },
      body: text(body),
      signal: AbortSignal.timeout(this.#timeoutMs),
    };
    try {
      return await this.#fetch(`${this.#url}${path}`, init);
    } catch (error) {
      throw new GateFailedError("the gate could not be reached", error, 503);
    }
  }

  /**
   * The body of a gate's response, checked with `fits`, since a proxy may reply with something
   * else.
   */
  async #body(response, fits) {
    let body;
    try {
      body = Object(await response.json());
    } catch (error) {
      throw new GateFailedError(`the gate's response is not JSON: its status is ${response.status}`, error, 503);
    }
    if (response.ok && fits(body)) return body;
    const { code, message, details = {} } = Object(body.error);
    if (response.ok || typeof code !== "string") {
      throw new GateFailedError(`the response is not from a gate: its status is ${response.status}`, undefined, 503);
    }
    if (Array.isArray(details.problems)) throw new DocumentError(details.problems);
    throw new TenantgateError(code, message, { status: response.status, details });
  }
}

const isDecision = ({ allowed, features, limits }) => typeof allowed === "boolean" && features && Array.isArray(limits);

/** The question with only those attributes of its context that rules can read. */
const asked = ({ context, ...question }) => (context === undefined ? question : { ...question, context: readable(context) });
