// The memory of the npm package does not grow with decisions and snapshots.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Gate } from "../../pkg/node.js";
import { ask, catalog, tenant } from "../support/feature_gate.mjs";

test("memory stays constant over a thousand snapshots and a million decisions", () => {
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
