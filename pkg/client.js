// The features of one tenant in a page. Fetches a snapshot with the features that the page may
// know, evaluates it with the same core, follows changes, and stores the last good snapshot for
// times without a network.

import { Client as Binding, __wbg_reset_state as reset, initSync } from "./dist/client.js";
import { DocumentError, GateFailedError, InputError } from "./errors.js";
import { Features } from "./features.js";
import { end, fetcher, frozen, internalized, options as known, writeContext } from "./input.js";
import { absence, ofThisRealm } from "./instance.js";
import { own } from "./own.js";

let memory;
let generation = 0;

/** The client as a part of the package that can be loaded. */
export const part = {
  file: "client_bg.wasm",
  loaded: () => memory !== undefined,
  /** Creates the instance, unless there is one. */
  instantiate(module) {
    memory ??= initSync({ module: ofThisRealm(module) }).memory;
  },
};

/**
 * Converts an error of the binding. A text reports an invalid document; anything else is a trap,
 * which replaces the instance.
 */
function failure(error) {
  if (typeof error === "string") return new DocumentError(JSON.parse(error));
  reset();
  memory = initSync().memory;
  generation += 1;
  return new GateFailedError("the evaluation failed internally and was restarted", error);
}

/** A snapshot with its evaluator. */
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
    const dates = rules.flatMap(({ starts_at, ends_at }) => [starts_at, ends_at]).filter(Boolean);
    /** The times at which answers can change without a new snapshot, in order. */
    this.dates = dates.map(Date.parse).sort((a, b) => a - b);
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
    // A getter of the context must not call the client while the context is being written.
    if (this.#busy) throw new InputError("the client was called while it was reading a context");
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
    if (end.word > words.length) throw new InputError("the context has too many attributes");
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

/**
 * Milliseconds before a retry without a network: the first delay, which doubles up to the second.
 */
const RETRY_MS = [1_000, 60_000];
/** Milliseconds over which pages spread their questions after a change. */
const SPREAD_MS = 1_000;
/** A timer with a longer delay fires at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

export class FeatureClient extends EventTarget {
  #url;
  #headers;
  #fetch;
  #storage;
  #waitS;
  #socket;
  /** The times that the socket said that something has changed, or that it closed. */
  #told = 0;
  #leaves = [];
  #snapshot;
  #etag;
  #place;
  #apart;
  #timer;
  #context;
  #features;
  /** The answers for the client's own context at the last check for changes. */
  #seen;
  #evaluatedAt = -1;
  #closed = new AbortController();
  #wake = () => {};
  stale = false;

  constructor(options) {
    super();
    const given = known(options, ["url", "context", "headers", "fetch", "storage", "storageKey", "waitS", "socket"], "`FeatureClient`");
    const { url = "/_gate/v1/features", context = {}, headers = {}, storage = defaultStorage(), storageKey, waitS = 25, socket = null } = given;
    if (memory === undefined) throw new InputError(absence(part), part.cause);
    if (typeof waitS !== "number" || !(waitS > 0 && waitS <= 30)) {
      throw new InputError("`waitS` must be a number of seconds greater than 0 and at most 30");
    }
    if (socket !== null && typeof socket.on !== "function") throw new InputError("`socket` must be a socket of `tenantgate/ws/client`");
    this.#url = new URL(url, globalThis.location?.href).href;
    this.#context = { ...context };
    this.#headers = headers;
    this.#fetch = fetcher(given);
    this.#storage = storage;
    // The URL does not tell callers apart if a credential names the tenant. Without a `storageKey`,
    // one caller's snapshot could then be served to another.
    this.#apart = storageKey !== undefined;
    this.#place = `tenantgate:${this.#url}${storageKey === undefined ? "" : ` ${storageKey}`}`;
    this.#waitS = waitS;
    this.#socket = socket;
    for (const event of ["changed", "close"]) {
      this.#leaves.push(socket?.on(event, () => {
        this.#told += 1;
        this.#wake();
      }));
    }
    this.ready = this.#begin();
    // An application that does not await `ready` relies on the events.
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
    // Changes at dates of rules are from now on detected for the new context.
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
    for (const leave of this.#leaves) leave?.();
    this.#wake();
  }

  [Symbol.dispose ?? Symbol.for("Symbol.dispose")]() {
    this.close();
  }

  #held() {
    if (this.#snapshot === undefined) throw new GateFailedError("the snapshot is missing: `await client.ready` first", undefined, 503);
    return this.#snapshot;
  }

  /**
   * The features for the client's own context. Evaluates again each second, since rules have dates.
   */
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
      // The last good snapshot is for an unreachable gate, not for a caller that the gate refuses.
      if (!(error.status === 503 && this.#recall())) throw error;
    } finally {
      if (!this.#closed.signal.aborted) {
        this.#become(lost);
        this.#follow(lost);
      }
    }
  }

  /**
   * Fetches the snapshot; if `waitS` is at least 1, waits at most that many seconds for a change.
   */
  async #refresh(waitS) {
    const headers = { ...this.#headers, accept: "application/json" };
    if (this.#etag !== undefined) headers["if-none-match"] = this.#etag;
    if (waitS >= 1) headers.prefer = `wait=${Math.floor(waitS)}`;
    const { status, etag, json } = await this.#ask(headers, (waitS + 10) * 1000);
    if (this.#closed.signal.aborted) throw new GateFailedError("the client is closed", undefined, 503);
    if (status === 304) return;
    if (status !== 200) {
      const passes = status >= 500 || status === 429 || status === 408;
      // A caller that the gate refuses must not find an earlier snapshot either.
      if (!passes) remember(this.#storage, this.#place, null);
      throw new GateFailedError(`the gate answered ${status}`, undefined, passes ? 503 : 403);
    }
    try {
      this.#take(json, etag);
    } catch (error) {
      // For instance the login page of a public network.
      throw new GateFailedError("the response is not a snapshot", error, 503);
    }
    if (this.#apart || !this.#snapshot.byCredential) remember(this.#storage, this.#place, { json, etag });
  }

  async #ask(headers, timeoutMs) {
    const asked = new AbortController();
    const abort = () => asked.abort();
    const timer = setTimeout(abort, timeoutMs);
    this.#closed.signal.addEventListener("abort", abort);
    try {
      const { signal } = asked;
      const response = await this.#fetch(this.#url, { headers, signal, cache: "no-store", credentials: "same-origin" });
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

  /**
   * The answers for the client's own context; undefined if evaluation fails, as for an invalid
   * context.
   */
  #tried() {
    try {
      return this.evaluate();
    } catch {
      return undefined;
    }
  }

  /** Emits `change` for the answers that differ from those at the last check. */
  #changed() {
    this.#features = undefined;
    const old = this.#seen;
    if (old === undefined) return;
    const now = this.#tried();
    const keys = new Set([...old.keys(), ...(now?.keys() ?? [])]);
    const changed = [...keys].filter((key) => now === undefined || JSON.stringify(old.get(key)) !== JSON.stringify(now.get(key)));
    if (changed.length > 0) this.dispatchEvent(new CustomEvent("change", { detail: { changed } }));
  }

  /**
   * Schedules the next check for changes: at the next date of a rule, or when the snapshot expires.
   */
  #watch() {
    clearTimeout(this.#timer);
    this.#seen = this.#tried();
    const now = Date.now();
    const coming = [...this.#snapshot.dates, this.#snapshot.validUntil].filter((at) => at > now);
    const next = coming.reduce((a, b) => Math.min(a, b), Infinity);
    if (next === Infinity) return;
    this.#timer = setTimeout(() => {
      this.#changed();
      this.#become(this.stale);
      this.#watch();
    }, Math.min(next - now, MAX_TIMER_MS));
  }

  /** Loads the last good snapshot from the storage. Returns whether there was one. */
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

  /**
   * Follows changes until the client is closed. `lost`: whether the last request failed; the next
   * one then asks for an immediate response.
   */
  async #follow(lost = false) {
    let pauseMs = RETRY_MS[0];
    while (!this.#closed.signal.aborted) {
      try {
        const begun = performance.now();
        const told = this.#told;
        // Where the request arrives, the change may not be known yet: it waits for it.
        await this.#refresh(this.#snapshot && !lost ? this.#waitS : 0);
        if (this.#closed.signal.aborted) return;
        lost = false;
        this.#become(false);
        pauseMs = RETRY_MS[0];
        // Limits requests to one a second if the gate does not wait for changes.
        const restMs = Math.min(this.#waitS * 1000, RETRY_MS[0]) - (performance.now() - begun);
        if (restMs > 0) await this.#pause(restMs);
        while (this.#socket?.isOpen && this.#told === told && !this.#closed.signal.aborted) await this.#pause(MAX_TIMER_MS);
        // Pages of a tenant hear of a change at the same time, and do not ask at the same time.
        if (this.#told !== told && !this.#closed.signal.aborted) await this.#pause(Math.random() * SPREAD_MS);
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

  /** Waits for `ms`, or until the network returns or the client is closed. */
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
    // A page with an opaque origin has no storage.
    return null;
  }
}

function remember(storage, place, kept) {
  try {
    storage?.setItem(place, JSON.stringify(kept));
  } catch {
    // The storage is full or forbidden: the client works without one.
  }
}

function recalled(storage, place) {
  try {
    return JSON.parse(storage?.getItem(place) ?? "null");
  } catch {
    return null;
  }
}
