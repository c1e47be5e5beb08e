// The features of one tenant in a page: a snapshot of what the page may know, evaluated there by the same core, kept up to date,
// and kept for when there is no network.

import { Client as Binding, __wbg_reset_state as reset, initSync } from "./dist/client.js";
import { DocumentError, GateFailedError, InputError } from "./errors.js";
import { Features } from "./features.js";
import { end, fetcher, frozen, internalized, options as known, writeContext } from "./input.js";
import { absence, ofThisRealm } from "./instance.js";
import { own } from "./own.js";

let memory;
let generation = 0;

/** The client, as what is loaded. */
export const part = {
  file: "client_bg.wasm",
  loaded: () => memory !== undefined,
  /** Makes the instance, unless there is one. */
  instantiate(module) {
    memory ??= initSync({ module: ofThisRealm(module) }).memory;
  },
};

/** A document that is refused; anything else is a trap, after which there is a new instance. */
function failure(error) {
  if (typeof error === "string") return new DocumentError(JSON.parse(error));
  reset();
  memory = initSync().memory;
  generation += 1;
  return new GateFailedError("the evaluation failed within and was made anew", error);
}

/** A snapshot, ready to be evaluated. */
class Snapshot {
  #json;
  #binding;
  #generation;
  #keys;
  #views;
  #places;
  #settled;
  #answers;
  #busy = false;

  constructor(json) {
    this.#json = json;
    this.#open();
    const { settled = {}, tenant, valid_until = null, by_credential = false, features = {} } = JSON.parse(json);
    this.tenant = frozen(tenant);
    this.byCredential = by_credential;
    this.validUntil = valid_until === null ? Infinity : Date.parse(valid_until);
    const rules = Object.values(features).flatMap((feature) => feature.rules ?? []);
    /** When answers change by themselves, in order. */
    this.dates = rules.flatMap(({ starts_at, ends_at }) => [starts_at, ends_at]).filter(Boolean).map(Date.parse).sort((a, b) => a - b);
    const names = [...new Set([...this.#keys.features, ...Object.keys(settled)])].sort();
    this.#places = new Map(names.map((key, place) => [key, place]));
    this.#settled = names.map((key) => own(settled, key)).map((known) => (known ? answer(known) : undefined));
    this.#answers = this.#keys.features.map(() => []);
  }

  #open() {
    try {
      this.#binding = new Binding(this.#json);
      const { features, attributes } = JSON.parse(this.#binding.keys());
      this.#keys = { features: features.map(internalized), attributes: attributes.map(internalized) };
    } catch (error) {
      throw failure(error);
    }
    this.#generation = generation;
    this.#views = undefined;
  }

  evaluate(context, now) {
    // What is being read, such as a getter, may not ask meanwhile.
    if (this.#busy) throw new InputError("the features were asked for while a context was being read");
    if (this.#generation !== generation) this.#open();
    if (this.#views === undefined || this.#views.words.length === 0) this.#map();
    const { words, bytes } = this.#views;
    words[0] = 0;
    this.#busy = true;
    try {
      writeContext(words, bytes, this.#keys.attributes, context, 1, 0);
    } finally {
      this.#busy = false;
    }
    if (end.word > words.length) throw new InputError("the context has too many parts");
    try {
      this.#binding.evaluate(end.at, now);
    } catch (error) {
      throw failure(error);
    }
    if (this.#views.outcomes.length === 0) this.#map();
    const { outcomes } = this.#views;
    const answers = this.#settled.slice();
    this.#keys.features.forEach((key, i) => {
      const known = this.#answers[i];
      answers[this.#places.get(key)] = known[outcomes[i]] ??= answer(JSON.parse(this.#binding.outcome(i, outcomes[i])));
    });
    return new Features(this.#places, answers);
  }

  #map() {
    const [words, wordCount, text, textBytes, outcomes, outcomeCount] = this.#binding.buffer();
    const { buffer } = memory;
    this.#views = {
      words: new Uint32Array(buffer, words, wordCount),
      bytes: new Uint8Array(buffer, text, textBytes),
      outcomes: new Uint32Array(buffer, outcomes, outcomeCount),
    };
  }

  free() {
    if (this.#generation === generation) this.#binding.free();
  }
}

const answer = ({ rule = null, variant = null, ...more }) => frozen({ ...more, rule, variant });

/** Milliseconds between tries while the network is away: they double, up to the second. */
const RETRY_MS = [1_000, 60_000];
/** A timer that is set for longer fires at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

export class FeatureClient extends EventTarget {
  #url;
  #headers;
  #fetch;
  #storage;
  #waitS;
  #snapshot;
  #etag;
  #place;
  #apart;
  #timer;
  #context;
  #features;
  /** All answers by the client's own context as they were when it was last told of changes. */
  #seen;
  #evaluatedAt = -1;
  #closed = new AbortController();
  #wake = () => {};
  stale = false;

  constructor(options) {
    super();
    const given = known(options, ["url", "context", "headers", "fetch", "storage", "storageKey", "waitS"], "`FeatureClient`");
    const { url = "/_gate/v1/features", context = {}, headers = {}, storage = defaultStorage(), storageKey, waitS = 25 } = given;
    if (memory === undefined) throw new InputError(absence(part), part.cause);
    if (typeof waitS !== "number" || !(waitS > 0 && waitS <= 30)) {
      throw new InputError("`waitS` is a number of seconds, more than 0 and at most 30");
    }
    this.#url = new URL(url, globalThis.location?.href).href;
    this.#context = { ...context };
    this.#headers = headers;
    this.#fetch = fetcher(given);
    this.#storage = storage;
    // Whom a credential names is not to be told from the address: what one is told must not serve another.
    this.#apart = storageKey !== undefined;
    this.#place = `tenantgate:${this.#url}${storageKey === undefined ? "" : ` ${storageKey}`}`;
    this.#waitS = waitS;
    this.ready = this.#begin();
    // Whoever does not wait for it hears of it by events.
    this.ready.catch(() => {});
  }

  get tenant() {
    return this.#snapshot?.tenant ?? null;
  }

  get context() {
    return this.#context;
  }

  set context(context) {
    this.#context = { ...context };
    this.#features = undefined;
    // What is told of dates is told by the new one.
    if (this.#snapshot) this.#watch();
  }

  get(key) {
    return this.#current().get(key);
  }

  enabled(key) {
    return this.get(key).enabled;
  }

  evaluate(context = this.#context) {
    return this.#held().evaluate(context, Date.now());
  }

  close() {
    this.#closed.abort();
    clearTimeout(this.#timer);
    this.#wake();
  }

  [Symbol.dispose ?? Symbol.for("Symbol.dispose")]() {
    this.close();
  }

  #held() {
    if (this.#snapshot === undefined) throw new GateFailedError("there is no snapshot yet: `await client.ready` first", undefined, 503);
    return this.#snapshot;
  }

  /** What the features are worth now, by the client's own context; rules have dates, so it is found out anew each second. */
  #current() {
    const second = Math.floor(Date.now() / 1000);
    if (this.#features === undefined || this.#evaluatedAt !== second) {
      this.#features = this.evaluate();
      this.#evaluatedAt = second;
    }
    return this.#features;
  }

  async #begin() {
    let lost = false;
    try {
      await this.#refresh(0);
    } catch (error) {
      lost = true;
      if (this.#closed.signal.aborted) throw error;
      // The last good snapshot is for when there is no gate, not for whom it refuses.
      if (!(error.status === 503 && this.#recall())) throw error;
    } finally {
      if (!this.#closed.signal.aborted) {
        this.#become(lost);
        this.#follow(lost);
      }
    }
  }

  /** Takes what the gate says now, or waits for a change for so many seconds. */
  async #refresh(waitS) {
    const headers = { ...this.#headers, accept: "application/json" };
    if (this.#etag !== undefined) headers["if-none-match"] = this.#etag;
    if (waitS >= 1) headers.prefer = `wait=${Math.floor(waitS)}`;
    const { status, etag, json } = await this.#ask(headers, (waitS + 10) * 1000);
    if (this.#closed.signal.aborted) throw new GateFailedError("the client is closed", undefined, 503);
    if (status === 304) return;
    if (status !== 200) {
      const passes = status >= 500 || status === 429 || status === 408;
      // Whom the gate refuses is not to find what it was told before.
      if (!passes) remember(this.#storage, this.#place, null);
      throw new GateFailedError(`the gate answered ${status}`, undefined, passes ? 503 : 403);
    }
    try {
      this.#take(json, etag);
    } catch (error) {
      // Such as the page of a network that wants a login first.
      throw new GateFailedError("the answer is no snapshot", error, 503);
    }
    if (this.#apart || !this.#snapshot.byCredential) remember(this.#storage, this.#place, { json, etag });
  }

  async #ask(headers, timeoutMs) {
    const asked = new AbortController();
    const abort = () => asked.abort();
    const timer = setTimeout(abort, timeoutMs);
    this.#closed.signal.addEventListener("abort", abort);
    try {
      const response = await this.#fetch(this.#url, { headers, signal: asked.signal, cache: "no-store", credentials: "same-origin" });
      return { status: response.status, etag: response.headers.get("etag") ?? undefined, json: await response.text() };
    } catch (error) {
      throw new GateFailedError("the gate could not be reached", error, 503);
    } finally {
      clearTimeout(timer);
      this.#closed.signal.removeEventListener("abort", abort);
    }
  }

  #take(json, etag) {
    const next = new Snapshot(json);
    const before = this.#snapshot;
    this.#snapshot = next;
    this.#etag = etag;
    before?.free();
    this.#changed();
    this.#watch();
  }

  /** All answers by the client's own context; nothing where they cannot be had, such as by a context that cannot be read. */
  #tried() {
    try {
      return this.evaluate();
    } catch {
      return undefined;
    }
  }

  /** Tells of answers that are others than they were when they were last looked at: a date may have come since. */
  #changed() {
    this.#features = undefined;
    const old = this.#seen;
    if (old === undefined) return;
    const now = this.#tried();
    const keys = new Set([...old.keys(), ...(now?.keys() ?? [])]);
    const changed = [...keys].filter((key) => now === undefined || JSON.stringify(old.get(key)) !== JSON.stringify(now.get(key)));
    if (changed.length > 0) this.dispatchEvent(new CustomEvent("change", { detail: { changed } }));
  }

  /** Looks again when a date of a rule has come, and when the snapshot no longer holds. */
  #watch() {
    clearTimeout(this.#timer);
    this.#seen = this.#tried();
    const now = Date.now();
    const next = [...this.#snapshot.dates, this.#snapshot.validUntil].filter((at) => at > now).reduce((a, b) => Math.min(a, b), Infinity);
    if (next === Infinity) return;
    this.#timer = setTimeout(() => {
      this.#changed();
      this.#become(this.stale);
      this.#watch();
    }, Math.min(next - now, MAX_TIMER_MS));
  }

  /** The last good snapshot, where one is kept. */
  #recall() {
    const kept = recalled(this.#storage, this.#place);
    if (kept === null) return false;
    try {
      this.#take(kept.json, kept.etag);
      return true;
    } catch {
      return false;
    }
  }

  /** `lost`: the gate could not be reached last time, so that it is asked for an answer at once. */
  async #follow(lost = false) {
    let pauseMs = RETRY_MS[0];
    while (!this.#closed.signal.aborted) {
      try {
        const begun = performance.now();
        await this.#refresh(this.#snapshot && !lost ? this.#waitS : 0);
        if (this.#closed.signal.aborted) return;
        lost = false;
        this.#become(false);
        pauseMs = RETRY_MS[0];
        // A gate that does not wait is asked once a second.
        const restMs = Math.min(this.#waitS * 1000, RETRY_MS[0]) - (performance.now() - begun);
        if (restMs > 0) await this.#pause(restMs);
      } catch {
        if (this.#closed.signal.aborted) return;
        lost = true;
        this.#become(true);
        await this.#pause(pauseMs * (0.5 + Math.random() / 2));
        pauseMs = Math.min(pauseMs * 2, RETRY_MS[1]);
      }
    }
  }

  #become(stale) {
    const late = stale || Date.now() >= (this.#snapshot?.validUntil ?? Infinity);
    if (this.stale === late) return;
    this.stale = late;
    this.dispatchEvent(new Event(late ? "stale" : "fresh"));
  }

  /** A pause that ends early where the network comes back, or the client is closed. */
  #pause(ms) {
    if (this.#closed.signal.aborted) return undefined;
    return new Promise((resolve) => {
      const timer = setTimeout(done, ms);
      const target = typeof globalThis.addEventListener === "function" ? globalThis : null;
      const wake = done;
      target?.addEventListener("online", wake);
      this.#wake = wake;
      function done() {
        clearTimeout(timer);
        target?.removeEventListener("online", wake);
        resolve();
      }
    });
  }
}

function defaultStorage() {
  try {
    return globalThis.localStorage ?? null;
  } catch {
    // A page without an origin of its own has none.
    return null;
  }
}

function remember(storage, place, kept) {
  try {
    storage?.setItem(place, JSON.stringify(kept));
  } catch {
    // Full, or forbidden: then there is none.
  }
}

function recalled(storage, place) {
  try {
    return JSON.parse(storage?.getItem(place) ?? "null");
  } catch {
    return null;
  }
}
