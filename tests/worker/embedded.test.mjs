// The gate inside a Worker of a user's own: `tenantgate/workers` and `tenantgate/worker`. The suite
// `embedded` runs the vectors and the ledger's tests against such a Worker too.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { after, before, describe, test } from "node:test";
import { blocks } from "../docs/examples.mjs";
import { bundle } from "../support/embedded.mjs";
import { modules, workers } from "../support/harness.mjs";

const root = join(import.meta.dirname, "../..");
const folder = mkdtempSync(join(tmpdir(), "tenantgate-embedded-"));
after(() => rmSync(folder, { recursive: true, force: true }));
const built = (name, contents) => relative(root, bundle(join(folder, name), contents));

const seed = {
  catalog: {
    version: 7,
    upgrade_url: "https://example.com/upgrade",
    resolution: { strategies: [{ strategy: "header" }] },
    features: { exports: {}, beta: { default: false }, colour: { type: "string", default: "grey" } },
    routes: [{ path: "/api", limits: { calls: 1 } }, { path: "/strict", limits: { exact: 1 } }, { path: "/exports", feature: "exports" }],
    limits: {
      calls: { kind: "quota", period: "month", default: 1_000 }, exact: { kind: "quota", period: "month", mode: "strict", default: 50 },
      seats: { kind: "gauge", default: 5 }, tokens: { kind: "quota", period: "month", mode: "strict", default: 100 },
    },
    plans: { "pro@1": { features: { exports: true, colour: "blue" } }, "free@1": { limits: { seats: 1 } } },
  },
  tenants: [
    { id: "t_acme", slug: "acme", plan: "pro@1" }, { id: "t_free", slug: "free", plan: "free@1" },
    { id: "t_gone", slug: "gone", plan: "pro@1", status: "suspended" },
    ...["now", "words", "hono", "rpc", "share"].map((slug) => ({ id: `t_${slug}`, slug, plan: "pro@1" })),
  ],
};

/** Calls a method of the gate in the Worker: `POST /call` with `[method, ...arguments]`. */
const APP = `
import { edgeGate, Features, TenantgateError, TenantLedger } from "./workers.js";
export { TenantLedger };
export default {
  async fetch(request, env, ctx) {
    const url = new URL(request.url);
    try {
      const gate = edgeGate(env, ctx);
      if (url.pathname !== "/call") {
        const now = gate.decideNow(request);
        return Response.json({ now, decision: now ?? (await gate.decide(request)) });
      }
      const [method, ...args] = await request.json();
      const answer = await gate[method](...args);
      return Response.json(answer instanceof Features ? Object.fromEntries([...answer].map(([key, { value }]) => [key, value])) : answer);
    } catch (error) {
      const { name, code, message, details } = error;
      return Response.json({ error: { name, code, message, details } }, { status: error instanceof TenantgateError ? 400 : 500 });
    }
  },
};`;

/** One Worker with Hono: the gate's endpoints, the middleware, and the application. */
const ONE = `
import { Hono } from "hono";
import { gateway, onError, requireFeature, scheduled, TenantLedger, tenants } from "./worker.js";
export { TenantLedger };
const app = new Hono();
app.all("/_gate/*", gateway());
app.use(tenants());
app.onError(onError);
app.get("/exports", requireFeature("exports"), (c) => c.json(c.get("tenant")));
app.get("/beta", requireFeature("beta"), (c) => c.text("beta"));
app.get("/typo", requireFeature("expots"), (c) => c.text("never"));
app.post("/seats", async (c) => c.json(await c.get("gate").take({ seats: 1 })));
app.get("/features", async (c) => c.json(Object.fromEntries([...await c.get("gate").features()].map(([key, { value }]) => [key, value]))));
app.all("*", (c) => c.json({ slug: c.get("tenant").slug }));
export default { fetch: app.fetch, scheduled };`;

/** An application behind the gateway, which asks it by RPC. */
const BEHIND = `
import { Hono } from "hono";
import { createTenantMiddleware, onError } from "./hono.js";
import { fromGateway } from "./middleware.js";
import "./workerd.js";
let gate;
const app = new Hono();
app.onError(onError);
app.use(createTenantMiddleware({ gate: (c) => (gate ??= fromGateway({ service: c.env.GATE, audience: "behind" })) }));
app.get("/tokens", async (c) => c.json((await c.get("gate").take({ tokens: 5 })).limits[0]));
app.all("*", (c) => c.json(c.get("tenant")));
export default app;`;

const CALLER = `export default {
  async fetch(request, env) {
    const [method, ...args] = await request.json();
    try { return Response.json({ result: await env.GATE[method](...args) }); }
    catch (error) { return Response.json({ error: String(error) }); }
  },
};`;

const guideSeed = {
  catalog: {
    version: 1,
    resolution: { strategies: [{ strategy: "header" }] },
    features: { webhooks: {}, theme: { type: "string", default: "dark" } },
    routes: [{ path: "/", limits: { exports: 1 } }],
    limits: { exports: { kind: "quota", period: "month", default: 3 } },
    plans: { "pro@1": { features: ["webhooks"] } },
  },
  tenants: [{ id: "t_acme", slug: "acme", plan: "pro@1" }],
};

/** The Workers of the guide and of the README, as they stand there. */
const guide = ["docs/how-to/in-your-worker.md", "README.md"].flatMap(blocks).filter(({ file }) => file === "[worker.js]")
  .map(({ code }) => code.replaceAll(/"tenantgate\/(\w+)"/g, '"./$1.js"'));

let own, one, live, gateway, front, guides;
before(async () => {
  const caller = { name: "caller", modules: true, script: CALLER, compatibilityDate: "2026-11-01", serviceBindings: { GATE: { name: "gateway", entrypoint: "TenantGate" } } };
  const [app, hono, behind] = [built("app", APP), built("one", ONE), built("behind", BEHIND)];
  const bare = { name: "bare", modules: modules(app), modulesRoot: join(root, app), compatibilityDate: "2026-11-01" };
  ({ own, one, live, gateway, front, ...guides } = await workers({
    own: { seed, folder: app, isolates: 3, beside: [bare] },
    one: { seed, folder: hono },
    live: { control: true, folder: hono },
    gateway: { seed, folder: "build/test", beside: [caller] },
    front: {
      seed,
      folder: "build/test",
      bindings: { ASSERTION_KEY: generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" }), ASSERTION_AUDIENCE: "behind" },
      more: { serviceBindings: { UPSTREAM: "behind" } },
      beside: [{ name: "behind", modules: modules(behind), modulesRoot: join(root, behind), compatibilityDate: "2026-11-01", serviceBindings: { GATE: { name: "front", entrypoint: "TenantGate" } } }],
    },
    ...Object.fromEntries(guide.map((code, i) => [`guide${i}`, { seed: guideSeed, folder: built(`guide${i}`, code) }])),
  }));
});
after(() => own?.stop());

const many = (count, ask) => Promise.all(Array.from({ length: count }, (_, i) => ask(i)));
const json = async (response) => (await response).json();
const call = (method, ...args) => json(own.send("/call", { method: "POST", body: JSON.stringify([method, ...args]) }));
const as = (slug) => ({ headers: { "x-tenant-id": slug } });

describe("`edgeGate`", () => {
  test("`decideNow` returns null until it holds what it needs, and then decides without waiting", async () => {
    const first = await json(own.sendTo(0, "/api", as("now")));
    assert.deepEqual([first.now, first.decision.code, first.decision.limits[0].used], [null, "ALLOWED", 1]);
    const answers = [];
    for (let i = 2; i <= 20; i++) answers.push(await json(own.sendTo(0, "/api", as("now"))));
    assert(answers.filter(({ now }) => now !== null).length >= 15, "leases pay without waiting");
    assert.deepEqual(answers.map(({ decision }) => decision.limits[0].used), answers.map((_, i) => i + 2), "nothing is taken twice");
    assert.deepEqual(answers.at(-1).decision.tenant, { id: "t_now", slug: "now", plan: "pro@1", status: "active" });
  });

  test("a limit that the ledger counts is exact over all isolates", async () => {
    const answers = await many(90, (i) => own.sendTo(i % 3, "/strict", as("share")).then(json));
    assert.equal(answers.filter(({ now }) => now !== null).length, 0);
    assert.equal(answers.filter(({ decision }) => decision.allowed).length, 50);
    assert(answers.every(({ decision: { allowed, code } }) => allowed || code === "QUOTA_EXCEEDED"));
  });

  test("`take`, `check`, `release`, `reserve`, `settle`, `meter` and `limits` count as they say", async () => {
    const used = async () => { const { seats, tokens, exact } = await call("limits", "t_words"); return [seats.used, tokens.used, exact.used]; };
    assert.equal((await call("take", "t_words", { seats: 2, tokens: 10 })).allowed, true);
    assert.equal((await call("check", "t_words", { seats: 4 })).code, "QUOTA_EXCEEDED");
    assert.deepEqual(await used(), [2, 10, 0]);
    await call("release", { id: "t_words" }, { seats: 1 });
    await call("set", "t_words", { seats: 4 });
    const { hold } = await call("reserve", "t_words", { tokens: 50 });
    assert.deepEqual(await used(), [4, 60, 0]);
    await call("settle", "t_words", hold, { tokens: 5 });
    await call("meter", "t_words", { tokens: 200 }, { id: "past" });
    await call("meter", "t_words", { tokens: 200 }, { id: "past" });
    assert.deepEqual(await used(), [4, 215, 0]);
    const [first, again] = [await call("take", "t_words", { exact: 3 }, { idempotencyKey: "k" }), await call("take", "t_words", { exact: 3 }, { idempotencyKey: "k" })];
    assert.deepEqual([first.limits[0].used, again.limits[0].used], [3, 3]);
  });

  test("features have values, fallbacks and the reasons of denials", async () => {
    assert.deepEqual(await call("features", "t_acme"), { beta: false, colour: "blue", exports: true });
    assert.deepEqual(await call("features", "t_free"), { beta: false, colour: "grey", exports: false });
    assert.equal((await call("features", "t_gone")).error.code, "TENANT_SUSPENDED");
    assert.equal((await call("features", "t_nobody")).error.code, "TENANT_NOT_FOUND");
  });

  test("an unknown limit and a missing binding are named", async () => {
    const { error } = await call("take", "t_acme", { exprots: 1 });
    assert.deepEqual([error.code, /exprots/.test(error.message)], ["INVALID_DOCUMENT", true]);
    const missing = await json((await own.flare.getWorker("bare")).fetch("http://bare/"));
    assert.equal(missing.error.code, "MISCONFIGURED");
    assert.match(missing.error.message, /the binding `SNAPSHOTS` is missing: add "kv_namespaces": \[/);
  });
});

describe("one Worker with Hono", () => {
  const get = (path, slug = "hono", init = {}) => one.send(path, { ...as(slug), ...init });

  test("`gateway` answers the gate's own endpoints, and `tenants` the others", async () => {
    assert.equal((await json(get("/_gate/healthz"))).status, "ok");
    const asked = await one.decide({ tenant: "t_hono", limits: { exact: 1 } });
    assert.equal(asked.body.allowed, true);
    const response = await get("/api");
    assert.deepEqual([await response.json(), response.headers.has("ratelimit")], [{ slug: "hono" }, true]);
    assert.equal((await get("/api", "nobody")).status, 404);
    assert.equal((await get("/api", "gone")).status, 403);
    // The ledger is the same for both.
    assert.equal((await one.decide({ tenant: "t_hono", limits: { calls: 0 }, look: true })).body.limits[0].used, 1);
  });

  test("`requireFeature` asks the gate of the request, and names the catalog's page for upgrades", async () => {
    assert.equal((await json(get("/exports"))).slug, "hono");
    assert.deepEqual(await json(get("/beta")), { error: "Feature not available", feature: "beta", upgrade_url: "https://example.com/upgrade", current_plan: "pro@1" });
    const typo = await get("/typo");
    assert.deepEqual([typo.status, (await typo.json()).error.code], [500, "INTERNAL"]);
    assert(one.log.some((line) => line.includes("the catalog has no feature `expots`")), "the log says what is wrong");
  });

  test("`c.get(\"gate\")` asks about the current tenant", async () => {
    const codes = [];
    for (let i = 0; i < 2; i++) codes.push((await json(get("/seats", "free", { method: "POST" }))).code);
    assert.deepEqual(codes, ["ALLOWED", "QUOTA_EXCEEDED"]);
  });

  test("a change by its admin API holds for the next request, also one that renumbers features", async () => {
    const { catalog, tenants } = seed;
    assert.equal((await live.admin("POST", "/import", { catalog, tenants })).status, 200);
    const features = async () => json(live.send("/features", as("acme")));
    assert.deepEqual(await features(), { beta: false, colour: "blue", exports: true });
    const changed = { ...catalog, version: 8, features: { aaa: { default: true }, ...catalog.features } };
    assert.equal((await live.admin("PUT", "/catalog", changed)).status, 200);
    assert.deepEqual(await features(), { aaa: true, beta: false, colour: "blue", exports: true });
  });
});

describe("RPC", () => {
  const rpc = async (method, ...args) => {
    const caller = await gateway.flare.getWorker("caller");
    return json(caller.fetch("http://caller/", { method: "POST", body: JSON.stringify([method, ...args]) }));
  };

  test("another Worker decides, takes and reserves without HTTP or a token", async () => {
    const { result } = await rpc("decide", { host: "x", path: "/api", headers: { "x-tenant-id": "rpc" } });
    assert.deepEqual([result.allowed, result.tenant.id], [true, "t_rpc"]);
    assert.equal((await rpc("take", "t_rpc", { tokens: 7 })).result.limits[0].used, 7);
    const { result: { hold } } = await rpc("reserve", "t_rpc", { tokens: 20 });
    await rpc("settle", "t_rpc", hold, { tokens: 1 });
    assert.equal((await rpc("limits", "t_rpc")).result.tokens.used, 8);
    assert.equal((await rpc("features", "t_rpc")).result.colour.value, "blue");
    assert.match((await rpc("take", "t_rpc", { exprots: 1 })).error, /exprots/);
  });

  test("evaluations never throw: they return the default with the reason", async () => {
    const context = { tenant: "t_rpc", targetingKey: "user-1" };
    assert.equal((await rpc("getBooleanValue", "exports", false, context)).result, true);
    assert.equal((await rpc("getStringValue", "colour", "red", context)).result, "blue");
    assert.equal((await rpc("getNumberValue", "colour", 7, context)).result, 7);
    assert.equal((await rpc("getBooleanValue", "unknown", true, context)).result, true);
    assert.equal((await rpc("getBooleanValue", "exports", true, { tenant: "t_nobody" })).result, true);
    assert.equal((await rpc("getBooleanDetails", "exports", false, {})).result.errorCode, "INVALID_CONTEXT");
    assert.equal((await rpc("getBooleanDetails", "unknown", true, context)).result.errorCode, "FLAG_NOT_FOUND");
  });
});

test("an application behind the gateway believes its assertion, and asks it by RPC", async () => {
  const tenant = await json(front.send("/", as("acme")));
  assert.deepEqual(tenant, { id: "t_acme", slug: "acme", plan: "pro@1", status: "active", metadata: { plan: "pro@1" } });
  assert.deepEqual([(await json(front.send("/tokens", as("acme")))).used, (await json(front.send("/tokens", as("acme")))).used], [5, 10]);
  const behind = await front.flare.getWorker("behind");
  for (const headers of [{ "x-tenant-id": "t_acme" }, { "x-tenant-assertion": "a.b.c" }]) assert.equal((await behind.fetch("http://behind/", { headers })).status, 401);
});

test("the Workers of the guide and of the README do what is said", async () => {
  const { guide0: first, guide1: second, guide2: third } = guides;
  assert.deepEqual(await json(third.send("/", as("acme"))), { tenant: "acme" });
  assert.equal((await third.send("/", as("nobody"))).status, 404);
  const answers = [];
  for (let i = 0; i < 4; i++) answers.push(await json(first.send("/", as("acme"))));
  assert.deepEqual(answers[0], { slug: "acme", theme: "dark" });
  assert.equal(answers[3].error.code, "QUOTA_EXCEEDED");
  assert.deepEqual(await json(second.send("/api/tasks", as("acme"))), { tenant: "acme" });
  assert.deepEqual(await json(second.send("/api/webhooks", { ...as("acme"), method: "POST" })), { allowed: true });
  assert.equal((await json(second.send("/_gate/healthz"))).status, "ok");
});
