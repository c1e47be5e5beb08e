// The control plane on real D1, KV and Durable Objects: tenants are provisioned, changed and
// deleted, and every isolate learns of it.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { OPERATOR, workers } from "../support/harness.mjs";
import { sleep } from "../support/wait.mjs";

const catalog = {
  version: 1,
  resolution: { strategies: [{ strategy: "subdomain", base_domains: ["app.example.com"] }, { strategy: "custom_domain", domain_lookup: "index" }, { strategy: "header" }] },
  features: { webhooks: {}, sso: {} },
  limits: { month: { kind: "quota", period: "month" }, teams: { kind: "gauge" } },
  plans: {
    "free@1": { limits: { month: 100, teams: 0 } },
    "pro@1": { features: ["webhooks"], limits: { month: 1000, teams: 2 } },
    "pro@2": { features: ["webhooks", "sso"], limits: { month: 1000, teams: 2 } },
  },
  sub_tenants: "teams",
};

// An import needs an empty system of record, so it has a gate of its own.
const { gate, own } = await workers({ gate: { control: true, isolates: 3 }, own: { control: true } });
after(() => gate.stop());
const { admin } = gate;
const host = (slug) => `${slug}.app.example.com`;
/** How long an isolate that has just found a tenant unknown waits before it looks again. */
const MISS_MS = 250;
const code = async (slug, isolate = 0) => {
  const response = await gate.sendTo(isolate, "/", { host: host(slug) });
  const body = await response.json();
  return body.error?.code ?? body.code;
};

test("a valid catalog can be written and read, and an invalid one is refused with all its problems", async () => {
  const bad = await admin("PUT", "/catalog", { ...catalog, plans: { "free@1": { limits: { month: -1, teams: 0, nothing: 1 } }, "no-version": {} } });
  assert.equal(bad.status, 400);
  assert.deepEqual(bad.body.error.details.problems.map(({ path }) => path).sort(), ['$.plans["free@1"].limits.month', '$.plans["no-version"]']);
  assert.equal((await admin("GET", "/catalog")).body.error.code, "NO_CATALOG");
  const put = await admin("PUT", "/catalog", catalog);
  assert.deepEqual([put.status, put.headers.get("etag"), put.body.version], [200, '"1"', 1]);
  assert.equal((await admin("PUT", "/catalog", catalog, { "if-match": '"7"' })).status, 412);
  assert.deepEqual((await admin("GET", "/catalog")).body, put.body);
});

let acme;
test("one call provisions a tenant, and isolates that just found it unknown serve it", async () => {
  for (const isolate of [0, 1, 2]) assert.equal(await code("acme", isolate), "TENANT_NOT_FOUND");
  const made = await admin("POST", "/tenants", { name: "Acme", plan: "pro@1", api_key_scopes: ["api.read"] }, { "idempotency-key": "signup-1" });
  assert.equal(made.status, 201, JSON.stringify(made.body));
  acme = made.body.tenant;
  assert.deepEqual([acme.slug, acme.status, acme.data_route, made.body.features], ["acme", "active", { strategy: "shared" }, ["webhooks"]]);
  assert.match(made.body.api_key, /^tg_live_/);
  await sleep(MISS_MS);
  for (const isolate of [0, 1, 2]) assert.equal(await code("acme", isolate), "ALLOWED");
  // The same request again returns the same tenant, and no second key.
  const again = await admin("POST", "/tenants", { name: "Acme", plan: "pro@1", api_key_scopes: ["api.read"] }, { "idempotency-key": "signup-1" });
  assert.deepEqual([again.status, again.headers.get("idempotency-replayed"), again.body], [201, "true", { ...made.body, api_key: null }]);
  assert.equal((await admin("POST", "/tenants", { name: "Other", plan: "pro@1" }, { "idempotency-key": "signup-1" })).body.error.code, "IDEMPOTENCY_KEY_REUSED");
  // A second tenant of that name gets another slug; a request for the taken slug itself is refused.
  assert.equal((await admin("POST", "/tenants", { name: "Acme", plan: "pro@1" })).body.tenant.slug, "acme-2");
  assert.equal((await admin("POST", "/tenants", { slug: "acme", plan: "pro@1" })).body.error.code, "SLUG_TAKEN");
});

test("merge patches change records, and lost updates are refused", async () => {
  const got = await admin("GET", `/tenants/${acme.id}`);
  const etag = got.headers.get("etag");
  const changed = await admin("PATCH", `/tenants/${acme.id}`, { name: "Acme Inc", metadata: { crm: 7 } }, { "if-match": etag });
  assert.deepEqual([changed.status, changed.body.name, changed.body.epoch], [200, "Acme Inc", got.body.epoch + 1]);
  assert.equal((await admin("PATCH", `/tenants/${acme.id}`, { name: "Late" }, { "if-match": etag })).status, 412);
  for (const member of ["id", "epoch", "status", "parent", "domains"]) assert.equal((await admin("PATCH", `/tenants/${acme.id}`, { [member]: null })).status, 400);
  assert.equal((await admin("PATCH", `/tenants/${acme.id}`, { plan: "gold@1" })).body.error.details.problems[0].path, "$.plan");
  // Of several concurrent changes not one is lost, and each gets an epoch of its own.
  const many = await Promise.all(Array.from({ length: 4 }, (_, i) => admin("PATCH", `/tenants/${acme.id}`, { metadata: { [`k${i}`]: i } }, { isolate: i % 3 })));
  assert.deepEqual(many.map(({ status }) => status), [200, 200, 200, 200]);
  const { body } = await admin("GET", `/tenants/${acme.id}`);
  assert.deepEqual(body.metadata, { crm: 7, k0: 0, k1: 1, k2: 2, k3: 3 });
  assert.equal(body.epoch, changed.body.epoch + 4);
});

test("every isolate sees a change of a tenant's status within the bound", async () => {
  for (const isolate of [0, 1, 2]) assert.equal(await code("acme", isolate), "ALLOWED");
  const since = Date.now();
  assert.equal((await admin("POST", `/tenants/${acme.id}/suspend`, { reason: "unpaid" })).body.status, "suspended");
  assert.equal(await code("acme", 0), "TENANT_SUSPENDED");
  for (const isolate of [1, 2]) {
    while ((await code("acme", isolate)) !== "TENANT_SUSPENDED") {
      assert(Date.now() - since < 11_000, "the change was not seen within the bound");
      await sleep(50);
    }
  }
  assert.equal((await admin("POST", `/tenants/${acme.id}/suspend`)).body.error.code, "WRONG_STATUS");
  assert.equal((await admin("POST", `/tenants/${acme.id}/reactivate`)).body.status, "active");
  assert.equal(await code("acme"), "ALLOWED");
  assert.equal((await admin("POST", `/tenants/${acme.id}/maintenance`)).body.status, "maintenance");
  assert.equal(await code("acme"), "TENANT_MAINTENANCE");
  assert.equal((await admin("POST", `/tenants/${acme.id}/reactivate`)).body.status, "active");
});

test("the audit trail records changes, only grows, and verifies as a hash chain", async () => {
  const { body } = await admin("GET", `/tenants/${acme.id}/audit`);
  const actions = body.items.map(({ action }) => action);
  assert.deepEqual(actions.slice(0, 4), ["tenant.create", "tenant.data_route", "key.issue", "tenant.active"]);
  assert(actions.includes("tenant.suspend"));
  const suspended = body.items.find(({ action }) => action === "tenant.suspend");
  assert.deepEqual([suspended.reason, suspended.actor.kind, suspended.changes], ["unpaid", "operator", { status: { before: "active", after: "suspended" } }]);
  const lines = (await admin("GET", `/tenants/${acme.id}/audit?format=lines`)).body.trimEnd().split("\n");
  const { createHash } = await import("node:crypto");
  let previous = "";
  for (const line of lines) {
    assert.equal(JSON.parse(line).previous, previous);
    previous = createHash("sha256").update(line).digest("hex");
  }
  assert.deepEqual(body.head, { number: lines.length, hash: previous });
  await assert.rejects(gate.db.prepare("UPDATE audit SET entry = '{}' WHERE number = 1").run(), /append-only/);
  await assert.rejects(gate.db.prepare("DELETE FROM audit").run(), /append-only/);
  assert.match((await admin("GET", `/tenants/${acme.id}/audit?format=csv`)).body, /^number,at,actor,ip,action,reason,changes\r\n"1",/);
});

test("sub-tenants share their parent's limits, and units counted before a move stay with the old parent", async () => {
  const team = async (name, parent) => (await admin("POST", "/tenants", { name, parent })).body;
  const a = (await team("Team A", acme.id)).tenant;
  await team("Team B", acme.id);
  assert.equal((await team("Team C", acme.id)).error.code, "TOO_MANY");
  const used = async (tenant) => Object.fromEntries((await gate.decide({ tenant, limits: { month: 0 } })).body.limits.map(({ tenant, used }) => [tenant, used]));
  assert((await gate.decide({ tenant: a.id, limits: { month: 7 } })).body.allowed);
  assert.deepEqual(await used(a.id), { [acme.id]: 7 });
  assert.equal((await admin("POST", `/tenants/${acme.id}/move`, { parent: a.id })).status, 400);
  // Without a plan of its own it cannot become a root, which is checked before anything moves.
  const alone = await admin("POST", `/tenants/${a.id}/move`, { parent: null });
  assert.deepEqual([alone.status, alone.body.error.details.problems[0].path], [400, "$.plan"]);
  assert.deepEqual(await used(a.id), { [acme.id]: 7 });
  const other = (await admin("POST", "/tenants", { name: "Globex", plan: "pro@1" })).body.tenant;
  const moved = await admin("POST", `/tenants/${a.id}/move`, { parent: other.id, reason: "sold" });
  assert.deepEqual([moved.status, moved.body.parent], [200, other.id], JSON.stringify(moved.body));
  assert.deepEqual(await used(a.id), { [other.id]: 0 });
  assert((await gate.decide({ tenant: a.id, limits: { month: 2 } })).body.allowed);
  assert.deepEqual([await used(other.id), await used(acme.id)], [{ [other.id]: 2 }, { [acme.id]: 7 }]);
  assert.equal((await admin("DELETE", `/tenants/${other.id}`)).body.error.code, "HAS_CHILDREN");
});

test("an API key is shown only once, can be rotated with an overlap, and can be revoked", async () => {
  const { status, body } = await admin("POST", `/tenants/${acme.id}/api-keys`, { name: "ci", scopes: ["api.read"] });
  assert.deepEqual([status, body.record.hash], [201, undefined]);
  assert.equal(JSON.stringify((await admin("GET", `/tenants/${acme.id}/api-keys`)).body).includes(body.key), false);
  const rotated = await admin("POST", `/tenants/${acme.id}/api-keys/${body.record.id}/rotate`, { overlap_ms: 60_000 });
  assert.equal(rotated.status, 201);
  assert.notEqual(rotated.body.key, body.key);
  assert.equal((await admin("DELETE", `/tenants/${acme.id}/api-keys/${body.record.id}`)).body.epoch, 3);
  assert.equal((await admin("DELETE", `/tenants/${acme.id}/api-keys/0000000000000000`)).status, 404);
});

test("a deleted tenant is no longer served, and its slug is quarantined before it can be reused", async () => {
  const made = (await admin("POST", "/tenants", { slug: "brief", plan: "free@1" })).body;
  assert.equal(await code("brief"), "ALLOWED");
  assert.equal((await admin("DELETE", `/tenants/${made.tenant.id}`)).body.status, "deleted");
  assert.equal(await code("brief"), "TENANT_NOT_FOUND");
  assert.equal((await admin("GET", `/tenants/${made.tenant.id}`)).status, 404);
  assert.equal((await admin("POST", "/tenants", { slug: "brief", plan: "free@1" })).body.error.code, "SLUG_TAKEN");
  assert.deepEqual(JSON.parse(await gate.kv.get(`tenant:${made.tenant.id}`)).status, "deleted");
  assert.equal(await gate.kv.get("slug:brief"), null);
  // After the quarantine another tenant may have the slug, under an id of its own.
  await gate.db.prepare("UPDATE slugs SET free_at = 1 WHERE slug = 'brief'").run();
  const next = (await admin("POST", "/tenants", { slug: "brief", plan: "free@1" })).body.tenant;
  assert.notEqual(next.id, made.tenant.id);
  assert.equal(await code("brief"), "ALLOWED");
});

test("plan versions in use cannot change, and all tenants of one can be moved to another", async () => {
  const changed = structuredClone(catalog);
  changed.plans["pro@1"].limits.month = 5;
  delete changed.plans["free@1"];
  const refused = await admin("PUT", "/catalog", changed);
  assert.deepEqual([refused.status, refused.body.error.details.problems.map(({ path }) => path)], [409, ['$.plans["free@1"]', '$.plans["pro@1"]']]);
  const retired = structuredClone(catalog);
  retired.plans["free@1"].retired = true;
  assert.equal((await admin("PUT", "/catalog", retired)).status, 200);
  const ends_at = new Date(Date.now() + 60_000).toISOString();
  for (const body of [{ plan: "free@1" }, { plan: "pro@1", trial: { plan: "free@1", ends_at } }]) assert.equal((await admin("POST", "/tenants", { name: "late", ...body })).status, 400);
  assert.equal((await admin("PATCH", `/tenants/${acme.id}`, { trial: { plan: "free@1", ends_at } })).status, 400);
  const impact = await admin("POST", "/catalog/impact", { plans: { "pro@1": "pro@2" }, log: [{ at: "2026-11-24T00:00:00Z", question: { tenant: acme.id, features: ["sso"] } }] });
  const gains = impact.body.tenants.filter(({ features }) => features?.sso?.effect === "gain").map(({ tenant }) => tenant);
  assert(gains.includes(acme.id), JSON.stringify(impact.body));
  assert.equal(impact.body.replayed.asked, 1);
  const job = await admin("POST", "/plans/pro@1/move", { to: "pro@2", reason: "new terms" });
  assert.equal(job.status, 202);
  await gate.tick();
  const done = (await admin("GET", `/jobs/${job.body.id}`)).body;
  assert.deepEqual([done.state, done.done, done.failed], ["done", job.body.total, 0]);
  assert.equal((await admin("GET", `/tenants/${acme.id}`)).body.plan, "pro@2");
  const { body } = await gate.decide({ tenant: acme.id, features: ["sso"] });
  assert.equal(body.features.sso.value, true);
});

test("a kill turns a feature off at once, and only reviving the feature ends it", async () => {
  assert.equal((await admin("POST", "/features/sso/kill", { reason: "incident" })).status, 200);
  assert.equal((await gate.decide({ tenant: acme.id, features: ["sso"] })).body.features.sso.tier, "kill");
  // A catalog from before the kill does not end it by leaving it out.
  const { version, ...written } = (await admin("GET", "/catalog")).body;
  delete written.features.sso.kill;
  assert.equal((await admin("PUT", "/catalog", { version, ...written })).body.features.sso.kill, true);
  assert.equal((await admin("POST", "/features/nothing/kill")).status, 404);
  assert.equal((await admin("POST", "/features/sso/revive")).status, 200);
  assert.equal((await gate.decide({ tenant: acme.id, features: ["sso"] })).body.features.sso.value, true);
});

test("an override can be set, replaced and removed, and is listed before it expires", async () => {
  const ends_at = new Date(Date.now() + 86_400_000).toISOString();
  const set = await admin("PUT", `/tenants/${acme.id}/overrides`, { limit: "month", allowance: 5_000, ends_at, reason: "demo", actor: "sales" });
  assert.equal(set.status, 200, JSON.stringify(set.body));
  assert.equal((await admin("PUT", `/tenants/${acme.id}/overrides`, { limit: "month", allowance: 6_000, ends_at, reason: "demo" })).body.overrides.length, 1);
  const { items } = (await admin("GET", "/expiring")).body;
  assert.deepEqual(items.map(({ tenant, kind }) => [tenant, kind]), [[acme.id, "override"]]);
  assert.equal((await gate.decide({ tenant: acme.id, limits: { month: 0 } })).body.limits[0].limit, 6_000);
  assert.deepEqual((await admin("DELETE", `/tenants/${acme.id}/overrides/month`)).body.overrides, []);
  assert.equal((await admin("DELETE", `/tenants/${acme.id}/overrides/month`)).status, 404);
  assert.equal((await admin("PUT", `/tenants/${acme.id}/overrides`, { limit: "month" })).status, 400);
});

test("an admin token can do what its permissions allow, and nothing else", async () => {
  const made = (await admin("POST", "/tokens", { name: "reader", permissions: ["tenants:read"] })).body;
  assert.equal((await admin("GET", "/tenants", undefined, { as: made.token })).status, 200);
  assert.equal((await admin("POST", `/tenants/${acme.id}/suspend`, {}, { as: made.token })).body.error.code, "FORBIDDEN");
  const maker = (await admin("POST", "/tokens", { name: "maker", permissions: ["tokens:write"] })).body;
  assert.equal((await admin("POST", "/tokens", { name: "more", permissions: ["tenants:write"] }, { as: maker.token })).body.error.code, "FORBIDDEN");
  assert.equal((await admin("DELETE", `/tokens/${made.id}`)).status, 200);
  assert.equal((await admin("GET", "/tenants", undefined, { as: made.token })).status, 401);
  for (const as of ["", "wrong", `${OPERATOR}x`, made.token.replace(/.$/, "0")]) assert.equal((await admin("GET", "/tenants", undefined, { as })).status, 401);
  const row = await gate.db.prepare("SELECT * FROM admin_tokens WHERE id = ?").bind(maker.id).first();
  assert(!JSON.stringify(row).includes(maker.token));
});

test("an import adds what is missing, overwrites only on request, and revives nothing", async () => {
  const seed = {
    catalog,
    tenants: [{ id: "t_kid", slug: "kid", parent: "t_mum", epoch: 4 }, { id: "t_mum", slug: "mum", plan: "pro@1", domains: [{ host: "mum.example", state: "verified" }] }],
    api_keys: [{ id: "0123456789abcdef", tenant: "t_mum", hash: "ab".repeat(32), created_at: "2026-11-22T12:00:00Z" }],
  };
  assert.equal((await own.admin("POST", "/import", { ...seed, tenants: [{ id: "t_kid", slug: "kid", parent: "t_gone" }] })).status, 400);
  assert.deepEqual((await own.admin("POST", "/import", seed)).body, { catalog: true, tenants: 2, api_keys: 1 });
  assert.deepEqual((await own.admin("POST", "/import", seed)).body, { catalog: false, tenants: 0, api_keys: 0 });
  assert.equal((await (await own.send("/", { host: "mum.example" })).json()).tenant.id, "t_mum");
  assert.deepEqual((await own.decide({ tenant: "t_kid", limits: { month: 1 } })).body.limits.map(({ tenant }) => tenant), ["t_mum"]);
  seed.tenants[1].name = "Mum";
  seed.catalog = { ...catalog, upgrade_url: "https://example.com/more" };
  // What exists stays unless `overwrite` is set. What was revoked or deleted stays so in any case.
  assert.deepEqual((await own.admin("POST", "/import", seed)).body, { catalog: false, tenants: 0, api_keys: 0 });
  assert.equal((await own.admin("DELETE", "/tenants/t_mum/api-keys/0123456789abcdef")).status, 200);
  assert.deepEqual((await own.admin("POST", "/import?overwrite=true", seed)).body, { catalog: true, tenants: 1, api_keys: 0 });
  assert.deepEqual([(await own.admin("GET", "/tenants/t_mum")).body.epoch, typeof (await own.admin("GET", "/tenants/t_mum/api-keys")).body.items[0].revoked_at], [2, "string"]);
  await own.admin("DELETE", "/tenants/t_kid");
  assert.deepEqual((await own.admin("POST", "/import?overwrite=true", seed)).body, { catalog: false, tenants: 0, api_keys: 0 });
  const { token } = (await own.admin("POST", "/tokens", { name: "catalogs", permissions: ["catalog:write", "catalog:read"] })).body;
  assert.equal((await own.admin("POST", "/import", seed, { as: token })).status, 403);
});

test("unknown paths, methods and parameters are refused, and a cursor leads to the next page", async () => {
  assert.equal((await admin("GET", "/nothing")).status, 404);
  const method = await admin("PUT", "/tenants", {});
  assert.deepEqual([method.status, method.body.error.details.methods], [405, ["POST", "GET"]]);
  assert.equal((await admin("GET", "/tenants?colour=red")).status, 400);
  assert.equal((await admin("GET", "/tenants?limit=0")).status, 400);
  assert.equal((await admin("GET", "/tenants/..%2f..%2fcatalog")).status, 404);
  assert.equal((await admin("POST", "/tenants", "{")).status, 400);
  const listed = (await admin("GET", "/tenants?limit=2")).body;
  assert.equal(listed.items.length, 2);
  const next = (await admin("GET", `/tenants?limit=2&cursor=${listed.next_cursor}`)).body;
  assert(next.items[0].id > listed.items[1].id);
});
