// A sub-tenant moves to another family: its counts move with it, once, and the ledger of the old
// family refuses it from then on.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { OPERATOR, worker } from "../support/harness.mjs";
import { until } from "../support/wait.mjs";

const kid = { id: "t_kid", slug: "kid", parent: "t_mum", overrides: [{ limit: "month", allowance: 50 }, { limit: "seats", allowance: 10 }] };
const seed = {
  catalog: {
    version: 1,
    resolution: { strategies: [{ strategy: "header" }] },
    limits: { month: { kind: "quota", period: "month" }, seats: { kind: "gauge" } },
    metrics: { tokens: { event: "tokens" }, models: { event: "tokens", aggregation: "unique", value: "model" } },
    plans: { "pro@1": { limits: { month: 1000, seats: 100 } } },
  },
  tenants: [{ id: "t_mum", slug: "mum", plan: "pro@1" }, { id: "t_aunt", slug: "aunt", plan: "pro@1" }, kid],
};

test("a sub-tenant that moves to another family keeps its quota counts, gauge levels and usage", async () => {
  const gate = await worker({ seed, durable: true });
  after(() => gate.stop());
  const order = async (ledger, order) => {
    const response = await (await gate.ledger(ledger)).fetch("https://ledger/", { method: "POST", body: JSON.stringify(order) });
    return JSON.parse(await response.text());
  };
  const used = async (tenant) => {
    const { body } = await gate.decide({ tenant, limits: { month: 0, seats: 0 } });
    return body.allowed ? Object.fromEntries(body.limits.map(({ key, tenant, used }) => [`${tenant}/${key}`, used])) : body.code;
  };
  const headers = { authorization: `Bearer ${OPERATOR}` };
  const told = async (model, quantity) => {
    const event = { specversion: "1.0", id: model, source: "/s", type: "tokens", subject: "t_kid", data: { quantity, model } };
    assert.equal((await gate.send("/_gate/v1/usage", { method: "POST", headers, body: JSON.stringify(event) })).status, 200);
  };
  const usage = async (tenant) => {
    const { usage } = await (await gate.send(`/_gate/v1/usage?tenant=${tenant}`, { headers })).json();
    return Object.fromEntries(usage.map(({ metric, value }) => [metric, value]));
  };

  assert((await gate.decide({ tenant: "t_kid", limits: { month: 30, seats: 4 } })).body.allowed);
  assert((await gate.decide({ tenant: "t_mum", limits: { month: 5, seats: 2 } })).body.allowed);
  await told("a", 7);
  await told("b", 1);

  const leave = { leave: { tenants: { t_kid: null }, above: ["t_mum"] }, epochs: [["t_kid", 2]] };
  const { luggage } = await order("t_mum", leave);
  // The old ledger refuses the tenant, even after a restart, and repeats its transfer snapshot.
  assert.equal(await used("t_kid"), "SNAPSHOT_UNAVAILABLE");
  await gate.restart();
  assert.equal(await used("t_kid"), "SNAPSHOT_UNAVAILABLE");
  assert.deepEqual((await order("t_mum", leave)).luggage, luggage);
  assert.deepEqual(await used("t_mum"), { "t_mum/month": 35, "t_mum/seats": 2 });

  const arrive = { arrive: [{ tenants: { t_kid: null }, above: ["t_aunt"] }, luggage], once: { id: "move t_kid 2", print: "2" } };
  assert.equal((await order("t_aunt", arrive)).allowed, true);
  assert.equal((await order("t_aunt", arrive)).seen, "repeated");
  await gate.putTenant({ ...kid, parent: "t_aunt", epoch: 2 });
  // The refusal announced a later record. This isolate reads it as soon as it may read again.
  await until(async () => typeof (await used("t_kid")) !== "string", "the isolate reads the later record");
  assert.deepEqual(await used("t_kid"), { "t_kid/month": 30, "t_aunt/month": 0, "t_kid/seats": 4, "t_aunt/seats": 4 });
  assert.deepEqual([await usage("t_kid"), await usage("t_mum")], [{ tokens: 8, models: 2 }, { tokens: 8, models: 2 }]);
  await told("a2", 1);
  assert.deepEqual([await usage("t_kid"), await usage("t_aunt")], [{ tokens: 9, models: 3 }, { tokens: 1, models: 1 }]);
  assert.equal((await gate.decide({ tenant: "t_kid", limits: { month: 21 } })).body.code, "QUOTA_EXCEEDED");
});
