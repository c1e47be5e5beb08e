// (i) Memory after a million decisions, each for another user, and after replacing a thousand
// snapshots.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { Gate } from "../pkg/node.js";
import { catalog } from "./decision.mjs";

const TENANTS = 1000;
const SNAPSHOTS = 1000;
/** Decisions for each snapshot. */
const DECISIONS = 1000;
const MB = 2 ** 20;
// Maximum ratios. Bounded caches of tenant names let the heap vary; a leak of eight bytes per
// decision would double it.
const TARGETS = { wasm: 1, heap: 1.2 };

/** Megabytes before and after the run. Runs in its own process with `--expose-gc`. */
function soak() {
  const tenant = (i, epoch) => ({ id: `t_${i}`, slug: `tenant-${i}`, plan: "pro@1", epoch });
  const gate = new Gate(catalog, Array.from({ length: TENANTS }, (_, i) => tenant(i, 1)));
  let { version } = catalog;
  let now = Date.now();
  const run = (snapshots) => {
    for (let snapshot = 0; snapshot < snapshots; snapshot++) {
      version++;
      gate.putCatalog({ ...catalog, version });
      gate.putTenant(tenant(version % TENANTS, version));
      let allowed = 0;
      for (let i = 0; i < DECISIONS; i++) {
        now++;
        const context = { targeting_key: `user-${now}`, country: "NL" };
        allowed += gate.decide({ host: `tenant-${i % TENANTS}.app.example.com`, path: "/api/tasks", context }, { now }).allowed ? 1 : 0;
      }
      assert(allowed > 0.4 * DECISIONS && allowed < 0.6 * DECISIONS, `${allowed} of ${DECISIONS} decisions are allowed, expected half`);
    }
    globalThis.gc();
    return { wasm: Gate.memoryBytes() / MB, heap: process.memoryUsage().heapUsed / MB };
  };
  // The first run fills tables and caches.
  return { before: run(SNAPSHOTS / 10), after: run(SNAPSHOTS) };
}

/** Rows for memory. */
export function memory() {
  const { before, after } = JSON.parse(execFileSync(process.execPath, ["--expose-gc", import.meta.filename], { encoding: "utf8" }));
  const did = `${(SNAPSHOTS * DECISIONS).toLocaleString("en")} decisions and ${SNAPSHOTS.toLocaleString("en")} snapshots`;
  const row = (what, key) => {
    const [value, peer, target] = [after[key], before[key], TARGETS[key]];
    const name = `${what} after ${did}, compared with before`;
    return { name, value, unit: "MB", peer, ratio: value / peer, target, ok: value / peer <= target };
  };
  return [row("WebAssembly memory", "wasm"), row("JavaScript heap", "heap")];
}

if (process.argv[1] === import.meta.filename) globalThis.gc ? console.log(JSON.stringify(soak())) : console.table(memory());
