// What the gate exposes to the outside: to callers with unknown secrets, issuers, resolvers and
// browsers.

import assert from "node:assert/strict";
import { createHash, generateKeyPairSync, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { brotliCompressSync, crc32, gzipSync } from "node:zlib";
import * as jose from "jose";
import { COMPATIBILITY_DATE, OPERATOR, workers } from "../support/harness.mjs";
import { AUDIENCE } from "../support/issuer.mjs";
import { serve } from "../support/server.mjs";
import { until } from "../support/wait.mjs";

const licenceKey = () => generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" });
const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/** A well-formed secret that nobody has issued. */
const madeUp = (prefix) => {
  const body = prefix + [...randomBytes(48)].map((byte) => ALPHABET[byte % 62]).join("");
  let [rest, sum] = [crc32(body), ""];
  for (let i = 0; i < 6; i++, rest = Math.floor(rest / 62)) sum = ALPHABET[rest % 62] + sum;
  return body + sum;
};

// The page that `/_gate/ui` serves, and the responses of issuers.
const html = readFileSync(join(import.meta.dirname, "../../www/index.html"), "utf8");
const assets = `export default { fetch: (request) => new URL(request.url).pathname === "/"
  ? new Response(${JSON.stringify(html)}, { headers: { "content-type": "text/html", "cache-control": "public, max-age=600" } })
  : new Response(null, { status: 404 }) };`;
const seen = new Map();
const KIB = 1_024;
const pair = await jose.generateKeyPair("ES256", { extractable: true });
const jwk = { ...(await jose.exportJWK(pair.publicKey)), kid: "k1", alg: "ES256", use: "sig" };
const padded = (bytes) => {
  const empty = JSON.stringify({ keys: [jwk], pad: "" });
  return JSON.stringify({ keys: [jwk], pad: "x".repeat(bytes - empty.length) });
};
const small = padded(500);
const answers = {
  "/plain": [{}, small],
  "/gzip": [{ "content-encoding": "gzip" }, gzipSync(small)],
  "/br": [{ "content-encoding": "br" }, brotliCompressSync(small)],
  "/bomb": [{ "content-encoding": "gzip" }, gzipSync(Buffer.alloc(256 << 20, 0x20), { level: 1 })],
  "/full": [{}, padded(128 * KIB)],
  "/full-chunked": [{ chunked: true }, padded(128 * KIB)],
  "/long": [{}, padded(128 * KIB + 1)],
  "/long-chunked": [{ chunked: true }, padded(128 * KIB + 1)],
  "/endless": [{ chunked: true, endless: true }, small],
};
const server = await serve(async (request, response) => {
  seen.set(request.url, request.headers["accept-encoding"]);
  const [{ chunked, endless, ...headers }, body] = answers[request.url];
  const more = chunked ? {} : { "content-length": Buffer.byteLength(body) };
  response.writeHead(200, { "content-type": "application/json", ...headers, ...more });
  if (!endless) return response.end(body);
  let sent = 0;
  response.on("close", () => seen.set(`${request.url} bytes`, sent));
  const piece = " ".repeat(16 * KIB);
  const send = () => {
    while (!response.destroyed && sent < 512 << 20) {
      sent += piece.length;
      if (!response.write(piece)) return response.once("drain", send);
    }
    response.end();
  };
  send();
});
after(() => server.stop());
const issuerEntry = (path) => ({
  issuer: `https://${path.slice(1)}.id.example.com`, audience: [AUDIENCE], algorithms: ["ES256"], tenants: "all",
  jwks_url: `${server.url}${path}`,
});
const resolver = `let seen; export default { fetch(request) {
  if (new URL(request.url).pathname === "/seen") return Response.json(seen);
  seen = Object.fromEntries(request.headers);
  return Response.json({ tenant: request.headers.get("x-org") ?? "acme" });
} };`;
const origin = `export default { fetch: (request) => new Response(request.headers.get("x-tenant-id"), { headers: {
  "cache-control": "public, max-age=60, s-maxage=600", "cdn-cache-control": "max-age=600", "surrogate-control": "max-age=600",
  vary: "accept-language",
} }) };`;
const acme = { id: "t_acme", slug: "acme", plan: "pro@1" };
const catalog = (more) => ({ version: 1, plans: { "pro@1": {} }, ...more });
/** A gate with the custom strategy. */
const custom = (options) => ({
  resolver, origin,
  seed: {
    catalog: catalog({ resolution: { strategies: [{ strategy: "custom", ...options }] } }),
    tenants: [acme, { id: "t_victim", slug: "victim", plan: "pro@1" }],
  },
});
const gates = await workers({
  strangers: { control: true, bindings: { LICENCE_KEY: licenceKey() } },
  feed: { control: true, isolates: 3 },
  issuers: {
    seed: {
      catalog: catalog({
        resolution: { strategies: [{ strategy: "jwt" }] },
        issuers: Object.fromEntries(Object.keys(answers).map((path) => [path.slice(1), issuerEntry(path)])),
      }),
      tenants: [acme],
    },
  },
  page: {
    seed: { catalog: catalog({ resolution: { strategies: [{ strategy: "subdomain", base_domains: ["app.example.com"] }] } }), tenants: [acme] },
    bindings: { UI_HOST: "console.example.net" },
    more: { serviceBindings: { ASSETS: "assets" } },
    beside: [{ name: "assets", modules: true, script: assets, compatibilityDate: COMPATIBILITY_DATE }],
  },
  licences: { control: true, bindings: { LICENCE_KEY: licenceKey() } },
  any: custom({}),
  named: custom({ vary: ["X-Org", "x-team"] }),
  none: custom({ vary: [] }),
});
after(() => gates.strangers.stop());

describe("callers with unknown secrets", () => {
  const gate = gates.strangers;
  let acme;
  before(async () => {
    await gate.admin("PUT", "/catalog", { version: 1, resolution: { strategies: [{ strategy: "api_key" }] }, plans: { "pro@1": {} } });
    acme = (await gate.admin("POST", "/tenants", { name: "Acme", plan: "pro@1" })).body.tenant;
  });
  const friend = "192.0.2.1";
  const post = (path, body, ip) => gate.send(path, { method: "POST", body: JSON.stringify(body), headers: { "cf-connecting-ip": ip } });
  const impersonate = async () => (await gate.admin("POST", `/tenants/${acme.id}/impersonate`, { reason: "x" })).body.ticket;
  /**
   * Each endpoint's secrets, how it is called, and its status for an unknown and for a good secret.
   */
  const doors = {
    tickets: {
      prefix: "tg_tick_", unknown: 401, good: 201, secret: impersonate, again: false,
      ask: (ticket, ip) => post("/_gate/v1/tickets", { ticket }, ip),
    },
    licences: {
      prefix: "tg_lice_", unknown: 200, good: 200, again: true,
      secret: async () => (await gate.admin("POST", `/tenants/${acme.id}/licences`, {})).body.key,
      ask: (key, ip) => post("/_gate/v1/licences/validate", { key }, ip),
    },
    "deactivations": {
      prefix: "tg_lice_", unknown: 200, good: 200, again: true,
      secret: async () => (await gate.admin("POST", `/tenants/${acme.id}/licences`, {})).body.key,
      ask: (key, ip) => post("/_gate/v1/licences/deactivate", { key, instance: "i1" }, ip),
    },
    "admin tokens": {
      prefix: "tg_admn_", unknown: 401, good: 200, again: true,
      secret: async () => (await gate.admin("POST", "/tokens", { name: "x", permissions: ["tenants:read"] })).body.token,
      ask: (token, ip) => gate.send("/_gate/v1/admin/tenants", { headers: { authorization: `Bearer ${token}`, "cf-connecting-ip": ip } }),
    },
  };

  for (const [index, [name, { prefix, unknown, good, again, secret, ask }]] of Object.entries(doors).entries()) {
    const stranger = `192.0.2.${100 + index}`;
    test(`an address that guesses secrets is rate-limited, and nobody else is: ${name}`, async () => {
      const known = await secret();
      // A secret that was good once is not counted, however often it is used.
      if (again) {
        assert.equal((await ask(known, friend)).status, good);
        const many = await Promise.all(Array.from({ length: 100 }, () => ask(known, friend)));
        assert.deepEqual([...new Set(many.map(({ status }) => status))], [good]);
      }
      const answers = [];
      for (let i = 0; i < 60; i++) {
        const response = await ask(madeUp(prefix), stranger);
        // The body is read at once, because Node's fetch ends a body that nobody reads.
        answers.push({ status: response.status, headers: response.headers, text: await response.text() });
      }
      const said = answers.map(({ status }) => status);
      const first = said.indexOf(429);
      assert(first >= 20 && first <= 59, `the first refused request is number ${first}`);
      assert.deepEqual([...new Set(said)].sort(), [unknown, 429].sort());
      const refused = answers[first];
      assert.match(refused.headers.get("retry-after"), /^[1-9]\d*$/);
      assert.equal(JSON.parse(refused.text).error.code, "RATE_LIMITED");
      // Meanwhile other addresses are served, and so is the operator from this one.
      assert.equal((await ask(await secret(), friend)).status, good);
      const operator = { authorization: `Bearer ${OPERATOR}`, "cf-connecting-ip": stranger };
      assert.equal((await gate.send("/_gate/v1/admin/tenants", { headers: operator })).status, 200);
      // After a while this address is served again.
      await until(async () => (await ask(await secret(), stranger)).status === good, "the address is served again", { everyMs: 50 });
    });
  }

  test("a caller with a revoked admin token is rate-limited, even if the token worked before", async () => {
    const { id, token } = (await gate.admin("POST", "/tokens", { name: "x", permissions: ["tenants:read"] })).body;
    const ask = async () => (await doors["admin tokens"].ask(token, "192.0.2.200")).status;
    assert.equal(await ask(), 200);
    assert.equal((await gate.admin("DELETE", `/tokens/${id}`)).status, 200);
    const said = [];
    for (let i = 0; i < 60; i++) said.push(await ask());
    assert.deepEqual([...new Set(said)], [401, 429]);
  });

  const refusals = (answers) => answers.filter(({ status }) => status === 429).length;

  for (const name of ["licences", "admin tokens"]) {
    test(`guesses from many addresses share a limit, and secrets known to be good still work: ${name}`, async () => {
      const { prefix, secret, ask, good, unknown } = doors[name];
      const known = await secret();
      assert.equal((await ask(known, friend)).status, good);
      const answers = await Promise.all(Array.from({ length: 600 }, (_, i) => ask(madeUp(prefix), `198.51.100.${i % 200}`)));
      const again = await Promise.all(Array.from({ length: 20 }, () => ask(known, friend)));
      assert.deepEqual([...new Set(again.map(({ status }) => status))], [good]);
      assert.equal((await gate.admin("GET", "/tenants")).status, 200);
      assert.equal(answers.filter(({ status }) => status === unknown).length, 600 - refusals(answers));
      // The other requests fit into the burst of all addresses and what it regained meanwhile.
      assert(refusals(answers) >= 100, `${refusals(answers)} of 600 are refused`);
    });
  }

  for (const name of ["tickets", "licences", "admin tokens"]) {
    test(`guesses made all at once are limited like guesses made one by one: ${name}`, async () => {
      const { prefix, ask } = doors[name];
      const answers = await Promise.all(Array.from({ length: 200 }, () => ask(madeUp(prefix), `203.0.113.${name.length}`)));
      // The other requests fit into the burst of one address and what it regained meanwhile.
      assert(refusals(answers) >= 120, `${refusals(answers)} of 200 are refused`);
    });
  }
});

describe("the feed", () => {
  const gate = gates.feed;
  let victim;
  const catalog = {
    version: 1, resolution: { strategies: [{ strategy: "api_key" }, { strategy: "subdomain", base_domains: ["app.example.com"] }] },
    plans: { "pro@1": {} }, routes: [{ path: "/open", auth: "none" }],
  };
  before(async () => {
    await gate.admin("PUT", "/catalog", catalog);
    victim = (await gate.admin("POST", "/tenants", { slug: "victim", plan: "pro@1" })).body.tenant;
    for (let i = 0; i < 8; i++) {
      await gate.putTenant({ id: `t_kv${i}`, slug: `kv${i}`, plan: "pro@1", epoch: 1 });
    }
  });
  const ask = async (isolate, slug) => (await gate.sendTo(isolate, "/open", { host: `${slug}.app.example.com` })).status;

  test("a flood of changes makes no isolate lose records that only KV has", async () => {
    assert.deepEqual([await ask(1, "victim"), await ask(1, "kv0")], [200, 200]);
    const flood = async (done) => {
      const insert = gate.db.prepare("INSERT INTO publications (key, epoch, at, done_at) VALUES (?, 1, ?, ?)");
      const now = Date.now();
      for (let i = 0; i < 600; i += 100) {
        const key = () => `key:${randomBytes(8).toString("hex")}`;
        await gate.db.batch(Array.from({ length: 100 }, () => insert.bind(key(), now, done ? now : null)));
      }
    };
    await flood(true);
    // Once the isolate has seen a later change, which takes no longer than the bound, it has read
    // them all.
    const since = Date.now();
    assert.equal((await gate.admin("POST", `/tenants/${victim.id}/suspend`)).status, 200);
    await until(async () => (await ask(1, "victim")) !== 200, "the suspension is seen", { ms: 12_000 });
    assert(Date.now() - since < 12_000);
    assert.deepEqual([await ask(1, "kv0"), await ask(1, "kv1"), await ask(1, "kv2")], [200, 200, 200]);
    // The same holds for an isolate that starts now.
    assert.deepEqual([await ask(2, "kv3"), await ask(2, "kv0")], [200, 200]);
    assert.notEqual(await ask(2, "victim"), 200);
    assert.equal(await ask(2, "kv4"), 200);
  });

  test("deleting a tenant adds only its record and slug to the feed, however many API keys it had", async () => {
    const made = (await gate.admin("POST", "/tenants", { slug: "acme", plan: "pro@1" })).body;
    const keys = [made.api_key];
    for (let i = 0; i < 3; i++) keys.push((await gate.admin("POST", `/tenants/${made.tenant.id}/api-keys`, {})).body.key);
    const insert = gate.db.prepare("INSERT INTO api_keys (id, tenant, epoch, record, created_at) VALUES (?, ?, 1, ?, 1)");
    await gate.db.batch(Array.from({ length: 60 }, () => {
      const id = randomBytes(8).toString("hex");
      const record = { id, tenant: made.tenant.id, hash: "ab".repeat(32), epoch: 1, created_at: "2026-01-01T00:00:00Z" };
      return insert.bind(id, made.tenant.id, JSON.stringify(record));
    }));
    const status = async (isolate, key) => (await gate.sendTo(isolate, "/", { headers: { "x-api-key": key } })).status;
    for (const isolate of [0, 1, 2]) for (const key of keys) assert.equal(await status(isolate, key), 200);
    const { last } = await gate.db.prepare("SELECT max(number) AS last FROM publications").first();
    assert.equal((await gate.admin("DELETE", `/tenants/${made.tenant.id}`)).status, 200);
    const { results } = await gate.db.prepare("SELECT key, anew FROM publications WHERE number > ?").bind(last).all();
    // Isolates read only the changes of the record and of the slug.
    const read = results.filter(({ anew }) => !anew).map(({ key }) => key);
    assert.deepEqual(read.sort(), [`slug:acme`, `tenant:${made.tenant.id}`]);
    for (const isolate of [0, 1, 2]) {
      // The isolate may still hold the keys, but no longer the tenant.
      for (const key of keys) await until(async () => (await status(isolate, key)) !== 200, `isolate ${isolate} refuses the keys`, { ms: 12_000 });
      for (const key of keys) assert.match(String(await status(isolate, key)), /^40[14]$/);
    }
    // In time the keys are revoked in KV as well.
    await until(async () => {
      await gate.tick();
      const ended = await Promise.all(keys.map(async (key) => JSON.parse(await gate.kv.get(`key:${key.slice(8, 24)}`)).revoked_at));
      return ended.every(Boolean);
    }, "the keys are revoked in KV");
  });
});

describe("issuer keys", () => {
  const gate = gates.issuers;
  const call = async (name) => {
    const now = Math.floor(Date.now() / 1_000);
    const claims = { iss: `https://${name}.id.example.com`, aud: AUDIENCE, sub: "user-1", tenant_id: "t_acme", iat: now, exp: now + 600 };
    const token = await new jose.SignJWT(claims).setProtectedHeader({ alg: "ES256", kid: "k1", typ: "JWT" }).sign(pair.privateKey);
    const response = await gate.send("/", { headers: { authorization: `Bearer ${token}` } });
    return response.status === 200 ? "ALLOWED" : (await response.json()).error.code;
  };
  const logged = (name) => gate.log.filter((line) => line.includes(`/${name}\``)).join("\n");

  test("issuer keys are fetched without compression and accepted up to 128 KiB", async () => {
    for (const name of ["plain", "full", "full-chunked"]) assert.equal(await call(name), "ALLOWED", `${name}: ${logged(name)}`);
    assert.equal(seen.get("/plain"), "identity");
  });

  test("compressed issuer keys are refused, and not decompressed", async () => {
    for (const name of ["gzip", "br"]) {
      assert.equal(await call(name), "ISSUER_UNAVAILABLE", name);
      await until(() => logged(name).includes("the response is compressed"), "the log says why");
    }
    const since = performance.now();
    assert.equal(await call("bomb"), "ISSUER_UNAVAILABLE");
    assert(performance.now() - since < 2_000, `${performance.now() - since} ms`);
    await until(() => logged("bomb").includes("the response is compressed"), "the log says why");
  });

  test("issuer keys of more than 128 KiB are refused, with or without a declared length", async () => {
    for (const name of ["long", "long-chunked"]) {
      assert.equal(await call(name), "ISSUER_UNAVAILABLE", name);
      await until(() => logged(name).includes("the response is too large"), "the log says why");
    }
  });

  test("the gate stops reading issuer keys that do not end", async () => {
    assert.equal(await call("endless"), "ISSUER_UNAVAILABLE");
    const sent = await until(() => seen.get("/endless bytes"), "the connection is closed");
    // Far more than 128 KiB may be in the buffers of the runtime and of the network.
    assert(sent < 64 << 20, `${sent} bytes`);
  });
});

describe("the gate's own page", () => {
  const gate = gates.page;
  const get = (host, init) => gate.sendTo(0, "/_gate/ui", { host, ...init });

  test("the page `/_gate/ui` is served only on local hosts and on `UI_HOST`", async () => {
    for (const host of ["localhost", "localhost:8787", "127.0.0.1:8787", "console.example.net"]) {
      const response = await get(host);
      assert.deepEqual([response.status, await response.text()], [200, html], host);
      assert.equal(response.headers.get("cache-control"), "no-store");
    }
    for (const host of [
      "acme.app.example.com", "app.example.com", "localhost.example.com", "evil.localhost", "example.com", "console.example.net.example",
    ]) assert.equal((await get(host)).status, 404, host);
    for (const method of ["POST", "PUT", "DELETE"]) assert.equal((await get("localhost", { method })).status, 404, method);
  });

  test("the path of the book redirects to one with a slash, and only on hosts that serve `/_gate/ui`", async () => {
    const book = (host) => gate.sendTo(0, "/_gate/docs", { host, redirect: "manual" });
    const response = await book("localhost");
    assert.deepEqual([response.status, response.headers.get("location")], [308, "/_gate/docs/"]);
    assert.equal((await book("acme.app.example.com")).status, 404);
  });

  test("the page `/_gate/ui` runs only its own scripts and styles, and cannot be framed", async () => {
    const { headers } = await get("localhost");
    const policy = new Map(headers.get("content-security-policy").split(";").map((part) => part.trim().split(/\s+(.*)/s).slice(0, 2)));
    const digest = (text) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
    const inline = (tag) => [...html.matchAll(new RegExp(`<${tag}\\b[^>]*>(.*?)</${tag}>`, "gs"))].map(([, text]) => digest(text));
    const [scripts, styles] = [inline("script"), inline("style")];
    assert(scripts.length && styles.length);
    assert.equal(policy.get("script-src"), scripts.join(" "));
    assert.equal(policy.get("style-src"), styles.join(" "));
    for (const name of ["default-src", "frame-ancestors", "base-uri", "form-action"]) assert.equal(policy.get(name), "'none'", name);
    assert.equal(policy.get("connect-src"), "'self'");
    // The page itself loads nothing else either.
    assert.doesNotMatch(html, /<script[^>]+src=|<link|\son\w+=|\sstyle=|javascript:/i);
    const others = ["x-frame-options", "x-content-type-options", "referrer-policy"].map((name) => headers.get(name));
    assert.deepEqual(others, ["DENY", "nosniff", "no-referrer"]);
  });
});

describe("activations of a licence", () => {
  const gate = gates.licences;
  let acme;
  before(async () => {
    await gate.admin("PUT", "/catalog", { version: 1, resolution: { strategies: [{ strategy: "header" }] }, plans: { "pro@1": {} } });
    acme = (await gate.admin("POST", "/tenants", { name: "Acme", plan: "pro@1" })).body.tenant;
  });
  const issue = async (terms) => (await gate.admin("POST", `/tenants/${acme.id}/licences`, { max_activations: 1, ...terms })).body;
  const ask = async (path, body) => (await gate.send(`/_gate/v1/licences/${path}`, { method: "POST", body: JSON.stringify(body) })).json();
  const validate = (key, instance) => ask("validate", { key, instance });
  const deactivate = (key, instance) => ask("deactivate", { key, instance });

  test("an ended activation frees its place when its last offline token expires, not before", async () => {
    const { key } = await issue({ offline_ms: 4_000 });
    const first = await validate(key, "i0");
    assert.equal(first.code, "VALID");
    const ended = await deactivate(key, "i0");
    assert.deepEqual(ended, { deactivated: true, free_at: first.offline.until });
    for (let i = 1; i < 5; i++) {
      assert.deepEqual(await validate(key, `i${i}`), { valid: false, code: "ACTIVATIONS_EXCEEDED" });
      assert.deepEqual(await deactivate(key, `i${i}`), { deactivated: false, free_at: null });
    }
    const next = await until(async () => {
      const answer = await validate(key, "i1");
      return answer.valid && answer;
    }, "the place is free");
    assert(Date.now() >= Date.parse(ended.free_at), "the place was free before the token had expired");
    assert.equal(next.activations.used, 1);
    // The instance that had the place now has no claim to it.
    assert.equal((await validate(key, "i0")).code, "ACTIVATIONS_EXCEEDED");
  });

  test("an instance can reclaim its place, and the token that expires last determines when it is free", async () => {
    const { key, id } = await issue({ offline_ms: 3_600_000 });
    const first = await validate(key, "i0");
    assert.equal((await deactivate(key, "i0")).free_at, first.offline.until);
    const back = await validate(key, "i0");
    assert.equal(back.code, "VALID");
    // A shorter `offline_ms` does not shorten tokens that were already signed.
    await gate.admin("PATCH", `/tenants/${acme.id}/licences/${id}`, { offline_ms: 0 });
    assert.equal((await validate(key, "i0")).offline, null);
    assert.equal((await deactivate(key, "i0")).free_at, back.offline.until);
    assert.equal((await validate(key, "i1")).code, "ACTIVATIONS_EXCEEDED");
    const { items } = (await gate.admin("GET", `/tenants/${acme.id}/licences`)).body;
    assert.equal(items.find((one) => one.id === id).activations, 0);
  });

  test("a place is held until its newest token expires, even if the limit is lowered meanwhile", async () => {
    const { key, id } = await issue({ offline_ms: 3_600_000, max_activations: 2 });
    for (const instance of ["i0", "i1"]) assert.equal((await validate(key, instance)).code, "VALID");
    await gate.admin("PATCH", `/tenants/${acme.id}/licences/${id}`, { max_activations: 1, offline_ms: 7_200_000 });
    const again = await validate(key, "i0");
    assert.deepEqual([again.code, again.activations], ["VALID", { used: 2, limit: 1 }]);
    assert.equal((await deactivate(key, "i0")).free_at, again.offline.until);
    assert.equal((await validate(key, "i2")).code, "ACTIVATIONS_EXCEEDED");
  });

  test("an ended activation without an offline token frees its place at once", async () => {
    const { key } = await issue({ offline_ms: 0 });
    for (let i = 0; i < 5; i++) {
      assert.deepEqual((await validate(key, `i${i}`)).activations, { used: 1, limit: 1 });
      assert.equal((await validate(key, "other")).code, "ACTIVATIONS_EXCEEDED");
      assert.deepEqual(await deactivate(key, `i${i}`), { deactivated: true, free_at: null });
    }
  });
});

describe("the custom strategy and shared caches", () => {
  const headers = { "x-org": "victim", "x-team": "red", cookie: "session=secret", authorization: "Basic eDp5", accept: "text/html" };
  const seenBy = async (gate) => (await gate.askResolver("/seen")).json();
  const vary = (response) => response.headers.get("vary").split(",").map((name) => name.trim().toLowerCase()).sort();

  test("without `vary` the resolver sees every header, and shared caches may not keep the response", async () => {
    const gate = gates.any;
    const response = await gate.send("/", { headers });
    assert.equal(await response.text(), "t_victim");
    assert.equal(response.headers.get("cache-control"), "private, max-age=60");
    assert.deepEqual([response.headers.get("cdn-cache-control"), response.headers.get("surrogate-control")], [null, null]);
    assert.deepEqual(vary(response), ["accept-language"]);
    assert.equal((await seenBy(gate)).cookie, "session=secret");
  });

  test("with `vary` the resolver sees only the named headers, and the response varies by them", async () => {
    const gate = gates.named;
    const response = await gate.send("/", { headers });
    assert.equal(await response.text(), "t_victim");
    assert.equal(response.headers.get("cache-control"), "public, max-age=60, s-maxage=600");
    assert.deepEqual(vary(response), ["accept-language", "x-org", "x-team"]);
    const seen = await seenBy(gate);
    assert.deepEqual([seen["x-org"], seen["x-team"]], ["victim", "red"]);
    for (const name of ["cookie", "authorization", "accept", "cf-connecting-ip"]) assert.equal(seen[name], undefined, name);
    // A header that the client does not send is not made up.
    assert.equal(await (await gate.send("/", { headers: { cookie: "x=y" } })).text(), "t_acme");
    const none = await seenBy(gate);
    assert.deepEqual([none["x-org"], none["x-team"], none.cookie], [undefined, undefined, undefined]);
  });

  test("with an empty `vary` the URL alone names the tenant, and shared caches may keep the response", async () => {
    const gate = gates.none;
    const response = await gate.send("/", { headers });
    assert.equal(await response.text(), "t_acme");
    assert.equal(response.headers.get("cache-control"), "public, max-age=60, s-maxage=600");
    assert.deepEqual(vary(response), ["accept-language"]);
  });
});
