// Memory of the npm package: it does not grow with what is decided and published.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Gate } from "../../pkg/node.js";

const catalog = {
  version: 2,
  resolution: { strategies: [{ strategy: "subdomain", base_domains: ["app.example.com"] }] },
  features: { f: { rules: [{ name: "r", when: [{ attribute: "n", op: "gt", value: 1.5 }], value: true }] } },
  routes: [{ path: "/f", feature: "f" }],
  plans: { "p@1": {} },
};
const tenant = { id: "t", slug: "t", plan: "p@1", epoch: 2 };
const ask = (gate, more) => gate.decide({ host: "t.app.example.com", ...more }, { now: 0 });

test("memory stays flat over a thousand snapshots and a million decisions", () => {
  const gate = new Gate(catalog, [tenant]);
  let settled;
  for (let swap = 0; swap < 1_000; swap++) {
    gate.putTenant({ ...tenant, epoch: swap + 10 });
    gate.putCatalog({ ...catalog, version: swap + 10 });
    for (let i = 0; i < 1_000; i++) ask(gate, { path: "/f", context: { n: i } });
    if (swap === 50) settled = Gate.memoryBytes();
  }
  assert.equal(Gate.memoryBytes(), settled);
  gate.free();
});
