// The gate for JavaScript: idiomatic objects over a binding that speaks in bytes and integers.

import {
  Gate as Binding, initSync, issueApiKey as issueBinding, publish as publishBinding, verifyAssertion as verifyBinding,
} from "./dist/tenantgate.js";

let memory;

/** Instantiates the module, once. */
export function instantiate(module) {
  memory ??= initSync({ module }).memory;
}

/** A document that was refused, with all its problems. */
export class DocumentError extends Error {
  name = "DocumentError";
  /** @param {{path: string, found: string, expected: string}[]} problems */
  constructor(problems) {
    super(problems.map(({ path, found, expected }) => `${path}: found ${found}, expected ${expected}`).join("\n"));
    this.problems = problems;
  }
}

const text = (document) => (typeof document === "string" ? document : JSON.stringify(document));

function reading(read) {
  try {
    return read();
  } catch (error) {
    if (Array.isArray(error)) throw new DocumentError(error);
    throw typeof error === "string" ? new Error(error) : error;
  }
}

/**
 * Checks a catalog with its tenants and API keys, and lays them out as KV entries.
 * @param {object | string} seed `{catalog, tenants, api_keys}`
 * @returns {[key: string, value: string][]}
 * @throws {DocumentError} with every problem
 */
export const publish = (seed) => reading(() => publishBinding(text(seed)));

/**
 * Makes an API key. `key` goes to its holder and is kept nowhere; `record` is published, and holds only a hash.
 * @param {{tenant: string, environment?: "live" | "test", scopes?: string[], name?: string, expires_at?: string}} options
 *   `environment`: default `live`
 * @returns {{key: string, record: object}}
 * @throws {DocumentError} with every problem of the record
 * @throws {Error} the tenant is not a tenant id
 * @example
 * const { key, record } = issueApiKey({ tenant: "t_acme", scopes: ["api.read"] });
 */
export function issueApiKey(options) {
  const entropy = crypto.getRandomValues(new Uint8Array(96));
  const { text: key, record } = reading(() => issueBinding(text(options) ?? "", entropy, Date.now()));
  return { key, record };
}

/**
 * For origins: verifies what arrived in `X-Tenant-Assertion`, so that the tenant can be trusted.
 * @param {string | null | undefined} assertion the header's value
 * @param {{keys: object | string, audience: string, now?: number}} options `keys`: what the gate publishes at
 *   `/_gate/jwks.json`; `audience`: its `ASSERTION_AUDIENCE`; `now`: milliseconds since 1970, default the clock
 * @returns {{sub: string, slug: string, plan: string | null, ancestors: string[], credential: object | null, exp: number}}
 *   `sub` is the tenant's id
 * @throws {Error} it is not to be believed: treat the request as nobody's
 */
export function verifyAssertion(assertion, { keys, audience, now = Date.now() }) {
  return reading(() => verifyBinding(assertion ?? "", text(keys), audience, now));
}

/** Handed out many times, so that nobody may write in it. */
const frozen = (value) => {
  for (const part of Object.values(value)) if (typeof part === "object" && part !== null) Object.freeze(part);
  return Object.freeze(value);
};

const TIERS = ["kill", "override", "addon", "contract", "plan", "default", "unknown"];
const ABSENT = 0xffffffff;
const [TEXT, NUMBER, TRUE, FALSE] = [0, 1, 2, 3];
const HEAD = 3;
const PER_FEATURE = 4;
const PER_LIMIT = 5;
/** Tenants whose names are kept here; beyond, they are asked for again. */
const MAX_KNOWN = 4096;

const encoder = new TextEncoder();

/** A gate with its ledger in memory: it resolves the tenant, evaluates features and counts limits in this process. */
export class Gate {
  #binding;
  #keys;
  #tenants = new Map();
  #callers = new Map();
  #words = new Uint32Array(0);
  #bytes;
  #results;

  /**
   * @param {object | string} catalog the catalog, as an object or as JSON text
   * @param {(object | string)[]} [tenants] tenant records
   * @param {{keys?: Record<string, object | string>, secrets?: Record<string, string>, apiKeys?: (object | string)[],
   *   environment?: "live" | "test"}} [options] what credentials are verified with: key sets by `jwks_url`, secrets by name,
   *   records of API keys; `environment`: which API keys work, default `live`
   * @throws {DocumentError} with every problem
   * @example
   * const gate = new Gate(catalog, [{ id: "t_acme", slug: "acme", plan: "pro@1" }]);
   * gate.decide({ host: "acme.app.example.com", path: "/api" }).allowed;
   */
  constructor(catalog, tenants = [], { keys = {}, secrets = {}, apiKeys = [], environment = "live" } = {}) {
    this.#binding = reading(() => new Binding(text(catalog)));
    this.#learn();
    for (const tenant of tenants) this.putTenant(tenant);
    for (const [url, jwks] of Object.entries(keys)) this.putKeys(url, jwks);
    for (const [name, value] of Object.entries(secrets)) this.#binding.putSecret(name, value);
    for (const record of apiKeys) this.putApiKey(record);
    reading(() => this.#binding.serve(environment));
  }

  /** Replaces the catalog; an older version than the one held is refused. */
  putCatalog(catalog) {
    reading(() => this.#binding.putCatalog(text(catalog)));
    this.#learn();
  }

  /** Adds or replaces a tenant; an older epoch than the one held is refused. */
  putTenant(tenant) {
    reading(() => this.#binding.putTenant(text(tenant)));
  }

  /** Replaces the keys that issuers publish at `url`: a JSON Web Key Set. The gate fetches none by itself. */
  putKeys(url, jwks) {
    reading(() => this.#binding.putKeys(url, text(jwks)));
  }

  /** Adds or replaces the record of an API key; an older epoch than the one held is refused. */
  putApiKey(record) {
    reading(() => this.#binding.putApiKey(text(record)));
  }

  /** Forgets a tenant. */
  removeTenant(id) {
    this.#binding.removeTenant(id);
  }

  #learn() {
    const keys = this.#binding.keys();
    this.#keys = Object.fromEntries(Object.entries(keys).map(([name, list]) => [name, list.map(internalized)]));
  }

  /**
   * Decides one request, and takes from the limits what it costs.
   * @param {{method?: string, host?: string, path?: string, query?: string, headers?: Record<string, string>,
   *   context?: Record<string, string | number | boolean>, features?: string[]}} request header names in lower case
   * @param {{now?: number, look?: boolean}} [options] `now`: milliseconds since 1970, default the clock; `look`: take nothing
   * @returns {{allowed: boolean, code: string, tenant: {id: string, slug: string, plan: string | null} | null,
   *   features: Record<string, {value: unknown, enabled: boolean, tier: string}>,
   *   credential: {kind: "jwt" | "api_key", tenant: string, issuer?: string, subject?: string, key?: string, scopes: string[]} | null,
   *   limits: {key: string, limit: number | null, used: number, remaining: number | null, reset_ms: number}[],
   *   retry_after_ms: number | null}}
   * @throws {RangeError} the request exceeds the bounds
   * @throws {TypeError} a context attribute is neither text nor number nor boolean
   */
  decide(request, options) {
    const { method = "", host = "", path = "/", query = "", headers, context, features } = request;
    // Views of memory that has grown are detached, and empty.
    if (this.#words.length === 0) this.#open();
    const words = this.#words;
    const keys = this.#keys;
    let word = 0;
    let at = 0;
    let end;
    words[word++] = options?.look ? 1 : 0;
    words[word++] = (end = this.#text(method, at)) - at;
    at = end;
    words[word++] = (end = this.#text(host, at)) - at;
    at = end;
    words[word++] = (end = this.#text(path, at)) - at;
    at = end;
    words[word++] = (end = this.#text(query, at)) - at;
    at = end;
    for (let i = 0; i < keys.headers.length; i++) {
      const value = headers?.[keys.headers[i]];
      if (value === undefined) {
        words[word++] = ABSENT;
      } else {
        words[word++] = (end = this.#text(value, at)) - at;
        at = end;
      }
    }
    const counted = word++;
    words[counted] = 0;
    if (context !== undefined) {
      // Only what some rule reads crosses over.
      for (let i = 0; i < keys.attributes.length; i++) {
        const value = context[keys.attributes[i]];
        if (value === undefined) continue;
        words[counted]++;
        words[word++] = i;
        if (typeof value === "string") {
          words[word++] = TEXT;
          words[word++] = (end = this.#text(value, at)) - at;
          at = end;
        } else if (typeof value === "number") {
          words[word++] = NUMBER;
          scratch[0] = value;
          words[word++] = halves[0];
          words[word++] = halves[1];
        } else if (typeof value === "boolean") {
          words[word++] = value ? TRUE : FALSE;
        } else {
          throw new TypeError("context attributes are strings, numbers or booleans");
        }
      }
    }
    const asked = features === undefined ? 0 : features.length;
    words[word++] = asked;
    for (let i = 0; i < asked; i++) {
      words[word++] = (end = this.#text(features[i], at)) - at;
      at = end;
    }
    // Writes past the end of a typed array are lost, not harmful; here they are found out.
    if (word > words.length) throw new RangeError("the request has too many parts");
    return this.#read(features, this.#binding.decide(at, options === undefined || options.now === undefined ? Date.now() : options.now));
  }

  /**
   * Decides a question in full, with everything there is to say; slower than `decide`, and the same in its outcome.
   * @param {object} question a body of `POST /_gate/v1/decide`
   * @returns {{status: number, headers: Record<string, string>, path: string | null, decision: object}}
   * @throws {DocumentError} with every problem of the question
   */
  ask(question, { now = Date.now() } = {}) {
    return reading(() => this.#binding.ask(text(question), now));
  }

  /** Bytes of WebAssembly memory in use by all gates of this process; it never shrinks. */
  static memoryBytes() {
    return memory.buffer.byteLength;
  }

  /** Frees the memory that the gate holds in WebAssembly. */
  free() {
    this.#binding.free();
  }

  [Symbol.dispose ?? Symbol.for("Symbol.dispose")]() {
    this.free();
  }

  /** Views of the buffer; memory that grew has new ones. */
  #open() {
    const { buffer } = memory;
    const [words, wordCount, text, textBytes, results, resultCount] = this.#binding.buffer();
    this.#words = new Uint32Array(buffer, words, wordCount);
    this.#bytes = new Uint8Array(buffer, text, textBytes);
    this.#results = new Float64Array(buffer, results, resultCount);
  }

  /** Writes a text at `start`; returns where it ends. */
  #text(value, start) {
    const bytes = this.#bytes;
    const { length } = value;
    // Names in requests are short and ASCII: a loop is quicker than an encoder, which is there for the rest.
    if (length <= 64 && start + length <= bytes.length) {
      let i = 0;
      for (let code; i < length && (code = value.charCodeAt(i)) < 128; i++) bytes[start + i] = code;
      if (i === length) return start + length;
    }
    const { read, written } = encoder.encodeInto(value, bytes.subarray(start));
    if (read < length) throw new RangeError(`the request is too large: its texts exceed ${bytes.length} bytes`);
    return start + written;
  }

  #read(asked, packed) {
    if (this.#results.length === 0) this.#open();
    const results = this.#results;
    const serial = results[0] | 0;
    const caller = results[2];
    const keys = this.#keys;
    const features = {};
    const limits = [];
    let at = HEAD;
    const answers = (packed >>> 8) & 4095;
    // What the route needs comes first, then what was asked for, in its order.
    const first = answers - (asked === undefined ? 0 : asked.length);
    for (let i = 0; i < answers; i++, at += PER_FEATURE) {
      const id = results[at] | 0;
      const value = results[at + 2];
      features[id < 0 ? asked[i - first] : keys.features[id]] = {
        value: value === 2 ? JSON.parse(this.#binding.value(i)) : value === 1,
        enabled: results[at + 1] === 1,
        tier: TIERS[results[at + 3] | 0],
      };
    }
    for (let i = 0, n = packed >>> 20; i < n; i++, at += PER_LIMIT) {
      const limit = results[at + 1];
      limits.push({
        key: keys.limits[results[at] | 0],
        limit: limit < 0 ? null : limit,
        used: results[at + 2],
        remaining: limit < 0 ? null : results[at + 3],
        reset_ms: results[at + 4],
      });
    }
    const code = packed & 255;
    return {
      allowed: code === 0,
      code: keys.codes[code],
      tenant: serial === 0 ? null : (this.#tenants.get(serial) ?? this.#meet(this.#tenants, serial, this.#binding.tenant())),
      credential: caller === 0 ? null : (this.#callers.get(caller) ?? this.#meet(this.#callers, caller, this.#binding.credential())),
      features,
      limits,
      retry_after_ms: results[1] < 0 ? null : results[1],
    };
  }

  /** Reads what is described for the first time, and keeps it. */
  #meet(known, number, described) {
    if (known.size >= MAX_KNOWN) known.clear();
    const met = frozen(JSON.parse(described));
    known.set(number, met);
    return met;
  }
}

/** The same text as a property name, which the engine finds without comparing. */
const internalized = (text) => Object.keys({ [text]: 0 })[0];

const scratch = new Float64Array(1);
const halves = new Uint32Array(scratch.buffer);
