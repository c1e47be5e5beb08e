// A ledger is kept in the jurisdiction that its name says. The local runtime knows no
// jurisdictions, so a stand-in for the namespace records what it is asked.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { places } from "../../src/worker/object_client.js";
import { worker } from "../support/harness.mjs";

const namespace = (place = "anywhere") => ({
  jurisdiction: (name) => namespace(name),
  idFromName: (name) => `${place}/${name}`,
  get: (id) => id,
});

test("the prefix of a tenant's id alone determines the jurisdiction of its ledger", () => {
  const at = places(namespace(), JSON.stringify([["t_eu_", "eu"], ["t_us_", "fedramp"]]));
  assert.deepEqual(["t_eu_1", "t_us_1", "t_1", "x_t_eu_1"].map((root) => at(root)), ["eu/t_eu_1", "fedramp/t_us_1", "anywhere/t_1", "anywhere/x_t_eu_1"]);
  // A hub has the name of its tenant, and the jurisdiction of the family.
  assert.equal(at("t_eu_1", "t_child"), "eu/t_child");
});

test("a new tenant can have only a jurisdiction that the deployment knows", async () => {
  const gate = await worker({ control: true, bindings: { LEDGER_JURISDICTIONS: "t_eu_=eu" } });
  after(() => gate.stop());
  await gate.admin("PUT", "/catalog", { version: 1, resolution: { strategies: [{ strategy: "header" }] }, plans: { "pro@1": {} } });
  const ask = async (body) => gate.admin("POST", "/tenants", { plan: "pro@1", ...body });
  assert.equal((await ask({ name: "a", jurisdiction: "moon" })).body.error.details.problems[0].path, "$.jurisdiction");
  // The local runtime refuses the ledger, so the tenant stays in provisioning. Its id is what
  // matters here.
  assert.equal((await ask({ name: "b", jurisdiction: "eu" })).status, 503);
  const [{ id, status }] = (await gate.admin("GET", "/tenants?slug=b")).body.items;
  assert.match(id, /^t_eu_/);
  assert.equal(status, "provisioning");
  assert.match((await ask({ name: "c" })).body.tenant.id, /^t_[0-9a-f]{20}$/);
});
