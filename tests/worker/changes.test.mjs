// Changes over a customer's life: counts survive them, units can be refunded, and a tenant can
// always be stopped.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { OPERATOR, worker } from "../support/harness.mjs";

const DAY = 86_400_000;
const iso = (ms) => new Date(ms).toISOString();
const catalog = {
  version: 1,
  resolution: { strategies: [{ strategy: "header" }] },
  routes: [{ path: "/api", auth: "none", limits: { calls: 1 } }],
  features: { sso: {} },
  limits: { calls: { kind: "quota", period: "month", mode: "strict" }, seats: { kind: "gauge" } },
  metrics: { tokens: { event: "llm.completion", value: "tokens" } },
  plans: { "pro@1": { limits: { calls: 100, seats: 25 } }, "pro@2": { limits: { calls: 100, seats: 25 } } },
};
let gate;
before(async () => {
  gate = await worker({ control: true });
  await ok("PUT", "/catalog", catalog);
});
after(() => gate.stop());

const ok = async (method, path, body, headers) => {
  const answer = await gate.admin(method, path, body, headers);
  assert(answer.status < 300, `${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
  return answer.body;
};
const refused = async (status, code, method, path, body, headers) => {
  const answer = await gate.admin(method, path, body, headers);
  assert.deepEqual([answer.status, answer.body.error?.code], [status, code], JSON.stringify(answer.body));
  return answer.body.error;
};
const make = async (name, more) => (await ok("POST", "/tenants", { name, plan: "pro@1", api_key_scopes: null, ...more })).tenant;
const decide = async (body) => (await gate.decide(body)).body;
const used = async (tenant, limit) => (await decide({ tenant, limits: { [limit]: 0 }, look: true })).limits.find((one) => one.tenant === tenant).used;
const headers = { authorization: `Bearer ${OPERATOR}` };
const tell = async (events) => {
  const response = await gate.send("/_gate/v1/usage", { method: "POST", headers, body: JSON.stringify(events) });
  return { status: response.status, body: await response.json() };
};
const event = (subject, id, data, ms = Date.now()) => ({ specversion: "1.0", id, source: "/test", type: "llm.completion", subject, time: iso(ms), data });
const report = async (tenant, ms) => {
  const response = await gate.send(`/_gate/v1/usage?tenant=${tenant}&metric=tokens&at=${iso(ms)}`, { headers });
  const { usage } = await response.json();
  return [usage[0].value, usage[0].starts_at, usage[0].ends_at];
};

test("moving a billing anchor neither resets the quota nor changes usage reports", async () => {
  const now = Date.now();
  const tenant = await make("Anchor", { billing_anchor: iso(now - 5 * DAY) });
  await decide({ tenant: tenant.id, limits: { calls: 90 } });
  assert.equal((await tell([event(tenant.id, "then", { tokens: 500 }, now - 20 * DAY), event(tenant.id, "now", { tokens: 300 })])).status, 200);
  const [then, current] = [await report(tenant.id, now - 20 * DAY), await report(tenant.id, now)];
  assert.deepEqual([then[0], current[0]], [500, 300]);
  for (const days of [25, 2, 15]) {
    await ok("PATCH", `/tenants/${tenant.id}`, { billing_anchor: iso(now - days * DAY) });
    assert.equal(await used(tenant.id, "calls"), 90);
    assert.equal((await decide({ tenant: tenant.id, limits: { calls: 11 } })).code, "QUOTA_EXCEEDED");
    assert.deepEqual(await report(tenant.id, now - 20 * DAY), then);
    assert.deepEqual(await report(tenant.id, now), current);
  }
  // A late event counts in the ended period that its time falls into.
  assert.equal((await tell([event(tenant.id, "late", { tokens: 7 }, now - 20 * DAY)])).status, 200);
  assert.deepEqual(await report(tenant.id, now - 20 * DAY), [507, ...then.slice(1)]);
  // The next period starts where the current one ends, and follows the new anchor.
  const [, starts, ends] = await report(tenant.id, Date.parse(current[2]) + DAY);
  assert.equal(starts, current[2]);
  assert((Date.parse(ends) - now + 15 * DAY) % DAY === 0, ends);
});

test("the usage reports of a deleted tenant stay available", async () => {
  const tenant = await make("Invoice");
  await tell([event(tenant.id, "last", { tokens: 42 })]);
  await ok("DELETE", `/tenants/${tenant.id}`);
  assert.equal((await report(tenant.id, Date.now()))[0], 42);
});

test("deleting a sub-tenant releases the seats that it counted with its parent", async () => {
  const firm = await make("Firm");
  const team = await make("Team", { plan: undefined, parent: firm.id });
  const [own] = [await make("Own", { plan: "pro@1", parent: firm.id })];
  await decide({ tenant: team.id, limits: { seats: 20 } });
  await decide({ tenant: own.id, limits: { seats: 5 } });
  assert.equal(await used(firm.id, "seats"), 25);
  await decide({ tenant: own.id, limits: { seats: { release: 2 } } });
  assert.equal(await used(firm.id, "seats"), 23);
  await ok("DELETE", `/tenants/${own.id}`);
  assert.equal(await used(firm.id, "seats"), 20);
});

test("a catalog that breaks records is refused, and a tenant with a broken record can be stopped", async () => {
  const more = { ...catalog, features: { sso: {}, pilot: {} }, addons: { legacy: { features: ["pilot"] } } };
  await ok("PUT", "/catalog", more);
  const [bought, tried, over] = [await make("Bought"), await make("Tried"), await make("Over")];
  await ok("PATCH", `/tenants/${bought.id}`, { addons: ["legacy"] });
  await ok("PUT", `/tenants/${tried.id}/overrides`, { feature: "pilot", value: true, reason: "a pilot" });
  await ok("PUT", `/tenants/${over.id}/overrides`, { feature: "pilot", value: true, ends_at: "2026-01-01T00:00:00Z", reason: "a pilot that is over" });
  const { details } = await refused(409, "CATALOG_IN_USE", "PUT", "/catalog", catalog);
  assert.deepEqual(details.tenants.map(({ tenant, problems }) => [tenant, problems[0].path]).sort(), [[bought.id, "$.addons[0]"], [tried.id, "$.overrides[0].value"]].sort());
  const impact = await ok("POST", "/catalog/impact", { catalog });
  assert.deepEqual(impact.tenants.filter(({ problems }) => problems).map(({ tenant }) => tenant).sort(), [bought.id, tried.id].sort());
  // Makes the records name an unknown add-on, as if an earlier release had accepted such a catalog.
  const records = [bought, tried].map(({ id }) => gate.db.prepare("UPDATE tenants SET record = json_set(record, '$.addons', json('[\"gone\"]')) WHERE id = ?").bind(id));
  await gate.db.batch(records);
  await ok("POST", `/tenants/${bought.id}/suspend`, { reason: "unpaid" });
  assert.equal((await decide({ tenant: bought.id })).code, "TENANT_SUSPENDED");
  await ok("POST", `/tenants/${tried.id}/maintenance`, {});
  await ok("POST", `/tenants/${bought.id}/offboard`, {});
  // A change is refused for its own problem only, not for the one that the record already had.
  const { details: { problems } } = await refused(400, "BAD_REQUEST", "PATCH", `/tenants/${tried.id}`, { plan: "gold@1" });
  assert.deepEqual(problems.map(({ path }) => path), ["$.plan"]);
  await ok("PATCH", `/tenants/${tried.id}`, { addons: ["legacy"] });
  for (const { id } of [bought, tried]) await ok("PATCH", `/tenants/${id}`, { addons: [] });
  await ok("DELETE", `/tenants/${tried.id}/overrides/pilot`);
  await ok("PUT", "/catalog", catalog);
});

test("a tenant offboarded while suspended is suspended again when it is reactivated", async () => {
  const tenant = await make("Unpaid");
  await ok("POST", `/tenants/${tenant.id}/suspend`, { reason: "unpaid" });
  await ok("POST", `/tenants/${tenant.id}/offboard`, {});
  assert.equal((await ok("POST", `/tenants/${tenant.id}/reactivate`, {})).status, "suspended");
  assert.equal((await ok("POST", `/tenants/${tenant.id}/reactivate`, {})).status, "active");
});

test("a limit's terms belong to the plan version, and the impact names the tenants that a change affects", async () => {
  const tenant = await make("Somebody");
  await decide({ tenant: tenant.id, limits: { calls: 60 } });
  const changes = { period: "year", shadow: true, overage: "paid", mode: "leased", kind: "gauge" };
  for (const [member, value] of Object.entries(changes)) {
    const limits = structuredClone(catalog.limits);
    limits.calls[member] = value;
    if (member === "kind") delete limits.calls.period;
    const impact = await ok("POST", "/catalog/impact", { catalog: { ...catalog, limits } });
    const { terms } = impact.tenants.find((one) => one.tenant === tenant.id);
    assert.equal(terms.calls.after[member], value);
    assert.equal(terms.calls.before[member], catalog.limits.calls[member] ?? { shadow: false, overage: "hard" }[member]);
    await refused(409, "PLAN_IN_USE", "PUT", "/catalog", { ...catalog, limits });
  }
  const limits = { ...catalog.limits, calls: { ...catalog.limits.calls, shadow: true, description: "tried first" } };
  await ok("PUT", "/catalog?change_terms=true", { ...catalog, limits });
  await ok("PUT", "/catalog?change_terms=true", catalog);
  // A description is not one of the terms.
  await ok("PUT", "/catalog", { ...catalog, limits: { ...catalog.limits, calls: { ...catalog.limits.calls, description: "of the API" } } });
  await ok("PUT", "/catalog", catalog);
  // The impact names tenants that would be beyond a smaller allowance.
  const plans = { ...catalog.plans, "small@1": { limits: { calls: 50, seats: 25 } } };
  await ok("PUT", "/catalog", { ...catalog, plans });
  const { tenants } = await ok("POST", "/catalog/impact", { plans: { "pro@1": "small@1" } });
  assert.deepEqual(tenants.find((one) => one.tenant === tenant.id).over, { calls: 60 });
  await ok("PUT", "/catalog", catalog);
});

test("an event without a new metric's value counts for the other metrics and is reported as uncounted", async () => {
  const tenant = await make("Producer");
  const metrics = { ...catalog.metrics, latency: { event: "llm.completion", value: "ms", aggregation: "max" } };
  const impact = await ok("POST", "/catalog/impact", { catalog: { ...catalog, metrics } });
  assert.deepEqual([impact.metrics.latency.before, impact.metrics.latency.after.value], [null, "ms"]);
  await ok("PUT", "/catalog", { ...catalog, metrics });
  const { status, body } = await tell([event(tenant.id, "a", { tokens: 10 }), event(tenant.id, "b", { tokens: 5 }), event(tenant.id, "c", { tokens: 1, ms: 9 })]);
  assert.deepEqual([status, body], [200, { accepted: 3, duplicates: 0, uncounted: [{ metric: "latency", path: "$[0].data.ms", found: "nothing", expected: "a whole number from 0", events: 2 }] }]);
  assert.equal((await report(tenant.id, Date.now()))[0], 16);
  assert.equal((await tell([event(tenant.id, "d", {})])).status, 400);
  await ok("PUT", "/catalog", catalog);
});

test("every admin operation honours `Idempotency-Key` and `If-Match`, or refuses them", async () => {
  const { paths } = await (await gate.send("/_gate/openapi.json")).json();
  const operations = Object.entries(paths).filter(([path]) => path.startsWith("/_gate/v1/admin")).flatMap(([path, item]) =>
    Object.entries(item).filter(([method]) => ["post", "put", "patch", "delete"].includes(method)).map(([method, { parameters = [] }]) => ({ path: path.replace("/_gate/v1/admin", ""), method: method.toUpperCase(), takes: parameters.map(({ name }) => name) })));
  assert(operations.length > 30);
  const tenant = await make("Walk");
  for (const { path, method, takes } of operations) {
    const concrete = path.replace("{tenant}", tenant.id).replace(/\{[a-z]+\}/g, "none");
    if (!takes.includes("Idempotency-Key")) {
      const { details } = await refused(400, "BAD_REQUEST", method, concrete, {}, { "idempotency-key": "k-1" });
      assert.equal(details.problems[0].path, "Idempotency-Key", path);
    }
    if (!takes.includes("If-Match")) await refused(412, "PRECONDITION_FAILED", method, concrete, {}, { "if-match": '"999"' });
  }
  const twice = async (method, path, body) => {
    const once = { "idempotency-key": crypto.randomUUID() };
    const [one, two] = [await gate.admin(method, path, body, once), await gate.admin(method, path, body, once)];
    assert.deepEqual([two.status, two.headers.get("idempotency-replayed")], [one.status, "true"], `${method} ${path}`);
    return [one.body, two.body];
  };
  // A repeated request gets the same response without the secret, which is shown only once.
  for (const [path, body, secret] of [[`/tenants/${tenant.id}/licences`, {}, "key"], [`/tenants/${tenant.id}/api-keys`, { scopes: [] }, "key"], ["/tokens", { name: "ci", permissions: ["tenants:read"] }, "token"], [`/tenants/${tenant.id}/impersonate`, { reason: "help", scopes: [] }, "ticket"]]) {
    const [one, two] = await twice("POST", path, body);
    assert.equal(typeof one[secret], "string", path);
    assert.deepEqual(two, { ...one, [secret]: null });
  }
  const { items } = await ok("GET", `/tenants/${tenant.id}/licences`);
  assert.equal(items.length, 1);
  const stale = { "if-match": '"999"' };
  await refused(412, "PRECONDITION_FAILED", "PATCH", `/tenants/${tenant.id}/licences/${items[0].id}`, { status: "revoked" }, stale);
  await refused(412, "PRECONDITION_FAILED", "POST", "/plans/pro@1/move", { to: "pro@2" }, stale);
  await refused(412, "PRECONDITION_FAILED", "GET", `/tenants/${tenant.id}`, undefined, stale);
});

test("different spellings of one time or one host are treated as the same", async () => {
  const tenant = await make("Spellings");
  for (const [starts_at, value] of [["2026-11-01T00:00:00Z", true], ["2026-11-01T00:00:00.000Z", false], ["2026-11-01T01:00:00+01:00", true], [Date.parse("2026-11-01T00:00:00Z"), false]]) {
    await ok("PUT", `/tenants/${tenant.id}/overrides`, { feature: "sso", value, starts_at });
  }
  const { overrides } = await ok("GET", `/tenants/${tenant.id}`);
  assert.deepEqual(overrides.map(({ value }) => value), [false]);
  const { host } = await ok("POST", `/tenants/${tenant.id}/domains`, { host: "Shop.Spellings.example." });
  assert.equal(host, "shop.spellings.example");
  // Without a resolver no domain can be verified; one that nobody has claimed is not even found.
  assert.equal((await gate.admin("POST", `/tenants/${tenant.id}/domains/Shop.Spellings.example./verify`)).status, 503);
  await refused(404, "NOT_FOUND", "POST", `/tenants/${tenant.id}/domains/other.example/verify`);
  await ok("DELETE", `/tenants/${tenant.id}/domains/SHOP.spellings.example`);
  const set = await decide({ tenant: tenant.id, limits: { seats: { set: 50 } } });
  assert.equal(set.error.details.requested, 50);
});

const entitled = async (id, limit) => (await ok("GET", `/tenants/${id}/entitlements`)).limits.filter(({ key }) => key === limit);

test("a tenant's entitlements list its features and what remains of each limit along its line", async () => {
  const parent = await make("Holding", { billing_anchor: null });
  const child = (await ok("POST", "/tenants", { name: "Daughter", parent: parent.id, api_key_scopes: null })).tenant;
  await ok("PUT", `/tenants/${child.id}/overrides`, { feature: "sso", value: true });
  await ok("PUT", `/tenants/${child.id}/overrides`, { limit: "calls", allowance: 40 });
  await decide({ tenant: child.id, limits: { calls: 30, seats: 2 } });
  const seen = await ok("GET", `/tenants/${child.id}/entitlements`);
  assert.deepEqual([seen.tenant.id, seen.tenant.plan, seen.tenant.status], [child.id, "pro@1", "active"]);
  assert.deepEqual(seen.features, { sso: { value: true, enabled: true, tier: "override", reason: "OVERRIDE", rule: null, variant: null } });
  const brief = ({ key, tenant, limit, used: units, remaining }) => [key, tenant, limit, units, remaining];
  assert.deepEqual(seen.limits.map(brief), [["calls", child.id, 40, 30, 10], ["calls", parent.id, 100, 30, 70], ["seats", parent.id, 25, 2, 23]]);
  assert(seen.limits.every(({ key, resets_at: at }) => (key === "calls") === (at !== null)));
  // A suspended tenant keeps its entitlements.
  await ok("POST", `/tenants/${child.id}/suspend`);
  assert.deepEqual((await ok("GET", `/tenants/${child.id}/entitlements`)).limits.map(brief), seen.limits.map(brief));
  await refused(404, "NOT_FOUND", "GET", "/tenants/t_nobody/entitlements");
});

test("a refund gives back units of a quota once, requires a reason, and applies to the whole line", async () => {
  const parent = await make("Refunded");
  const child = (await ok("POST", "/tenants", { name: "Refunded too", parent: parent.id, api_key_scopes: null })).tenant;
  await ok("PUT", `/tenants/${child.id}/overrides`, { limit: "calls", allowance: 40 });
  await decide({ tenant: child.id, limits: { calls: 30 } });
  const path = `/tenants/${child.id}/refunds`;
  const body = { limit: "calls", units: 20, reason: "an outage" };
  assert.equal((await refused(400, "BAD_REQUEST", "POST", path, body)).details.problems[0].path, "Idempotency-Key");
  for (let times = 0; times < 2; times++) {
    assert.deepEqual(await ok("POST", path, body, { "idempotency-key": "refund-1" }), { limit: "calls", tenant: child.id, units: 20, used: 10, remaining: 30 });
    assert.deepEqual((await entitled(child.id, "calls")).map(({ used: units }) => units), [10, 10]);
  }
  await refused(422, "IDEMPOTENCY_KEY_REUSED", "POST", path, { ...body, units: 1 }, { "idempotency-key": "refund-1" });
  const wrong = [
    [{ ...body, units: 11 }, "$.units"], [{ ...body, units: 0 }, "$.units"], [{ ...body, reason: "" }, "$.reason"], [{ limit: "calls", units: 1 }, "$.reason"],
    [{ ...body, limit: "seats" }, "$.limit"], [{ ...body, limit: "nothing" }, "$.limit"],
  ];
  for (const [index, [one, place]] of wrong.entries()) {
    assert.equal((await refused(400, "BAD_REQUEST", "POST", path, one, { "idempotency-key": `wrong-${index}` })).details.problems[0].path, place);
  }
  assert.deepEqual((await entitled(child.id, "calls")).map(({ used: units }) => units), [10, 10]);
  const entries = (await ok("GET", `/tenants/${child.id}/audit?limit=100`)).items.filter(({ action }) => action === "usage.refund");
  assert.deepEqual(entries.map(({ reason, changes }) => [reason, changes.refund.after.units]), [["an outage", 20]]);
});

test("a public route and a tenant's slug cannot share the first segment of a path", async () => {
  const first = { ...catalog, resolution: { strategies: [{ strategy: "path", prefix: "/" }] } };
  const { slug, id } = await make("Named");
  const { details } = await refused(409, "CATALOG_IN_USE", "PUT", "/catalog", { ...first, routes: [{ path: `/${slug}/open`, access: "public" }] });
  assert.deepEqual(details.tenants.map(({ tenant }) => tenant), [id]);
  await ok("PUT", "/catalog", { ...first, routes: [{ path: "/open", access: "public" }] });
  await refused(400, "BAD_REQUEST", "POST", "/tenants", { slug: "open", plan: "pro@1" });
  await ok("PUT", "/catalog", catalog);
});

test("an ended period of a quota keeps its total and its allowance", async () => {
  const daily = { ...catalog, limits: { ...catalog.limits, jobs: { kind: "quota", period: "day", mode: "strict", default: { limit: 5, overage: "paid" } } } };
  await ok("PUT", "/catalog", daily);
  const boundary = Date.now() + 2_500;
  const tenant = await make("Yesterday", { billing_anchor: iso(boundary - 3 * DAY) });
  for (const end = Date.now() + 10_000; ; ) {
    const { code } = await decide({ tenant: tenant.id, limits: { jobs: 8 } });
    if (code === "ALLOWED") break;
    assert(Date.now() < end, code);
  }
  const quotas = async (ms) => {
    const response = await gate.send(`/_gate/v1/usage?tenant=${tenant.id}&at=${iso(ms)}`, { headers });
    return (await response.json()).quotas?.filter(({ key }) => key === "jobs");
  };
  const [open] = await quotas(Date.now());
  assert.deepEqual([open.ended, open.used, open.limit, open.overage, open.let_through, Date.parse(open.ends_at)], [false, 8, 5, 3, true, boundary]);
  while (Date.now() < boundary) await new Promise((resolve) => setTimeout(resolve, 100));
  // A larger allowance does not change what the ended period allowed.
  await ok("PUT", `/tenants/${tenant.id}/overrides`, { limit: "jobs", allowance: 500 });
  assert.equal((await decide({ tenant: tenant.id, limits: { jobs: 1 } })).code, "ALLOWED");
  const yesterday = { ...open, ended: true };
  assert.deepEqual(await quotas(boundary - 1), [yesterday]);
  assert.equal((await quotas(boundary))[0].used, 1);
  // This holds under another billing anchor, in the export, and after the tenant is deleted.
  await ok("PATCH", `/tenants/${tenant.id}`, { billing_anchor: iso(boundary - 5 * DAY + 3_600_000) });
  assert.deepEqual(await quotas(boundary - 1), [yesterday]);
  assert.deepEqual((await ok("GET", `/tenants/${tenant.id}/export`)).quotas.filter(({ key }) => key === "jobs").map(({ used: units }) => units), [8, 1]);
  await ok("DELETE", `/tenants/${tenant.id}`);
  assert.deepEqual(await quotas(boundary - 1), [yesterday]);
});
