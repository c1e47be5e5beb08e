// The gate for JavaScript. The binding exchanges numbers and bytes in a buffer in WebAssembly
// memory, so that a decision copies no objects; this file writes questions there and makes objects
// of the results.
//
// A trap replaces the WebAssembly instance (`module.js`). A `Gate` keeps the texts of all documents
// that it was given, and loads them into the new instance before the next call.

import {
  Gate as Binding, issueApiKey as issueBinding, publish as publishBinding, verifyAssertion as verifyBinding,
} from "./dist/tenantgate.js";
import { denied } from "./denials.js";
import { DocumentError, InputError, TenantgateError, UnauthenticatedError } from "./errors.js";
import { factsOf, headersOf } from "./facts.js";
import { Features, UNKNOWN } from "./features.js";
import { end, frozen, header, internalized, moment, named, options as known, text, textual, write, writeContext } from "./input.js";
import { failure, generation, memory, ready } from "./module.js";

/**
 * Calls the binding and converts its errors: an array holds the problems of a document, a text is
 * the reason for a refusal, and anything else is a trap.
 */
function within(run) {
  try {
    return run();
  } catch (error) {
    if (Array.isArray(error)) throw new DocumentError(error);
    throw typeof error === "string" ? new TenantgateError("REFUSED", error, { status: 409 }) : failure(error);
  }
}

export const publish = (seed) => {
  ready();
  const json = text(seed);
  return within(() => publishBinding(json));
};

export function issueApiKey(options) {
  ready();
  const [json, entropy] = [text(options), crypto.getRandomValues(new Uint8Array(96))];
  const { text: key, record } = within(() => issueBinding(json, entropy, Date.now()));
  return { key, record };
}

export function verifyAssertion(assertion, options) {
  ready();
  const { keys, audience, now } = named(options, "the options");
  const [token, jwks, at] = [text(typeof assertion === "string" ? assertion : ""), text(keys), moment(now)];
  text(textual(audience, "`audience`"));
  try {
    return verifyBinding(token, jwks, audience, at);
  } catch (error) {
    // The cause has the reason, which callers do not receive.
    const reason = token === "" ? "the assertion is missing" : error;
    if (typeof error === "string") throw new UnauthenticatedError({}, { cause: new Error(reason) });
    return within(() => { throw error; });
  }
}

// The layout of the buffer, as in the binding.
/** The length of an absent text. */
const ABSENT = 0xffffffff;
/** Numbers before the results of features and limits: tenant, retry, caller, hold. */
const HEAD = 4;
/** Numbers for one feature, and for one limit. */
const PER_FEATURE = 2;
const PER_LIMIT = 5;
/** The outcome of a feature whose value comes from the tenant's own tiers. */
const GRANTED = 0;
/** Maximum number of tenants, and of callers, whose descriptions are cached here. */
const MAX_KNOWN = 4096;
const NOTHING = Object.freeze({});

const busy = () => new InputError("the gate was called while it was reading another request");

export class Gate {
  #binding;
  #generation;
  #freed = false;
  /** Whether a question is being written. A getter in it must not call the gate in the meantime. */
  #busy = false;
  /** The texts of all documents, which are loaded again after a trap. */
  #held = { catalog: "", tenants: new Map(), keys: new Map(), secrets: new Map(), apiKeys: new Map(), environment: "live" };
  #keys;
  #tenants = new Map();
  #callers = new Map();
  /** Cached answers by feature and outcome. */
  #answers = [];
  /** Cached answers that come from a tenant's own tiers, by tenant and feature. */
  #granted = new Map();
  /** Cached `features` objects of decisions with one feature, by feature and outcome. */
  #alone = [];
  #places = new Map();
  #listeners = new Set();
  #words = new Uint32Array(0);
  #bytes;
  #results;
  #outcomes;

  constructor(catalog, tenants = [], options) {
    ready();
    const { keys, secrets, apiKeys = [], environment = "live" } = known(options, ["keys", "secrets", "apiKeys", "environment"], "`Gate`");
    if (!Array.isArray(tenants) || !Array.isArray(apiKeys)) throw new InputError("`tenants` and `apiKeys` must be arrays");
    this.#held.environment = text(textual(environment, "`environment`"));
    this.#held.catalog = text(catalog);
    this.#open();
    try {
      for (const tenant of tenants) this.putTenant(tenant);
      for (const [url, jwks] of Object.entries(named(keys, "`keys`"))) this.putKeys(url, jwks);
      for (const [name, value] of Object.entries(named(secrets, "`secrets`"))) this.putSecret(name, value);
      for (const record of apiKeys) this.putApiKey(record);
    } catch (error) {
      // The caller never receives this object, so it cannot free it.
      this.free();
      throw error;
    }
  }

  putCatalog(catalog) {
    const json = text(catalog);
    this.#change((binding) => binding.putCatalog(json));
    this.#held.catalog = json;
    this.#learn();
    this.#notify();
  }

  putTenant(tenant) {
    const json = text(tenant);
    this.#held.tenants.set(this.#change((binding) => binding.putTenant(json)), json);
    this.#notify();
  }

  putKeys(url, jwks) {
    const [place, json] = [text(textual(url instanceof URL ? url.href : url, "`url`")), text(jwks)];
    this.#change((binding) => binding.putKeys(place, json));
    this.#held.keys.set(place, json);
  }

  putSecret(name, value) {
    text(textual(name, "the name of a secret"));
    text(textual(value, "a secret"));
    this.#change((binding) => binding.putSecret(name, value));
    this.#held.secrets.set(name, value);
  }

  putApiKey(record) {
    const json = text(record);
    this.#held.apiKeys.set(this.#change((binding) => binding.putApiKey(json)), json);
  }

  removeTenant(id) {
    text(textual(id, "a tenant's id"));
    this.#change((binding) => binding.removeTenant(id));
    this.#held.tenants.delete(id);
    this.#notify();
  }

  onChange(listener) {
    if (typeof listener !== "function") throw new InputError("a listener must be a function");
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #notify() {
    for (const listener of this.#listeners) {
      try {
        listener();
      } catch (error) {
        // The change has been made, and the other listeners must still be called.
        console.error("a listener of the gate failed", error);
      }
    }
  }

  decide(request, options) {
    this.#begin(options);
    const isFacts = typeof request === "object" && request !== null && request.url === undefined && !(request instanceof URL);
    const facts = isFacts ? request : factsOf(request, this.#keys.headers);
    const { method = "", host = "", path = "/", query = "", custom, headers } = facts;
    const context = options?.context ?? facts.context;
    const features = options?.features ?? facts.features;
    const now = moment(options?.now);
    if (features !== undefined && !Array.isArray(features)) throw new InputError("`features` must be an array of keys");
    const words = this.#words;
    const bytes = this.#bytes;
    const names = this.#keys.headers;
    let packed;
    this.#busy = true;
    try {
      let at = write(bytes, method, 0);
      let begun = at;
      words[0] = options?.look ? 1 : 0;
      words[1] = at;
      words[2] = (at = write(bytes, host, begun)) - begun;
      begun = at;
      words[3] = (at = write(bytes, path, begun)) - begun;
      begun = at;
      words[4] = (at = write(bytes, query, begun)) - begun;
      let word = 6;
      if (custom === undefined || custom === null) {
        words[5] = ABSENT;
      } else {
        begun = at;
        words[5] = (at = write(bytes, custom, begun)) - begun;
      }
      for (let i = 0; i < names.length; i++) {
        const value = header(headers, names[i]);
        if (value === undefined) {
          words[word++] = ABSENT;
        } else {
          begun = at;
          words[word++] = (at = write(bytes, value, begun)) - begun;
        }
      }
      if (context === undefined) {
        words[word++] = 0;
      } else {
        writeContext(words, bytes, this.#keys.attributes, context, word, at);
        ({ word, at } = end);
      }
      const asked = features === undefined ? 0 : features.length;
      words[word++] = asked;
      for (let i = 0; i < asked; i++) {
        begun = at;
        words[word++] = (at = write(bytes, features[i], begun)) - begun;
      }
      // Writes past the end of a typed array have no effect, so one check at the end suffices.
      if (word > words.length) throw new InputError("the request has too many parts");
      try {
        packed = this.#binding.decide(at, now);
      } catch (error) {
        throw failure(error);
      }
    } finally {
      this.#busy = false;
    }
    return this.#read(features, packed);
  }

  features(tenant, context, options) {
    this.#begin(options);
    const now = moment(options?.now);
    const words = this.#words;
    const bytes = this.#bytes;
    let code;
    this.#busy = true;
    try {
      const length = write(bytes, tenant, 0);
      words[0] = length;
      writeContext(words, bytes, this.#keys.attributes, context, 1, length);
      if (end.word > words.length) throw new InputError("the context has too many attributes");
      try {
        code = this.#binding.features(end.at, now);
      } catch (error) {
        throw failure(error);
      }
    } finally {
      this.#busy = false;
    }
    if (code !== 0) throw denied(this.#keys.codes[code]);
    if (this.#outcomes.length === 0) this.#map();
    const outcomes = this.#outcomes;
    const known = this.#answers;
    const serial = this.#results[0];
    const answers = new Array(known.length);
    for (let i = 0; i < answers.length; i++) {
      const outcome = outcomes[i];
      answers[i] = known[i][outcome] ?? this.#answer(i, outcome, serial);
    }
    return new Features(this.#places, answers);
  }

  ask(question, options) {
    const now = moment(named(options, "the options").now);
    const json = text(question);
    return JSON.parse(this.#change((binding) => binding.ask(json, now)));
  }

  explain(request, options) {
    const { now, ...question } = named(options, "the options");
    return this.ask({ ...this.question(request), ...question, look: true, explain: true }, { now });
  }

  /** The question of a request, for `ask`. Omits the headers that the gate does not read. */
  question(request) {
    this.#begin();
    const names = this.#keys.headers;
    const { method, host, path, query, headers, ...more } = factsOf(request, names);
    return { method, host, path, query, headers: headersOf(headers, names), ...more };
  }

  static memoryBytes() {
    ready();
    return memory.buffer.byteLength;
  }

  free() {
    if (this.#freed) return;
    if (this.#busy) throw busy();
    this.#freed = true;
    if (this.#generation === generation) this.#binding.free();
    // A later call fails instead of using memory that may belong to another object by then.
    this.#generation = -1;
  }

  [Symbol.dispose ?? Symbol.for("Symbol.dispose")]() {
    this.free();
  }

  /**
   * Prepares a call: reloads the documents after a trap, and renews the views of memory that has
   * grown.
   */
  #begin(options) {
    if (this.#busy) throw busy();
    if (options !== undefined && (typeof options !== "object" || options === null)) throw new InputError("the options must be an object");
    if (this.#generation !== generation) this.#open();
    // When memory grows, existing views are detached, and their length is 0.
    if (this.#words.length === 0) this.#map();
  }

  /**
   * Calls the binding for anything but `decide` and `features`, which avoid the overhead of a
   * closure.
   */
  #change(run) {
    this.#begin();
    return within(() => run(this.#binding));
  }

  /** Creates the binding and loads all documents. */
  #open() {
    if (this.#freed) throw new InputError("the gate has been freed");
    const { catalog, tenants, keys, secrets, apiKeys, environment } = this.#held;
    within(() => {
      const binding = new Binding(catalog);
      try {
        for (const json of tenants.values()) binding.putTenant(json);
        for (const [url, json] of keys) binding.putKeys(url, json);
        for (const [name, value] of secrets) binding.putSecret(name, value);
        for (const json of apiKeys.values()) binding.putApiKey(json);
        binding.serve(environment);
      } catch (error) {
        binding.free();
        throw error;
      }
      this.#binding = binding;
    });
    this.#generation = generation;
    this.#words = new Uint32Array(0);
    this.#tenants.clear();
    this.#callers.clear();
    this.#learn();
  }

  #learn() {
    const keys = within(() => this.#binding.keys());
    this.#keys = Object.fromEntries(Object.entries(keys).map(([name, list]) => [name, list.map(internalized)]));
    this.#places = new Map(this.#keys.features.map((key, place) => [key, place]));
    this.#answers = this.#keys.features.map(() => []);
    this.#alone = this.#keys.features.map(() => []);
    this.#granted.clear();
  }

  /** Creates views of the buffer. */
  #map() {
    const parts = within(() => this.#binding.buffer());
    const [words, wordCount, text, textBytes, results, resultCount, outcomes, outcomeCount] = parts;
    const { buffer } = memory;
    this.#words = new Uint32Array(buffer, words, wordCount);
    this.#bytes = new Uint8Array(buffer, text, textBytes);
    this.#results = new Float64Array(buffer, results, resultCount);
    this.#outcomes = new Uint32Array(buffer, outcomes, outcomeCount);
  }

  #read(asked, packed) {
    if (this.#results.length === 0) this.#map();
    const results = this.#results;
    const serial = results[0] | 0;
    const caller = results[2];
    const keys = this.#keys;
    const answers = (packed >>> 8) & 4095;
    let features = NOTHING;
    let at = HEAD;
    if (answers === 1 && asked === undefined) {
      // The usual case: the feature that the route needs. The object is frozen, so it can be
      // shared.
      const id = results[at] | 0;
      const outcome = results[at + 1];
      const alone = () => {
        const answer = this.#answers[id][outcome] ?? this.#answer(id, outcome, serial, 0);
        return Object.freeze({ [keys.features[id]]: answer });
      };
      features = outcome === GRANTED ? alone() : (this.#alone[id][outcome] ??= alone());
      at += PER_FEATURE;
    } else if (answers > 0) {
      features = {};
      // The features that the route needs come first, then those of the question, in its order.
      const first = answers - (asked === undefined ? 0 : asked.length);
      for (let i = 0; i < answers; i++, at += PER_FEATURE) {
        const id = results[at] | 0;
        const outcome = results[at + 1];
        if (id >= 0) features[keys.features[id]] = this.#answers[id][outcome] ?? this.#answer(id, outcome, serial, i);
        // `defineProperty`: an unknown key may be `__proto__`.
        else Object.defineProperty(features, asked[i - first], { value: UNKNOWN, enumerable: true, configurable: true, writable: true });
      }
    }
    const count = packed >>> 20;
    const limits = [];
    for (let i = 0; i < count; i++, at += PER_LIMIT) {
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
    const tenants = this.#tenants;
    const callers = this.#callers;
    return {
      allowed: code === 0,
      code: keys.codes[code],
      tenant: serial === 0 ? null : (tenants.get(serial) ?? this.#describe(tenants, serial, (binding) => binding.tenant())),
      credential: caller === 0 ? null : (callers.get(caller) ?? this.#describe(callers, caller, (binding) => binding.credential())),
      features,
      limits,
      retry_after_ms: results[1] < 0 ? null : results[1],
      hold: results[3] === 0 ? null : JSON.parse(within(() => this.#binding.hold())),
    };
  }

  /**
   * Reads an answer that is not cached, or that depends on the tenant. `place`: its position in the
   * last decision; undefined for an answer of `features`.
   */
  #answer(feature, outcome, serial, place) {
    let known = this.#answers[feature];
    let key = outcome;
    if (outcome === GRANTED) {
      known = this.#granted.get(serial);
      if (known === undefined) {
        if (this.#granted.size >= MAX_KNOWN) this.#granted.clear();
        this.#granted.set(serial, (known = []));
      }
      key = feature;
    }
    const read = () => (place === undefined ? this.#binding.outcome(feature, outcome) : this.#binding.answer(place));
    return (known[key] ??= frozen(JSON.parse(within(read))));
  }

  /** Reads the description of a tenant or a caller, and caches it. */
  #describe(known, number, read) {
    if (known.size >= MAX_KNOWN) known.clear();
    const description = frozen(JSON.parse(within(() => read(this.#binding))));
    known.set(number, description);
    return description;
  }
}
