// Access control: tenant admins by their tokens, support by tickets, domains by proof of ownership.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { OPERATOR, as as asTenant, workers } from "../support/harness.mjs";
import { issuer } from "../support/issuer.mjs";
import { serve } from "../support/server.mjs";
import { until } from "../support/wait.mjs";

const source = await issuer();
after(() => source.stop());
// A resolver that speaks DNS over HTTPS in its JSON form, because public ones cannot be reached
// wherever tests run.
const zone = new Map();
const dns = await serve((request, response) => {
  const name = new URL(request.url, "http://dns").searchParams.get("name");
  const texts = zone.get(name);
  response.setHeader("content-type", "application/dns-json");
  response.end(JSON.stringify({ Status: texts ? 0 : 3, Answer: texts?.map((text) => ({ name, type: 16, TTL: 60, data: `"${text}"` })) }));
});
after(() => dns.stop());

const { gate, routing } = await workers({
  gate: { control: true, isolates: 2, bindings: { DNS_URL: `${dns.url}/dns-query` } },
  routing: { control: true, origin: "export default { fetch: (request) => Response.json(Object.fromEntries(request.headers)) };" },
});
after(() => gate.stop());
const { admin } = gate;
assert.equal((await admin("PUT", "/catalog", {
  resolution: { strategies: [{ strategy: "jwt" }, { strategy: "api_key" }, { strategy: "custom_domain", domain_lookup: "index" }, { strategy: "subdomain", base_domains: ["app.example.com"] }] },
  issuers: { main: source.entry },
  limits: { teams: { kind: "gauge" } },
  sub_tenants: "teams",
  plans: { "pro@1": { limits: { teams: 1 } }, "free@1": { limits: { teams: 0 } } },
  routes: [{ path: "/open", auth: "none" }],
  version: 1,
})).status, 200);
const make = async (more) => (await admin("POST", "/tenants", { plan: "pro@1", ...more })).body.tenant;
const [acme, victim] = [await make({ name: "Acme" }), await make({ name: "Victim" })];

test("a tenant admin manages its own tenant and the descendants, and sees no trace of others", async () => {
  const as = await source.sign(acme.id, { scope: "tenantgate:admin" });
  const own = (method, path, body) => admin(method, path, body, { as });
  assert.equal((await own("GET", `/tenants/${acme.id}`)).status, 200);
  assert.deepEqual((await own("GET", "/tenants")).body.items.map(({ id }) => id), [acme.id]);
  const hidden = await own("GET", `/tenants/${victim.id}`);
  const absent = await own("GET", "/tenants/t_nobody");
  assert.deepEqual([hidden.status, hidden.body], [404, absent.body]);
  for (const [method, path, body] of [
    ["POST", `/tenants/${victim.id}/api-keys`, {}], ["GET", `/tenants/${victim.id}/audit`], ["GET", `/tenants/${victim.id}/export`],
    ["POST", `/tenants/${victim.id}/domains`, { host: "a.example.net" }], ["POST", "/tenants", { name: "x", parent: victim.id }],
    ["POST", `/tenants/${victim.id}/deactivate`, {}], ["GET", `/tenants/${victim.id}/api-keys`],
  ]) assert.equal((await own(method, path, body)).status, 404, `${method} ${path}`);
  for (const [method, path, body] of [
    ["POST", `/tenants/${acme.id}/suspend`, {}], ["PATCH", `/tenants/${acme.id}`, { plan: "free@1" }], ["PUT", `/tenants/${acme.id}/overrides`, {}], ["GET", "/catalog"],
    ["PUT", "/catalog", {}], ["POST", "/tokens", {}], ["GET", "/audit"], ["POST", "/tenants", { name: "root", plan: "pro@1" }], ["DELETE", `/tenants/${acme.id}`],
    ["POST", `/tenants/${acme.id}/impersonate`, { reason: "x" }], ["POST", `/tenants/${acme.id}/licences`, {}], ["POST", "/import", {}],
    ["POST", `/tenants/${acme.id}/api-keys`, { scopes: ["tenantgate:admin"] }], ["POST", `/tenants/${acme.id}/api-keys`, { scopes: ["ops.write"] }],
  ]) assert.equal((await own(method, path, body)).status, 403, `${method} ${path}`);
  const strong = (await admin("POST", `/tenants/${acme.id}/api-keys`, { scopes: ["ops.write"] })).body.record.id;
  assert.equal((await own("POST", `/tenants/${acme.id}/api-keys/${strong}/rotate`)).status, 403);
  const team = await own("POST", "/tenants", { name: "Team", parent: acme.id, metadata: { cost_center: 7 } });
  assert.equal(team.status, 201, JSON.stringify(team.body));
  assert.equal((await own("POST", "/tenants", { name: "Team 2", parent: acme.id })).body.error.code, "TOO_MANY");
  assert.equal((await own("GET", `/tenants/${team.body.tenant.id}`)).status, 200);
  // A tenant's ancestors are hidden from its admin, even where they share a limit.
  const below = await source.sign(team.body.tenant.id, { scope: "tenantgate:admin" });
  const has = await admin("GET", `/tenants/${team.body.tenant.id}/entitlements`, undefined, { as: below });
  assert.deepEqual([has.status, has.body.limits.map(({ tenant }) => tenant)], [200, [team.body.tenant.id]]);
  assert(!JSON.stringify(has.body).includes(acme.id));
  assert.equal((await own("GET", `/tenants/${team.body.tenant.id}/entitlements`)).status, 200);
  assert.equal((await own("POST", `/tenants/${acme.id}/refunds`, { limit: "teams", units: 1, reason: "x" })).status, 403);
  // An admin may not set what is sold, nor a data route, which could name another tenant's schema.
  for (const more of [{ plan: "pro@1" }, { data_route: { strategy: "schema", name: `tenant_${victim.id}` } }, { region: "eu" }, { residency: [] }, { billing_anchor: 0 }, { api_key_scopes: ["tenantgate:admin"] }]) {
    assert.equal((await own("POST", "/tenants", { name: "Rich", parent: team.body.tenant.id, ...more })).status, 403, JSON.stringify(more));
  }
  const { items } = (await own("GET", `/tenants/${team.body.tenant.id}/audit`)).body;
  assert.deepEqual(items[0].actor, { kind: "tenant", id: "user-1", tenant: acme.id, issuer: "main" });
});

test("the admin API refuses tokens without the scope, of unknown issuers or of suspended tenants", async () => {
  const status = async (as) => (await admin("GET", `/tenants/${acme.id}`, undefined, { as })).status;
  assert.equal(await status(await source.sign(acme.id, { scope: "api.read" })), 403);
  assert.equal(await status(await source.sign("t_nobody", { scope: "tenantgate:admin" })), 401);
  const stranger = await issuer({ kid: "k2" });
  assert.equal(await status(await stranger.sign(acme.id, { scope: "tenantgate:admin" })), 401);
  await stranger.stop();
  const key = (await admin("POST", `/tenants/${acme.id}/api-keys`, { scopes: ["tenantgate:admin"] })).body.key;
  assert.equal(await status(key), 401);
  await admin("POST", `/tenants/${acme.id}/suspend`);
  assert.equal(await status(await source.sign(acme.id, { scope: "tenantgate:admin" })), 401);
  await admin("POST", `/tenants/${acme.id}/reactivate`);
});

test("a support ticket gives one short-lived API key, once, and the audit trail records it", async () => {
  const ask = (ticket) => gate.send("/_gate/v1/tickets", { method: "POST", body: JSON.stringify({ ticket }) });
  assert.equal((await admin("POST", `/tenants/${acme.id}/impersonate`, {})).status, 400);
  const { status, body } = await admin("POST", `/tenants/${acme.id}/impersonate`, { reason: "ticket 4711", scopes: ["api.read"] });
  assert.equal(status, 201);
  // Of eight callers who redeem the ticket at once, one gets a key.
  const answers = await Promise.all(Array.from({ length: 8 }, () => ask(body.ticket)));
  assert.deepEqual(answers.map(({ status }) => status).sort(), [201, ...Array(7).fill(401)]);
  const { key, record } = await answers.find(({ status }) => status === 201).json();
  assert(Date.parse(record.expires_at) - Date.now() <= 15 * 60_000);
  const served = await gate.send("/", { headers: { "x-api-key": key } });
  assert.equal((await served.json()).tenant.id, acme.id);
  for (const wrong of ["", "tg_tick_", body.ticket.replace(/.$/, "!"), key]) assert.equal((await ask(wrong)).status, 401);
  const late = (await admin("POST", `/tenants/${acme.id}/impersonate`, { reason: "late" })).body.ticket;
  await gate.db.prepare("UPDATE tickets SET expires_at = 1 WHERE used_at IS NULL").run();
  assert.equal((await ask(late)).status, 401);
  const { items } = (await admin("GET", `/tenants/${acme.id}/audit?limit=1000`)).body;
  const [ticket] = items.filter(({ action }) => action === "support.ticket");
  assert.equal(ticket.reason, "ticket 4711");
  assert.equal(items.find(({ action }) => action === "support.enter").actor.kind, "support");
});

test("a domain leads to the one tenant that has proven it, until that tenant loses or removes it", async () => {
  const host = "shop.acme.example";
  const ask = async (name = host) => (await gate.send("/open", { host: name })).json().then(({ error, tenant }) => error?.code ?? tenant.id);
  const { status, body } = await admin("POST", `/tenants/${acme.id}/domains`, { host });
  assert.equal(status, 201);
  assert.deepEqual([body.state, body.proof.type, body.proof.name], ["pending", "TXT", `_tenantgate.${host}`]);
  assert.equal(await ask(), "TENANT_NOT_FOUND");
  // Another tenant claims the domain as well: the proof decides.
  const rival = (await admin("POST", `/tenants/${victim.id}/domains`, { host })).body;
  assert.notEqual(rival.proof.value, body.proof.value);
  const verify = (tenant, name = host) => admin("POST", `/tenants/${tenant}/domains/${name}/verify`);
  assert.equal((await verify(acme.id)).body.error.code, "DOMAIN_UNPROVEN");
  zone.set(`_tenantgate.${host}`, ["v=spf1 -all", body.proof.value]);
  assert.equal((await verify(victim.id)).body.error.code, "DOMAIN_UNPROVEN");
  assert.equal((await verify(acme.id)).status, 200);
  assert.equal(await ask(), acme.id);
  assert.equal(await ask(`sub.${host}`), "TENANT_NOT_FOUND");
  // While both proofs exist, the current owner keeps the domain; once the old proof is gone, the
  // domain was sold.
  zone.set(`_tenantgate.${host}`, [rival.proof.value, body.proof.value]);
  assert.equal((await verify(victim.id)).body.error.code, "DOMAIN_TAKEN");
  assert.equal(await ask(), acme.id);
  zone.set(`_tenantgate.${host}`, [rival.proof.value]);
  assert.equal((await verify(victim.id)).status, 200);
  assert.equal(await ask(), victim.id);
  const lost = (await admin("GET", `/tenants/${acme.id}`)).body.domains;
  assert.deepEqual(lost, [{ host, state: "pending" }]);
  const trail = (await admin("GET", `/tenants/${acme.id}/audit?limit=1000`)).body.items.at(-1);
  assert.deepEqual([trail.action, trail.actor], ["domain.lost", { kind: "gate", id: "", tenant: null }]);
  // The former owner can prove it again.
  assert.equal((await verify(acme.id)).body.error.code, "DOMAIN_UNPROVEN");
  zone.set(`_tenantgate.${host}`, [body.proof.value]);
  assert.equal((await verify(acme.id)).status, 200);
  assert.equal(await ask(), acme.id);
  zone.set(`_tenantgate.${host}`, [rival.proof.value]);
  assert.equal((await admin("DELETE", `/tenants/${acme.id}/domains/${host}`)).status, 200);
  assert.equal(await ask(), "TENANT_NOT_FOUND");
  // A new claim needs a new proof.
  const anew = (await admin("POST", `/tenants/${acme.id}/domains`, { host })).body;
  assert.notEqual(anew.proof.value, body.proof.value);
  assert.equal((await verify(victim.id)).status, 200);
  assert.equal(await ask(), victim.id);
});

test("invalid domains, base domains and names below them are refused as custom domains", async () => {
  for (const host of ["app.example.com", "acme.app.example.com", "http://x.example", "*.example.net", "", "a b"]) {
    assert.equal((await admin("POST", `/tenants/${acme.id}/domains`, { host })).status, 400, host);
  }
});

test("the origin learns a tenant's data route from the gate, never from the client", async () => {
  await routing.admin("PUT", "/catalog", {
    version: 1, resolution: { strategies: [{ strategy: "header" }] }, shards: { "eu-1": { region: "eu", replicas: ["eu-1-a", "eu-1-b"] }, "eu-2": { region: "eu", closed: true } }, plans: { "pro@1": {} },
  });
  const { tenant } = (await routing.admin("POST", "/tenants", { slug: "routed", plan: "pro@1", region: "eu", data_route: { strategy: "database" } })).body;
  const seen = async (method) => (await (await routing.send("/", { method, ...asTenant("routed", { "x-tenant-data-route": "strategy=shared" }) })).json())["x-tenant-data-route"];
  const own = `strategy=database, shard="eu-1", name="tenant_${tenant.id}"`;
  // Only what reads is told of the replicas.
  assert.deepEqual([await seen("GET"), await seen("POST")], [`${own}, replicas=("eu-1-a" "eu-1-b")`, own]);
});

test("the API keys and tokens of a deleted tenant stay invalid after its slug is reused", async () => {
  const made = (await admin("POST", "/tenants", { slug: "phoenix", plan: "pro@1" })).body;
  const token = await source.sign(made.tenant.id);
  const status = async (headers) => (await gate.send("/", { headers })).status;
  assert.deepEqual([await status({ "x-api-key": made.api_key }), await status({ authorization: `Bearer ${token}` })], [200, 200]);
  await admin("DELETE", `/tenants/${made.tenant.id}`);
  await gate.db.prepare("UPDATE slugs SET free_at = 1 WHERE slug = 'phoenix'").run();
  const next = (await admin("POST", "/tenants", { slug: "phoenix", plan: "pro@1" })).body.tenant;
  assert.notEqual(next.id, made.tenant.id);
  assert.deepEqual([await status({ "x-api-key": made.api_key }), await status({ authorization: `Bearer ${token}` })], [401, 404]);
  const both = await gate.send("/", { host: "phoenix.app.example.com", headers: { "x-api-key": made.api_key } });
  assert.equal(both.status, 401);
});

test("a tenant cannot have a reserved slug", async () => {
  for (const slug of ["www", "api", "admin"]) assert.equal((await admin("POST", "/tenants", { slug, plan: "pro@1" })).status, 400, slug);
});

test("API keys, admin tokens and licences that have already expired are not issued", async () => {
  for (const path of [`/tenants/${acme.id}/api-keys`, "/tokens", `/tenants/${acme.id}/licences`]) {
    const body = { expires_at: new Date(Date.now() - 1_000).toISOString(), ...(path === "/tokens" && { name: "late", permissions: ["audit:read"] }) };
    const { status, body: { error } } = await admin("POST", path, body);
    assert.deepEqual([status, error.details.problems[0].path], [400, "$.expires_at"], path);
  }
});

test("denials are counted with their code and request, and add nothing to the audit trail", async () => {
  await admin("POST", `/tenants/${victim.id}/suspend`);
  const before = (await admin("GET", `/tenants/${victim.id}/audit?limit=1000`)).body.head.number;
  const { key } = (await admin("POST", `/tenants/${acme.id}/api-keys`, { expires_at: Date.now() + 1_000 })).body;
  for (let i = 0; i < 5; i++) assert.equal((await gate.decide({ tenant: victim.id, path: "/reports", method: "POST" })).body.code, "TENANT_SUSPENDED");
  const noted = async (id, count) => {
    const { items, next_cursor: next } = await until(async () => {
      const { body } = await admin("GET", `/tenants/${id}/denials`);
      return body.items.some((one) => one.count >= count) && body;
    }, `${count} denials of ${id} are counted`, { ms: 20_000, everyMs: 100 });
    assert.equal(next, null);
    return items;
  };
  const [one, ...others] = await noted(victim.id, 5);
  assert.deepEqual([others, one.code, one.count], [[], "TENANT_SUSPENDED", 5]);
  // A decision does not name an expired key, but the key's tenant should learn of its use.
  const ended = await gate.send("/reports/7?secret=1", { headers: { "x-api-key": key } });
  assert.equal(ended.status, 401);
  const [refused] = await noted(acme.id, 1);
  assert.deepEqual([refused.code, refused.method, refused.path, key.includes(refused.key)], ["UNAUTHENTICATED", "GET", "/reports/7", true]);
  // A denial adds nothing to the audit trail, so a flood of them holds up no change of the tenant.
  assert.equal((await admin("GET", `/tenants/${victim.id}/audit?limit=1000`)).body.head.number, before);
});

test("branding that could inject markup and data routes to unknown shards are refused", async () => {
  for (const branding of [{ name: "<b>" }, { logo_url: "http://x.example/l.png" }, { logo_url: "https://x.example/\"onload=" }, { primary_color: "red;}" }, { font_family: "x;y" }, { sender_domain: "localhost" }, { unknown: 1 }]) {
    assert.equal((await admin("PATCH", `/tenants/${acme.id}`, { branding })).status, 400, JSON.stringify(branding));
  }
  const branding = { name: "Acme", logo_url: "https://cdn.acme.example/logo.svg?v=2", primary_color: "#0a7cff", font_family: "Open Sans", sender_domain: "mail.acme.example", docs_url: "https://docs.acme.example/" };
  assert.deepEqual((await admin("PATCH", `/tenants/${acme.id}`, { branding })).body.branding, branding);
  assert.equal((await admin("PATCH", `/tenants/${acme.id}`, { data_route: { shard: "nowhere" } })).status, 400);
  assert.equal((await admin("GET", "/tenants", undefined, { as: OPERATOR })).status, 200);
});
