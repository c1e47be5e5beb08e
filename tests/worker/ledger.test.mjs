// The ledger under many isolates and retries, on real Durable Objects and real SQLite.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { as, worker } from "../support/harness.mjs";

const seed = {
  catalog: {
    version: 1,
    resolution: { strategies: [{ strategy: "header" }] },
    routes: [{ path: "/quota", limits: { month: 1 } }, { path: "/rate", limits: { speed: 1 } }, { path: "/strict", limits: { exact: 1 } }, { path: "/both", limits: { month: 1, exact: 1 } }],
    limits: {
      month: { kind: "quota", period: "month" },
      speed: { kind: "rate", window_ms: 86_400_000 },
      exact: { kind: "quota", period: "month", mode: "strict" },
    },
    plans: { "pro@1": { limits: { month: 1000, speed: 500, exact: 50 } } },
  },
  tenants: [
    ...["many", "acme", "both", "keys", "other", "none"].map((slug) => ({ id: `t_${slug}`, slug, plan: "pro@1" })),
    { id: "t_team", slug: "team", parent: "t_acme", overrides: [{ limit: "month", allowance: 300 }] },
  ],
};

const gate = await worker({ seed, isolates: 8 });
after(() => gate.stop());

describe("leases", () => {
  test("many isolates together never admit more than a limit, and admit nearly all of it", async () => {
    for (const [path, limit] of [["/quota", 1000], ["/rate", 500], ["/strict", 50]]) {
      let admitted = 0;
      for (let round = 0; round < 30; round++) {
        const answers = await Promise.all(Array.from({ length: 80 }, (_, i) => gate.sendTo(i % 8, path, as("many"))));
        for (const { status } of answers) {
          assert(status === 200 || status === 429, String(status));
          admitted += status === 200 ? 1 : 0;
        }
      }
      assert(admitted <= limit, `${admitted} of ${limit} on ${path}`);
      assert(admitted >= limit * 0.99, `${admitted} of ${limit} on ${path}`);
    }
  });

  test("a child spends at most its own allowance, and the family at most the parent's", async () => {
    const admitted = { team: 0, acme: 0 };
    for (let round = 0; round < 40; round++) {
      const slugs = Array.from({ length: 40 }, (_, i) => (i % 2 ? "team" : "acme"));
      const answers = await Promise.all(slugs.map((slug, i) => gate.sendTo(i % 4, "/quota", as(slug))));
      answers.forEach(({ status }, i) => { admitted[slugs[i]] += status === 200 ? 1 : 0; });
    }
    assert(admitted.team <= 300 && admitted.team >= 290, String(admitted.team));
    assert(admitted.team + admitted.acme <= 1000 && admitted.team + admitted.acme >= 990, JSON.stringify(admitted));
  });

  test("a request that the ledger refuses takes nothing from a lease", async () => {
    for (let i = 0; i < 60; i++) assert.equal((await gate.send("/both", as("both"))).status, i < 50 ? 200 : 429);
    const { body } = await gate.decide({ tenant: "t_both", limits: { month: 0, exact: 0 } });
    const used = Object.fromEntries(body.limits.map(({ key, used }) => [key, used]));
    assert.equal(used.exact, 50);
    // The ledger counts leased units as used; the next response of the isolate itself has the exact
    // number.
    const next = await (await gate.send("/quota", as("both"))).json();
    assert.equal(next.limits[0].used, 51);
    assert.equal(next.limits[0].remaining, 949);
  });
});

describe("idempotency keys", () => {
  test("a retry under the same idempotency key counts once, and each tenant has its own keys", async () => {
    const ask = (tenant, key, cost = 1) => gate.decide({ tenant, limits: { exact: cost, month: cost }, idempotency_key: key });
    const answers = await Promise.all(Array.from({ length: 30 }, () => ask("t_keys", "event-1")));
    assert(answers.every(({ body }) => body.allowed));
    assert.equal(answers.filter(({ body }) => body.repeated).length, 29);
    assert.equal((await ask("t_other", "event-1")).body.repeated, undefined);
    const used = async () => (await gate.decide({ tenant: "t_keys", limits: { exact: 0, month: 0 } })).body.limits.map(({ used }) => used);
    assert.deepEqual(await used(), [1, 1]);
    const reused = (await ask("t_keys", "event-1", 2)).body;
    assert.equal(reused.code, "IDEMPOTENCY_KEY_REUSED");
    assert.deepEqual(await used(), [1, 1]);
    // A refused request was not done, so its key can be used again.
    assert.equal((await ask("t_keys", "event-2", 51)).body.code, "QUOTA_EXCEEDED");
    assert.equal((await ask("t_keys", "event-2", 51)).body.code, "QUOTA_EXCEEDED");
    assert.equal((await ask("t_keys", "event-3", 49)).body.allowed, true);
    assert.equal((await ask("t_keys", "event-3", 49)).body.repeated, true);
    assert.deepEqual(await used(), [50, 50]);
  });

  test("invalid idempotency keys are refused", async () => {
    for (const key of ["", "a b", "a\"b", "é", "k".repeat(256)]) {
      const { status, body } = await gate.decide({ tenant: "t_none", idempotency_key: key });
      assert.equal(status, 400, key);
      assert.equal(body.error.details.problems[0].path, "$.idempotency_key");
    }
    assert.equal((await gate.decide({ tenant: "t_none", idempotency_key: "k".repeat(255) })).status, 200);
  });
});
