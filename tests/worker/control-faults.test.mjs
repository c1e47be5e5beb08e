// The control plane reaches the same end when it is killed between any two of its steps.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { COMPATIBILITY_DATE, worker } from "../support/harness.mjs";
import { until } from "../support/wait.mjs";

const catalog = {
  resolution: { strategies: [{ strategy: "header" }] },
  features: { webhooks: {} },
  limits: { month: { kind: "quota", period: "month" }, seats: { kind: "gauge" } },
  shards: { "eu-1": { region: "eu" }, "us-1": { region: "us" } },
  tenant_defaults: { metadata: { theme: "dark" } },
  plans: { "pro@1": { features: ["webhooks"], limits: { month: 1000, seats: 100 } }, "pro@2": { features: ["webhooks"], limits: { month: 2000, seats: 100 } } },
};
const version = (catalog) => ({ version: 1, ...catalog });

/**
 * Sets up data: refuses a tenant named `cursed`, and is unavailable while the key `away` exists.
 */
const provisioner = `export default { async fetch(request, env) {
  const { tenant, data_route } = await request.json();
  if (await env.STATE.get("away")) return new Response(null, { status: 503 });
  if (tenant.name === "cursed") return new Response("there is no room for it", { status: 409 });
  await env.STATE.put(tenant.id, JSON.stringify(data_route));
  return new Response(null, { status: 204 });
} }`;
const consumer = `export default {
  async queue(batch, env) { for (const { body } of batch.messages) await env.STATE.put("event:" + body.id, JSON.stringify(body)); },
  fetch: () => new Response(null),
}`;
const beside = [
  { name: "provisioner", modules: true, script: provisioner, compatibilityDate: COMPATIBILITY_DATE, kvNamespaces: { STATE: "state" } },
  { name: "consumer", modules: true, script: consumer, compatibilityDate: COMPATIBILITY_DATE, kvNamespaces: { STATE: "state" }, queueConsumers: { events: { maxBatchSize: 1, maxBatchTimeout: 0 } } },
];
const more = { serviceBindings: { PROVISIONER: "provisioner" }, queueProducers: { EVENTS_QUEUE: "events" } };
const gate = await worker({ control: true, beside, more, durable: true });
after(() => gate.stop());
const { admin } = gate;
assert.equal((await admin("PUT", "/catalog", version(catalog))).status, 200);

/** Expects a fault to end a request: the runtime answers in its place, or cuts it off. */
const killed = async (asked) => assert.equal((await asked.catch(({ message }) => ({ status: /hung|Critical|unreachable/.test(message) ? 500 : message }))).status, 500);

/** Everything that is known of a tenant, without what differs between tenants. */
const state = async ({ id, slug }) => {
  const { body } = await admin("GET", `/tenants/${id}/export`);
  const text = JSON.stringify({ ...body, audit: undefined, exported_at: undefined }).replaceAll(id, "ID").replaceAll(slug, "SLUG");
  const keys = body.api_keys.filter(({ revoked_at }) => !revoked_at).length;
  const published = JSON.parse(await gate.kv.get(`tenant:${id}`));
  const actions = (await admin("GET", `/tenants/${id}/audit`)).body.items.map(({ action }) => action).filter((action) => !action.startsWith("key."));
  return {
    record: JSON.parse(text).tenant, keys, published: published.epoch === body.tenant.epoch && published.status,
    slug: (await gate.kv.get(`slug:${slug}`)) === id, actions, served: (await gate.decide({ tenant: id, features: ["webhooks"] })).body.code,
  };
};
const without = ({ record: { billing_anchor, epoch, name, ...record }, ...rest }) => ({ record, ...rest });

let usual;
test("without a fault, provisioning gives a tenant its data route, defaults, a key and a welcome event", async () => {
  const { status, body } = await admin("POST", "/tenants", { name: "usual", plan: "pro@1", region: "eu", data_route: { strategy: "schema" } }, { "idempotency-key": "usual" });
  assert.equal(status, 201, JSON.stringify(body));
  usual = without(await state(body.tenant));
  const name = `tenant_${body.tenant.id}`;
  assert.deepEqual(body.tenant.data_route, { strategy: "schema", shard: "eu-1", name });
  assert.deepEqual(body.tenant.metadata, { theme: "dark" });
  assert.deepEqual([usual.keys, usual.published, usual.slug, usual.served], [1, "active", true, "ALLOWED"]);
  const told = await gate.flare.getKVNamespace("STATE", "provisioner");
  assert.deepEqual(JSON.parse(await told.get(body.tenant.id)), body.tenant.data_route);
  const event = await until(() => told.get(`event:welcome-${body.tenant.id}`), "the welcome event arrives");
  const { type, subject, data } = JSON.parse(event);
  assert.deepEqual([type, subject, data.features], ["tenant.welcome", body.tenant.id, ["webhooks"]]);
});

for (let step = 0; step < 8; step++) {
  test(`repeating a request that was killed before step ${step} of provisioning completes it`, async () => {
    const ask = (more) => admin("POST", "/tenants", { name: `killed-${step}`, plan: "pro@1", region: "eu", data_route: { strategy: "schema" } }, { "idempotency-key": `killed-${step}`, ...more });
    await killed(ask({ "x-fault": `provision-${step}` }));
    const made = await ask();
    assert.equal(made.status, 201, JSON.stringify(made.body));
    assert.match(made.body.api_key, /^tg_live_/);
    const found = without(await state(made.body.tenant));
    // A key that nobody has seen is replaced; all else is as without a fault.
    assert.deepEqual(found, { ...usual, record: { ...usual.record, data_route: found.record.data_route } });
    assert.deepEqual([found.record.data_route.shard, found.keys], ["eu-1", 1]);
    assert.equal((await admin("GET", `/tenants?slug=killed-${step}`)).body.items.length, 1);
  });
}

test("the scheduled job completes provisioning that nobody resumes", async () => {
  await killed(admin("POST", "/tenants", { name: "left", plan: "pro@1", region: "us" }, { "x-fault": "provision-3" }));
  const [{ id, status }] = (await admin("GET", "/tenants?slug=left")).body.items;
  assert.equal(status, "provisioning");
  assert.equal((await gate.decide({ tenant: id })).body.code, "TENANT_PROVISIONING");
  await gate.db.prepare("UPDATE provisionings SET changed_at = 0 WHERE tenant = ?").bind(id).run();
  await gate.tick();
  assert.equal((await gate.decide({ tenant: id })).body.code, "ALLOWED");
});

test("a tenant that is deleted during provisioning stays deleted", async () => {
  const told = await gate.flare.getKVNamespace("STATE", "provisioner");
  await told.put("away", "1");
  assert.equal((await admin("POST", "/tenants", { name: "brief", plan: "pro@1" }, { "idempotency-key": "brief" })).status, 503);
  const [{ id }] = (await admin("GET", "/tenants?slug=brief")).body.items;
  assert.equal((await admin("DELETE", `/tenants/${id}`)).status, 200);
  await told.delete("away");
  await gate.db.prepare("UPDATE provisionings SET changed_at = 0").run();
  await gate.tick();
  assert.equal((await gate.decide({ tenant: id })).body.code, "TENANT_NOT_FOUND");
  assert.equal((await admin("POST", "/tenants", { name: "brief", plan: "pro@1" }, { "idempotency-key": "brief" })).body.error.code, "PROVISIONING_FAILED");
});

test("a request repeated after the scheduled job gets a working key; the key nobody saw is revoked", async () => {
  const ask = (more) => admin("POST", "/tenants", { name: "late", plan: "pro@1" }, { "idempotency-key": "late", ...more });
  await killed(ask({ "x-fault": "provision-4" }));
  await gate.db.prepare("UPDATE provisionings SET changed_at = 0").run();
  await gate.tick();
  const { status, body } = await ask();
  assert.deepEqual([status, body.tenant.status], [201, "active"]);
  const { items } = (await admin("GET", `/tenants/${body.tenant.id}/api-keys`)).body;
  assert.deepEqual(items.filter(({ revoked_at }) => !revoked_at).map(({ id }) => id), [body.api_key.slice(8, 24)]);
  assert.equal((await ask()).body.api_key, null);
});

test("provisioning that cannot succeed is undone, and provisioning that may still succeed is kept", async () => {
  const cursed = await admin("POST", "/tenants", { name: "cursed", slug: "cursed", plan: "pro@1" }, { "idempotency-key": "cursed" });
  assert.deepEqual([cursed.status, cursed.body.error.code, cursed.body.error.details.problem], [409, "PROVISIONING_FAILED", "there is no room for it"]);
  assert.deepEqual((await admin("POST", "/tenants", { name: "cursed", slug: "cursed", plan: "pro@1" }, { "idempotency-key": "cursed" })).body, cursed.body);
  assert.equal((await gate.send("/", { headers: { "x-tenant-id": "cursed" } })).status, 404);
  // A data route where nothing was set up is free again.
  const there = { plan: "pro@1", data_route: { strategy: "schema", shard: "eu-1", name: "there" } };
  assert.equal((await admin("POST", "/tenants", { name: "cursed", ...there })).body.error.code, "PROVISIONING_FAILED");
  assert.equal((await admin("POST", "/tenants", { name: "blessed", ...there })).status, 201);
  const nowhere = await admin("POST", "/tenants", { name: "nowhere", plan: "pro@1", region: "moon" });
  assert.equal(nowhere.body.error.details.problem, "no open shard is in the tenant's region");
  const told = await gate.flare.getKVNamespace("STATE", "provisioner");
  await told.put("away", "1");
  const ask = () => admin("POST", "/tenants", { name: "later", slug: "cursed", plan: "pro@1" }, { "idempotency-key": "later" });
  assert.equal((await ask()).status, 503);
  await told.delete("away");
  assert.deepEqual([(await ask()).status, (await ask()).body.tenant.slug], [201, "cursed"]);
});

test("the scheduled job publishes a change that was killed before it, and repairs drifted snapshots", async () => {
  const { tenant } = (await admin("POST", "/tenants", { name: "drift", plan: "pro@1" })).body;
  await killed(admin("PATCH", `/tenants/${tenant.id}`, { metadata: { n: 1 } }, { "x-fault": "publish" }));
  const inKv = async () => JSON.parse(await gate.kv.get(`tenant:${tenant.id}`));
  assert.equal((await inKv()).epoch, tenant.epoch);
  // No isolate depends on this publication: the feed has the change.
  assert.equal((await admin("GET", "/publications")).body.waiting, 1);
  await gate.tick();
  assert.deepEqual([(await inKv()).epoch, (await inKv()).metadata.n], [tenant.epoch + 1, 1]);
  assert.equal((await admin("GET", "/publications")).body.waiting, 0);
  // Somebody writes an old record to KV, and deletes a slug and the catalog.
  await gate.kv.put(`tenant:${tenant.id}`, JSON.stringify(tenant));
  await gate.kv.delete(`slug:${tenant.slug}`);
  await gate.kv.delete("catalog");
  for (let slices = 0; slices < 3; slices++) await gate.tick();
  assert.deepEqual([(await inKv()).epoch, await gate.kv.get(`slug:${tenant.slug}`), JSON.parse(await gate.kv.get("catalog")).version], [tenant.epoch + 1, tenant.id, 1]);
});

test("a late, repeated or outdated publication never takes an isolate back to an older snapshot", async () => {
  const { tenant } = (await admin("POST", "/tenants", { name: "edge", plan: "pro@1" })).body;
  const old = await gate.kv.get(`tenant:${tenant.id}`);
  const epoch = async () => (await gate.decide({ tenant: tenant.id })).body.snapshot.epoch;
  assert.equal((await admin("PATCH", `/tenants/${tenant.id}`, { name: "edge 2" })).status, 200);
  const latest = await epoch();
  await gate.kv.put(`tenant:${tenant.id}`, old);
  assert.equal(await epoch(), latest);
  await gate.db.prepare("UPDATE publications SET done_at = NULL").run();
  await gate.tick();
  assert.equal(await epoch(), latest);
  assert.equal(JSON.parse(await gate.kv.get(`tenant:${tenant.id}`)).epoch, latest);
});

test("a publication tells the ledger before it writes to KV", async () => {
  const { tenant } = (await admin("POST", "/tenants", { name: "told", plan: "pro@1" })).body;
  const heard = async () => {
    const response = await (await gate.ledger(tenant.id)).fetch("https://ledger/", { method: "POST", body: "{}" });
    return Object.fromEntries(JSON.parse(await response.text()).newer);
  };
  assert.deepEqual(await heard(), { [tenant.id]: tenant.epoch });
  // While its ledger cannot be told, nothing is written, and other publications do not wait.
  await killed(admin("POST", `/tenants/${tenant.id}/suspend`, {}, { "x-fault": "publish" }));
  const redirect = (ledger) => gate.db.prepare("UPDATE publications SET ledger = ? WHERE done_at IS NULL AND key = ?").bind(ledger, `tenant:${tenant.id}`).run();
  const inKv = async () => JSON.parse(await gate.kv.get(`tenant:${tenant.id}`)).status;
  await redirect("no family");
  const other = (await admin("POST", "/tenants", { name: "other told", plan: "pro@1" })).body.tenant;
  assert.equal(JSON.parse(await gate.kv.get(`tenant:${other.id}`)).status, "active");
  assert.deepEqual([await inKv(), await heard()], ["active", { [tenant.id]: tenant.epoch }]);
  await redirect(tenant.id);
  await gate.tick();
  assert.deepEqual([await inKv(), await heard()], ["suspended", { [tenant.id]: tenant.epoch + 1 }]);
});

for (const point of ["move-begun", "move-left", "move-arrived", "publish"]) {
  test(`a migration that is killed at "${point}" moves its counts exactly once`, async () => {
    const make = async (more) => (await admin("POST", "/tenants", { api_key_scopes: null, ...more })).body.tenant;
    const [old, next] = [await make({ name: `old ${point}`, plan: "pro@1" }), await make({ name: `next ${point}`, plan: "pro@1" })];
    const kid = await make({ name: `kid ${point}`, parent: old.id });
    await admin("PUT", `/tenants/${kid.id}/overrides`, { limit: "seats", allowance: 50 });
    assert((await gate.decide({ tenant: kid.id, limits: { seats: 3 } })).body.allowed);
    await killed(admin("POST", `/tenants/${kid.id}/move`, { parent: next.id }, { "x-fault": point }));
    if (point !== "publish") {
      // Until the migration ends, the moved tenant and its new parent accept no other change.
      for (const [method, path, body] of [
        ["PATCH", `/tenants/${kid.id}`, { name: "other" }], ["DELETE", `/tenants/${next.id}`], ["POST", `/tenants/${kid.id}/move`, { parent: old.id }],
        ["POST", "/tenants", { name: `late ${point}`, parent: kid.id }], ["POST", `/tenants/${next.id}/move`, { parent: old.id }],
      ]) assert.equal((await admin(method, path, body)).status, 409, `${method} ${path}`);
    }
    if (point === "publish" || point === "move-left") await gate.tick();
    else assert.equal((await admin("POST", `/tenants/${kid.id}/move`, { parent: next.id })).status, 200);
    const { body } = await gate.decide({ tenant: kid.id, limits: { seats: 0 } });
    assert.deepEqual(body.limits.map(({ tenant, used }) => [tenant, used]), [[kid.id, 3], [next.id, 3]], JSON.stringify(body));
    assert.equal((await gate.decide({ tenant: old.id, limits: { seats: 0 } })).body.limits[0].used, 0);
    assert.equal((await gate.db.prepare("SELECT (SELECT count(*) FROM moves) + (SELECT count(*) FROM moving) AS n").first()).n, 0);
  });
}

for (const point of ["job-slice", "job-commit", "publish"]) {
  test(`a plan move that is killed at "${point}" resumes, and moves every tenant once`, async () => {
    const from = point === "job-commit" ? "pro@2" : "pro@1";
    const to = from === "pro@1" ? "pro@2" : "pro@1";
    const before = (await admin("GET", `/tenants?plan=${from}&limit=1000`)).body.items.length;
    const { id, total } = (await admin("POST", `/plans/${from}/move`, { to })).body;
    assert.equal(total, before);
    await killed(admin("POST", `/jobs/${id}/run`, {}, { "x-fault": point }));
    for (let slices = 0; slices < 5 && (await admin("POST", `/jobs/${id}/run`)).body.state !== "done"; slices++);
    const job = (await admin("GET", `/jobs/${id}`)).body;
    assert.deepEqual([job.state, job.done, job.failed], ["done", total, 0]);
    assert.equal((await admin("GET", `/tenants?plan=${from}`)).body.items.length, 0);
    const trail = (await gate.db.prepare("SELECT count(*) AS n FROM audit WHERE json_extract(entry, '$.action') = 'tenant.plan' AND json_extract(entry, '$.changes.plan.after') = ?").bind(to).first()).n;
    assert.equal(trail % total, 0);
  });
}

test("a committed change survives a restart before its publication", async () => {
  const { tenant } = (await admin("POST", "/tenants", { name: "kept", plan: "pro@1" })).body;
  await killed(admin("PATCH", `/tenants/${tenant.id}`, { name: "kept 2" }, { "x-fault": "publish" }));
  // The second start of workerd is what this test is about.
  await gate.restart();
  assert.equal((await admin("GET", `/tenants/${tenant.id}`)).body.name, "kept 2");
  assert.equal((await gate.decide({ tenant: tenant.id })).body.snapshot.epoch, tenant.epoch + 1);
});
