// Seals of snapshots: an entry of KV is believed only with the control plane's signature for its
// key.

import assert from "node:assert/strict";
import { createPublicKey, generateKeyPairSync, verify } from "node:crypto";
import { after, test } from "node:test";
import * as jose from "jose";
import { workers } from "../support/harness.mjs";
import { issuer } from "../support/issuer.mjs";

const pair = () => generateKeyPairSync("ed25519").privateKey;
const pem = (key) => key.export({ type: "pkcs8", format: "pem" });
const catalog = { version: 1, resolution: { strategies: [{ strategy: "header" }] }, plans: { "free@1": {}, "pro@1": {} } };

const [first, second] = [pair(), pair()];
const FORGERIES = 8;
const thumbprint = await jose.calculateJwkThumbprint(createPublicKey(first).export({ format: "jwk" }));
const trusted = { ...createPublicKey(first).export({ format: "jwk" }), kid: thumbprint, alg: "EdDSA", use: "sig" };
let jwk, acme, victim;
const sealer = { SNAPSHOT_KEY: pem(first) };
// An edge is an isolate that has read nothing yet, and whose KV was written by another gate.
const gates = await workers({
  control: { control: true, bindings: sealer },
  edge: { shares: "control", isolates: FORGERIES, bindings: sealer },
  issuers: { control: true, bindings: sealer },
  open: { control: true },
  sealing: { control: true, bindings: sealer },
  rotated: { control: true, shares: "control", bindings: { SNAPSHOT_KEY: pem(second), SNAPSHOT_TRUST: JSON.stringify({ keys: [trusted] }) } },
  secondEdge: { shares: "control", bindings: { SNAPSHOT_KEY: pem(second) } },
  firstEdge: { shares: "control", bindings: sealer },
  keyless: { shares: "control" },
  broken: { shares: "control", bindings: { SNAPSHOT_KEY: "broken" } },
});
after(() => gates.control.stop());
const ask = async (gate, tenant, isolate = 0) => {
  const { body } = await gate.decide({ tenant }, { isolate });
  return body.tenant?.plan ?? body.code;
};

test("a sealed snapshot is a JWS with a detached payload that verifies with the published key", async () => {
  const gate = gates.control;
  await gate.admin("PUT", "/catalog", catalog);
  [acme, victim] = [(await gate.admin("POST", "/tenants", { name: "Acme", plan: "free@1" })).body.tenant, (await gate.admin("POST", "/tenants", { name: "Victim", plan: "pro@1" })).body.tenant];
  jwk = (await gate.admin("GET", "/publications")).body.key;
  const sealed = await gate.kv.get(`tenant:${acme.id}`);
  const line = sealed.indexOf("\n");
  const [header, , signature] = sealed.slice(0, line).split(".");
  const said = JSON.parse(Buffer.from(header, "base64url"));
  assert.deepEqual([said.alg, said.b64, said.crit, said.kid, said.key], ["EdDSA", false, ["b64"], jwk.kid, `tenant:${acme.id}`]);
  const text = sealed.slice(line + 1);
  assert.deepEqual(JSON.parse(text), acme);
  assert(verify(null, Buffer.from(`${header}.${text}`), createPublicKey({ key: jwk, format: "jwk" }), Buffer.from(signature, "base64url")));
  assert.equal(jwk.kid, thumbprint);
});

test("an isolate believes a sealed snapshot, and refuses every forgery of it", async () => {
  const gate = gates.edge;
  const forgeries = [
    ["as it is", (_, own) => own],
    ["unsealed", () => JSON.stringify({ ...acme, plan: "pro@1" })],
    ["changed", (_, own) => own.replace("free@1", "pro@1")],
    ["another tenant's", (other) => other],
    ["another tenant's, with this one's id", (other) => other.replaceAll(victim.id, acme.id)],
    ["sealed by an unknown key", (_, own) => own.replace(/^[^.]+/, (header) => Buffer.from(JSON.stringify({ ...JSON.parse(Buffer.from(header, "base64url")), kid: "me" })).toString("base64url"))],
    ["without a signature", (_, own) => own.replace(/\.\.[^\n]+/, "..")],
    ["a header alone", () => "eyJhbGciOiJub25lIn0..\n{}"],
  ];
  assert.equal(forgeries.length, FORGERIES);
  for (const [isolate, [what, forge]] of forgeries.entries()) {
    const own = await gate.kv.get(`tenant:${acme.id}`);
    await gate.kv.put(`tenant:${acme.id}`, forge(await gate.kv.get(`tenant:${victim.id}`), own));
    assert.equal(await ask(gate, acme.id, isolate), what === "as it is" ? "free@1" : "SNAPSHOT_UNAVAILABLE", what);
    assert.equal(await ask(gate, victim.id, isolate), "pro@1");
    await gate.kv.put(`tenant:${acme.id}`, own);
  }
});

test("issuer keys in KV are believed only with a seal", async () => {
  const [source, forger] = [await issuer(), await issuer()];
  after(() => Promise.all([source.stop(), forger.stop()]));
  const seed = {
    catalog: { version: 1, resolution: { strategies: [{ strategy: "jwt" }] }, issuers: { main: source.entry }, plans: { "free@1": {} } },
    tenants: [{ id: "t_acme", slug: "acme", plan: "free@1" }],
  };
  const gate = gates.issuers;
  assert.equal((await gate.admin("POST", "/import", seed)).status, 200);
  await gate.putIssuerKeys(source.url, [...forger.keys.values()].map(({ jwk }) => jwk));
  const status = async (from) => (await gate.send("/", { headers: { authorization: `Bearer ${await from.sign("t_acme", { iss: source.name })}` } })).status;
  assert.deepEqual([await status(forger), await status(source)], [401, 200]);
  assert.match(await gate.kv.get(`jwks:${source.url}`), /^eyJ/);
});

test("the system of record answers for entries of KV that have no seal", async () => {
  const { open: gate, sealing } = gates;
  await gate.admin("PUT", "/catalog", catalog);
  const { tenant } = (await gate.admin("POST", "/tenants", { name: "Acme", plan: "free@1" })).body;
  const [published, text] = [await gate.kv.get(`tenant:${tenant.id}`), await gate.kv.get("catalog")];
  assert(!published.startsWith("eyJ"));
  assert.equal((await sealing.admin("POST", "/import", { catalog: JSON.parse(text), tenants: [tenant] })).status, 200);
  await sealing.db.prepare("DELETE FROM publications").run();
  await sealing.kv.put(`tenant:${tenant.id}`, published);
  await sealing.kv.put("catalog", text);
  assert.equal(await ask(sealing, tenant.id), "free@1");
});

test("a snapshot key is rotated with an overlap in which both keys are trusted", async () => {
  // The new key seals, and the old one is still trusted.
  const gate = gates.rotated;
  assert.equal(await ask(gate, acme.id), "free@1");
  const fresh = (await gate.admin("GET", "/publications")).body.key;
  assert.notEqual(fresh.kid, jwk.kid);
  await gate.admin("POST", "/publications?all=true");
  while ((await gate.admin("POST", "/publications")).body.waiting > 0);
  // Everything has been sealed anew, so the new key alone is enough, and the old one alone is not.
  assert.equal(await ask(gates.secondEdge, acme.id), "free@1");
  assert.equal(await ask(gates.firstEdge, acme.id), "SNAPSHOT_UNAVAILABLE");
  // Without a key every entry of KV is believed, sealed or not; with a broken key, not a single
  // one.
  assert.equal(await ask(gates.keyless, acme.id), "free@1");
  assert.equal(await ask(gates.broken, acme.id), "SNAPSHOT_UNAVAILABLE");
});
