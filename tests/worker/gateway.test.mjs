// The Worker in front of an origin: what clients see, what the origin sees, what survives faults.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { after, describe, test } from "node:test";
import { OPERATOR, workers } from "../support/harness.mjs";
import { send } from "../support/send.mjs";

const seed = {
  catalog: {
    version: 1,
    upgrade_url: "https://example.com/pricing",
    resolution: {
      strategies: [
        { strategy: "subdomain", base_domains: ["app.example.com"] },
        { strategy: "custom_domain", domain_lookup: "index" },
        { strategy: "path" }, { strategy: "header" }, { strategy: "query" },
      ],
    },
    routes: [
      { path: "/", limits: { requests: 1 } },
      { path: "/hooks", feature: "webhooks" },
      { path: "/few", limits: { few: 1 } },
      { path: "/closed", limits: { few: 1, strict: 1 } },
      { path: "/free" },
      { path: "/public", access: "public" },
    ],
    features: { webhooks: {} },
    limits: {
      requests: { kind: "rate", window_ms: 60000, mode: "local", default: 100000 },
      few: { kind: "quota", period: "month", mode: "strict", default: 20 },
      strict: { kind: "quota", period: "month", on_error: "closed", default: 1000 },
    },
    plans: { "free@1": {}, "pro@1": { features: ["webhooks"], limits: { few: 1000 } } },
  },
  tenants: [
    { id: "t_acme", slug: "acme", plan: "free@1", domains: [{ host: "app.acme.com", state: "verified" }, { host: "xn--bcher-kva.example", state: "verified" }] },
    { id: "t_victim", slug: "victim", plan: "pro@1" },
    { id: "t_hot", slug: "hot", plan: "free@1" },
    ...["count", "broken", "trap", "trap-kept", "trap-late", "trap-ledger", "down"].map((slug) => ({ id: `t_${slug.replaceAll("-", "_")}`, slug, plan: "free@1" })),
    { id: "t_suspended", slug: "suspended", plan: "free@1", status: "suspended" },
    { id: "t_new", slug: "new", plan: "free@1", status: "provisioning" },
  ],
};

// Responds with what it was sent, and echoes what WebSockets send.
const origin = `export default { async fetch(request) {
  if (request.headers.get("upgrade") === "websocket") {
    const [client, server] = Object.values(new WebSocketPair());
    server.accept();
    server.addEventListener("message", ({ data }) => server.send(request.headers.get("x-tenant-id") + ":" + data));
    return new Response(null, { status: 101, webSocket: client });
  }
  return Response.json({ method: request.method, url: request.url, headers: Object.fromEntries(request.headers), body: await request.text() },
    { headers: { "x-origin": "yes" } });
} }`;

const resolver = `export default { async fetch(request) {
  const who = new URL(request.url).searchParams.get("who");
  if (who === "throw") throw new Error("no");
  if (who === "slow") await new Promise(() => {});
  if (who === "odd") return Response.json({ tenant: 7 });
  return who ? Response.json({ tenant: who }) : new Response(null, { status: 204 });
} }`;

const gates = await workers({
  own: { seed },
  closed: { seed, bindings: { OPERATOR_TOKEN: "" } },
  before: { seed, origin, bindings: { PROXY_SECRET: "s3cret" } },
  strangers: { seed },
  ledgerless: { seed, ledger: false },
  empty: {},
  custom: { seed: { ...seed, catalog: { ...seed.catalog, resolution: { strategies: [{ strategy: "custom" }] } } }, resolver },
  demo: { seed: readFileSync(new URL("../../examples/demo.json", import.meta.url), "utf8") },
}, { durable: true });
after(() => gates.own.stop());

const acme = { host: "acme.app.example.com" };

describe("without an upstream", () => {
  const gate = gates.own;

  test("without an upstream the decision itself is the response", async () => {
    const response = await gate.send("/x", acme);
    assert.equal(response.status, 200);
    const body = await response.json();
    assert.equal(body.code, "ALLOWED");
    assert.deepEqual(body.tenant, { id: "t_acme", slug: "acme", plan: "free@1", status: "active" });
    assert.equal(response.headers.get("ratelimit-policy"), '"requests";q=100000;w=60');
    assert.match(response.headers.get("ratelimit"), /^"requests";r=\d+;t=\d+$/);
    assert.equal(response.headers.get("cache-control"), "private, no-store");
  });

  test("errors share one envelope, with details that say what to do", async () => {
    const response = await gate.send("/hooks", acme);
    assert.equal(response.status, 403);
    assert.deepEqual(await response.json(), {
      error: {
        code: "FEATURE_NOT_AVAILABLE", message: "this feature is not part of the current plan",
        details: { current_plan: "free@1", feature: "webhooks", upgrade_url: "https://example.com/pricing" },
      },
    });
  });

  test("an error is problem+json if the client asks for it", async () => {
    const response = await gate.send("/hooks", { ...acme, headers: { accept: "application/problem+json" } });
    assert.equal(response.headers.get("content-type"), "application/problem+json");
    const problem = await response.json();
    assert.equal(problem.status, 403);
    assert.equal(problem.type, "urn:tenantgate:error:FEATURE_NOT_AVAILABLE");
    assert.equal(problem.feature, "webhooks");
  });

  test("suspended, provisioning and unknown tenants get 403, 503 and 404", async () => {
    assert.equal((await gate.send("/x", { host: "suspended.app.example.com" })).status, 403);
    const provisioning = await gate.send("/x", { host: "new.app.example.com" });
    assert.equal(provisioning.status, 503);
    assert.equal(provisioning.headers.get("retry-after"), "5");
    assert.equal((await gate.send("/x", { host: "nobody.app.example.com" })).status, 404);
  });

  test("a host name beyond ASCII leads to the tenant whose domain is its A-label", async () => {
    const response = await gate.send("/x", { host: "bücher.example" });
    assert.equal((await response.json()).tenant.id, "t_acme");
  });

  test("without a trusted proxy `X-Forwarded-Host` does not replace the host", async () => {
    const response = await gate.send("/x", { ...acme, headers: { "x-forwarded-host": "victim.app.example.com" } });
    assert.equal((await response.json()).tenant.id, "t_acme");
  });

  test("no method bypasses the gate, not even OPTIONS or HEAD", async () => {
    for (const method of ["OPTIONS", "HEAD", "PUT", "DELETE"]) {
      const response = await gate.send("/hooks", { ...acme, method, headers: { "x-http-method-override": "GET" } });
      assert.equal(response.status, 403, method);
    }
  });

  test("oversized and malformed requests are refused, and the next request is served", async () => {
    const long = "a".repeat(10_000);
    for (const [path, init] of [
      [`/?tenant=${long}`, acme], [`/${long}`, acme], ["/", { ...acme, headers: { "x-tenant-id": long } }],
      ["/?tenant=a&tenant=b", acme], ["/?tenant[]=victim", acme], ["/", { ...acme, headers: { "x-tenant-id": "__proto__" } }],
      ["/t/acme%2Fvictim", acme], ["/t//victim", acme], ["/t/acme;v=victim", acme],
    ]) {
      assert.equal((await gate.send(path, init)).status, 400, path.slice(0, 40));
    }
    assert.equal((await gate.send("/x", acme)).status, 200);
  });

  test("an explanation is for the operator only, shows the trace, and consumes nothing", async () => {
    const plain = await gate.send("/few", { ...acme, headers: { "x-gate-explain": "wrong" } });
    assert.equal((await plain.json()).trace, undefined);
    const explained = await (await gate.send("/few", { ...acme, headers: { "x-gate-explain": OPERATOR } })).json();
    assert(explained.trace.some(({ stage, found }) => stage === "tenant" && found.includes("subdomain names `t_acme`")));
    assert(explained.trace.some(({ stage, found }) => stage === "quota" && found.includes("`few`")));
    const after = await (await gate.send("/few", acme)).json();
    assert.equal(after.limits[0].used, 2);
    const denied = await (await gate.send("/hooks", { ...acme, headers: { "x-gate-explain": OPERATOR } })).json();
    const last = denied.trace.at(-1);
    assert.equal(last.passed, false);
    assert.match(last.remedy, /granted by pro@1/);
  });
});

describe("the gate's own endpoints", () => {
  const gate = gates.own;

  test("the gate reports its health and serves its OpenAPI description", async () => {
    const health = await gate.send("/_gate/healthz");
    assert.deepEqual(await health.json(), { status: "ok", catalog: 1 });
    const openapi = await (await gate.send("/_gate/openapi.json")).json();
    assert.equal(openapi.openapi.slice(0, 2), "3.");
    assert("/_gate/v1/decide" in openapi.paths);
  });

  test("wrong paths, methods, tokens and bodies are refused with their own codes", async () => {
    const code = async (path, init) => {
      const response = await gate.send(path, init);
      return [response.status, (await response.json()).error.code];
    };
    assert.deepEqual(await code("/_gate/nothing"), [404, "NOT_FOUND"]);
    assert.deepEqual(await code("/_gate/v1/decide"), [405, "METHOD_NOT_ALLOWED"]);
    assert.deepEqual(await code("/_gate/healthz", { method: "POST" }), [405, "METHOD_NOT_ALLOWED"]);
    assert.deepEqual(await code("/_gate/v1/decide", { method: "POST", body: "{}" }), [401, "UNAUTHENTICATED"]);
    assert.deepEqual(await code("/_gate/v1/decide", { method: "POST", body: "{}", headers: { authorization: "Bearer x" } }), [401, "UNAUTHENTICATED"]);
    const operator = { authorization: `Bearer ${OPERATOR}` };
    // This request has its own connection, because the runtime closes it: the body is not read to
    // its end.
    const target = "/_gate/v1/decide";
    const large = await send(String(gate.url), { method: "POST", host: "app.example.com", target, headers: Object.entries(operator), body: " ".repeat(70_000) });
    assert.deepEqual([large.status, JSON.parse(large.body).error.code], [413, "PAYLOAD_TOO_LARGE"]);
    assert.deepEqual(await code("/_gate/v1/decide", { method: "POST", headers: operator, body: "{" }), [400, "BAD_REQUEST"]);
  });

  test("an invalid body is refused with all its problems", async () => {
    const { status, body } = await gate.decide({ tenant: 7, limits: { few: -1 }, contxt: {} });
    assert.equal(status, 400);
    assert.deepEqual(body.error.details.problems.map(({ path }) => path).sort(), ["$.contxt", "$.limits.few", "$.tenant"]);
  });

  test("quantities that are not whole numbers from 0 are refused", async () => {
    for (const quantity of [-100, 0.1, "1", null, true]) {
      assert.equal((await gate.decide({ tenant: "t_acme", limits: { few: quantity } })).status, 400, String(quantity));
    }
  });

  test("the decision API is closed if no operator token is configured", async () => {
    const response = await gates.closed.send("/_gate/v1/decide", { method: "POST", body: "{}", headers: { authorization: "Bearer " } });
    assert.equal(response.status, 401);
  });
});

describe("in front of an origin", () => {
  const gate = gates.before;
  const seen = async (path, init) => {
    const response = await gate.send(path, init);
    assert.equal(response.status, 200);
    return { response, seen: await response.json() };
  };

  test("the origin sees the tenant headers of the gate, and no tenant header of the client", async () => {
    const { response, seen: request } = await seen("/t/acme/api/tasks?a=1&tenant=acme&b=%20", {
      ...acme, method: "POST", body: "hello",
      headers: { "x-tenant-id": "acme", "x-tenant-plan": "enterprise", "x-tenant-anything": "x", "x-other": "kept" },
    });
    assert.equal(new URL(request.url).pathname, "/api/tasks");
    assert.equal(new URL(request.url).search, "?a=1&b=%20");
    assert.equal(request.method, "POST");
    assert.equal(request.body, "hello");
    assert.equal(request.headers["x-tenant-id"], "t_acme");
    assert.equal(request.headers["x-tenant-slug"], "acme");
    assert.equal(request.headers["x-tenant-plan"], "free@1");
    assert.equal(request.headers["x-tenant-anything"], undefined);
    assert.equal(request.headers["x-other"], "kept");
    assert.equal(response.headers.get("x-origin"), "yes");
    assert.match(response.headers.get("ratelimit"), /"requests";r=/);
    assert.match(response.headers.get("vary"), /x-tenant-id/);
  });

  test("headers that an origin may take for the gate's or for another route are removed", async () => {
    const { seen: request } = await seen("/x", { ...acme, headers: {
      "x_tenant_id": "t_victim", "X-Tenant_Plan": "enterprise", "x-forwarded-host": "victim.app.example.com",
      "x-original-url": "/hooks", "x-http-method-override": "DELETE", forwarded: "host=victim.app.example.com",
      "X.Tenant.Id": "t_victim", "X-Tenant.Plan": "enterprise", "x!tenant!id": "t_victim", "X.Original.URL": "/hooks",
      "x-original-uri": "/hooks", "x-forwarded-prefix": "/hooks", "x-envoy-original-path": "/hooks", "base-url": "/hooks",
    } });
    assert.deepEqual(Object.keys(request.headers).filter((name) => /tenant/i.test(name)).sort(), ["x-tenant-id", "x-tenant-plan", "x-tenant-slug"]);
    assert.equal(request.headers["x-forwarded-host"], "acme.app.example.com");
    assert.deepEqual(Object.entries(request.headers).filter(([, value]) => /victim|hooks|DELETE|enterprise/.test(value)), []);
  });

  test("the origin receives the URL that was judged, without an empty query", async () => {
    for (const target of ["/x", "/x?", "/x?a=1"]) {
      const { seen: request } = await seen(target, acme);
      assert.equal(request.url.slice(request.url.indexOf("/x")), target.replace(/\?$/, ""), target);
    }
  });

  test("paths that an origin may read as another route's are refused", async () => {
    for (const path of ["/t/acme/public/%2%65%2%65/hooks", "/public/..%2Fhooks", "/public/..;/hooks", "/hooks%2F7", "/Hooks/7", "/hooks;x/7"]) {
      assert.equal((await gate.send(path, acme)).status, 400, path);
    }
  });

  test("a request to a public route reaches the origin without a tenant", async () => {
    const { seen: request } = await seen("/public/x", { host: "nobody.app.example.com", headers: { "x-tenant-id": "victim" } });
    assert.equal(request.headers["x-tenant-id"], undefined);
  });

  test("a denied request does not reach the origin", async () => {
    const response = await gate.send("/hooks", acme);
    assert.equal(response.status, 403);
    assert.equal(response.headers.get("x-origin"), null);
  });

  test("only a trusted proxy can name the host with `X-Forwarded-Host`", async () => {
    const forwarded = { "x-forwarded-host": "victim.app.example.com" };
    const trusted = await seen("/x", { ...acme, headers: { ...forwarded, "x-gate-proxy-secret": "s3cret" } });
    assert.equal(trusted.seen.headers["x-tenant-id"], "t_victim");
    assert.equal(trusted.seen.headers["x-gate-proxy-secret"], undefined);
    const other = await seen("/x", { ...acme, headers: { ...forwarded, "x-gate-proxy-secret": "guess" } });
    assert.equal(other.seen.headers["x-tenant-id"], "t_acme");
  });

  test("a WebSocket upgrade reaches the origin", async () => {
    const response = await gate.send("/x", { ...acme, headers: { upgrade: "websocket" } });
    assert.equal(response.status, 101);
    const socket = response.webSocket;
    socket.accept();
    const answer = new Promise((resolve) => socket.addEventListener("message", ({ data }) => resolve(data)));
    socket.send("hi");
    assert.equal(await answer, "t_acme:hi");
    socket.close();
  });

  test("a WebSocket upgrade is gated like any other request", async () => {
    assert.equal((await gate.send("/hooks", { ...acme, headers: { upgrade: "websocket" } })).status, 403);
  });
});

describe("the ledger", () => {
  const gate = gates.own;

  test("the gateway and the decision API count in the same ledger", async () => {
    const count = { host: "count.app.example.com" };
    await gate.decide({ tenant: "t_count", limits: { few: 19 } });
    assert.equal((await gate.send("/few", count)).status, 200);
    const refused = await gate.send("/few", count);
    assert.equal(refused.status, 429);
    const { error } = await refused.json();
    assert.equal(error.code, "QUOTA_EXCEEDED");
    assert.equal(error.details.used, 20);
    assert(Number(refused.headers.get("retry-after")) > 0);
  });

  test("unknown tenants create no ledger", async () => {
    const gate = gates.strangers;
    const files = async () => (await readdir(gate.disk, { recursive: true })).filter((name) => /strangers-TenantLedger.*\.sqlite$/.test(name) && !name.includes("metadata"));
    const flood = Array.from({ length: 100 }, (_, i) => gate.send("/few", { host: `flood-${i}.app.example.com` }));
    for (const response of await Promise.all(flood)) assert.equal(response.status, 404);
    assert.equal((await gate.send("/few", { host: "suspended.app.example.com" })).status, 403);
    assert.deepEqual(await files(), []);
    assert.equal((await gate.send("/few", acme)).status, 200);
    assert.equal((await files()).length, 1);
  });

  test("without a ledger each limit's `on_error` decides, and the decision says so", async () => {
    const gate = gates.ledgerless;
    const open = await gate.send("/few", { host: "down.app.example.com" });
    assert.equal(open.status, 200);
    assert.deepEqual((await open.json()).fallback, ["ledger"]);
    const closed = await gate.send("/closed", { host: "down.app.example.com" });
    assert.equal(closed.status, 503);
    assert.equal((await closed.json()).error.code, "LEDGER_UNAVAILABLE");
    assert.equal((await gate.send("/few", { host: "suspended.app.example.com" })).status, 403);
  });
});

describe("faults", () => {
  const gate = gates.own;

  test("after a trap in the Worker the next request is served, with the right counters", async () => {
    const trap = { host: "trap.app.example.com" };
    assert.equal((await gate.send("/few", trap)).status, 200);
    const trapped = await gate.send("/few", { ...trap, headers: { "x-fault": "trap" } }).catch(() => ({ status: 500 }));
    assert.equal(trapped.status, 500);
    const next = await gate.send("/few", trap);
    assert.equal(next.status, 200);
    assert.equal((await next.json()).limits[0].used, 2);
  });

  test("after a trap the ledger reads its counters from disk again", async () => {
    // In builds for tests, the ledger of `t_trap_ledger` traps whenever it is asked for `few`.
    await gate.decide({ tenant: "t_trap_kept", limits: { few: 3 } });
    // Requests in the trapped instance are answered by the runtime or by `on_error`, so not one
    // hangs.
    const trapped = await gate.decide({ tenant: "t_trap_ledger", limits: { few: 1 } }).catch(() => "refused by the runtime");
    assert(trapped === "refused by the runtime" || trapped.body.fallback[0] === "ledger");
    const next = await gate.decide({ tenant: "t_trap_kept", limits: { few: 0 } });
    assert.equal(next.body.limits[0].used, 3);
  });

  test("after a trap between two waits the next request is served", async () => {
    const trap = { host: "trap-late.app.example.com" };
    const late = await Promise.race([
      gate.send("/few", { ...trap, headers: { "x-fault": "trap-late" } }).then(({ status }) => status, () => 500),
      new Promise((resolve) => setTimeout(resolve, 10_000, "hung")),
    ]);
    assert.equal(late, 500);
    assert.equal((await gate.send("/few", trap)).status, 200);
  });

  test("the health check reports limits without a ledger as degraded", async () => {
    const gate = gates.ledgerless;
    const health = await gate.send("/_gate/healthz");
    const { status, catalog, reason } = await health.json();
    assert.deepEqual([health.status, status, catalog], [503, "degraded", 1]);
    assert.match(reason, /`LEDGER`/);
  });

  test("requests get 503 while there is no catalog, and are served once there is one", async () => {
    const gate = gates.empty;
    const response = await gate.send("/x", acme);
    assert.equal(response.status, 503);
    assert.equal(response.headers.get("retry-after"), "5");
    assert.equal((await response.json()).error.code, "SNAPSHOT_UNAVAILABLE");
    assert.equal((await gate.send("/_gate/healthz")).status, 503);
    await gate.seed(seed);
    assert.equal((await gate.send("/x", acme)).status, 200);
  });

  test("a record that belongs to another tenant leads to 503, not to a wrong answer", async () => {
    await gate.kv.put("tenant:t_broken", '{"id": "t_victim", "slug": "broken", "plan": "pro@1"}');
    const response = await gate.send("/x", { host: "broken.app.example.com" });
    assert.equal(response.status, 503);
    assert(gate.log.some((line) => line.includes("belongs to another tenant")), gate.log.join("\n"));
  });
});

describe("the custom strategy", () => {
  test("a resolver can name a tenant or nobody, and its failures have an error code of their own", async () => {
    const gate = gates.custom;
    const code = async (who) => (await (await gate.send(`/x?who=${who}`)).json());
    assert.equal((await code("acme")).tenant.id, "t_acme");
    assert.equal((await code("")).error.code, "TENANT_NOT_FOUND");
    assert.equal((await code("a/b")).error.code, "BAD_REQUEST");
    for (const who of ["throw", "slow", "odd"]) assert.equal((await code(who)).error.code, "RESOLVER_FAILED", who);
    // A public route does not ask the resolver, so it neither waits nor fails.
    assert.equal((await gate.send("/public/x?who=throw")).status, 200);
  });
});

test("the demo's catalog and tenants serve a request", async () => {
  const response = await gates.demo.send("/api/tasks", { host: "acme.localhost" });
  assert.equal(response.status, 200);
});
