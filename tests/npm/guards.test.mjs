// Regression tests of the middleware: requests it let through, data it disclosed, slots it kept.

import assert from "node:assert/strict";
import { once } from "node:events";
import { after, describe, test } from "node:test";
import express from "express";
import { Hono } from "hono";
import { FeatureClient } from "../../pkg/client/node.js";
import * as forExpress from "../../pkg/express.js";
import * as forHono from "../../pkg/hono.js";
import {
  ConfigurationError, InputError, checkQuotas, configure, createQuotaMiddleware, createTenantMiddleware, handler, requireFeature,
} from "../../pkg/middleware.js";
import { Gate } from "../../pkg/node.js";
import { serve as serveHttp } from "../support/server.mjs";
import { until } from "../support/wait.mjs";

const tenants = { acme: { id: "acme", slug: "acme" }, victim: { id: "victim", slug: "victim" } };
const lookupTenant = (id) => tenants[id] ?? null;
const silent = () => ({ debug() {}, info() {}, warn() {}, error() {} });
const serving = (config, options = {}) =>
  handler((body, ctx) => ({ tenant: ctx.tenant.id }), { middleware: [createTenantMiddleware({ config, lookupTenant })], logger: silent, ...options });
const ask = async (serve, headers = {}, url = "https://example.com/") => {
  const response = await serve(new Request(url, { headers }));
  return [response.status, await response.json()];
};
const code = async (...asked) => (await ask(...asked))[1].error?.code ?? "ALLOWED";

describe("middleware from a configuration", () => {
  test("`custom_domain` beside `subdomain` requires `baseDomains`", () => {
    const config = { resolution: ["subdomain", "custom_domain"], domainLookup: () => "acme" };
    assert.throws(() => createTenantMiddleware({ config, lookupTenant }), ConfigurationError);
    createTenantMiddleware({ config: { ...config, baseDomains: ["app.example.com"] }, lookupTenant });
  });

  test("an unknown option of the configuration is refused", () => {
    assert.throws(() => createTenantMiddleware({ config: { resolution: "subdomain", base_domains: ["app.example.com"] }, lookupTenant }), /unknown option `base_domains`/);
  });

  test("a credential strategy requires a valid credential; an optional one must still be valid", async () => {
    const verifyToken = (token) => { if (token !== "good") throw new Error("bad"); return { tenant_id: "acme", scope: "api.read" }; };
    const needed = serving({ resolution: ["header", "jwt"], verifyToken });
    assert.equal(await code(needed, { "x-tenant-id": "victim" }), "UNAUTHENTICATED");
    assert.equal(await code(needed, { "x-tenant-id": "victim", authorization: "Bearer good" }), "TENANT_MISMATCH");
    assert.equal(await code(needed, { "x-tenant-id": "acme", authorization: "Bearer good" }), "ALLOWED");
    const first = serving({ resolution: ["header", "jwt"], mode: "first", credentials: "optional", verifyToken });
    assert.equal(await code(first, { "x-tenant-id": "acme" }), "ALLOWED");
    assert.equal(await code(first, { "x-tenant-id": "acme", authorization: "Bearer junk" }), "UNAUTHENTICATED");
  });

  test("a lookup that returns a tenant with another id finds no tenant, and an unknown status is inactive", async () => {
    const mixed = (name) => [{ id: "x9", slug: "acme" }, { id: "acme", slug: "other" }].find(({ id, slug }) => id === name || slug === name);
    const byId = handler((body, ctx) => ctx.tenant.id, { middleware: [createTenantMiddleware({ config: { resolution: "header" }, lookupTenant: mixed })], logger: silent });
    assert.equal(await code(byId, { "x-tenant-id": "acme" }), "TENANT_NOT_FOUND");
    for (const status of ["Suspended", "disabled", "banned"]) {
      const serve = handler(() => "served", { middleware: [createTenantMiddleware({ config: { resolution: "header" }, lookupTenant: () => ({ id: "acme", status }) })], logger: silent });
      assert.equal(await code(serve, { "x-tenant-id": "acme" }), "TENANT_INACTIVE", status);
    }
  });

  test("scopes are compared as whole words, in a string or in a list", async () => {
    const keys = { text: "reports.readonly non-admin", good: "admin  reports.read", list: ["admin", "reports.read"] };
    const serve = serving({ resolution: "api_key", apiKeyLookup: (key) => ({ id: "acme", scopes: keys[key] }) }, { scopes: ["admin", "reports.read"] });
    assert.deepEqual(await Promise.all(Object.keys(keys).map((key) => code(serve, { "x-api-key": key }))), ["INSUFFICIENT_SCOPE", "ALLOWED", "ALLOWED"]);
  });

  test("an authenticated caller of one tenant is refused for another", async (t) => {
    t.after(() => configure());
    configure({ authenticate: () => ({ tenant: "acme", scopes: ["admin"] }) });
    const serve = serving({ resolution: "header" }, { scopes: ["admin"] });
    assert.equal(await code(serve, { "x-tenant-id": "victim" }), "TENANT_MISMATCH");
    assert.equal(await code(serve, { "x-tenant-id": "acme" }), "ALLOWED");
  });

  test("a custom resolver that returns anything but a string fails with RESOLVER_FAILED", async () => {
    for (const said of [42, {}, ["acme"]]) assert.equal(await code(serving({ resolution: "custom", customResolver: () => said })), "RESOLVER_FAILED");
  });
});

test("`checkQuotas` refuses a negative or fractional cost", async () => {
  for (const cost of [-100, 0.5, NaN]) await assert.rejects(checkQuotas("acme", { calls: 10 }, () => 50, { cost }), InputError);
});

test("an invalid result of `checkUsage` is an internal error, not the caller's mistake", async () => {
  const serve = handler(() => "served", { middleware: [createTenantMiddleware({ config: { resolution: "header" }, lookupTenant: () => ({ id: "acme", quotas: { calls: 5 } }) }), createQuotaMiddleware({ quotaKey: "calls", checkUsage: () => NaN })], logger: silent });
  assert.deepEqual(await ask(serve, { "x-tenant-id": "acme" }), [500, { error: { code: "INTERNAL", message: "something went wrong", details: {} } }]);
});

test("a body longer than `maxBodyBytes` is refused with 413", async () => {
  const serve = handler((body) => body, { maxBodyBytes: 10, logger: silent });
  const post = async (body) => (await serve(new Request("https://example.com/", { method: "POST", body, headers: { "content-type": "application/json" } }))).status;
  assert.deepEqual([await post('{"a": 1}'), await post('{"a": "longer"}')], [200, 413]);
});

const catalog = {
  version: 1,
  resolution: { strategies: [{ strategy: "header" }] },
  features: { beta: { rules: [{ name: "half", when: [{ attribute: "targeting_key", op: "eq", value: "user-1" }], value: true }] } },
  routes: [{ path: "/", limits: { slots: 1, calls: 1 } }],
  limits: { slots: { kind: "concurrency", max_duration_ms: 60_000 }, calls: { kind: "quota", period: "month" } },
  plans: { "p@1": { limits: { slots: 1, calls: 1_000 } } },
};
const open = () => new Gate(catalog, [{ id: "acme", slug: "acme", plan: "p@1" }]);
const free = (gate) => gate.ask({ tenant: "acme", limits: { slots: 1 }, look: true }).decision.allowed;
const headers = { "x-tenant-id": "acme" };

describe("slots", () => {
  test("`decide` returns the hold of a slot, so that the application can release the slot", () => {
    const gate = open();
    const { hold } = gate.decide({ path: "/", headers });
    assert.deepEqual([typeof hold.id, free(gate)], ["string", false]);
    gate.ask({ tenant: "acme", settle: hold.id });
    assert.deepEqual([free(gate), gate.decide({ path: "/", headers }, { look: true }).hold], [true, null]);
  });

  test("a slot is released if the handler's response cannot be sent", async () => {
    for (const broken of [async () => { const read = new Response("x"); await read.text(); return read; }, () => Response.error()]) {
      const gate = open();
      const serve = handler(broken, { middleware: [createTenantMiddleware({ gate })], logger: silent });
      const response = await serve(new Request("https://example.com/", { headers }));
      assert.deepEqual([response.status, free(gate)], [500, true]);
    }
  });

  test("`createQuotaMiddleware` releases a concurrency slot with the response", async () => {
    const gate = new Gate({ ...catalog, routes: [] }, [{ id: "acme", slug: "acme", plan: "p@1" }]);
    const serve = handler(() => "done", { middleware: [createTenantMiddleware({ gate }), createQuotaMiddleware({ quotaKey: "slots", gate })], logger: silent });
    for (let i = 0; i < 3; i++) assert.equal(await (await serve(new Request("https://example.com/", { headers }))).json(), "done");
  });

  test("Hono: a fetched response, whose headers are immutable, has the gate's headers and frees its slot", async (t) => {
    const origin = await serveHttp((request, response) => response.end("from elsewhere"));
    t.after(origin.stop);
    const gate = open();
    const app = new Hono().use(forHono.createTenantMiddleware({ gate })).get("/", () => fetch(origin.url));
    const response = await app.request("/", { headers });
    assert.deepEqual([response.status, await response.text(), response.headers.has("ratelimit"), free(gate)], [200, "from elsewhere", true, true]);
  });

  test("Express: a slot is released if the response was sent before the decision", async (t) => {
    const gate = open();
    const slow = { question: (request) => gate.question(request), ask: async (question) => { await answered; return gate.ask(question); } };
    let answer;
    const answered = new Promise((resolve) => { answer = resolve; });
    const app = express();
    app.use((req, res, next) => { res.end("too late"); answer(); next(); });
    app.use(forExpress.createTenantMiddleware({ gate: slow }));
    const server = await serveHttp(app);
    t.after(server.stop);
    assert.equal(await (await fetch(server.url, { headers })).text(), "too late");
    await until(() => free(gate), "the slot is free");
  });
});

test("`requireFeature` evaluates the context that its option `context` returns", async () => {
  const gate = open();
  const serve = (options) => handler(() => "on", { middleware: [(ctx, next) => { ctx.tenant = { id: "acme" }; return next(); }, requireFeature("beta", { gate, ...options })], logger: silent });
  assert.equal(await code(serve({})), "FEATURE_NOT_AVAILABLE");
  assert.equal(await code(serve({ context: (ctx) => ({ targeting_key: ctx.request.headers.get("x-user") }) }), { "x-user": "user-1" }), "ALLOWED");
});

test("a slug belongs to one tenant at a time, and is free again once it was given up", () => {
  assert.throws(() => new Gate(catalog, [{ id: "a", slug: "x", plan: "p@1" }, { id: "b", slug: "x", plan: "p@1" }]), /another tenant/);
  const gate = open();
  gate.putTenant({ id: "acme", slug: "other", plan: "p@1", epoch: 2 });
  gate.putTenant({ id: "b", slug: "acme", plan: "p@1" });
});

test("a listener that throws does not keep other listeners from being called", (t) => {
  const gate = open();
  const heard = [];
  const said = t.mock.method(console, "error", () => {});
  gate.onChange(() => { throw new Error("mine"); });
  gate.onChange(() => heard.push("changed"));
  gate.putTenant({ id: "acme", slug: "acme", plan: "p@1", epoch: 2 });
  assert.deepEqual([heard, said.mock.calls[0].arguments[1].message], [["changed"], "mine"]);
});

test("`decide` finds headers in any case and in `Headers`, and refuses a URL as a request", () => {
  const gate = open();
  for (const given of [{ "X-Tenant-ID": "acme" }, new Headers({ "X-Tenant-ID": "acme" }), headers]) assert.equal(gate.decide({ path: "/x", headers: given }, { look: true }).tenant?.id, "acme");
  assert.throws(() => gate.decide(new URL("https://example.com/")), InputError);
});

describe("`FeatureClient`", () => {
  const clients = [];
  after(() => clients.forEach((client) => client.close()));
  const snapshot = (more = {}) => ({ tenant: { id: "acme", slug: "acme" }, catalog: 1, epoch: 1, ...more });
  const page = (answer, more = {}) => {
    const client = new FeatureClient({ url: "http://app.example.com/", storage: null, waitS: 0.05, fetch: async () => answer(), ...more });
    clients.push(client);
    return client;
  };
  const next = (client, type) => once(client, type, { signal: AbortSignal.timeout(10_000) });

  test("a page reports a rule that starts, without a new snapshot", async () => {
    const starts = new Date(Date.now() + 3_000).toISOString();
    const body = snapshot({ features: { late: { rules: [{ name: "from", starts_at: starts, value: true }] } } });
    const client = page(() => Response.json(body));
    await client.ready;
    assert.equal(client.enabled("late"), false);
    const [{ detail }] = await next(client, "change");
    assert.deepEqual([detail.changed, client.enabled("late")], [["late"], true]);
  });

  test("a page reports a rule that starts, even if a snapshot arrives at that moment", async () => {
    const starts = Date.now() + 400;
    const json = JSON.stringify(snapshot({ features: { late: { rules: [{ name: "from", starts_at: new Date(starts).toISOString(), value: true }] } } }));
    const client = page(undefined, {
      fetch: async () => {
        // Blocks until the rule has started, so that the snapshot is read before any timer fires.
        if (Date.now() > starts - 200) while (Date.now() <= starts + 5);
        return { status: 200, headers: new Headers(), text: async () => json };
      },
    });
    await client.ready;
    assert.equal(client.enabled("late"), false);
    const [{ detail }] = await next(client, "change");
    assert.deepEqual([detail.changed, client.enabled("late")], [["late"], true]);
  });

  test("a page ignores unknown members of a snapshot from a later gate", async () => {
    const client = page(() => Response.json(snapshot({ theme: 1, settled: { a: { value: true, enabled: true, tier: "plan", reason: "PLAN", note: "x" } } })));
    await client.ready;
    assert.equal(client.enabled("a"), true);
  });

  test("a page receives changes even if its own context is invalid", async () => {
    let value = true;
    const rules = [{ name: "r", when: [{ attribute: "user", op: "exists" }], value: true }];
    const client = page(() => Response.json(snapshot({ settled: { a: { value, enabled: value, tier: "plan", reason: "PLAN" } }, features: { b: { rules } } })));
    await client.ready;
    client.context = { user: { id: 1 } };
    value = false;
    await until(() => client.evaluate({}).enabled("a") === false);
  });

  test("a page refuses an evaluation from within a context that it is reading", async () => {
    const rules = [{ name: "r", when: [{ attribute: "user", op: "eq", value: "u" }], value: true }];
    const client = page(() => Response.json(snapshot({ features: { b: { rules } } })));
    await client.ready;
    const nested = { get user() { return client.evaluate({ user: "other" }) && "u"; } };
    assert.throws(() => client.evaluate(nested), { code: "INVALID_INPUT", message: /while it was reading a context/ });
    assert.equal(client.evaluate({ user: "u" }).enabled("b"), true);
  });

  test("a page clears its stored snapshot after a 401, and does not store one that depends on a credential", async () => {
    const kept = new Map();
    const storage = { getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value) };
    await page(() => Response.json(snapshot({ by_credential: true })), { storage }).ready;
    assert.equal(kept.size, 0);
    let status = 200;
    const client = page(() => (status === 200 ? Response.json(snapshot()) : new Response("{}", { status })), { storage });
    await client.ready;
    assert.match([...kept.values()][0], /acme/);
    status = 401;
    await next(client, "stale");
    assert.deepEqual([...kept.values()], ["null"]);
  });
});
