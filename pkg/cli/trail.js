// Verifies audit trails: each line contains the SHA-256 of the previous line.

import { createHash } from "node:crypto";
import { parsed } from "./client.js";

/** A trail that is verified from its first line. */
export class Trail {
  /** The last verified entry. */
  head = { number: 0, hash: "" };
  /** The first entry that breaks the chain: `{number, why}`. */
  broken;
  #chain;
  #hashes = new Map();

  /**
   * @param {string} [chain] the expected chain: a tenant's id, or `catalog`; default: the chain of
   *   the first line
   */
  constructor(chain) {
    this.#chain = chain;
  }

  /** The chain: a tenant's id, or `catalog`; null before the first line. */
  get chain() {
    return this.#chain ?? null;
  }

  /** Verifies the lines of a text, up to the first one that breaks the chain. */
  add(text) {
    const lines = text.split("\n");
    // The last line ends with a line break too.
    if (lines.at(-1) === "") lines.pop();
    for (const line of lines) {
      if (this.broken) return;
      const number = this.head.number + 1;
      const why = this.#against(parsed(line), number);
      if (why) {
        this.broken = { number, why };
        return;
      }
      const hash = createHash("sha256").update(line).digest("hex");
      this.head = { number, hash };
      this.#hashes.set(hash, number);
    }
  }

  /** Whether the verified entries include one with this hash. */
  knows(hash) {
    return this.#hashes.has(hash);
  }

  /** The reason why an entry breaks the chain, or undefined. */
  #against(entry, number) {
    if (entry === null || typeof entry !== "object") return "it is not a JSON object";
    if (entry.number !== number) return "its number is wrong";
    if (entry.previous !== this.head.hash) return "its hash of the previous entry is wrong";
    this.#chain ??= entry.chain;
    return entry.chain === this.#chain ? undefined : "it belongs to another trail";
  }
}
