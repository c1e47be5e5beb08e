// A gate that runs elsewhere: `RemoteGate` and the middleware on it, against the Worker with its
// control plane, and against gates that fail.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import {
  ConfigurationError, DocumentError, checkLimit, configure, createQuotaMiddleware, createTenantMiddleware, getCurrentTenant, handler, meterUsage, provisionTenant,
  requireFeature, resolveFeature,
} from "../../pkg/middleware.js";
import { Gate, GateFailedError, InputError, RemoteGate, TenantNotFoundError, TenantSuspendedError, TenantgateError } from "../../pkg/node.js";
import { OPERATOR, worker } from "../support/harness.mjs";
import { freePort, serve } from "../support/server.mjs";

const dutch = [{ attribute: "country", op: "eq", value: "NL" }];
const catalog = {
  version: 1,
  resolution: { strategies: [{ strategy: "subdomain", base_domains: ["app.example.com"] }, { strategy: "header" }, { strategy: "api_key" }] },
  routes: [
    { path: "/", auth: "none" }, { path: "/calls", auth: "none", limits: { calls: 1, burst: 1 } }, { path: "/hooks", auth: "none", feature: "webhooks" },
    { path: "/jobs", auth: "none", limits: { jobs: 1 } }, { path: "/keys", auth: "api_key" },
  ],
  features: {
    webhooks: {}, theme: { type: "string", default: "light", rules: [{ name: "dutch", when: dutch, value: "oranje" }] },
    adult: { rules: [{ name: "age", when: [{ attribute: "age", op: "gte", value: 18 }], value: true }, { name: "unknown", when: [{ attribute: "age", op: "exists", not: true }], value: true }] },
    checkout: { type: "string", default: "off", variants: { a: "A", b: "B" }, rules: [{ name: "half", rollout: { split: [{ weight: 1, variant: "a" }, { weight: 1, variant: "b" }] } }] },
  },
  limits: {
    calls: { kind: "quota", period: "month", mode: "strict", default: 10 }, burst: { kind: "rate", window_ms: 3_600_000, mode: "strict", default: 20 },
    jobs: { kind: "concurrency", default: 1 }, seats: { kind: "gauge", mode: "strict", default: 3 },
  },
  plans: { "free@1": {}, "pro@1": { features: ["webhooks"] } },
  upgrade_url: "https://example.com/pricing",
};
const tenants = [
  { id: "t_acme", slug: "acme", plan: "pro@1" }, { id: "t_globex", slug: "globex", plan: "free@1" }, { id: "t_off", slug: "off", plan: "free@1", status: "suspended" },
  ...["twice", "held", "once", "mid", "told"].map((slug) => ({ id: `t_${slug}`, slug, plan: "free@1" })),
];

const gate = await worker({ control: true, isolates: 2 });
after(() => gate.stop());
assert.equal((await gate.admin("POST", "/import", { catalog, tenants })).status, 200);
const remote = new RemoteGate({ url: gate.url.href, token: OPERATOR });
/** Reaches the same ledgers by way of another isolate, as through a service binding. */
const other = new RemoteGate({ url: "https://gate", token: OPERATOR, fetch: (url, { signal, ...init }) => gate.sendTo(1, new URL(url).pathname, init) });
/** Decides locally by the same documents. */
const local = new Gate(catalog, tenants);
after(() => local.free());
const url = (slug, path) => `https://${slug}.app.example.com${path}`;
const failed = (Class, code, more = {}) => (error) => {
  assert(error instanceof Class, error.stack);
  for (const [name, value] of Object.entries({ code, ...more })) assert.deepEqual(error[name], value);
  return true;
};

describe("remote decisions", () => {
  test("a remote decision equals the local one, however the request is represented", async () => {
    const headers = { host: "acme.app.example.com", "x-tenant-id": "acme" };
    for (const path of ["/", "/hooks?x=1", "/hooks/%61"]) {
      const expected = local.decide({ host: "acme.app.example.com", path: path.split("?")[0], headers: {} });
      for (const request of [
        new Request(url("acme", path), { headers: { "X-Tenant-ID": "acme", "user-agent": "x" } }), { method: "GET", url: path, headers },
        { method: "GET", url: "/", originalUrl: path, headers }, { url: url("acme", path), headers: { host: "ignored.example" } }, { host: "acme.app.example.com", path: path.split("?")[0] },
      ]) assert.deepEqual(await remote.decide(request), expected);
    }
    for (const [request, code] of [
      [{ host: "globex.app.example.com", path: "/hooks" }, "FEATURE_NOT_AVAILABLE"], [{ host: "off.app.example.com" }, "TENANT_SUSPENDED"], [{ host: "nobody.app.example.com" }, "TENANT_NOT_FOUND"],
      [{ url: "/", headers: { ...headers, "x-tenant-id": "globex" } }, "TENANT_MISMATCH"], [{ host: "acme.app.example.com", path: "/keys" }, "UNAUTHENTICATED"], [{ host: "acme.app.example.com", path: "/a/../b" }, "BAD_REQUEST"],
    ]) {
      const decision = await remote.decide(request);
      assert.equal(decision.code, code);
      assert.deepEqual(decision, local.decide(request));
    }
  });

  test("a remote decision evaluates features with a context", async () => {
    const ask = { features: ["theme", "checkout", "absent"], context: { country: "NL", targeting_key: "user-1" } };
    const decided = await remote.decide({ host: "acme.app.example.com" }, ask);
    assert.equal(decided.features.theme.value, "oranje");
    assert.deepEqual(decided, local.decide({ host: "acme.app.example.com" }, ask));
  });

  test("a remote decision has the state of its limits and the time to retry after", async () => {
    const request = { host: "globex.app.example.com", path: "/calls" };
    const { limits } = await remote.decide(request, { limits: { calls: 0, burst: 0 }, look: true });
    assert.deepEqual(limits.map(({ reset_ms, ...limit }) => limit), [{ key: "burst", limit: 20, used: 0, remaining: 20 }, { key: "calls", limit: 10, used: 0, remaining: 10 }]);
    assert.deepEqual([limits[0].reset_ms, limits[1].reset_ms > 0], [0, true]);
    const taken = await remote.decide(request, { limits: { calls: 10 } });
    assert.deepEqual(taken.limits.map(({ key, used, remaining }) => [key, used, remaining]), [["burst", 1, 19], ["calls", 10, 0]]);
    const denied = await remote.decide(request);
    assert.deepEqual([denied.allowed, denied.code], [false, "QUOTA_EXCEEDED"]);
    const rate = await remote.decide(request, { limits: { calls: 0, burst: 20 } });
    assert.equal(rate.code, "RATE_LIMITED");
    assert(rate.retry_after_ms > 0);
  });

  test("a remote decision treats unknown attributes of a caller as the local one does", async () => {
    const request = { host: "acme.app.example.com" };
    for (const age of [undefined, null]) {
      const ask = { features: ["adult"], context: { age } };
      assert.deepEqual(await remote.decide(request, ask), local.decide(request, ask), String(age));
      assert.equal((await remote.explain(request, ask)).decision.features.adult.rule, "unknown", String(age));
    }
  });

  test("a remote decision sends the headers that strategies read, and no others", async () => {
    const sent = [];
    const spying = (options) => new RemoteGate({ url: gate.url.href, token: OPERATOR, ...options, fetch: (url, init) => {
      sent.push(JSON.parse(init.body).headers);
      return fetch(url, init);
    } });
    const request = new Request(url("acme", "/"), { headers: { "X-Tenant-ID": "acme", "X-Org": "acme", cookie: "a=b", "x-secret": "s" } });
    for (const options of [{}, { headers: ["X-Org"] }]) assert.equal((await spying(options).decide(request)).code, "ALLOWED");
    assert.deepEqual(sent, [{ "x-tenant-id": "acme", cookie: "a=b" }, { "x-org": "acme" }]);
  });

  test("an explanation of a remote decision has a trace and consumes nothing", async () => {
    const { status, decision } = await remote.explain({ host: "t.app.example.com", path: "/calls", headers: { "x-tenant-id": "twice" } });
    assert.deepEqual([status, decision.code], [404, "TENANT_NOT_FOUND"]);
    assert(decision.trace.length > 0 && decision.trace.at(-1).remedy);
    const passed = await remote.explain(new Request(url("twice", "/calls")), { limits: { calls: 2 } });
    assert.deepEqual([passed.status, passed.decision.trace.every((step) => step.passed)], [200, true]);
    assert.equal((await remote.decide(new Request(url("twice", "/calls")), { limits: { calls: 0 }, look: true })).limits[1].used, 0);
  });
});

describe("remote features", () => {
  test("remote features equal those of a local gate", async () => {
    for (const context of [{}, { country: "NL", targeting_key: "user-1", age: 18 }, { country: "DE", targeting_key: "user-2", age: 17, since: new Date(), user: {}, none: null }]) {
      for (const tenant of ["t_acme", "t_globex"]) {
        const read = Object.fromEntries(Object.entries(context).filter(([, value]) => typeof value !== "object"));
        const found = await remote.features(tenant, context);
        assert.deepEqual(found.toJSON(), local.features(tenant, read).toJSON());
        assert.deepEqual([found.size, found.has("theme"), found.has("absent"), found.get("absent").reason], [4, true, false, "FEATURE_UNKNOWN"]);
      }
    }
    assert.equal((await remote.features("t_acme")).enabled("webhooks"), true);
  });

  test("remote features of unknown and suspended tenants are refused", async () => {
    await assert.rejects(remote.features("t_off"), failed(TenantSuspendedError, "TENANT_SUSPENDED", { status: 403 }));
    await assert.rejects(remote.features("t_nobody"), failed(TenantNotFoundError, "TENANT_NOT_FOUND", { status: 404 }));
    await assert.rejects(remote.features("../x"), failed(TenantgateError, "BAD_REQUEST", { status: 400 }));
  });
});

describe("a shared ledger", () => {
  test("two remote gates count in one ledger", async () => {
    const uses = [];
    for (let i = 0; i < 12; i++) {
      const { allowed, limits: [, { used }] } = await [remote, other][i % 2].decide(new Request(url("twice", "/calls")));
      uses.push(allowed ? used : null);
    }
    assert.deepEqual(uses, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, null, null]);
  });

  test("a reservation made through one gate can be settled through another", async () => {
    const used = async () => (await other.ask({ tenant: "t_held", limits: { calls: 0 } })).decision.limits[0].used;
    const held = await remote.ask({ tenant: "t_held", limits: { calls: 8 }, reserve: { id: "job-1", for_ms: 60_000 } });
    assert.deepEqual([held.status, held.decision.hold.id, await used()], [200, "job-1", 8]);
    const more = await other.ask({ tenant: "t_held", limits: { calls: 3 }, reserve: { id: "job-2" } });
    assert.deepEqual([more.status, more.decision.code, more.decision.hold], [429, "QUOTA_EXCEEDED", undefined]);
    assert.match(more.headers.ratelimit, /^"calls";r=2;t=\d+$/);
    for (const repeated of [undefined, true]) {
      const settled = await other.ask({ tenant: "t_held", limits: { calls: 5 }, settle: "job-1" });
      assert.deepEqual([settled.decision.allowed, settled.decision.repeated, await used()], [true, repeated, 5]);
    }
  });

  test("an idempotency key counts once across gates", async () => {
    const question = { tenant: "t_once", limits: { calls: 4 }, idempotency_key: "k-1" };
    for (const [asked, repeated] of [[remote, undefined], [other, true], [remote, true]]) {
      const { decision } = await asked.ask(question);
      assert.deepEqual([decision.limits[0].used, decision.repeated], [4, repeated]);
    }
    const reused = await remote.ask({ ...question, limits: { calls: 5 } });
    assert.deepEqual([reused.status, reused.decision.code], [422, "IDEMPOTENCY_KEY_REUSED"]);
  });

  test("a gauge can be raised, released and set through a remote gate", async () => {
    const seats = async (op) => (await remote.ask({ tenant: "t_once", limits: { seats: op } })).decision.limits[0].used;
    assert.deepEqual([await seats(2), await seats({ release: 1 }), await seats({ set: 3 })], [2, 1, 3]);
  });

  test("an invalid request to a remote gate is refused with all its problems", async () => {
    await assert.rejects(remote.ask({ tenant: 7, look: "yes", reserve: { id: "" } }), (error) => {
      assert(failed(DocumentError, "INVALID_DOCUMENT", { status: 400 })(error));
      assert.deepEqual(error.problems.map(({ path }) => path).sort(), ["$.look", "$.reserve.id", "$.tenant"]);
      return true;
    });
  });
});

describe("provisioning", () => {
  const gateway = async (key, slug, isolate) => {
    const response = await gate.sendTo(isolate, "/keys", { host: `${slug}.app.example.com`, headers: { "x-api-key": key } });
    return response.json();
  };

  test("one call provisions a tenant, and its API key works at once", async () => {
    const { tenant, apiKey } = await remote.provisionTenant({ company: "Hooli Ltd", selectedPlan: "pro@1", api_key_scopes: ["api.read"], region: "eu" });
    assert.deepEqual([tenant.name, tenant.slug, tenant.plan, tenant.status, tenant.region], ["Hooli Ltd", "hooli-ltd", "pro@1", "active", "eu"]);
    assert.match(apiKey, /^tg_live_/);
    for (const isolate of [0, 1]) {
      const decision = await gateway(apiKey, tenant.slug, isolate);
      assert.deepEqual([decision.code, decision.tenant.id, decision.credential.scopes], ["ALLOWED", tenant.id, ["api.read"]]);
    }
    assert.equal((await gateway(apiKey, "acme", 0)).error.code, "TENANT_MISMATCH");
    assert.equal((await remote.features(tenant.id)).enabled("webhooks"), true);
    // A remote decision includes the credential as well.
    const { credential } = await remote.decide(new Request(url(tenant.slug, "/keys"), { headers: { "x-api-key": apiKey } }));
    assert.deepEqual([credential.kind, credential.tenant], ["api_key", tenant.id]);
  });

  test("calls with one idempotency key provision one tenant, and a call without it another", async () => {
    const data = { company: "Initech", selectedPlan: "free@1" };
    const first = await provisionTenant(data, { gate: remote, idempotencyKey: "signup-1" });
    const again = await provisionTenant(data, { gate: remote, idempotencyKey: "signup-1" });
    assert.deepEqual([again.tenant.id, typeof first.apiKey, again.apiKey], [first.tenant.id, "string", null]);
    const third = await remote.provisionTenant(data);
    assert.notEqual(third.tenant.id, first.tenant.id);
    await assert.rejects(remote.provisionTenant({ ...data, company: "Other" }, { idempotencyKey: "signup-1" }), failed(TenantgateError, "IDEMPOTENCY_KEY_REUSED", { status: 422 }));
  });

  test("provisioning with invalid data is refused with all its problems", async () => {
    for (const [data, paths] of [
      [{ company: "X", selectedPlan: "gold@9" }, ["$.plan"]], [{ company: "X", selectedPlan: "pro" }, ["$.plan"]], [{ company: "X" }, ["$.plan"]],
      [{ company: 7, selectedPlan: "pro", colour: "red" }, ["$.colour", "$.name", "$.plan"]],
    ]) {
      await assert.rejects(remote.provisionTenant(data), (error) => {
        assert(failed(DocumentError, "INVALID_DOCUMENT", { status: 400 })(error));
        assert.deepEqual(error.problems.map(({ path }) => path).sort(), paths);
        assert(error.problems.every(({ found, expected }) => found && expected));
        return true;
      });
    }
    await assert.rejects(remote.provisionTenant({ slug: "acme", selectedPlan: "pro@1" }), failed(TenantgateError, "SLUG_TAKEN", { status: 409 }));
    assert.throws(() => provisionTenant({ company: "X" }, { gate: local }), ConfigurationError);
  });
});

describe("middleware on a remote gate", () => {
  const serve = (handle, ...middleware) => {
    const quiet = { debug() {}, info() {}, warn() {}, error() {} };
    return handler(handle, { middleware: [createTenantMiddleware({ gate: remote }), ...middleware], logger: () => quiet });
  };
  const read = async (response) => [response.status, await response.json()];

  test("middleware finds the tenant and sends the state of its limits in headers", async () => {
    const serving = serve((_, ctx) => ({ id: getCurrentTenant(ctx).id, plan: ctx.tenant.plan, code: ctx.decision.code }));
    const response = await serving(new Request(url("mid", "/calls")));
    assert.match(response.headers.get("ratelimit-policy"), /^"burst";q=20;w=3600, "calls";q=10;w=\d+$/);
    assert.match(response.headers.get("ratelimit"), /^"burst";r=19;t=\d+, "calls";r=9;t=\d+$/);
    assert.deepEqual(await read(response), [200, { id: "t_mid", plan: "free@1", code: "ALLOWED" }]);
  });

  test("middleware responds to denials with their status, details and headers", async () => {
    const serving = serve(() => assert.fail("a denied request was handled"), requireFeature("webhooks", { gate: remote }));
    const code = async (request) => {
      const [status, { error }] = await read(await serving(request));
      return [status, error.code];
    };
    const missing = await read(await serving(new Request(url("mid", "/hooks"))));
    assert.deepEqual([missing[0], missing[1].error.details], [403, { feature: "webhooks", current_plan: "free@1", upgrade_url: "https://example.com/pricing" }]);
    assert.deepEqual(await code(new Request(url("mid", "/"))), [403, "FEATURE_NOT_AVAILABLE"], "the denial comes from `requireFeature`");
    assert.deepEqual(await code(new Request(url("off", "/"))), [403, "TENANT_SUSPENDED"]);
    assert.deepEqual(await code(new Request(url("nobody", "/"))), [404, "TENANT_NOT_FOUND"]);
    const bare = await serving(new Request(url("mid", "/keys")));
    assert.equal(bare.headers.get("www-authenticate"), 'Bearer realm="tenantgate"');
    assert.deepEqual((await read(bare))[0], 401);
  });

  test("middleware holds a slot until the response has been read", async () => {
    let go;
    const first = serve(() => new Response(new ReadableStream({ async start(controller) {
      controller.enqueue(new TextEncoder().encode("begun"));
      await new Promise((resolve) => { go = resolve; });
      controller.close();
    } })));
    const quick = serve(() => "done");
    const job = () => new Request(url("mid", "/jobs"));
    const open = await first(job());
    const refused = await quick(job());
    assert.deepEqual([refused.headers.get("retry-after"), (await read(refused))[1].error.code], ["1", "CONCURRENCY_LIMITED"]);
    go();
    assert.equal(await open.text(), "begun");
    assert.deepEqual(await read(await quick(job())), [200, "done"]);
  });

  test("`createQuotaMiddleware` enforces a limit in addition to those of the route", async () => {
    const serving = serve(() => "done", createQuotaMiddleware({ quotaKey: "seats", cost: 2, gate: remote }));
    const [first, second] = [await serving(new Request(url("mid", "/"))), await serving(new Request(url("mid", "/")))];
    assert.equal(first.headers.get("ratelimit"), '"seats";r=1');
    assert.deepEqual([first.status, second.status, (await second.json()).error.details.quota], [200, 429, "seats"]);
  });

  test("`meterUsage`, `checkLimit` and `resolveFeature` use the given or the configured gate", async () => {
    const options = { gate: remote };
    for (let i = 0; i < 2; i++) await meterUsage("t_told", "calls", 9, { ...options, id: "request-1" });
    assert.equal(await checkLimit("t_told", "calls", options), true);
    await meterUsage("t_told", "calls", 5, options);
    assert.equal(await checkLimit("t_told", "calls", options), false, "usage that has happened counts beyond the limit too");
    assert.equal((await remote.ask({ tenant: "t_told", limits: { calls: 0 }, look: true })).decision.limits[0].used, 14);
    for (const quantity of [-1, 1.5, NaN, "3"]) await assert.rejects(meterUsage("t_told", "calls", quantity, options), InputError);
    await assert.rejects(checkLimit("t_off", "calls", options), TenantSuspendedError);
    await assert.rejects(checkLimit("t_told", "nothing", options), failed(TenantgateError, "BAD_REQUEST"));
    await assert.rejects(resolveFeature("t_acme", "theme"), ConfigurationError);
    configure({ gate: remote });
    assert.equal(await resolveFeature("t_acme", "theme", { country: "NL" }), "oranje");
    assert.deepEqual([await resolveFeature("t_acme", "absent"), await resolveFeature("t_globex", "webhooks")], [false, false]);
    configure();
  });
});

describe("failures of a remote gate", () => {
  let answer = () => {};
  const server = serve((request, response) => answer(response));
  after(async () => (await server).stop());
  const broken = async (answers, options) => {
    answer = answers;
    return new RemoteGate({ url: (await server).url, token: "t", ...options });
  };
  /** Calls every method of a remote gate. */
  const questions = [
    (asked) => asked.decide(new Request(url("acme", "/"))), (asked) => asked.features("t_acme"), (asked) => asked.ask({ tenant: "t_acme" }),
    (asked) => asked.explain({ host: "acme.app.example.com" }), (asked) => asked.provisionTenant({ company: "X", selectedPlan: "pro@1" }),
  ];
  const unreached = async (asked) => {
    for (const question of questions) await assert.rejects(question(asked), failed(GateFailedError, "GATE_FAILED", { status: 503 }));
  };

  test("a remote gate requires a valid URL and a token", () => {
    for (const options of [{ url: "gate", token: "t" }, { url: gate.url.href, token: "" }, { url: gate.url.href }]) assert.throws(() => new RemoteGate(options), InputError);
  });

  test("a wrong token is refused as `UNAUTHENTICATED`", async () => {
    const stranger = new RemoteGate({ url: gate.url.href, token: "wrong" });
    for (const question of questions) await assert.rejects(question(stranger), failed(TenantgateError, "UNAUTHENTICATED", { status: 401 }));
  });

  test("an unreachable gate leads to `GATE_FAILED`", async () => {
    await unreached(new RemoteGate({ url: `http://127.0.0.1:${await freePort()}`, token: "t" }));
    await unreached(await broken((response) => response.destroy()));
  });

  test("a gate that times out before or during its response leads to `GATE_FAILED`", async () => {
    await unreached(await broken(() => {}, { timeoutMs: 20 }));
    await unreached(await broken((response) => response.writeHead(200, { "content-type": "application/json" }).write('{"allowed":'), { timeoutMs: 20 }));
  });

  test("a response that is not JSON leads to `GATE_FAILED`", async () => {
    for (const status of [200, 404, 502]) await unreached(await broken((response) => response.writeHead(status).end("<html>")));
    await unreached(await broken((response) => response.writeHead(204).end()));
  });

  test("a response that is not a decision leads to `GATE_FAILED`", async () => {
    for (const body of ["null", "[]", "7", "{}", '{"allowed": true}']) {
      const asked = await broken((response) => response.writeHead(200).end(body));
      for (const question of questions) await assert.rejects(question(asked), failed(GateFailedError, "GATE_FAILED", { status: 503 }), body);
    }
  });

  test("an error response without a code leads to `GATE_FAILED`", async () => {
    for (const body of ["{}", '{"error": {}}', "null", '{"error": "down"}']) {
      const asked = await broken((response) => response.writeHead(502).end(body));
      for (const question of questions) await assert.rejects(question(asked), failed(GateFailedError, "GATE_FAILED"), body);
    }
  });

  test("middleware responds to a failing gate with 503 and `Retry-After`", async () => {
    const asked = await broken((response) => response.destroy());
    const errors = [];
    const serving = handler(() => "done", { middleware: [createTenantMiddleware({ gate: asked })], logger: () => ({ error: (message) => errors.push(message) }) });
    const response = await serving(new Request(url("acme", "/")));
    assert.deepEqual([response.status, response.headers.get("retry-after"), (await response.json()).error.code], [503, "5", "GATE_FAILED"]);
    assert.equal(errors.length, 1);
  });
});
