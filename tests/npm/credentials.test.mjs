// API keys, tokens and assertions in the npm package.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as jose from "jose";
import { DocumentError, Gate, issueApiKey, publish, verifyAssertion } from "../../pkg/node.js";

const URL_OF_KEYS = "https://id.example.com/keys";
const catalog = {
  version: 1,
  resolution: { strategies: [{ strategy: "jwt" }, { strategy: "api_key" }] },
  issuers: {
    main: { issuer: "main", audience: ["api"], algorithms: ["ES256"], tenants: "all", jwks_url: URL_OF_KEYS },
    own: { issuer: "own", audience: ["api"], algorithms: ["HS256"], tenants: "all", keys: [{ secret: "JWT_SECRET" }] },
  },
  plans: { "pro@1": {} },
};
const tenants = [{ id: "t_acme", slug: "acme", plan: "pro@1" }];
const secret = "a secret of thirty-two bytes or more";
const at = (headers) => ({ path: "/", headers });
const exp = Math.floor(Date.now() / 1000) + 600;
const pathsOf = (run) => {
  try {
    run();
  } catch (error) {
    assert(error instanceof DocumentError, String(error));
    return error.problems.map(({ path }) => path);
  }
  return assert.fail("no error was thrown");
};

describe("API keys", () => {
  test("an issued API key identifies its tenant until a later record revokes it", () => {
    const { key, record } = issueApiKey({ tenant: "t_acme", scopes: ["api.read"], name: "build server", expires_at: "2100-01-01T00:00:00Z" });
    assert.match(key, /^tg_live_[0-9A-Za-z]{54}$/);
    assert(!JSON.stringify(record).includes(key.slice(24, 56)), "the record does not contain the secret");
    assert.equal(record.name, "build server");
    const gate = new Gate(catalog, tenants, { apiKeys: [record] });
    const { allowed, credential } = gate.decide(at({ "x-api-key": key }));
    assert(allowed);
    assert.deepEqual(credential, { kind: "api_key", from: "header", key: record.id, tenant: "t_acme", scopes: ["api.read"] });
    const entries = new Map(publish({ catalog, tenants, api_keys: [record] }));
    assert.deepEqual(JSON.parse(entries.get(`key:${record.id}`)), record);

    // A later record revokes the key, and an earlier record does not restore it.
    gate.putApiKey({ ...record, revoked_at: "2026-01-01T00:00:00Z", epoch: 2 });
    assert.equal(gate.decide(at({ "x-api-key": key })).code, "UNAUTHENTICATED");
    assert.throws(() => gate.putApiKey(record), /older/);
  });

  test("`issueApiKey` returns a different API key each time", () => {
    const keys = new Set(Array.from({ length: 100 }, () => issueApiKey({ tenant: "t_acme" }).key));
    assert.equal(keys.size, 100);
  });

  test("`issueApiKey`, `Gate` and `publish` refuse invalid API keys and report each problem", () => {
    assert.throws(() => issueApiKey({}), /tenant/);
    assert.throws(() => issueApiKey(), /object/);
    assert.throws(() => issueApiKey({ tenant: "not a tenant" }), /tenant/);
    assert.throws(() => issueApiKey({ tenant: "t_acme", environment: "prod" }), /`live` nor `test`/);
    assert.throws(() => issueApiKey({ tenant: "t_acme", environment: 5 }), /`live` nor `test`/);
    assert.deepEqual(pathsOf(() => issueApiKey({ tenant: "t_acme", scope: ["api.read"], expires_at: "soon" })), ["$.scope", "$.expires_at"]);
    assert.deepEqual(pathsOf(() => new Gate(catalog, tenants, { apiKeys: [{ id: "x" }] })).includes("$.id"), true);
    const { record } = issueApiKey({ tenant: "t_acme" });
    assert.deepEqual(pathsOf(() => publish({ catalog, tenants, api_keys: [record, record] })), ["$.api_keys[1].id"]);
    assert.deepEqual(pathsOf(() => publish({ catalog, tenants, api_keys: [{ ...record, tenant: "t_nobody" }] })), ["$.api_keys[0].tenant"]);
  });

  test("an API key is valid only in its environment", () => {
    const { key, record } = issueApiKey({ tenant: "t_acme", environment: "test" });
    const code = (environment) => new Gate(catalog, tenants, { apiKeys: [record], environment }).decide(at({ "x-api-key": key })).code;
    assert.deepEqual([code("test"), code("live"), code(undefined)], ["ALLOWED", "UNAUTHENTICATED", "UNAUTHENTICATED"]);
    assert.throws(() => code("prod"), /`live` nor `test`/);
  });
});

describe("tokens", () => {
  test("a token is verified with the issuer keys that `putKeys` received last", async () => {
    const { publicKey, privateKey } = await jose.generateKeyPair("ES256");
    const token = await new jose.SignJWT({ iss: "main", aud: "api", sub: "alice", tenant_id: "t_acme", exp }).setProtectedHeader({ alg: "ES256", kid: "k" }).sign(privateKey);
    const headers = { authorization: `Bearer ${token}` };
    const gate = new Gate(catalog, tenants);
    assert.equal(gate.decide(at(headers)).code, "ISSUER_UNAVAILABLE");
    gate.putKeys(URL_OF_KEYS, { keys: [{ ...(await jose.exportJWK(publicKey)), kid: "k" }] });
    assert.deepEqual(gate.decide(at(headers)).credential, { kind: "jwt", from: "header", issuer: "main", subject: "alice", tenant: "t_acme", scopes: [] });
    assert.equal(gate.decide(at(headers), { now: (exp + 31) * 1000 }).code, "UNAUTHENTICATED");
    gate.putKeys(URL_OF_KEYS, { keys: [] });
    assert.equal(gate.decide(at(headers)).code, "UNAUTHENTICATED");
    assert.deepEqual(pathsOf(() => gate.putKeys(URL_OF_KEYS, "{")), ["$"]);
    assert.deepEqual(pathsOf(() => gate.putKeys(URL_OF_KEYS, [])), ["$"]);
  });

  test("a token is verified with the secret that its issuer names", async () => {
    const token = await new jose.SignJWT({ iss: "own", aud: "api", tenant_id: "t_acme", exp }).setProtectedHeader({ alg: "HS256" }).sign(new TextEncoder().encode(secret));
    const code = (secrets) => new Gate(catalog, tenants, { secrets }).decide(at({ authorization: `Bearer ${token}` })).code;
    assert.deepEqual([code({ JWT_SECRET: secret }), code({ JWT_SECRET: `${secret}!` }), code({ JWT_SECRET: "short" }), code({})],
      ["ALLOWED", "UNAUTHENTICATED", "ISSUER_UNAVAILABLE", "ISSUER_UNAVAILABLE"]);
  });
});

test("`verifyAssertion` refuses an invalid assertion as UNAUTHENTICATED, and reports invalid keys", () => {
  for (const assertion of [null, undefined, "", "x.y.z"]) {
    assert.throws(() => verifyAssertion(assertion, { keys: { keys: [] }, audience: "origin" }), (error) => error.status === 401 && error.code === "UNAUTHENTICATED" && error.cause instanceof Error);
  }
  assert.deepEqual(pathsOf(() => verifyAssertion("x.y.z", { keys: "", audience: "origin" })), ["$"]);
});
