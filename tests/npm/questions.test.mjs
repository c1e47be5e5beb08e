// Questions about one tenant, by every gate of the package; gates for tests and behind the gateway.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { createRequire } from "node:module";
import { describe, test } from "node:test";
import { Hono } from "hono";
import { SignJWT } from "jose";
import { DocumentError, Gate, GateFailedError, InputError, TenantSuspendedError } from "../../pkg/node.js";
import { createTenantMiddleware, fromGateway, getCurrentTenant, handler, owned, requireFeature } from "../../pkg/middleware.js";
import { createTenantMiddleware as honoMiddleware, onError, requireFeature as honoFeature } from "../../pkg/hono.js";
import { Features, RemoteGate } from "../../pkg/remote.js";
import { testGate } from "../../pkg/testing.js";

const catalog = {
  version: 1,
  upgrade_url: "https://example.com/upgrade",
  resolution: { strategies: [{ strategy: "header" }] },
  features: { exports: {}, colour: { type: "string", default: "grey" }, size: { type: "number", default: 3 }, theme: { type: "json", default: { dark: true } } },
  limits: {
    calls: { kind: "quota", period: "month", default: 10 }, seats: { kind: "gauge", default: 3 }, pace: { kind: "rate", window_ms: 60_000, default: 5 },
    free: { kind: "quota", period: "month", default: "unlimited" },
  },
  plans: { "pro@1": { features: ["exports"] }, "free@1": {} },
};
const tenants = [
  { id: "t_acme", slug: "acme", plan: "pro@1" }, { id: "t_free", slug: "free", plan: "free@1" }, { id: "t_gone", slug: "gone", plan: "pro@1", status: "suspended" },
  { id: "t_team", slug: "team", parent: "t_acme", overrides: [{ limit: "calls", allowance: 4, reason: "a share" }] },
];

/** Every gate of the package, each before counters of its own. */
const GATES = {
  "a gate": () => new Gate(catalog, tenants),
  "a remote gate by HTTP": () => new RemoteGate({ service: testGate(catalog, tenants).service, token: "operator" }),
  "a remote gate by RPC": () => new RemoteGate({ service: testGate(catalog, tenants).service }),
};

for (const [name, make] of Object.entries(GATES)) {
  describe(`${name} answers questions about one tenant`, () => {
    test("`take` takes from all limits or from none, and `check` takes nothing", async () => {
      const gate = make();
      const { allowed, code, limits, tenant } = await gate.take("t_acme", { calls: 4, seats: 1 });
      assert.deepEqual([allowed, code, tenant], [true, "ALLOWED", { id: "t_acme", slug: "acme", plan: "pro@1", status: "active" }]);
      assert.deepEqual(limits.map(({ key, used, remaining }) => [key, used, remaining]).sort(), [["calls", 4, 6], ["seats", 1, 2]]);
      assert.equal((await gate.check("t_acme", { calls: 6 })).allowed, true);
      assert.equal((await gate.take("t_acme", { calls: 1, seats: 3 })).code, "QUOTA_EXCEEDED");
      const { calls, seats } = await gate.limits("t_acme");
      assert.deepEqual([calls.used, seats.used], [4, 1]);
      assert.equal((await gate.check("t_acme")).allowed, true);
      assert.equal((await gate.check("t_gone")).code, "TENANT_SUSPENDED");
    });

    test("`release` and `set` move gauges", async () => {
      const gate = make();
      await gate.set({ id: "t_acme" }, { seats: 3 });
      assert.equal((await gate.release({ id: "t_acme" }, { seats: 2 })).limits[0].used, 1);
    });

    test("`reserve` sets units aside until `settle` takes what was used", async () => {
      const gate = make();
      const { hold } = await gate.reserve("t_acme", { calls: 8 });
      assert.equal((await gate.take("t_acme", { calls: 3 })).allowed, false);
      await gate.settle("t_acme", hold, { calls: 2 });
      assert.equal((await gate.limits("t_acme")).calls.used, 2);
      const second = await gate.reserve("t_acme", { calls: 1 }, { id: "own", forMs: 5_000 });
      assert.deepEqual([second.hold.id, (await gate.reserve("t_acme", { calls: 1 }, { id: "own", forMs: 5_000 })).hold.id], ["own", "own"]);
    });

    test("`meter` counts beyond the limit, and each id once", async () => {
      const gate = make();
      for (const id of ["a", "a", "b"]) await gate.meter("t_acme", { calls: 7 }, { id });
      assert.equal((await gate.limits("t_acme")).calls.used, 14);
    });

    test("`limits` shows every limit, of a shared one the tightest", async () => {
      const gate = make();
      const { calls, seats, pace, free } = await gate.limits("t_team");
      assert.deepEqual([calls.limit, seats.limit, pace.limit, free.limit, free.remaining], [4, 3, 5, null, null]);
      await gate.take("t_acme", { calls: 9 });
      assert.deepEqual([(await gate.limits("t_team")).calls.remaining], [1]);
      await assert.rejects(async () => gate.limits("t_gone"), TenantSuspendedError);
    });

    test("mistakes of the program throw, and say what is wrong", async () => {
      const gate = make();
      const wrong = [
        [() => gate.take("t_acme", { cals: 1 }), DocumentError, /limits\.cals/], [() => gate.take("", { calls: 1 }), InputError, /tenant/],
        [() => gate.release("t_acme", { seats: 1.5 }), InputError, /whole number/], [() => gate.take("t_acme", { calls: -1 }), DocumentError, /calls/],
        [() => gate.meter("t_acme", { calls: 1 }, { idd: "x" }), InputError, /unknown option `idd`/], [() => gate.settle("t_acme", null), InputError, /hold/],
        [() => gate.take("t_acme", { calls: 1 }, { idempotencyKey: "with blanks" }), DocumentError, /idempotency_key/],
      ];
      for (const [run, kind, sentence] of wrong) await assert.rejects(async () => run(), (error) => error instanceof kind && sentence.test(error.message), String(run));
    });

    test("`features.get` returns the value, or the fallback for another type or an unknown key", async () => {
      const features = await make().features("t_acme");
      assert(features instanceof Features);
      assert.deepEqual([features.get("exports", false), features.get("colour", "red"), features.get("size", 1), features.get("theme", {})], [true, "grey", 3, { dark: true }]);
      assert.deepEqual([features.get("colour", 7), features.get("unknown", "x"), features.get("constructor", 1), features.get("exports").value], [7, "x", 1, true]);
    });
  });
}

test("a remote gate by RPC names the entrypoint when the binding leads elsewhere", async () => {
  const service = { fetch: async () => new Response(null), ask: async () => { throw new TypeError("The RPC receiver does not implement the method \"ask\"."); } };
  await assert.rejects(new RemoteGate({ service }).check("t_acme"), (error) => error instanceof GateFailedError && /TenantGate/.test(error.message));
  await assert.rejects(new RemoteGate({ service: { ...service, ask: () => new Promise(() => {}) }, timeoutMs: 20 }).check("t_acme"), GateFailedError);
  assert.throws(() => new RemoteGate({ service, token: undefined }), InputError);
  assert.throws(() => new RemoteGate({ service: undefined }), InputError);
});

test("`testGate` lives by its own clock, and follows changes of the catalog", async () => {
  let now = Date.parse("2026-01-31T23:59:59Z");
  const { gate, service } = testGate(catalog, tenants, { now: () => now });
  const remote = new RemoteGate({ service });
  assert.equal((await remote.take("t_acme", { calls: 10 })).allowed, true);
  assert.equal((await remote.take("t_acme", { calls: 1 })).allowed, false);
  now += 1_000;
  assert.equal((await remote.take("t_acme", { calls: 1 })).allowed, true);
  gate.putTenant({ id: "t_acme", slug: "acme", plan: "free@1", epoch: 1 });
  assert.equal((await remote.features("t_acme")).enabled("exports"), false);
});

describe("middleware sets the gate of the request", () => {
  const as = (slug) => ({ headers: { "x-tenant-id": slug } });

  test("in Hono, `c.get(\"gate\")` asks about the tenant, and `requireFeature` uses it", async () => {
    const app = new Hono();
    app.onError(onError);
    app.use(honoMiddleware({ gate: (c) => c.env.gate }));
    app.get("/exports", honoFeature("exports"), (c) => c.text("exported"));
    app.get("/calls", async (c) => c.json((await c.get("gate").take({ calls: 3 })).limits[0]));
    const env = { gate: new Gate(catalog, tenants) };
    assert.equal(await (await app.request("/exports", as("acme"), env)).text(), "exported");
    assert.equal((await (await app.request("/exports", as("free"), env)).json()).upgrade_url, "https://example.com/upgrade");
    assert.equal((await (await app.request("/calls", as("acme"), env)).json()).used, 3);
  });

  test("in handlers, `ctx.gate` does", async () => {
    const gate = new Gate(catalog, tenants);
    const serve = handler(async (_, ctx) => (await ctx.gate.take({ calls: 2 })).limits[0].used, { middleware: [createTenantMiddleware({ gate }), requireFeature("exports")] });
    assert.equal(await (await serve(new Request("https://x/", as("acme")))).json(), 2);
    const refused = await (await serve(new Request("https://x/", as("free")))).json();
    assert.equal(refused.error.details.upgrade_url, "https://example.com/upgrade");
  });
});

test("`owned` returns a row of the tenant, and has no other", async () => {
  const rows = { mine: { id: 1, tenant_id: "t_acme" }, other: { id: 2, tenant_id: "t_free" }, gone: null };
  const find = (id) => rows[id];
  const app = new Hono().use(honoMiddleware({ gate: new Gate(catalog, tenants) })).get("/rows/:id", (c) => c.json(owned(c, find(c.req.param("id")))));
  app.onError(onError);
  const answers = {};
  for (const id of ["mine", "other", "gone", "unknown"]) {
    const response = await app.request(`/rows/${id}`, { headers: { "x-tenant-id": "acme" } });
    answers[id] = [response.status, await response.json()];
  }
  const missing = { error: { code: "NOT_FOUND", message: "there is no such record", details: {} } };
  assert.deepEqual(answers, { mine: [200, rows.mine], other: [404, missing], gone: [404, missing], unknown: [404, missing] });
  const ctx = { tenant: { id: "t_acme" } };
  assert.equal(owned(ctx, { org: "t_acme" }, { column: "org" }).org, "t_acme");
  assert.throws(() => owned(ctx, { org: "t_acme" }), { code: "MISCONFIGURED", message: /`tenant_id`/ });
  assert.throws(() => owned({}, rows.mine), { code: "TENANT_NOT_FOUND" });
});

describe("`fromGateway`", () => {
  test("refuses a request without an assertion, and options that cannot work", async () => {
    const gate = fromGateway({ url: "https://gate.example.com", audience: "app", fetch: async () => Response.json({ keys: [] }) });
    const serve = handler((_, ctx) => getCurrentTenant(ctx).slug, { middleware: [createTenantMiddleware({ gate })] });
    for (const headers of [{}, { "x-tenant-assertion": "no.token.here" }, { "x-tenant-id": "acme" }]) {
      assert.equal((await serve(new Request("https://x/", { headers }))).status, 401);
    }
    for (const options of [{}, { audience: "app" }, { audience: "", url: "https://x" }, { audience: "app", url: "https://x", wrong: 1 }]) assert.throws(() => fromGateway(options), InputError);
    await assert.rejects(gate.take("t_acme", { calls: 1 }), { code: "MISCONFIGURED" });
  });

  test("has the features and limits of the assertion, and asks about others alone", async () => {
    const { publicKey, privateKey } = generateKeyPairSync("ed25519");
    const now = Math.floor(Date.now() / 1000);
    const answer = (value, enabled) => ({ value, enabled, tier: "plan", reason: "TARGETING_MATCH", rule: null, variant: null });
    const claims = {
      sub: "t_acme", slug: "acme", plan: "pro@1", credential: null, upgrade_url: "https://example.com/upgrade", features: { exports: answer(true, true), webhooks: answer(false, false) },
      limits: [{ key: "calls", kind: "quota", tenant: "t_acme", limit: 10, used: 1, remaining: 9, resets_at: null, shadow: false }],
    };
    const token = await new SignJWT(claims).setProtectedHeader({ alg: "EdDSA", typ: "tenant+jwt", kid: "k" })
      .setIssuer("tenantgate").setAudience("app").setIssuedAt(now).setExpirationTime(now + 60).sign(privateKey);
    const keys = [{ ...publicKey.export({ format: "jwk" }), kid: "k", alg: "EdDSA" }];
    const gate = fromGateway({ url: "https://gate.example.com", audience: "app", fetch: async () => Response.json({ keys }) });
    let decision;
    const serve = (feature, options) => handler((_, ctx) => (decision = ctx.decision, "served"), { middleware: [createTenantMiddleware({ gate }), requireFeature(feature, options)], logger: () => ({ error() {} }) })(
      new Request("https://x/", { headers: { "x-tenant-assertion": token } }));
    assert.equal((await serve("exports")).status, 200);
    assert.deepEqual(decision.limits, [{ key: "calls", limit: 10, used: 1, remaining: 9, reset_ms: 0 }]);
    const denied = await serve("webhooks");
    assert.deepEqual([denied.status, (await denied.json()).error.details.upgrade_url], [403, "https://example.com/upgrade"]);
    // The middleware's own gate makes no difference. Without a token, other questions to the gateway
    // are a mistake of the set-up.
    assert.equal((await serve("exports", { gate })).status, 200);
    assert.equal((await serve("unknown")).status, 500);
  });

  test("fails with 503 while it has no keys", async () => {
    const gate = fromGateway({ url: "https://gate.example.com", audience: "app", fetch: async () => new Response(null, { status: 502 }) });
    const serve = handler(() => "never", { middleware: [createTenantMiddleware({ gate })], logger: () => ({ error() {}, debug() {}, info() {}, warn() {} }) });
    assert.equal((await serve(new Request("https://x/", { headers: { "x-tenant-assertion": "a.b.c" } }))).status, 503);
  });

  test("fetches keys again after ten minutes, and for an unknown key at most every thirty seconds", async (t) => {
    t.mock.timers.enable({ apis: ["Date"], now: 1_800_000_000_000 });
    let fetched = 0;
    let reachable = true;
    const fetch = async () => (fetched++, reachable ? Response.json({ keys: [] }) : new Response(null, { status: 502 }));
    const gate = fromGateway({ url: "https://gate.example.com", audience: "app", fetch });
    const serve = handler(() => "never", { middleware: [createTenantMiddleware({ gate })] });
    const fetches = async (afterMs) => {
      t.mock.timers.tick(afterMs);
      const before = fetched;
      const { status } = await serve(new Request("https://x/", { headers: { "x-tenant-assertion": "a.b.c" } }));
      assert.equal(status, 401);
      return fetched - before;
    };
    const seen = [await fetches(0), await fetches(0), await fetches(29_999), await fetches(1), await fetches(0)];
    assert.deepEqual(seen, [1, 0, 0, 1, 0]);
    // While the gateway cannot be reached, the keys that are held serve, and the pause is the same.
    reachable = false;
    assert.deepEqual([await fetches(600_000), await fetches(0), await fetches(30_000)], [1, 0, 1]);
    reachable = true;
    assert.deepEqual([await fetches(30_000), await fetches(0)], [1, 0]);
  });
});

test("`tenantgate/remote` and `tenantgate/testing` work with `require`", () => {
  const require = createRequire(import.meta.url);
  const { RemoteGate: Remote } = require("../../pkg/cjs/remote.js");
  const { testGate: made } = require("../../pkg/cjs/testing.js");
  assert.equal(typeof new Remote({ service: made(catalog, tenants).service }).take, "function");
});
