// Licences in a real set-up: domains by whole labels, a limited number of activations, tokens for
// offline use.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { after, test } from "node:test";
import * as jose from "jose";
import { worker } from "../support/harness.mjs";

const pem = generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" });
const gate = await worker({ control: true, bindings: { LICENCE_KEY: pem } });
after(() => gate.stop());
const { admin } = gate;
await admin("PUT", "/catalog", {
  version: 1, resolution: { strategies: [{ strategy: "header" }] }, features: { sso: {} }, plans: { "pro@1": { features: ["sso"] } },
});
const { tenant } = (await admin("POST", "/tenants", { name: "Acme", plan: "pro@1" })).body;
const issue = async (terms) => (await admin("POST", `/tenants/${tenant.id}/licences`, terms)).body;
const ask = async (path, body) => {
  const response = await gate.send(`/_gate/v1/licences/${path}`, { method: "POST", body: JSON.stringify(body) });
  return { status: response.status, ...(await response.json()) };
};
const validate = (key, domain, more) => ask("validate", { key, domain, ...more });

test("a licence is valid only on its own domains, compared by whole labels", async () => {
  const { key } = await issue({ domains: ["example.com", "*.shop.example"] });
  assert.match(key, /^tg_lice_/);
  for (const domain of ["example.com", "EXAMPLE.com.", "example.com:8443", "a.shop.example"]) assert.equal((await validate(key, domain)).code, "VALID", domain);
  for (const domain of ["example.com.attacker.net", "notexample.com", "www.example.com", "shop.example", "a.b.shop.example", "", undefined]) {
    assert.deepEqual(await validate(key, domain), { status: 200, valid: false, code: "DOMAIN_NOT_ALLOWED" }, domain);
  }
  const { plan, features, tenant: whose } = await validate(key, "example.com");
  assert.deepEqual([plan, features, whose], ["pro@1", ["sso"], tenant.id]);
});

test("unknown, mistyped and forged licence keys get the same response", async () => {
  const { key } = await issue({});
  for (const wrong of ["", "tg_lice_", key.replace(/.$/, "0"), `${key.slice(0, 30)}x${key.slice(31)}`, key.replace("tg_lice_", "tg_live_")]) {
    if (wrong !== key) assert.deepEqual(await validate(wrong), { status: 200, valid: false, code: "LICENCE_UNKNOWN" });
  }
  assert.equal((await ask("validate", {})).status, 400);
});

test("suspended, expired and revoked licences are refused, and a revoked one stays revoked", async () => {
  const { key, id } = await issue({});
  const set = (terms) => admin("PATCH", `/tenants/${tenant.id}/licences/${id}`, terms);
  await set({ status: "suspended" });
  assert.equal((await validate(key)).code, "LICENCE_SUSPENDED");
  await set({ status: "active", expires_at: new Date(Date.now() - 1).toISOString() });
  assert.equal((await validate(key)).code, "LICENCE_EXPIRED");
  await set({ expires_at: null, starts_at: new Date(Date.now() + 60_000).toISOString() });
  assert.equal((await validate(key)).code, "LICENCE_NOT_YET_VALID");
  await set({ starts_at: null });
  assert.equal((await validate(key)).code, "VALID");
  await set({ status: "revoked" });
  assert.equal((await validate(key)).code, "LICENCE_REVOKED");
  assert.equal((await set({ status: "active" })).body.error.code, "WRONG_STATUS");
  assert.equal((await set({ domains: ["*.*"] })).status, 400);
});

test("each instance is one activation, activations never exceed the limit, and they can be given back", async () => {
  const { key, id } = await issue({ max_activations: 3 });
  assert.equal((await validate(key)).status, 400);
  const many = await Promise.all(Array.from({ length: 20 }, (_, i) => validate(key, undefined, { instance: `i${i % 10}` })));
  const good = many.filter(({ valid }) => valid);
  assert.equal(new Set(many.map(({ code }) => code)).size, 2);
  const { items } = (await admin("GET", `/tenants/${tenant.id}/licences`)).body;
  assert.equal(items.find((one) => one.id === id).activations, 3);
  const active = [...new Set(many.flatMap(({ valid }, i) => (valid ? [`i${i % 10}`] : [])))];
  assert.equal(active.length, 3);
  assert(good.every(({ activations }) => activations.used <= 3));
  assert.equal((await validate(key, undefined, { instance: "late" })).code, "ACTIVATIONS_EXCEEDED");
  // An activation is given back and taken again several times, and the count stays right.
  for (let turn = 0; turn < 3; turn++) {
    assert.deepEqual([(await ask("deactivate", { key, instance: active[0] })).deactivated, (await ask("deactivate", { key, instance: active[0] })).deactivated], [true, false]);
    assert.equal((await validate(key, undefined, { instance: active[0] })).activations.used, 3);
  }
  assert.equal((await validate(key, undefined, { instance: "late" })).code, "ACTIVATIONS_EXCEEDED");
});

test("an offline token has the licence's terms and expires no later than the licence", async () => {
  const { key } = await issue({ domains: ["example.com"], offline_ms: 3_600_000 });
  const { offline, licence } = await validate(key, "example.com");
  const keys = jose.createLocalJWKSet(await (await gate.send("/_gate/jwks.json")).json());
  const { payload } = await jose.jwtVerify(offline.token, keys, { issuer: "tenantgate", typ: "licence+jwt" });
  assert.deepEqual([payload.jti, payload.sub, payload.features, payload.domains], [licence, tenant.id, ["sso"], ["example.com"]]);
  assert(Math.abs(payload.exp * 1000 - Date.parse(offline.until)) < 1_000 && payload.exp - payload.iat === 3_600);
  const soon = await issue({ offline_ms: 3_600_000, expires_at: new Date(Date.now() + 60_000).toISOString() });
  assert(Date.parse((await validate(soon.key)).offline.until) <= Date.now() + 60_000);
  assert.equal((await validate((await issue({ offline_ms: 0 })).key)).offline, null);
});

test("a licence is refused while its tenant is suspended", async () => {
  const { key } = await issue({});
  await admin("POST", `/tenants/${tenant.id}/suspend`);
  assert.equal((await validate(key)).code, "TENANT_INACTIVE");
  await admin("POST", `/tenants/${tenant.id}/reactivate`);
  assert.equal((await validate(key)).code, "VALID");
});

test("an offline token expires no later than the next known change of its entitlements", async () => {
  const plus = (ms) => new Date(Date.now() + ms).toISOString();
  const until = async (more, change) => {
    const made = (await admin("POST", "/tenants", { name: "Dated", plan: "pro@1", api_key_scopes: null })).body.tenant;
    assert.equal((await admin("PATCH", `/tenants/${made.id}`, more)).status, 200);
    if (change) await change(made);
    const { key } = (await admin("POST", `/tenants/${made.id}/licences`, {})).body;
    const { offline } = await validate(key);
    assert.equal(jose.decodeJwt(offline.token).exp, Math.floor(Date.parse(offline.until) / 1000));
    return offline.until;
  };
  const end = plus(60_000);
  assert.equal(await until({ trial: { plan: "pro@1", ends_at: end } }), end);
  assert.equal(await until({ contract: { features: ["sso"], ends_at: end, grace_ms: 3_600_000 } }), end);
  assert.equal(await until({}, (made) => admin("PUT", `/tenants/${made.id}/overrides`, { feature: "sso", value: true, starts_at: end, ends_at: plus(90_000), reason: "a while" })), end);
  assert(Date.parse(await until({})) > Date.now() + 6 * 86_400_000);
});

test("the operator can list and end activations, lower their number, and let idle ones expire", async () => {
  const { key, id } = await issue({ max_activations: 2, offline_ms: 0 });
  const path = `/tenants/${tenant.id}/licences/${id}`;
  const codes = async (...instances) => {
    const said = [];
    for (const instance of instances) said.push((await validate(key, undefined, { instance })).code);
    return said;
  };
  assert.deepEqual(await codes("pod-7f9c", "pod-b21e", "pod-0a44"), ["VALID", "VALID", "ACTIVATIONS_EXCEEDED"]);
  const listed = (await admin("GET", `/tenants/${tenant.id}/licences`)).body.items.find((one) => one.id === id);
  assert.deepEqual([listed.activations, listed.instances], [2, ["pod-7f9c", "pod-b21e"]]);
  const { items } = (await admin("GET", `${path}/activations`)).body;
  assert.deepEqual(items.map(({ instance, ended_at }) => [instance, ended_at]), [["pod-7f9c", null], ["pod-b21e", null]]);
  const ended = await admin("DELETE", `${path}/activations/pod-7f9c`);
  assert.deepEqual([ended.status, ended.body], [200, { instance: "pod-7f9c", deactivated: true, free_at: null }]);
  assert.equal((await admin("DELETE", `${path}/activations/pod-7f9c`)).status, 404);
  assert.equal((await admin("DELETE", `/tenants/${tenant.id}/licences/none/activations/pod-b21e`)).status, 404);
  assert.deepEqual(await codes("pod-0a44", "pod-7f9c"), ["VALID", "ACTIVATIONS_EXCEEDED"]);
  const trail = (await admin("GET", `/tenants/${tenant.id}/audit`)).body.items.map(({ action }) => action);
  assert(trail.includes("licence.deactivate"));
  // If the new limit is below the number of activations, the oldest ones stay.
  await admin("PATCH", path, { max_activations: 1 });
  assert.deepEqual(await codes("pod-0a44", "pod-b21e"), ["ACTIVATIONS_EXCEEDED", "VALID"]);
  // An instance that has not asked for a while loses its place.
  assert.equal((await admin("PATCH", path, { activation_ms: 59_999 })).status, 400);
  await admin("PATCH", path, { activation_ms: 60_000 });
  await gate.db.prepare("UPDATE activations SET seen_at = ? WHERE licence = ? AND instance = 'pod-b21e'").bind(Date.now() - 60_001, id).run();
  assert.deepEqual(await codes("pod-9c1d", "pod-0a44", "pod-b21e"), ["ACTIVATIONS_EXCEEDED", "VALID", "ACTIVATIONS_EXCEEDED"]);
});

test("revoked licences do not count towards the bound, and an export has licences without their hashes", async () => {
  const { id } = await issue({});
  const exported = (await admin("GET", `/tenants/${tenant.id}/export`)).body;
  assert(exported.licences.some((one) => one.id === id));
  assert(!Object.keys(exported.licences[0]).includes("hash"));
  const fill = Array.from({ length: 1_000 }, (_, i) => `('fill${i}', '${tenant.id}', 'h', '{"status": "revoked"}', 0)`);
  for (let i = 0; i < fill.length; i += 100) await gate.db.prepare(`INSERT INTO licences (id, tenant, hash, terms, created_at) VALUES ${fill.slice(i, i + 100).join(", ")}`).run();
  assert.equal((await admin("POST", `/tenants/${tenant.id}/licences`, {})).status, 201);
});
