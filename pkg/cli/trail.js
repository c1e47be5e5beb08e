// Audit trails: each line names the SHA-256 of the line before it.

import { createHash } from "node:crypto";
import { parsed } from "./client.js";

/** Follows a trail from its first line. */
export class Trail {
  /** How far it has come. */
  head = { number: 0, hash: "" };
  /** The first entry that does not fit: `{number, why}`. */
  broken;
  #chain;
  #hashes = new Map();

  /** @param {string} [chain] whose trail it should be: a tenant's id, or `catalog`; default: that of its first line */
  constructor(chain) {
    this.#chain = chain;
  }

  /** Whose trail it is. */
  get chain() {
    return this.#chain ?? null;
  }

  /** Takes the lines of a text in, up to the first that does not fit. */
  add(text) {
    const lines = text.split("\n");
    // The last line ends as all do.
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

  /** Whether an entry with this hash is among them. */
  knows(hash) {
    return this.#hashes.has(hash);
  }

  #against(entry, number) {
    if (entry === null || typeof entry !== "object") return "it is not JSON";
    if (entry.number !== number) return "its number is not the next one";
    if (entry.previous !== this.head.hash) return "its `previous` is not the hash of the entry before it";
    this.#chain ??= entry.chain;
    return entry.chain === this.#chain ? undefined : "it is of another trail";
  }
}
