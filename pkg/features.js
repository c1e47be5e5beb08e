// All features of a tenant for one context, as they were when they were asked for.

import { frozen } from "./input.js";

/** What a feature is worth that the catalog does not know. */
export const UNKNOWN = frozen({ value: false, enabled: false, tier: "unknown", reason: "FEATURE_UNKNOWN", rule: null, variant: null });

export class Features {
  #places;
  #answers;

  /** `places`: of the keys, in order; `answers`: one for each. */
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

  get(key) {
    return this.#answers[this.#places.get(key)] ?? UNKNOWN;
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
