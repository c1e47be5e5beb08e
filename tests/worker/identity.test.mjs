// Credentials in a real set-up: an issuer over HTTP, KV, workerd, and an origin that shows what it
// receives.

import assert from "node:assert/strict";
import { generateKeyPairSync, sign } from "node:crypto";
import { after, describe, test } from "node:test";
import * as jose from "jose";
import { issueApiKey, verifyAssertion } from "../../pkg/node.js";
import { OPERATOR, workers } from "../support/harness.mjs";
import { AUDIENCE, issuer } from "../support/issuer.mjs";

const MINUTE = 60_000;
const bearer = (token) => ({ authorization: `Bearer ${token}` });
const code = async (response) => (await response.json()).error?.code ?? "ALLOWED";

const seed = (changes = {}, more = {}) => ({
  catalog: {
    version: 1,
    resolution: { strategies: [{ strategy: "jwt", cookie_name: "session" }, { strategy: "api_key" }, { strategy: "header" }] },
    routes: [{ path: "/write", scopes: ["api.write"] }, { path: "/keys", auth: "api_key" }, { path: "/public", access: "public" }],
    plans: { "free@1": {} },
    ...changes,
  },
  tenants: [{ id: "t_acme", slug: "acme", plan: "free@1" }, { id: "t_victim", slug: "victim", plan: "free@1" }],
  ...more,
});

// The keys of each issuer serve one test, so that it can count the requests for them.
const KEYS = ["shared", "elsewhere", "rotated", "down", "gone", "odd-0", "odd-1", "odd-2", "odd-3", "odd-4", "weak", "flooded", "main"];
const sources = Object.fromEntries(await Promise.all(KEYS.map(async (label) => [label, await issuer({ label })])));
const source = sources.main;
after(() => Promise.all(Object.values(sources).map(({ stop }) => stop())));
const keys = { live: issueApiKey({ tenant: "t_acme", scopes: ["api.read"] }), test: issueApiKey({ tenant: "t_acme", environment: "test" }) };
const key = keys.live;
const { privateKey } = generateKeyPairSync("ed25519");
const ASSERTS = { ASSERTION_KEY: privateKey.export({ type: "pkcs8", format: "pem" }), ASSERTION_AUDIENCE: "https://origin.example.com" };
const main = (changes) => seed({ issuers: { main: source.entry }, ...changes }, { api_keys: [keys.live.record, keys.test.record] });

const text = "a secret of thirty-two bytes or more";
const hmac = (secret, name) => new jose.SignJWT({ iss: "own", aud: AUDIENCE, tenant_id: "t_acme", exp: Math.floor(Date.now() / 1000) + 60 })
  .setProtectedHeader({ alg: "HS256" }).sign(new TextEncoder().encode(secret ?? name));
const own = (name) => seed({ issuers: { own: { issuer: "own", audience: [AUDIENCE], algorithms: ["HS256"], tenants: "all", keys: [{ secret: name }] } } });

// Responds with the headers that it was sent.
const origin = `export default { async fetch(request) { return Response.json(Object.fromEntries(request.headers)); } }`;

/** Secrets that must verify nothing, with the bindings that the Worker has. */
const REFUSED_SECRETS = { missing: ["JWT_SECRET", {}], short: ["JWT_SECRET", { JWT_SECRET: "short" }], operator: ["OPERATOR_TOKEN", {}], proxy: ["PROXY_SECRET", { PROXY_SECRET: text }] };

const gates = await workers({
  keys: { seed: seed({ issuers: Object.fromEntries(KEYS.map((label) => [label, sources[label].entry])) }, { api_keys: [keys.live.record] }) },
  // This test has its own gate, because refused tokens have a budget.
  flooded: { seed: seed({ issuers: { main: sources.flooded.entry } }) },
  told: { seed: main() },
  testing: { seed: main(), bindings: { ENVIRONMENT: "test" } },
  secret: { seed: own("JWT_SECRET"), bindings: { JWT_SECRET: text } },
  ...Object.fromEntries(Object.entries(REFUSED_SECRETS).map(([name, [secret, bindings]]) => [name, { seed: own(secret), bindings }])),
  before: { seed: main(), origin, bindings: ASSERTS },
  forwards: { seed: main({ resolution: { strategies: [{ strategy: "jwt", cookie_name: "session", forward: true }, { strategy: "api_key" }] } }), origin, bindings: ASSERTS },
  tells: {
    seed: main({
      features: { exports: {}, colour: { type: "string", default: "grey" }, other: {} },
      limits: { calls: { kind: "quota", period: "month", default: 10 } },
      routes: [{ path: "/", limits: { calls: 1 } }],
      origin: { assertion: { features: ["exports", "colour", "other"], limits: true } },
      upgrade_url: "https://example.com/upgrade",
      plans: { "free@1": { features: ["exports"] } },
    }),
    origin, bindings: ASSERTS,
  },
  tellsMuch: {
    seed: main({
      features: Object.fromEntries(["a", "b", "c"].map((key) => [key, { type: "string", default: "x".repeat(1_900) }])),
      origin: { assertion: { features: ["a", "b", "c"] } },
    }),
    origin, bindings: ASSERTS,
  },
  unsigned: { seed: main(), origin, bindings: { ASSERTION_KEY: "no key" } },
});
after(() => gates.keys.stop());

describe("issuer keys", () => {
  const gate = gates.keys;
  const call = async (token) => gate.send("/", { headers: bearer(token) });
  const inKv = (source, ageMs, on = gate) => on.putIssuerKeys(source.url, [...source.keys.values()].map(({ jwk }) => jwk), ageMs);

  test("issuer keys are fetched once for many requests, and stored in KV for other isolates", async () => {
    const source = sources.shared;
    let go;
    source.state.wait = new Promise((resolve) => { go = resolve; });
    const token = await source.sign("t_acme");
    const calls = Array.from({ length: 50 }, () => call(token));
    while (!source.state.requests) await new Promise(setImmediate);
    go();
    assert.deepEqual([...new Set((await Promise.all(calls)).map(({ status }) => status))], [200]);
    assert.equal(source.state.requests, 1);
    const kept = JSON.parse(await gate.kv.get(`jwks:${source.url}`));
    assert.deepEqual(kept.jwks.keys.map(({ kid }) => kid), ["k1"]);
    assert(Math.abs(Date.now() - kept.fetched_at) < MINUTE);
  });

  test("issuer keys that another isolate stored in KV serve without a request to the issuer", async () => {
    const source = sources.elsewhere;
    await inKv(source, MINUTE);
    assert.equal((await call(await source.sign("t_acme"))).status, 200);
    assert.equal(source.state.requests, 0);
  });

  test("tokens with invented key ids cause only one request to the issuer", async () => {
    const source = sources.flooded;
    const gate = gates.flooded;
    const call = async (token) => gate.send("/", { headers: bearer(token) });
    await inKv(source, MINUTE, gate);
    assert.equal((await call(await source.sign("t_acme"))).status, 200);
    const [head, claims, signature] = (await source.sign("t_victim")).split(".");
    const header = JSON.parse(Buffer.from(head, "base64url"));
    const invented = (kid) => [Buffer.from(JSON.stringify({ ...header, kid })).toString("base64url"), claims, signature].join(".");
    for (let round = 0; round < 20; round++) {
      const answers = await Promise.all(Array.from({ length: 100 }, (_, i) => call(invented(`${round}-${i}`))));
      assert.deepEqual([...new Set(answers.map(({ status }) => status))], [401]);
    }
    assert.equal(source.state.requests, 1);
  });

  test("the first token signed by a new key makes the gate fetch the issuer keys again", async () => {
    const source = sources.rotated;
    await inKv(source, MINUTE);
    await source.add("k2");
    const token = await source.sign("t_acme", {}, { kid: "k2", key: source.keys.get("k2").privateKey });
    assert.equal((await call(token)).status, 200);
    assert.equal(source.state.requests, 1);
  });

  test("issuer keys serve for a day while the issuer is down, and no longer", async () => {
    const { down, gone } = sources;
    down.state.status = gone.state.status = 500;
    await inKv(down, 23 * 60 * MINUTE);
    assert.equal((await call(await down.sign("t_acme"))).status, 200);
    const saysWhy = (line) => line.includes(down.url) && line.includes("the issuer answered 500");
    assert(gate.log.some(saysWhy), gate.log.join("\n"));

    await inKv(gone, 25 * 60 * MINUTE);
    const token = await gone.sign("t_acme");
    const refused = await call(token);
    assert.equal(refused.status, 503);
    assert.equal(refused.headers.get("retry-after"), "5");
    assert.equal(await code(refused), "ISSUER_UNAVAILABLE");
    const id = refused.headers.get("x-request-id");
    assert(gate.log.some((line) => line.includes('"event":"failed"') && line.includes(`"request_id":"${id}"`) && line.includes('"code":"ISSUER_UNAVAILABLE"')), "the log has the failure under its id");
    assert.equal((await gate.send("/", { headers: { "x-api-key": keys.live.key } })).status, 200, "a request that needs no issuer is served");
    gone.state.status = 200;
    assert.equal((await call(token)).status, 503, "the issuer is not asked again at once");
  });

  for (const [index, [what, state]] of [
    ["a redirect", { status: 302, headers: { location: "https://attacker.example/keys" } }],
    ["more than 128 KiB", { body: JSON.stringify({ keys: [], padding: "x".repeat(200_000) }) }],
    ["text that is not JSON", { body: "<html>" }],
    ["JSON that is not a set of keys", { body: "[]" }],
    ["a server error", { status: 503 }],
  ].entries()) {
    test(`issuer keys are unavailable if the issuer responds with ${what}`, async () => {
      const source = sources[`odd-${index}`];
      Object.assign(source.state, state);
      assert.equal(await code(await call(await source.sign("t_acme"))), "ISSUER_UNAVAILABLE");
      assert(gate.log.some((line) => line.includes(source.url)), gate.log.join("\n"));
    });
  }

  test("weak and ambiguous issuer keys are ignored, and the log says so", async () => {
    const source = sources.weak;
    const { length } = gate.log;
    const { publicKey, privateKey } = generateKeyPairSync("rsa", { modulusLength: 1024 });
    const weak = { ...publicKey.export({ format: "jwk" }), kid: "weak", alg: "RS256" };
    const good = source.keys.get("k1").jwk;
    source.state.body = JSON.stringify({ keys: [weak, { ...good, kid: "enc", use: "enc" }, { ...good, kid: "twin" }, { ...good, kid: "twin" }, good] });
    assert.equal((await call(await source.sign("t_acme"))).status, 200);
    for (const kid of ["enc", "twin"]) assert.equal((await call(await source.sign("t_acme", {}, { kid }))).status, 401, kid);
    // Signed by the weak key itself, as whoever has factored it would.
    const [, payload] = (await source.sign("t_acme")).split(".");
    const signed = `${Buffer.from(JSON.stringify({ alg: "RS256", kid: "weak" })).toString("base64url")}.${payload}`;
    assert.equal((await call(`${signed}.${sign("sha256", Buffer.from(signed), privateKey).toString("base64url")}`)).status, 401, "weak");
    assert(gate.log.slice(length).filter((line) => line.includes("is ignored")).length >= 3, gate.log.join("\n"));
  });
});

describe("what callers and the operator learn about credentials", () => {
  const gate = gates.told;

  test("a caller without a credential learns which ones the route accepts", async () => {
    const response = await gate.send("/");
    assert.equal(response.status, 401);
    assert.equal(response.headers.get("www-authenticate"), 'Bearer realm="tenantgate", ApiKey realm="tenantgate"');
    assert.equal(await code(response), "UNAUTHENTICATED");
    assert.equal((await gate.send("/keys")).headers.get("www-authenticate"), 'ApiKey realm="tenantgate"');
  });

  test("a caller with a bad token does not learn why it is bad; the log says why, without the token", async () => {
    const token = await source.sign("t_acme", { exp: 1_000_000_000, secret_claim: "do-not-log" });
    const bodies = [];
    for (const bad of [token, `${token.slice(0, -10)}AAAAAAAAAA`, "x.y.z", "x"]) {
      const response = await gate.send("/", { headers: bearer(bad) });
      assert.equal(response.status, 401);
      assert.match(response.headers.get("www-authenticate"), /^Bearer realm="tenantgate", error="invalid_token"/);
      bodies.push(await response.text());
    }
    assert.equal(new Set(bodies).size, 1, "all refusals look the same");
    const denied = gate.log.filter((line) => line.includes('"denied"')).map((line) => JSON.parse(line));
    assert(denied.some(({ code, reason, path }) => code === "UNAUTHENTICATED" && reason === "the token has expired" && path === "/"));
    assert(denied.some(({ reason }) => reason === "the token does not have three parts"));
    for (const part of token.split(".")) assert(!gate.log.some((line) => line.includes(part)));
    assert(!gate.log.some((line) => line.includes("do-not-log")));
  });

  test("a caller without the required scope learns which one it needs", async () => {
    for (const headers of [bearer(await source.sign("t_acme", { scope: "api.read" })), { "x-api-key": keys.live.key }]) {
      const response = await gate.send("/write", { headers });
      assert.equal(response.status, 403);
      assert.match(response.headers.get("www-authenticate"), /error="insufficient_scope", scope="api.write"/);
      assert.equal(await code(response), "INSUFFICIENT_SCOPE");
    }
    assert.equal((await gate.send("/write", { headers: bearer(await source.sign("t_acme", { scope: "api.read api.write" })) })).status, 200);
  });

  test("a missing credential is reported as problem+json if the client asks for it", async () => {
    const response = await gate.send("/", { headers: { accept: "application/problem+json" } });
    assert.equal(response.headers.get("content-type"), "application/problem+json");
    assert.equal((await response.json()).type, "urn:tenantgate:error:UNAUTHENTICATED");
    assert.match(response.headers.get("www-authenticate"), /^Bearer/);
  });

  test("a decision describes the caller's credential without anything secret", async () => {
    const response = await gate.send("/", { headers: { "x-api-key": keys.live.key } });
    const decision = await response.json();
    assert.deepEqual(decision.credential, { kind: "api_key", from: "header", key: keys.live.record.id, tenant: "t_acme", scopes: ["api.read"] });
    const token = await (await gate.send("/", { headers: bearer(await source.sign("t_acme", { scope: "a b" })) })).json();
    assert.deepEqual(token.credential, { kind: "jwt", from: "header", issuer: "main", subject: "user-1", tenant: "t_acme", scopes: ["a", "b"] });
  });

  test("the trace for the operator ends at the credential stage if the token is refused", async () => {
    const response = await gate.send("/", { headers: { ...bearer("x.y.z"), "x-gate-explain": OPERATOR } });
    const { trace } = await response.json();
    assert.equal(trace.at(-1).stage, "credential");
    assert.equal(trace.at(-1).passed, false);
  });

  test("test keys work only where `ENVIRONMENT` is `test`, and live keys only elsewhere", async () => {
    const { testing } = gates;
    const status = async (where, key) => (await where.send("/", { headers: { "x-api-key": key } })).status;
    assert.deepEqual([await status(testing, keys.test.key), await status(testing, keys.live.key)], [200, 401]);
    assert.deepEqual([await status(gate, keys.test.key), await status(gate, keys.live.key)], [401, 200]);
  });
});

describe("secrets", () => {
  test("a secret of the Worker verifies tokens that were signed with it, and no others", async () => {
    const gate = gates.secret;
    assert.equal((await gate.send("/", { headers: bearer(await hmac(text)) })).status, 200);
    assert.equal((await gate.send("/", { headers: bearer(await hmac("another secret of thirty-two bytes")) })).status, 401);
  });

  test("secrets that are missing, too short or the gate's own verify nothing", async () => {
    for (const [name, [secret, bindings]] of Object.entries(REFUSED_SECRETS)) {
      const token = await hmac(bindings[secret] ?? OPERATOR);
      assert.equal(await code(await gates[name].send("/", { headers: bearer(token) })), "ISSUER_UNAVAILABLE", name);
    }
  });
});

describe("in front of an origin", () => {
  const gate = gates.before;
  const seen = async (where, headers, path = "/") => {
    const response = await where.send(path, { headers });
    assert.equal(response.status, 200);
    return response.json();
  };

  test("credentials stay with the gate, and other headers and cookies reach the origin", async () => {
    const token = await source.sign("t_acme");
    const byToken = await seen(gate, { ...bearer(token), cookie: `theme=dark; session=${token}; lang=en`, "x-request-id": "7" });
    assert.equal(byToken.authorization, undefined);
    assert.equal(byToken.cookie, "theme=dark; lang=en");
    assert.equal(byToken["x-request-id"], "7");
    const byKey = await seen(gate, { "x-api-key": key.key, "x_api_key": key.key, cookie: "session=; a=b" });
    assert(!JSON.stringify(byKey).includes(key.key));
    assert.equal(byKey.cookie, "a=b");
  });

  test("an `Authorization` header of another scheme reaches the origin", async () => {
    const headers = { authorization: "Basic eDp5", "x-api-key": key.key };
    assert.equal((await seen(gate, headers)).authorization, "Basic eDp5");
  });

  test("with `forward: true` the token reaches the origin", async () => {
    const open = gates.forwards;
    const token = await source.sign("t_acme");
    assert.equal((await seen(open, bearer(token))).authorization, `Bearer ${token}`);
    assert.equal((await seen(open, { cookie: `session=${token}` })).cookie, `session=${token}`);
  });

  test("the origin can verify the assertion of the tenant by itself", async () => {
    const headers = await seen(gate, { ...bearer(await source.sign("t_acme")), "x-tenant-assertion": "e30.e30.AA" });
    const assertion = headers["x-tenant-assertion"];
    const keys = await (await gate.send("/_gate/jwks.json")).json();
    // First with a library that knows nothing of the gate.
    const { payload, protectedHeader } = await jose.jwtVerify(assertion, jose.createLocalJWKSet(keys), { issuer: "tenantgate", audience: "https://origin.example.com", typ: "tenant+jwt", requiredClaims: ["exp"] });
    assert.equal(protectedHeader.alg, "EdDSA");
    assert.equal(payload.sub, "t_acme");
    assert.deepEqual(payload.credential, { kind: "jwt", from: "header", issuer: "main", subject: "user-1", tenant: "t_acme", scopes: [] });
    assert(payload.exp - payload.iat <= 60);
    // Then with the package's helper.
    const good = { keys, audience: "https://origin.example.com" };
    assert.equal(verifyAssertion(assertion, good).sub, "t_acme");
    const [head, claims, signature] = assertion.split(".");
    const forged = Buffer.from(JSON.stringify({ ...payload, sub: "t_victim" })).toString("base64url");
    const { publicKey } = generateKeyPairSync("ed25519");
    const foreign = { keys: [{ ...publicKey.export({ format: "jwk" }), kid: keys.keys[0].kid }] };
    for (const [what, token, how] of [
      ["forged", `${head}.${forged}.${signature}`, good], ["for another origin", assertion, { ...good, audience: "https://other.example.com" }],
      ["late", assertion, { ...good, now: Date.now() + 61_000 }], ["by another key", assertion, { ...good, keys: foreign }],
      ["a token of the issuer", await source.sign("t_acme"), { ...good, keys: { keys: [source.keys.get("k1").jwk] } }],
      ["absent", undefined, good], ["empty", "", good], ["unsigned", `${head}.${claims}.`, good],
    ]) {
      assert.throws(() => verifyAssertion(token, how), (error) => error instanceof Error && error.message.length > 10, what);
    }
  });

  test("a request to a public route has no assertion and no tenant header, even if the client sends them", async () => {
    const headers = await seen(gate, { "x-tenant-assertion": "e30.e30.AA", "x-tenant-id": "acme" }, "/public");
    assert.deepEqual(Object.keys(headers).filter((name) => name.startsWith("x-tenant")), []);
  });

  test("each caller has an assertion of its own, for its own tenant", async () => {
    const read = async (headers) => jose.decodeJwt((await seen(gate, headers))["x-tenant-assertion"]);
    const [a, b, c] = [
      await read(bearer(await source.sign("t_acme", { sub: "alice" }))), await read(bearer(await source.sign("t_acme", { sub: "bob" }))),
      await read({ "x-api-key": key.key }),
    ];
    assert.deepEqual([a.credential.subject, b.credential.subject, c.credential.key], ["alice", "bob", key.record.id]);
    assert.equal((await read(bearer(await source.sign("t_victim")))).sub, "t_victim");
  });

  test("an assertion has the features and limits that the catalog asks for", async () => {
    const read = async () => jose.decodeJwt((await seen(gates.tells, { "x-api-key": key.key }))["x-tenant-assertion"]);
    const first = await read();
    assert.deepEqual(Object.keys(first.features), ["colour", "exports", "other"]);
    assert.deepEqual([first.features.other.enabled, first.upgrade_url], [false, "https://example.com/upgrade"]);
    assert.deepEqual([first.features.colour.value, first.features.exports.enabled, first.features.exports.tier], ["grey", true, "plan"]);
    assert.deepEqual(first.limits.map(({ key, limit, used, remaining }) => [key, limit, used, remaining]), [["calls", 10, 1, 9]]);
    // The limits are those of this very request.
    assert.equal((await read()).limits[0].used, 2);
  });

  test("an assertion leaves out features that are too large for a header", async () => {
    const { sub, features } = jose.decodeJwt((await seen(gates.tellsMuch, { "x-api-key": key.key }))["x-tenant-assertion"]);
    assert.deepEqual([sub, features], ["t_acme", undefined]);
  });

  test("an invalid `ASSERTION_KEY` is logged, and the origin receives no assertion", async () => {
    const without = gates.unsigned;
    assert.equal((await seen(without, { "x-api-key": key.key }))["x-tenant-assertion"], undefined);
    assert(without.log.some((line) => line.includes("ASSERTION_KEY")));
    assert.deepEqual(await (await without.send("/_gate/jwks.json")).json(), { keys: [] });
  });
});
