// The effect of a flood on a victim: its responses and latency, quiet and flooded, and the Worker's
// memory.

import assert from "node:assert/strict";
import { pace } from "../support/client.mjs";
import { sleep } from "../support/wait.mjs";

/** Flooded latency may be `times` the quiet one, plus a margin for other work on the machine. */
const MEDIAN = { times: 5, plusMs: 40 };
const P95 = { times: 5, plusMs: 250 };

/** Requests a second that sample a victim's latency. */
const SAMPLES_PER_SECOND = 40;

const at = (sorted, share) => sorted[Math.min(Math.floor(sorted.length * share), sorted.length - 1)];

/** Median and 95th percentile of response times. */
export function latency(answers) {
  const sorted = answers.map(({ ms }) => ms).sort((a, b) => a - b);
  return { median: at(sorted, 0.5), p95: at(sorted, 0.95) };
}

/** The number of responses by status: `{ 200: 3, hung: 1 }`. */
export function tally(answers) {
  const counts = {};
  for (const { status } of answers) counts[status] = (counts[status] ?? 0) + 1;
  return counts;
}

/** A victim's responses to `one`, called at a steady pace for `ms` milliseconds. */
export const watch = (ms, one) => pace(SAMPLES_PER_SECOND, ms, one);

/** Returns the result of `work` and a victim's responses meanwhile. */
export async function watchDuring(work, one) {
  const answers = [];
  let busy = true;
  const done = work.finally(() => { busy = false; });
  done.catch(() => {});
  while (busy) {
    answers.push(one(answers.length));
    await sleep(1000 / SAMPLES_PER_SECOND);
  }
  return [await done, await Promise.all(answers)];
}

/** Returns the result of `work` and the Worker's peak memory meanwhile, in MB. */
export async function peak(gate, work) {
  let most = gate.usage().memoryMb;
  const timer = setInterval(() => { most = Math.max(most, gate.usage().memoryMb); }, 50);
  try {
    return [await work, Math.max(most, gate.usage().memoryMb)];
  } finally {
    clearInterval(timer);
  }
}

/** A victim's latency, quiet and flooded, as one line. */
export function told(quiet, flooded) {
  const [before, during] = [latency(quiet), latency(flooded)];
  const change = (name) => `${name} ${before[name].toFixed(1)} → ${during[name].toFixed(1)} ms`;
  return `victim: ${change("median")}, ${change("p95")}`;
}

/** The latencies that the flood raises too far, as one line; empty if all are within bounds. */
function lateness(quiet, flooded) {
  const [before, during] = [latency(quiet), latency(flooded)];
  return [["median", MEDIAN], ["p95", P95]]
    .filter(([name, { times, plusMs }]) => during[name] > before[name] * times + plusMs)
    .map(([name]) => `the victim's ${name} goes from ${before[name].toFixed(1)} to ${during[name].toFixed(1)} ms`)
    .join(", ");
}

/**
 * Fails unless the victim's status was always 200, not much later than without the flood. Other
 * work on the machine delays responses too, so late ones are measured up to twice more by `again`,
 * which returns new responses, quiet and flooded.
 */
export async function assertUnharmed(quiet, flooded, what, again) {
  for (let tries = 3; ; tries--) {
    assert.deepEqual(Object.keys(tally(flooded)), ["200"], `${what}: the victim's statuses are ${JSON.stringify(tally(flooded))}`);
    const late = lateness(quiet, flooded);
    if (!late) return;
    assert(tries > 1, `${what}: ${late}`);
    [quiet, flooded] = await again();
  }
}
