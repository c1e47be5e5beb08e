// The latency of a decision when the ledger is far away, since a Durable Object never moves.
// Usage: node bench/distance.mjs [--quick]; `--quick` measures the Worker that tests build.

import assert from "node:assert/strict";
import { ask } from "../tests/support/client.mjs";
import { world } from "../tests/support/world.mjs";

const DISTANCES_MS = [1, 50, 150, 500, 1_500];
const limit = (mode, allowance) => ({ kind: "quota", period: "month", mode, default: allowance });
const seed = {
  catalog: {
    version: 1,
    resolution: { strategies: [{ strategy: "header" }] },
    limits: { leased: limit("leased", 1_000_000), strict: limit("strict", 1_000_000), used: limit("leased", 0) },
    routes: [{ path: "/free" }, ...["leased", "strict", "used"].map((key) => ({ path: `/${key}`, limits: { [key]: 1 } }))],
    plans: { "pro@1": {} },
  },
  tenants: [{ id: "t_acme", slug: "acme", plan: "pro@1" }],
};

const at = (times, share) => times.toSorted((a, b) => a - b)[Math.min(Math.floor(times.length * share), times.length - 1)];

/** The durations of sequential requests, in milliseconds. */
async function times(url, path, status, count) {
  const all = [];
  for (let i = 0; i < count; i++) {
    const begun = performance.now();
    assert.equal((await ask(url, path, { headers: { "x-tenant-id": "acme" } })).status, status);
    all.push(performance.now() - begun);
  }
  return all;
}

/** One row for each distance and kind of limit. `peer`: the same request without a limit. */
export async function distance({ folder = "build" } = {}) {
  const rows = [];
  for (const distanceMs of DISTANCES_MS) {
    const gate = await world({ distanceMs, seed, folder });
    const [url] = gate.urls;
    try {
      const free = at(await times(url, "/free", 200, 200), 0.5);
      const row = (name, value) => rows.push({
        name: `${name}, ledger ${distanceMs} ms away`, value, unit: "ms", peer: free, ratio: value / free, target: null, ok: null,
      });
      row("first request on a lease", (await times(url, "/leased", 200, 1))[0]);
      // A lease grows with demand. Afterwards no request waits for the ledger.
      await times(url, "/leased", 200, 60);
      const leased = await times(url, "/leased", 200, 400);
      row("leased, median", at(leased, 0.5));
      row("leased, p99", at(leased, 0.99));
      const strict = await times(url, "/strict", 200, distanceMs > 200 ? 6 : 40);
      row("strict, median", at(strict, 0.5));
      row("refused, median", at(await times(url, "/used", 429, distanceMs > 200 ? 30 : 100), 0.5));
    } finally {
      await gate.stop();
    }
  }
  return rows;
}

if (process.argv[1] === import.meta.filename) {
  const rows = await distance({ folder: process.argv.includes("--quick") ? "build/test" : "build" });
  console.table(rows.map(({ name, value, peer }) => ({ what: name, ms: value.toFixed(1), "without a limit": peer.toFixed(1) })));
}
