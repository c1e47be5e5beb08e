// What clients do is not held against an origin, and its calls keep their slots until they end.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ask, burst, code, dawdle, raw } from "../support/client.mjs";
import { origin } from "./origin.mjs";
import { as } from "../support/harness.mjs";
import { sleep, until } from "../support/wait.mjs";
import { world } from "../support/world.mjs";

const seed = {
  catalog: {
    version: 1,
    resolution: { strategies: [{ strategy: "header" }] },
    limits: { slots: { kind: "concurrency", default: 1 } },
    breakers: { api: { min_calls: 20, failed_percent: 50, slow_ms: 2_000, slow_percent: 80, open_ms: 30_000 } },
    routes: [{ path: "/api", breaker: "api" }, { path: "/slots", limits: { slots: 1 } }, { path: "/free" }],
    plans: { "pro@1": {} },
  },
  tenants: ["acme", "acme-eu", "mallory", "victim"].map((slug) => ({ id: `t_${slug}`, slug, plan: "pro@1" })),
};

describe("an origin behind the gate", () => {
  let gate, counting;
  before(async () => {
    counting = await origin();
    gate = await world({ seed, upstream: counting.url });
  });
  after(async () => {
    await gate?.stop();
    await counting?.stop();
  });
  const send = (slug, path, options) => ask(gate.urls[0], path, { ...as(slug), ...options });

  async function assertClosed(slug) {
    // The gate reports outcomes to the ledger a moment later.
    await sleep(1_000);
    for (let i = 0; i < 3; i++) {
      const answer = await send(slug, "/api");
      assert.equal(answer.status, 200, code(answer));
      await sleep(100);
    }
  }

  test("uploads that clients abort do not open a circuit breaker", async () => {
    await burst(24, () => dawdle(gate.urls[0], "/api", { ...as("mallory"), length: 100, everyMs: 20, ms: 80 }));
    await assertClosed("mallory");
  });

  test("slow uploads do not open a circuit breaker", async () => {
    // Two bytes, 1.2 seconds apart: in all longer than `slow_ms`.
    const answers = await burst(24, () => dawdle(gate.urls[0], "/api", { ...as("acme-eu"), length: 2, everyMs: 1_200, ms: 4_000 }));
    assert(answers.every(({ status }) => status === 200), JSON.stringify(answers));
    await assertClosed("acme-eu");
  });

  test("a failing origin opens the circuit breaker of the tenant that it fails, and of no other", async () => {
    const seen = [];
    for (let i = 0; i < 60 && seen.at(-1) !== "TENANT_CIRCUIT_OPEN"; i++) {
      seen.push(code(await send("acme", "/api?status=500")));
      await sleep(20);
    }
    assert.equal(seen.at(-1), "TENANT_CIRCUIT_OPEN");
    assert(seen.length > 10, `the circuit breaker opened after ${seen.length} calls`);
    const refused = await send("acme", "/api");
    assert.equal(refused.status, 503);
    assert(Number(refused.headers["retry-after"]) >= 1);
    assert.equal((await send("victim", "/api")).status, 200);
    assert.equal((await send("acme", "/free")).status, 200);
  });

  test("the gate answers TRACE itself and does not call the origin", async () => {
    const calls = counting.calls("acme", "/free").length;
    const lines = ["TRACE /free HTTP/1.1", "Host: app.example.com", "X-Tenant-Id: acme", "Connection: close", "", ""];
    const answer = await raw(gate.urls[0], lines.join("\r\n"));
    assert.equal(answer.split("\r\n")[0].split(" ")[1], "405");
    assert.doesNotMatch(answer, /x-tenant-id|x-forwarded-host/i);
    assert.equal(counting.calls("acme", "/free").length, calls);
  });
});

// Counts how many of its calls overlap. A bound service does not learn that a client has left.
const TAKES_MS = 2_000;
const bound = `let [now, most] = [0, 0];
export default { async fetch(request) {
  if (new URL(request.url).pathname === "/most") return new Response(most);
  most = Math.max(most, now += 1);
  await scheduler.wait(${TAKES_MS});
  now -= 1;
  return new Response("origin");
} }`;

describe("a slot lasts as long as the origin's call, even if its client leaves", () => {
  let gate, counting;
  before(async () => { counting = await origin(); });
  after(() => counting?.stop());
  const path = `/slots?take_ms=${TAKES_MS}`;
  const headers = { "x-tenant-id": "mallory" };

  async function leaveOften() {
    for (let i = 0; i < 16; i++) {
      await ask(gate.urls[0], path, { headers, leaveMs: 150 });
      await sleep(50);
    }
    await sleep(TAKES_MS);
  }
  /** Checks that the slot is free in the end. */
  async function assertFree() {
    await until(async () => {
      const answer = await ask(gate.urls[0], path, { headers });
      if (answer.status !== 200) assert.equal(code(answer), "CONCURRENCY_LIMITED");
      return answer.status === 200;
    }, "the slot is free again", { ms: 10_000, everyMs: 100 });
  }

  test("an origin at a URL: a slot lasts as long as the call, even if the client leaves", async (t) => {
    gate = await world({ seed, upstream: counting.url });
    t.after(() => gate.stop());
    await leaveOften();
    assert.equal(counting.most("mallory", "/slots"), 1);
    await assertFree();
  });

  test("an origin behind a service binding: a slot lasts as long as the call, even if the client leaves", async (t) => {
    gate = await world({ seed, origin: bound });
    t.after(() => gate.stop());
    await leaveOften();
    assert.equal(await (await gate.askOrigin("/most")).text(), "1");
    await assertFree();
  });
});
