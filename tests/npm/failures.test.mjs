// Errors in the middleware: the response that each one causes, and what is logged.

import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, test } from "node:test";
import express from "express";
import { Hono } from "hono";
import { basicAuth } from "hono/basic-auth";
import { cors } from "hono/cors";
import { HTTPException } from "hono/http-exception";
import { requestId } from "hono/request-id";
import * as forExpress from "../../pkg/express.js";
import * as forHono from "../../pkg/hono.js";
import * as forFetch from "../../pkg/middleware.js";
import { Gate, RemoteGate } from "../../pkg/node.js";
import { TenantgateProvider } from "../../pkg/openfeature.js";

const TOKEN = "operator-token-4711";
const catalog = { version: 1, resolution: { strategies: [{ strategy: "header" }] }, features: { webhooks: {} }, limits: { calls: { kind: "quota", period: "month", default: 9 } }, plans: { "p@1": {} } };
const tenants = [
  { id: "t_acme", slug: "acme", plan: "p@1" }, { id: "t_setup", slug: "setup", plan: "p@1", status: "provisioning" }, { id: "t_repair", slug: "repair", plan: "p@1", status: "maintenance" },
];
const gate = new Gate(catalog, tenants);
const asAcme = { headers: { "x-tenant-id": "acme" } };
const request = (path = "/", headers = asAcme.headers) => new Request(`https://app.example.com${path}`, { headers });

/** Collects what a test writes with `console.error`, one string for each call. */
function log(t) {
  const lines = [];
  t.mock.method(console, "error", (...said) => lines.push(said.map((one) => (one instanceof Error ? one.stack : String(one))).join(" ")));
  return lines;
}
const internal = { error: { code: "INTERNAL", message: "something went wrong", details: {} } };
const read = async (response) => [response.status, await response.json()];

describe("errors that are not the package's own", () => {
  const app = new Hono();
  app.onError(forHono.onError);
  app.use(requestId({ generator: () => "id-1" }), cors());
  app.use(forHono.createTenantMiddleware({ gate }));
  app.use("/login/*", basicAuth({ username: "a", password: "b" }));
  app.get("/gone", () => { throw new HTTPException(410, { message: "gone" }); });
  app.get("/own", () => { throw Object.assign(new Error("own"), { getResponse: () => new Response("mine", { status: 418, headers: { "x-spout": "1" } }) }); });
  app.get("/bug", () => { throw new TypeError("a bug at postgres://user:hunter2@db"); });
  app.get("/denied", () => { throw new forFetch.InsufficientScopeError({ scopes: ["a"] }); });
  const ask = (path, more = asAcme) => app.request(path, more);

  test("Hono: an error with its own response keeps that response and is not logged", async (t) => {
    const lines = log(t);
    const gone = await ask("/gone");
    assert.deepEqual([gone.status, await gone.text()], [410, "gone"]);
    const login = await ask("/login/x");
    assert.deepEqual([login.status, login.headers.get("www-authenticate")], [401, 'Basic realm="Secure Area"']);
    const own = await ask("/own");
    assert.deepEqual([own.status, await own.text(), own.headers.get("x-spout"), own.headers.get("x-request-id")], [418, "mine", "1", "id-1"]);
    assert.deepEqual(lines, []);
  });

  test("Hono: an error without a response becomes a 500 and is logged with its stack", async (t) => {
    const lines = log(t);
    assert.deepEqual(await read(await ask("/bug")), [500, internal]);
    assert.equal(lines.length, 1);
    assert.match(lines[0], /^TypeError: a bug at postgres:\S+\n\s+at /);
  });

  test("Hono: headers of earlier middleware stay on denials and errors", async () => {
    for (const [path, status, more] of [["/denied", 403], ["/gone", 410], ["/", 404, { headers: { "x-tenant-id": "nobody" } }]]) {
      const response = await ask(path, more);
      assert.deepEqual([response.status, response.headers.get("x-request-id"), response.headers.get("access-control-allow-origin")], [status, "id-1", "*"], path);
    }
    assert.equal((await ask("/denied")).headers.get("content-type"), "application/json");
  });

  test("fetch: an error with a usable response keeps it; others become a 500 and are logged", async (t) => {
    const lines = log(t);
    const serve = (thrown) => forFetch.handler(() => { throw thrown; })(request());
    const gone = await serve(new HTTPException(410, { message: "gone" }));
    assert.deepEqual([gone.status, await gone.text()], [410, "gone"]);
    assert.deepEqual(lines, []);
    const used = new Response("used");
    await used.text();
    for (const thrown of [new Error("bug", { cause: new Error("deeper") }), { getResponse: () => { throw new Error("none"); } }, { getResponse: () => used }, { getResponse: () => Response.error() }, { getResponse: () => null }]) {
      assert.deepEqual(await read(await serve(thrown)), [500, internal]);
    }
    assert.equal(lines.length, 5);
    const { level, message, error } = JSON.parse(lines[0]);
    assert.deepEqual([level, message], ["error", "request failed"]);
    assert.match(error, /^Error: bug\n[^]*\ncaused by Error: deeper\n/);
  });

  test("Express and OpenFeature: errors are passed on unchanged and are not logged", async (t) => {
    const lines = log(t);
    const error = new HTTPException(410, { message: "gone" });
    const handed = [];
    forExpress.errorHandler(error, {}, {}, (one) => handed.push(one));
    assert.deepEqual(handed, [error]);
    const provider = new TenantgateProvider({ features: () => { throw error; } });
    await assert.rejects(provider.resolveBooleanEvaluation("webhooks", false, { tenant: "t_acme" }), (thrown) => thrown === error);
    assert.deepEqual(lines, []);
  });
});

describe("an internal failure is logged in one line with its reason", () => {
  const SECRET = "postgres://user:hunter2@db";
  const unreachable = () => new RemoteGate({ url: "https://gate.example.com", token: TOKEN, fetch: () => { throw new TypeError("fetch failed", { cause: new Error("connect ECONNREFUSED 10.0.0.1:443") }); } });
  const refusing = () => new RemoteGate({ url: "https://gate.example.com", token: TOKEN, fetch: async () => Response.json({ error: { code: "UNAUTHENTICATED", message: "this request needs a valid token", details: {} } }, { status: 401 }) });
  const rebuffed = () => new RemoteGate({ url: "https://gate.example.com", token: TOKEN, fetch: async () => new Response("<html>", { status: 502 }) });
  const resolver = { config: { resolution: "custom", customResolver: () => { throw new Error(SECRET); } }, lookupTenant: () => null };
  const byHeader = { config: { resolution: "header" }, lookupTenant: (id) => ({ id, slug: id }) };

  /** Sends a request through each framework. Returns the status and the parsed body. */
  const frameworks = {
    Hono: async (options, more = []) => {
      const app = new Hono();
      app.use(forHono.createTenantMiddleware(options), ...more.map((one) => one(forHono))).get("/", (c) => c.text("served"));
      app.onError(forHono.onError);
      return read(await app.request("/", asAcme));
    },
    "Hono without onError": async (options, more = []) => {
      const app = new Hono();
      app.use(forHono.createTenantMiddleware(options), ...more.map((one) => one(forHono))).get("/", (c) => c.text("served"));
      return read(await app.request("/", asAcme));
    },
    Express: async (options, more = []) => {
      const app = express();
      app.use(forExpress.createTenantMiddleware(options), ...more.map((one) => one(forExpress)), (req, res) => res.end("served"));
      const server = app.listen(0, "127.0.0.1");
      await once(server, "listening");
      try {
        return await read(await fetch(`http://127.0.0.1:${server.address().port}/`, asAcme));
      } finally {
        server.close();
        server.closeAllConnections();
      }
    },
    fetch: async (options, more = []) => read(await forFetch.handler(() => "served", { middleware: [forFetch.createTenantMiddleware(options), ...more.map((one) => one(forFetch))] })(request())),
  };
  const feature = (gate) => ({ requireFeature }) => requireFeature("webhooks", { gate });
  const failures = {
    "a gate that cannot be reached": [() => [{ gate: unreachable() }], 503, "GATE_FAILED", /GATE_FAILED: the gate could not be reached.*TypeError: fetch failed.*ECONNREFUSED/],
    "a gate that refuses the token": [() => [{ gate: refusing() }], 503, "GATE_FAILED", /GATE_FAILED: the gate rejected the application: UNAUTHENTICATED.*this request needs a valid token/],
    "a server that is not a gate": [() => [{ gate: rebuffed() }], 503, "GATE_FAILED", /GATE_FAILED: the gate's response is not JSON: its status is 502/],
    "`requireFeature` with a gate that refuses the token": [() => [byHeader, [feature(refusing())]], 503, "GATE_FAILED", /the gate rejected the application: UNAUTHENTICATED/],
    "`requireFeature` without a gate": [() => [byHeader, [feature()]], 500, "INTERNAL", /MISCONFIGURED: a gate is missing/],
    "a custom resolver that throws": [() => [resolver], 503, "RESOLVER_FAILED", /RESOLVER_FAILED: .*Error: postgres:/],
  };
  for (const [framework, ask] of Object.entries(frameworks)) {
    for (const [what, [given, status, code, reason]] of Object.entries(failures)) {
      test(`${framework}: ${what} is logged in one line, with the reason`, async (t) => {
        const lines = log(t);
        const [answered, body] = await ask(...given());
        assert.deepEqual([answered, body.error.code], [status, code]);
        assert(!JSON.stringify(body).includes("hunter2"));
        assert.equal(lines.length, 1, lines.join("\n"));
        assert.match(framework === "fetch" ? JSON.parse(lines[0]).reason : lines[0], reason);
        assert(!lines[0].includes("\n") && !lines[0].includes(TOKEN), lines[0]);
      });
    }

    test(`${framework}: denials are not logged`, async (t) => {
      const lines = log(t);
      const { config } = byHeader;
      for (const [status, right] of [["provisioning", 503], ["maintenance", 503], ["suspended", 403], ["deleted", 404]]) {
        assert.equal((await ask({ config, lookupTenant: (id) => ({ id, slug: id, status }) }))[0], right);
      }
      assert.deepEqual(lines, []);
    });
  }

  test("quotas, metering and features fail with 503 if the gate refuses the application's token", async (t) => {
    const lines = log(t);
    const quota = ({ createQuotaMiddleware }) => createQuotaMiddleware({ quotaKey: "calls", gate: refusing() });
    assert.deepEqual((await frameworks.fetch(byHeader, [quota]))[0], 503);
    assert.equal(lines.length, 1);
    const asked = { gate: refusing() };
    for (const run of [() => forFetch.meterUsage("t_acme", "calls", 1, asked), () => forFetch.checkLimit("t_acme", "calls", asked), () => forFetch.resolveFeature("t_acme", "webhooks", {}, asked)]) {
      await assert.rejects(run, { code: "GATE_FAILED", status: 503 });
    }
  });

  test("an error with several lines is logged in one line, and each error is logged once", async (t) => {
    const lines = log(t);
    const error = new forFetch.DocumentError([{ path: "$.a", found: "b", expected: "c" }, { path: "$.d", found: "e\r\nf", expected: "g" }]);
    for (let i = 0; i < 2; i++) assert.equal(error.getResponse().status, 500);
    assert.deepEqual(lines, ["tenantgate: INVALID_DOCUMENT: $.a: found b, expected c $.d: found e f, expected g"]);
    const looped = new forFetch.GateFailedError("one");
    looped.cause = looped;
    assert.equal(looped.getResponse().status, 500);
    assert.equal(lines.length, 2);
  });
});
