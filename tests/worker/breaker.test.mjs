// Circuit breakers in front of a real origin that fails, is slow, and recovers.

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
// Fails and dawdles as it is told by header, so that one origin is good to one tenant and bad to another.
const origin = `export default { async fetch(request) {
  const wait = Number(request.headers.get("x-wait") ?? 0);
  if (wait) await new Promise((resolve) => setTimeout(resolve, wait));
  if (request.headers.get("x-throw")) throw new Error("the origin is broken");
  return new Response("origin", { status: Number(request.headers.get("x-status") ?? 200) });
} }`;
const FAIL = { "x-status": "503" };

const stays = { ...seed, catalog: { ...seed.catalog, breakers: { ...seed.catalog.breakers, api: { min_calls: 5, open_ms: 600_000 } } } };
// Accepts connections, and never answers a path with `hang`.
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

  test("open for the tenant and the group that fails, and close again when trials go well", async () => {
    const send = async (path, slug, headers, isolate = 0) => {
      const response = await gate.sendTo(isolate, path, as(slug, headers));
      const body = await response.text();
      return { status: response.status, headers: response.headers, code: body.startsWith("{") ? JSON.parse(body).error.code : body };
    };
    for (let i = 0; i < 5; i++) assert.equal((await send("/api", "acme")).code, "origin");
    // Calls that fail pass as they are, until there are too many of them.
    await until(async () => (await send("/api", "acme", FAIL)).code === "TENANT_CIRCUIT_OPEN", "it opens");
    const refused = await send("/api/other", "acme");
    assert.deepEqual([refused.status, refused.code], [503, "TENANT_CIRCUIT_OPEN"], "the whole group");
    assert(Number(refused.headers.get("retry-after")) >= 1);
    // Neither another tenant nor another group.
    assert.equal((await send("/api", "other")).code, "origin");
    assert.equal((await send("/free", "acme")).code, "origin");

    // The trials fail: open again. Then they go well: closed, in the isolate that asks and in the other.
    await until(async () => (await send("/api", "acme", FAIL)).code === "origin", "trials begin");
    await until(async () => (await send("/api", "acme", FAIL)).code === "TENANT_CIRCUIT_OPEN", "it opens again");
    await until(async () => (await send("/api", "acme")).code === "origin", "trials begin again");
    await until(async () => {
      const all = await Promise.all(Array.from({ length: 20 }, (_, i) => send("/api", "acme", {}, i % 2)));
      return all.every(({ code }) => code === "origin");
    }, "it closes");
  });

  test("consume nothing while they are open", async () => {
    // Open for minutes: no trial is let through meanwhile.
    const gate = gates.stays;
    await until(async () => (await (await gate.send("/api", as("acme", FAIL))).text()).includes("TENANT_CIRCUIT_OPEN"), "it opens");
    const used = async () => (await gate.decide({ tenant: "t_acme", limits: { month: 0 } })).body.limits[0].used;
    const before = await used();
    for (let i = 0; i < 5; i++) assert.equal((await gate.send("/api", as("acme"))).status, 503);
    assert.equal(await used(), before);
  });

  test("let no more than their trials through at once, over all isolates", async () => {
    // Every isolate speaks to the ledger in time: that it is open, all know.
    await until(async () => {
      const answers = await Promise.all([0, 1, 2, 3].map((isolate) => gate.sendTo(isolate, "/api", as("trials", FAIL)).then((response) => response.text())));
      return answers.every((text) => text.includes("TENANT_CIRCUIT_OPEN"));
    }, "it opens everywhere");
    await sleep(OPEN_MS);
    // Calls that take a while, so that all trials are under way together.
    const answers = await Promise.all(Array.from({ length: 40 }, (_, i) => gate.sendTo(i % 4, "/api", as("trials", { "x-wait": "300" })).then((response) => response.text())));
    assert.equal(answers.filter((text) => text === "origin").length, 3);
  });

  test("count slow calls, and an origin that throws", async () => {
    await until(async () => (await gate.send("/slow", as("slow", { "x-wait": "60" }))).status === 503, "slow calls open it");
    await until(async () => {
      const response = await gate.send("/api", as("throws", { "x-throw": "1" }));
      return response.status === 503 && (await response.json()).error.code === "TENANT_CIRCUIT_OPEN";
    }, "throwing opens it");
  });

  test("do not count what the gate itself refuses", async () => {
    const codes = new Set();
    for (let i = 0; i < 40; i++) codes.add((await gate.send("/api", as("small"))).status);
    assert.deepEqual([...codes], [200, 429]);
    const { body } = await gate.decide({ host: "app.example.com", path: "/api/other", headers: { "x-tenant-id": "small" } });
    assert.deepEqual([body.allowed, body.breaker], [true, { group: "api", state: "closed" }]);
  });

  test("are forced open and disabled, for all or for one tenant and those below it", async () => {
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
  test("opens the breaker while its calls are open, also where clients give up; and no call waits for ever", async () => {
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
    await until(async () => (await ask("/guarded"))[1] === "TENANT_CIRCUIT_OPEN", "it opens while the calls are open");

    assert.deepEqual(await ask("/bare/hang"), [504, "UPSTREAM_TIMEOUT"]);
    assert.deepEqual(await ask("/bare"), [200, "fine"]);
    for (let i = 0; i < 3; i++) assert.deepEqual(await ask("/short/hang"), [504, "UPSTREAM_TIMEOUT"]);
    await until(async () => (await ask("/short"))[1] === "TENANT_CIRCUIT_OPEN", "what ends by time has failed");
    // What was told as slow, and fails then, has failed too.
    for (let i = 0; i < 2; i++) assert.deepEqual(await ask("/both"), [200, "fine"]);
    for (let i = 0; i < 3; i++) assert.deepEqual(await ask("/both/hang"), [504, "UPSTREAM_TIMEOUT"]);
    await until(async () => (await ask("/both/hang"))[1] === "TENANT_CIRCUIT_OPEN", "three of five have failed, and not all were slow", { ms: 2_000 });
  });
});
