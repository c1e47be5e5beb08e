// Waiting: for a time, and for a condition.

import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Calls `holds` until what it returns is truthy, and returns that. After `ms` milliseconds it
 * fails with `what`. The condition is checked every `everyMs` milliseconds.
 */
export async function until(holds, what = String(holds), { ms = 15_000, everyMs = 20 } = {}) {
  for (const end = performance.now() + ms; ; await sleep(everyMs)) {
    const found = await holds();
    if (found) return found;
    assert(performance.now() < end, `not within ${ms} milliseconds: ${what}`);
  }
}

/** Calls `found` until it returns what deeply equals `expected`; fails with the difference. */
export async function untilEqual(found, expected, { ms = 25_000, everyMs = 50 } = {}) {
  for (const end = performance.now() + ms; performance.now() < end; await sleep(everyMs)) {
    if (isDeepStrictEqual(await found(), expected)) return;
  }
  assert.deepEqual(await found(), expected);
}
