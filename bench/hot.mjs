// (f) One hot tenant in eight isolates: how many units of one quota they take per second, and
// whether the sum is exact. Grants of leases are durable, so a unit is counted before it is spent.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative, resolve } from "node:path";
import { publish } from "../pkg/node.js";
import { bundle } from "../tests/support/embedded.mjs";
import { workerd } from "../tests/support/workerd.mjs";

const root = resolve(import.meta.dirname, "..");
const ISOLATES = 8;
const UNITS = 1_000_000;
const TARGET = 10_000;

const seed = {
  catalog: {
    version: 1,
    resolution: { strategies: [{ strategy: "header" }] },
    limits: { units: { kind: "quota", period: "month", on_error: "closed" } },
    routes: [{ path: "/", limits: { units: 1 } }],
    plans: { "pro@1": { limits: { units: UNITS } } },
  },
  tenants: [{ id: "t_hot", slug: "hot", plan: "pro@1" }],
};

/** Takes units until none is left. Responds with how many, and how often it had to wait. */
const SPENDER = `
import { edgeGate, TenantLedger } from "./workers.js";
export { TenantLedger };
const request = { method: "GET", host: "app.example.com", path: "/", query: "", headers: { "x-tenant-id": "hot" } };
export default {
  async fetch(_, env, ctx) {
    const gate = edgeGate(env, ctx);
    let [taken, waited] = [0, 0];
    for (;;) {
      const now = gate.decideNow(request);
      if (now === null) waited++;
      const { allowed, code } = now ?? (await gate.decide(request));
      if (allowed) taken++;
      else if (code === "QUOTA_EXCEEDED") return Response.json({ taken, waited });
      else await scheduler.wait(1);
    }
  },
};`;

/** Rows for a hot tenant. */
export async function hot() {
  const folder = mkdtempSync(join(process.env.BENCH_DISK ?? tmpdir(), "tenantgate-hot-"));
  const built = relative(root, bundle(join(folder, "spender"), SPENDER));
  const names = Array.from({ length: ISOLATES }, (_, i) => `isolate${i}`);
  const workers = Object.fromEntries(names.map((name) => [name, { built, objects: [], ledger: "gate" }]));
  const { ports, kill } = await workerd({ folder, entries: publish(seed), workers }).start();
  try {
    const begun = performance.now();
    const all = await Promise.all(names.map(async (name) => (await fetch(`http://127.0.0.1:${ports[name]}/`)).json()));
    const seconds = (performance.now() - begun) / 1_000;
    const sum = (member) => all.reduce((total, one) => total + one[member], 0);
    assert.equal(sum("taken"), UNITS, "the isolates took more or less than the quota");
    const rate = UNITS / seconds;
    const row = (name, value, unit, target, ok) => ({ name, value, unit, peer: null, ratio: null, target, ok });
    return [
      row(`one hot tenant, ${ISOLATES} isolates, one ledger: durable units, exact in sum`, rate, "units/s", TARGET, rate >= TARGET),
      row(`one hot tenant, ${ISOLATES} isolates: decisions that waited for the ledger, per 1,000`, (sum("waited") * 1_000) / UNITS, "decisions", null, null),
    ];
  } finally {
    await kill();
    rmSync(folder, { recursive: true, force: true });
  }
}

if (process.argv[1] === import.meta.filename) {
  console.table(await hot());
  process.exit(0);
}
