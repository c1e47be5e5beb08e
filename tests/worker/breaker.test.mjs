// Circuit breakers in front of a real origin that fails, slows down and recovers.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { OPERATOR, as, workers } from "../support/harness.mjs";
import { serve } from "../support/server.mjs";
import { sleep, until } from "../support/wait.mjs";

const OPEN_MS = 700;
const seed = {
  catalog: {
    version: 1,
    resolution: { strategies: [{ strategy: "header" }] },
    routes: [
      { path: "/api", breaker: "api", limits: { month: 1 } }, { path: "/api/other", breaker: "api" },
      { path: "/slow", breaker: "slow" }, { path: "/off", breaker: "off" }, { path: "/broken", breaker: "broken" }, { path: "/free" },
    ],
    limits: { month: { kind: "quota", period: "month", mode: "strict" } },
    breakers: {
      api: { min_calls: 10, failed_percent: 50, open_ms: OPEN_MS, trial_calls: 3 },
      slow: { min_calls: 4, slow_ms: 30, slow_percent: 60, open_ms: 60_000 },
      off: { mode: "forced_open" },
      broken: { mode: "disabled", min_calls: 1, failed_percent: 1 },
    },
    plans: { "pro@1": { limits: { month: 100_000 } } },
  },
  tenants: [
    ...["acme", "trials", "slow", "throws"].map((slug) => ({ id: `t_${slug}`, slug, plan: "pro@1" })), { id: "t_other", slug: "other", plan: "pro@1", breakers: { off: "disabled" } },
    { id: "t_team", slug: "team", parent: "t_other" }, { id: "t_small", slug: "small", plan: "pro@1", overrides: [{ limit: "month", allowance: 3 }] },
  ],
};
// Fails or waits as the request's headers say, so that one origin serves one tenant and fails
// another.
const origin = `export default { async fetch(request) {
  const wait = Number(request.headers.get("x-wait") ?? 0);
  if (wait) await new Promise((resolve) => setTimeout(resolve, wait));
  if (request.headers.get("x-throw")) throw new Error("the origin is broken");
  return new Response("origin", { status: Number(request.headers.get("x-status") ?? 200) });
} }`;
const FAIL = { "x-status": "503" };

const stays = { ...seed, catalog: { ...seed.catalog, breakers: { ...seed.catalog.breakers, api: { min_calls: 5, open_ms: 600_000 } } } };
// Accepts every connection, but never answers a path that contains `hang`.
const hung = await serve((request, response) => { if (!request.url.includes("hang")) response.end("fine"); });
const hanging = {
  catalog: {
    version: 1,
    resolution: { strategies: [{ strategy: "header" }] },
    routes: [{ path: "/guarded", breaker: "guarded", timeout_ms: 600_000 }, { path: "/short", breaker: "short", timeout_ms: 300 }, { path: "/bare", timeout_ms: 300 }, { path: "/both", breaker: "both", timeout_ms: 300 }],
    breakers: { guarded: { min_calls: 5, slow_ms: 100, slow_percent: 50, open_ms: 60_000 }, short: { min_calls: 3, failed_percent: 50, open_ms: 60_000 }, both: { min_calls: 5, failed_percent: 50, slow_ms: 100, slow_percent: 100, open_ms: 60_000 } },
    plans: { "pro@1": {} },
  },
  tenants: [{ id: "t_a", slug: "a", plan: "pro@1" }],
};
const gates = await workers({
  gate: { seed, origin, isolates: 4 },
  stays: { seed: stays, origin },
  hanging: { seed: hanging, bindings: { UPSTREAM_URL: hung.url }, direct: true },
});
after(() => Promise.all([gates.gate.stop(), hung.stop()]));

describe("circuit breakers", () => {
  const { gate } = gates;

  test("a breaker opens only for the tenant and group that fail, and closes when trial calls succeed", async () => {
    const send = async (path, slug, headers, isolate = 0) => {
      const response = await gate.sendTo(isolate, path, as(slug, headers));
      const body = await response.text();
      return { status: response.status, headers: response.headers, code: body.startsWith("{") ? JSON.parse(body).error.code : body };
    };
    for (let i = 0; i < 5; i++) assert.equal((await send("/api", "acme")).code, "origin");
    // Failed responses are passed through unchanged until there are too many of them.
    await until(async () => (await send("/api", "acme", FAIL)).code === "TENANT_CIRCUIT_OPEN", "the breaker opens");
    const refused = await send("/api/other", "acme");
    assert.deepEqual([refused.status, refused.code], [503, "TENANT_CIRCUIT_OPEN"], "another route of the group is refused too");
    assert(Number(refused.headers.get("retry-after")) >= 1);
    // Neither another tenant nor a route outside the group is affected.
    assert.equal((await send("/api", "other")).code, "origin");
    assert.equal((await send("/free", "acme")).code, "origin");

    // The trial calls fail, and the breaker opens again. Then they succeed, and it closes in both
    // isolates.
    await until(async () => (await send("/api", "acme", FAIL)).code === "origin", "a trial call is let through");
    await until(async () => (await send("/api", "acme", FAIL)).code === "TENANT_CIRCUIT_OPEN", "the breaker opens again");
    await until(async () => (await send("/api", "acme")).code === "origin", "a trial call is let through again");
    await until(async () => {
      const all = await Promise.all(Array.from({ length: 20 }, (_, i) => send("/api", "acme", {}, i % 2)));
      return all.every(({ code }) => code === "origin");
    }, "the breaker closes");
  });

  test("a request that an open breaker refuses consumes nothing", async () => {
    // This breaker stays open for minutes, so no trial call is let through during the test.
    const gate = gates.stays;
    await until(async () => (await (await gate.send("/api", as("acme", FAIL))).text()).includes("TENANT_CIRCUIT_OPEN"), "the breaker opens");
    const used = async () => (await gate.decide({ tenant: "t_acme", limits: { month: 0 } })).body.limits[0].used;
    const before = await used();
    for (let i = 0; i < 5; i++) assert.equal((await gate.send("/api", as("acme"))).status, 503);
    assert.equal(await used(), before);
  });

  test("all isolates together let no more requests through a half-open breaker than its trial calls", async () => {
    // In time every isolate asks the ledger, and so learns that the breaker is open.
    await until(async () => {
      const answers = await Promise.all([0, 1, 2, 3].map((isolate) => gate.sendTo(isolate, "/api", as("trials", FAIL)).then((response) => response.text())));
      return answers.every((text) => text.includes("TENANT_CIRCUIT_OPEN"));
    }, "the breaker is open in every isolate");
    await sleep(OPEN_MS);
    // The calls take a while, so that all trial calls are in flight together.
    const answers = await Promise.all(Array.from({ length: 40 }, (_, i) => gate.sendTo(i % 4, "/api", as("trials", { "x-wait": "300" })).then((response) => response.text())));
    assert.equal(answers.filter((text) => text === "origin").length, 3);
  });

  test("slow calls open a breaker, and so do calls to an origin that throws", async () => {
    await until(async () => (await gate.send("/slow", as("slow", { "x-wait": "60" }))).status === 503, "slow calls open the breaker");
    await until(async () => {
      const response = await gate.send("/api", as("throws", { "x-throw": "1" }));
      return response.status === 503 && (await response.json()).error.code === "TENANT_CIRCUIT_OPEN";
    }, "an origin that throws opens the breaker");
  });

  test("a request that the gate refuses is not counted as a call to the origin", async () => {
    const codes = new Set();
    for (let i = 0; i < 40; i++) codes.add((await gate.send("/api", as("small"))).status);
    assert.deepEqual([...codes], [200, 429]);
    const { body } = await gate.decide({ host: "app.example.com", path: "/api/other", headers: { "x-tenant-id": "small" } });
    assert.deepEqual([body.allowed, body.breaker], [true, { group: "api", state: "closed" }]);
  });

  test("a breaker can be forced open or disabled, for all tenants or for one and its descendants", async () => {
    const forced = await gate.send("/off", as("acme"));
    assert.deepEqual([forced.status, (await forced.json()).error.code], [503, "TENANT_CIRCUIT_OPEN"]);
    for (const slug of ["other", "team"]) assert.equal((await gate.send("/off", as(slug))).status, 200, slug);
    for (let i = 0; i < 10; i++) assert.equal((await gate.send("/broken", as("acme", { "x-status": "500" }))).status, 500);
    const explained = await gate.send("/off", as("acme", { "x-gate-explain": OPERATOR }));
    const { trace } = await explained.json();
    const step = trace.find(({ stage }) => stage === "breaker");
    assert(step && !step.passed && step.found.includes("forced_open"), JSON.stringify(trace));
  });
});

describe("an origin that hangs", () => {
  test("an origin that hangs opens the breaker during its calls, and each call ends at its timeout", async () => {
    const gate = gates.hanging;
    const ask = async (path, ms = 10_000) => {
      try {
        const response = await fetch(new URL(path, gate.url), { ...as("a"), signal: AbortSignal.timeout(ms) });
        const text = await response.text();
        return text.startsWith("{") ? [response.status, JSON.parse(text).error.code] : [response.status, text];
      } catch {
        return ["left"];
      }
    };
    assert.deepEqual(await ask("/guarded"), [200, "fine"]);
    const seen = await Promise.all(Array.from({ length: 8 }, () => ask("/guarded/hang", 400)));
    assert(seen.every(([status]) => status === "left"), JSON.stringify(seen));
    await until(async () => (await ask("/guarded"))[1] === "TENANT_CIRCUIT_OPEN", "the breaker opens while the calls are in flight");

    assert.deepEqual(await ask("/bare/hang"), [504, "UPSTREAM_TIMEOUT"]);
    assert.deepEqual(await ask("/bare"), [200, "fine"]);
    for (let i = 0; i < 3; i++) assert.deepEqual(await ask("/short/hang"), [504, "UPSTREAM_TIMEOUT"]);
    await until(async () => (await ask("/short"))[1] === "TENANT_CIRCUIT_OPEN", "calls that time out count as failed");
    // A call that was reported as slow and then fails counts as failed too.
    for (let i = 0; i < 2; i++) assert.deepEqual(await ask("/both"), [200, "fine"]);
    for (let i = 0; i < 3; i++) assert.deepEqual(await ask("/both/hang"), [504, "UPSTREAM_TIMEOUT"]);
    await until(async () => (await ask("/both/hang"))[1] === "TENANT_CIRCUIT_OPEN", "three failed calls of five open the breaker, although not all were slow", { ms: 2_000 });
  });
});
