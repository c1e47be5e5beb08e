// All features of a tenant for one context, evaluated at one moment.

import { frozen } from "./input.js";

/** The answer for a feature that the catalog does not define. */
export const UNKNOWN = frozen({ value: false, enabled: false, tier: "unknown", reason: "FEATURE_UNKNOWN", rule: null, variant: null });

export class Features {
  #places;
  #answers;

  /** `places`: index by key, in order; `answers`: one for each index. */
  constructor(places, answers) {
    this.#places = places;
    this.#answers = answers;
  }

  get size() {
    return this.#places.size;
  }

  has(key) {
    return this.#places.has(key);
  }

  get(key, fallback) {
    const answer = this.#answers[this.#places.get(key)] ?? UNKNOWN;
    return fallback === undefined ? answer : valueOf(answer, fallback);
  }

  enabled(key) {
    return this.get(key).enabled;
  }

  keys() {
    return this.#places.keys();
  }

  *[Symbol.iterator]() {
    for (const [key, place] of this.#places) yield [key, this.#answers[place]];
  }

  toJSON() {
    return Object.fromEntries(this);
  }
}

/**
 * The value of an answer, or the fallback. An unknown feature has no value, and a value of another
 * type is not what the caller expects.
 */
export function valueOf(answer, fallback) {
  const fits = answer !== undefined && answer.tier !== "unknown" && kindOf(answer.value) === kindOf(fallback);
  return fits ? answer.value : fallback;
}

const kindOf = (value) => (value === null || Array.isArray(value) ? "object" : typeof value);
