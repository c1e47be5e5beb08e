// What JavaScript exchanges with a gate in WebAssembly: writes questions as words and texts into a
// buffer in its memory, and makes objects of the numbers that it finds there. A decision copies no
// objects across the boundary; descriptions cross once, as JSON, and are kept.
//
// `src/wire/binding.rs` and `src/wire/buffer.rs` are the other side.

import { InputError } from "./errors.js";
import { factsOf, headersOf } from "./facts.js";
import { Features, UNKNOWN } from "./features.js";
import { end, frozen, header, internalized, write, writeContext } from "./input.js";

// The layout of the buffer.
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

/** In place of a code: the catalog has changed since the names were learnt. */
export const RENAMED = 254;
/** In place of a code: the answer has to be waited for. */
export const WAIT = 255;
/** Codes at and above this one are no decision: the binding says what it lacks. */
const UNDECIDED = RENAMED;

export class Codec {
  #binding;
  #memory;
  #names;
  /** Whether a question is being written. A getter in it must not call the gate in the meantime. */
  #busy = false;
  #failure;
  #tenants = new Map();
  #callers = new Map();
  /** Cached answers by feature and outcome. */
  #answers = [];
  /** Cached answers that come from a tenant's own tiers, by tenant and feature. */
  #granted = new Map();
  /** Cached `features` objects of decisions with one feature, by feature and outcome. */
  #alone = [];
  #places = new Map();
  #words = new Uint32Array(0);
  #bytes;
  #results;
  #outcomes;

  /** `failure`: makes an error of what a call to the binding threw. */
  constructor(failure) {
    this.#failure = failure;
  }

  /** The names of the catalog; undefined before `learn`. */
  get names() {
    return this.#names;
  }

  /** Uses another binding, of an instance with this memory. Forgets what it knows of tenants. */
  open(binding, memory) {
    this.#binding = binding;
    this.#memory = memory;
    this.#words = new Uint32Array(0);
    this.#tenants.clear();
    this.#callers.clear();
  }

  /** Reads the names of the catalog, as the binding has written them. */
  learn(json) {
    const names = JSON.parse(json);
    this.#names = Object.fromEntries(Object.entries(names).map(([name, list]) => [name, list.map(internalized)]));
    this.#places = new Map(this.#names.features.map((key, place) => [key, place]));
    this.#answers = this.#names.features.map(() => []);
    this.#alone = this.#names.features.map(() => []);
    this.#granted.clear();
  }

  /** Refuses a call from within a question that is being written. */
  check() {
    if (this.#busy) throw new InputError("the gate was called while it was reading another request");
  }

  /** Decides a request. Returns the decision, or, without one, a code of `UNDECIDED` or above. */
  decide(request, options, now) {
    this.#map();
    const facts = factsOf(request, this.#names.headers);
    const { method = "", host = "", path = "/", query = "", custom, headers } = facts;
    const context = options?.context ?? facts.context;
    const features = options?.features ?? facts.features;
    if (features !== undefined && !Array.isArray(features)) throw new InputError("`features` must be an array of keys");
    const words = this.#words;
    const bytes = this.#bytes;
    const names = this.#names.headers;
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
        writeContext(words, bytes, this.#names.attributes, context, word, at);
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
        throw this.#failure(error);
      }
    } finally {
      this.#busy = false;
    }
    const code = packed & 255;
    return code >= UNDECIDED ? code : this.#read(features, packed);
  }

  /**
   * Decides a request for middleware. Returns `{headers, decision}`; a denial is in its full form.
   * Without a decision it returns a number, as `decide` does. `named`: the answer of a custom
   * resolver.
   */
  answer(request, named, now) {
    const facts = named.custom === undefined ? request : { ...this.question(request), ...named };
    const decision = this.decide(facts, undefined, now);
    if (typeof decision === "number") return decision;
    if (!decision.allowed) return JSON.parse(this.#describe((binding) => binding.transcript()));
    return { headers: decision.limits.length === 0 ? NOTHING : this.#rateLimitHeaders(), decision };
  }

  /** The features of a tenant; the number of a code if there are none. */
  features(tenant, context, now) {
    this.#map();
    const words = this.#words;
    const bytes = this.#bytes;
    let code;
    this.#busy = true;
    try {
      const length = write(bytes, tenant, 0);
      words[0] = length;
      writeContext(words, bytes, this.#names.attributes, context, 1, length);
      if (end.word > words.length) throw new InputError("the context has too many attributes");
      try {
        code = this.#binding.features(end.at, now);
      } catch (error) {
        throw this.#failure(error);
      }
    } finally {
      this.#busy = false;
    }
    if (code !== 0) return code;
    // The call may have made the memory grow.
    this.#map();
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

  /** The question of a request, for `ask`. Omits the headers that the gate does not read. */
  question(request) {
    const names = this.#names.headers;
    const { method, host, path, query, headers, ...more } = factsOf(request, names);
    return { method, host, path, query, headers: headersOf(headers, names), ...more };
  }

  /** Makes views of the buffer, unless there are some. Views are detached when memory grows. */
  #map() {
    if (this.#words.length !== 0) return;
    const parts = this.#describe((binding) => binding.buffer());
    const [words, wordCount, text, textBytes, results, resultCount, outcomes, outcomeCount] = parts;
    const { buffer } = this.#memory;
    this.#words = new Uint32Array(buffer, words, wordCount);
    this.#bytes = new Uint8Array(buffer, text, textBytes);
    this.#results = new Float64Array(buffer, results, resultCount);
    this.#outcomes = new Uint32Array(buffer, outcomes, outcomeCount);
  }

  #read(asked, packed) {
    this.#map();
    const results = this.#results;
    const serial = results[0] | 0;
    const caller = results[2];
    const names = this.#names;
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
        return Object.freeze({ [names.features[id]]: answer });
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
        if (id >= 0) features[names.features[id]] = this.#answers[id][outcome] ?? this.#answer(id, outcome, serial, i);
        // `defineProperty`: an unknown key may be `__proto__`.
        else Object.defineProperty(features, asked[i - first], { value: UNKNOWN, enumerable: true, configurable: true, writable: true });
      }
    }
    const count = packed >>> 20;
    const limits = [];
    for (let i = 0; i < count; i++, at += PER_LIMIT) {
      const limit = results[at + 1];
      limits.push({
        key: names.limits[results[at] | 0],
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
      code: names.codes[code],
      tenant: serial === 0 ? null : (tenants.get(serial) ?? this.#kept(tenants, serial, (binding) => binding.tenant())),
      credential: caller === 0 ? null : (callers.get(caller) ?? this.#kept(callers, caller, (binding) => binding.credential())),
      features,
      limits,
      retry_after_ms: results[1] < 0 ? null : results[1],
      hold: results[3] === 0 ? null : JSON.parse(this.#describe((binding) => binding.hold())),
    };
  }

  #rateLimitHeaders() {
    const lines = this.#describe((binding) => binding.rateLimitHeaders());
    const end = lines.indexOf("\n");
    return end < 0 ? NOTHING : { "ratelimit-policy": lines.slice(0, end), ratelimit: lines.slice(end + 1) };
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
    const read = (binding) => (place === undefined ? binding.outcome(feature, outcome) : binding.feature(place));
    return (known[key] ??= frozen(JSON.parse(this.#describe(read))));
  }

  /** Reads the description of a tenant or a caller, and caches it. */
  #kept(known, number, read) {
    if (known.size >= MAX_KNOWN) known.clear();
    const description = frozen(JSON.parse(this.#describe(read)));
    known.set(number, description);
    return description;
  }

  #describe(read) {
    try {
      return read(this.#binding);
    } catch (error) {
      throw this.#failure(error);
    }
  }
}
