// During a gradual rollout two versions of the Worker serve the same tenants, with one ledger and
// one control plane. Needs a Worker of an earlier release in `build/released` (see `RELEASING.md`),
// because its tools take minutes to build; without one, nothing runs here.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { BUILT, workers } from "../support/harness.mjs";
import { until } from "../support/wait.mjs";

const RELEASED = "build/released";
const skip = !existsSync(join(import.meta.dirname, "../..", RELEASED, "entry.js")) && "there is no released Worker in build/released";

const LIMIT = 300;
const seed = {
  catalog: {
    version: 1,
    resolution: { strategies: [{ strategy: "header" }] },
    features: { exports: {} },
    limits: {
      leased: { kind: "quota", period: "month", on_error: "closed", default: LIMIT },
      strict: { kind: "quota", period: "month", mode: "strict", on_error: "closed", default: LIMIT },
      held: { kind: "quota", period: "month", on_error: "closed", default: LIMIT },
      slots: { kind: "concurrency", on_error: "closed", default: 10 },
    },
    plans: { "pro@1": { features: ["exports"] }, "free@1": {} },
  },
  tenants: [{ id: "t_acme", slug: "acme", plan: "pro@1" }],
};

/** The version whose class is the ledger, and the version beside it. */
for (const [title, ledger, beside] of [["the new version's ledger", BUILT, RELEASED], ["the old version's ledger", RELEASED, BUILT]]) {
  describe(`two versions with ${title}`, { skip }, () => {
    let both;
    before(async () => {
      const { first, second } = await workers({ first: { seed, folder: ledger }, second: { shares: "first", folder: beside } });
      await second.seed(seed);
      both = [first, second];
    });
    after(() => both?.[0].stop());
    /** Asks both versions in turn, all at once. Returns the codes. */
    const asked = async (count, question) => {
      const answers = await Promise.all(Array.from({ length: count }, (_, i) => both[i % 2].decide({ tenant: "t_acme", ...question(i) })));
      return answers.map(({ body }) => body.code);
    };
    const allowed = (codes) => codes.filter((code) => code === "ALLOWED").length;

    /** What both say is used of the limit `held`: a dry run of one unit shows one more. */
    const used = () => Promise.all(both.map(async (gate) => (await gate.decide({ tenant: "t_acme", limits: { held: 1 }, look: true })).body.limits[0].used - 1));

    for (const limit of ["leased", "strict"]) {
      test(`a ${limit} quota is exact over both`, async () => {
        const taken = [0, 0];
        for (let round = 0; round < 12; round++) {
          for (const [i, code] of (await asked(50, () => ({ limits: { [limit]: 1 } }))).entries()) taken[i % 2] += Number(code === "ALLOWED");
        }
        assert.equal(taken[0] + taken[1], LIMIT);
        assert(Math.min(...taken) > 0, `one of the versions has let nothing through: ${taken}`);
      });
    }

    test("an idempotency key counts once, whichever version it reaches", async () => {
      await asked(40, (i) => ({ limits: { held: 1 }, idempotency_key: `event-${i >> 1}` }));
      assert.deepEqual(await used(), [20, 20]);
    });

    test("one version settles what the other has reserved", async () => {
      const { body: { hold } } = await both[0].decide({ tenant: "t_acme", limits: { held: 100 }, reserve: { id: "r1", for_ms: 60_000 } });
      assert.equal(hold.id, "r1");
      assert.equal((await both[1].decide({ tenant: "t_acme", settle: "r1", limits: { held: 30 } })).body.code, "ALLOWED");
      assert.deepEqual(await used(), [50, 50]);
    });

    test("slots are counted over both", async () => {
      const codes = await asked(30, (i) => ({ limits: { slots: 1 }, reserve: { id: `slot-${i}`, for_ms: 60_000 } }));
      assert.equal(allowed(codes), 10);
    });
  });
}

describe("two versions with one control plane", { skip }, () => {
  let both;
  before(async () => {
    const { first, second } = await workers({ first: { control: true, folder: BUILT }, second: { shares: "first", control: true, folder: RELEASED } });
    both = [first, second];
    const { status } = await first.admin("POST", "/import", seed);
    assert.equal(status, 200);
  });
  after(() => both?.[0].stop());
  const has = async (gate) => (await gate.decide({ tenant: "t_acme", features: ["exports"], look: true })).body.features?.exports?.enabled;

  test("both serve what either has changed", async () => {
    for (const [by, plan] of [[0, "free@1"], [1, "pro@1"], [0, "free@1"]]) {
      const { status } = await both[by].admin("PATCH", "/tenants/t_acme", { plan });
      assert.equal(status, 200);
      for (const gate of both) await until(async () => (await has(gate)) === (plan === "pro@1"), `${gate.name} serves ${plan}`);
    }
  });
});
