// The gate for JavaScript: idiomatic objects over a binding that speaks in bytes and integers.

import { Gate as Binding, initSync, publish as publishBinding } from "./dist/tenantgate.js";

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
 * Checks a catalog with its tenants and lays both out as KV entries.
 * @param {object | string} seed `{catalog, tenants}`
 * @returns {[key: string, value: string][]}
 * @throws {DocumentError} with every problem
 */
export const publish = (seed) => reading(() => publishBinding(text(seed)));

const TIERS = ["kill", "override", "addon", "contract", "plan", "default", "unknown"];
const ABSENT = 0xffffffff;
const HEAD = 4;
const PER_FEATURE = 3;
const PER_LIMIT = 5;
/** Tenants whose names are kept here; beyond, they are asked for again. */
const MAX_KNOWN_TENANTS = 4096;

const encoder = new TextEncoder();
const NO_HEADERS = {};

/** A gate with its ledger in memory: it resolves the tenant, evaluates features and counts limits in this process. */
export class Gate {
  #binding;
  #headers;
  #keys;
  #tenants = new Map();
  #buffer;
  #words;
  #bytes;
  #results;
  #word = 0;
  #byte = 0;

  /**
   * @param {object | string} catalog the catalog, as an object or as JSON text
   * @param {(object | string)[]} [tenants] tenant records
   * @throws {DocumentError} with every problem
   * @example
   * const gate = new Gate(catalog, [{ id: "t_acme", slug: "acme", plan: "pro@1" }]);
   * gate.decide({ host: "acme.app.example.com", path: "/api" }).allowed;
   */
  constructor(catalog, tenants = []) {
    this.#binding = reading(() => new Binding(text(catalog)));
    this.#learn();
    for (const tenant of tenants) this.putTenant(tenant);
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

  /** Forgets a tenant. */
  removeTenant(id) {
    this.#binding.removeTenant(id);
  }

  #learn() {
    this.#headers = this.#binding.headers();
    this.#keys = this.#binding.keys();
  }

  /**
   * Decides one request, and takes from the limits what it costs.
   * @param {{method?: string, host?: string, path?: string, query?: string, headers?: Record<string, string>,
   *   context?: Record<string, string | number | boolean>, features?: string[]}} request header names in lower case
   * @param {{now?: number, look?: boolean}} [options] `now`: milliseconds since 1970, default the clock; `look`: take nothing
   */
  decide(request, options) {
    const { method = "GET", host = "", path = "/", query = "", headers = NO_HEADERS, context, features } = request;
    this.#open();
    const words = this.#words;
    words[this.#word++] = options?.look ? 1 : 0;
    this.#text(method);
    this.#text(host);
    this.#text(path);
    this.#text(query);
    for (const name of this.#headers) {
      const value = headers[name];
      if (value === undefined) words[this.#word++] = ABSENT;
      else this.#text(value);
    }
    const count = this.#word++;
    words[count] = 0;
    if (context !== undefined) {
      for (const name in context) {
        words[count]++;
        this.#text(name);
        this.#attribute(context[name]);
      }
    }
    if (features === undefined) {
      words[this.#word++] = 0;
    } else {
      words[this.#word++] = features.length;
      for (const feature of features) this.#text(feature);
    }
    return this.#read(this.#binding.decide(options?.now ?? Date.now()));
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
    if (this.#buffer !== memory.buffer) {
      this.#buffer = memory.buffer;
      const address = this.#binding.address();
      const words = this.#binding.words();
      this.#words = new Uint32Array(this.#buffer, address, words);
      this.#bytes = new Uint8Array(this.#buffer, address + words * 4, this.#binding.bytes());
      this.#results = new Float64Array(this.#buffer, this.#binding.results());
    }
    this.#word = 0;
    this.#byte = 0;
  }

  #text(value) {
    const start = this.#byte;
    const bytes = this.#bytes;
    const { length } = value;
    let at = start;
    // Names in requests are short and ASCII: a loop is quicker than an encoder, which is there for the rest.
    if (length <= 64) {
      for (let i = 0; i < length; i++) {
        const code = value.charCodeAt(i);
        if (code > 127) {
          at = -1;
          break;
        }
        bytes[at++] = code;
      }
    } else {
      at = -1;
    }
    if (at < 0) {
      const { read, written } = encoder.encodeInto(value, bytes.subarray(start));
      if (read < length) throw new RangeError(`the request is too large: its texts exceed ${bytes.length} bytes`);
      at = start + written;
    }
    if (at > bytes.length || this.#word >= this.#words.length) throw new RangeError("the request is too large");
    this.#words[this.#word++] = at - start;
    this.#byte = at;
  }

  #attribute(value) {
    switch (typeof value) {
      case "string":
        this.#words[this.#word++] = 0;
        this.#text(value);
        break;
      case "number":
        this.#words[this.#word++] = 1;
        scratch[0] = value;
        this.#words[this.#word++] = halves[0];
        this.#words[this.#word++] = halves[1];
        break;
      case "boolean":
        this.#words[this.#word++] = value ? 2 : 3;
        break;
      default:
        throw new TypeError("context attributes are strings, numbers or booleans");
    }
  }

  #read(packed) {
    if (this.#buffer !== memory.buffer) this.#open();
    const results = this.#results;
    const serial = results[0];
    const features = {};
    const limits = [];
    let at = HEAD;
    for (let i = 0, n = (packed >> 8) & 255; i < n; i++, at += PER_FEATURE) {
      const id = results[at];
      const key = id < 0 ? null : this.#keys.features[id];
      const value = results[at + 1];
      if (key !== null) {
        features[key] = { value: value === 2 ? JSON.parse(this.#binding.value(i)) : value === 1, tier: TIERS[results[at + 2]] };
      }
    }
    for (let i = 0, n = (packed >> 16) & 255; i < n; i++, at += PER_LIMIT) {
      const limit = results[at + 1];
      limits.push({
        key: this.#keys.limits[results[at]],
        limit: limit < 0 ? null : limit,
        used: results[at + 2],
        remaining: limit < 0 ? null : results[at + 3],
        reset_ms: results[at + 4],
      });
    }
    const code = packed & 255;
    return {
      allowed: code === 0,
      code: this.#keys.codes[code],
      tenant: serial === 0 ? null : (this.#tenants.get(serial) ?? this.#meet(serial)),
      features,
      limits,
      retry_after_ms: results[1] < 0 ? null : results[1],
    };
  }

  #meet(serial) {
    if (this.#tenants.size >= MAX_KNOWN_TENANTS) this.#tenants.clear();
    const tenant = Object.freeze(JSON.parse(this.#binding.tenant()));
    this.#tenants.set(serial, tenant);
    return tenant;
  }
}

const scratch = new Float64Array(1);
const halves = new Uint32Array(scratch.buffer);
