// Ledgers at any distance: a tenant that asks for far more than its limit gets exactly its limit,
// every request is answered, and another tenant is not affected.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ask, burst, code, pace } from "../support/client.mjs";
import { assertUnharmed, tally, told, watch, watchDuring } from "./measure.mjs";
import { origin } from "./origin.mjs";
import { world } from "../support/world.mjs";

const DISTANCES = [
  { distanceMs: 1, isolates: 2 },
  { distanceMs: 50, isolates: 30 },
  { distanceMs: 150, isolates: 2 },
  { distanceMs: 500, isolates: 2 },
  { distanceMs: 1500, isolates: 8 },
];
const LIMIT = 20;
const SLOTS = 4;
const FLOOD = { perSecond: 100, ms: 2_000 };
/** CPU time of a request to an exhausted limit, relative to an unmetered one, plus a margin. */
const CPU = { times: 4, plusMs: 3 };

const limits = {
  leased: { kind: "quota", period: "month", default: LIMIT },
  rate: { kind: "rate", window_ms: 86_400_000, default: LIMIT },
  strict: { kind: "quota", period: "month", mode: "strict", default: LIMIT },
  slots: { kind: "concurrency", default: SLOTS },
  plenty: { kind: "quota", period: "month", default: 1_000_000 },
};
const seed = {
  catalog: {
    version: 1,
    resolution: { strategies: [{ strategy: "header" }] },
    limits,
    routes: [{ path: "/free" }, ...Object.keys(limits).map((key) => ({ path: `/${key}`, limits: { [key]: 1 } }))],
    plans: { "pro@1": {} },
  },
  tenants: ["mallory", "victim"].map((slug) => ({ id: `t_${slug}`, slug, plan: "pro@1" })),
};
const served = (answers) => answers.filter(({ status }) => status === 200).length;

for (const { distanceMs, isolates } of DISTANCES) {
  describe(`${distanceMs} ms from the ledger`, () => {
    let gate, counting, quiet, freeMs;
    const send = (slug, isolate, path, options) => ask(gate.urls[isolate], path, { headers: { "x-tenant-id": slug }, ...options });
    /** Every second request goes to the victim's isolate, the others to all isolates in turn. */
    const flood = (path, options = () => ({})) =>
      pace(FLOOD.perSecond, FLOOD.ms, (i) => send("mallory", i % 2 ? (i >> 1) % isolates : 0, path, options(i)));
    const free = () => send("victim", 0, "/free");

    before(async () => {
      counting = await origin();
      gate = await world({ seed, distanceMs, isolates, upstream: counting.url });
      await burst(isolates, (i) => send("mallory", i, "/free"));
      quiet = await watch(1_000, free);
      const begun = gate.usage().cpuMs;
      const answers = await flood("/free");
      freeMs = (gate.usage().cpuMs - begun) / answers.length;
    });
    after(async () => {
      await gate?.stop();
      await counting?.stop();
    });

    /** Fails unless every request was answered. Overload refuses, although `on_error` is `open`. */
    function assertAnswered(answers, refused) {
      for (const answer of answers) {
        if (answer.status === 200 || answer.status === "left") continue;
        assert([refused, "LEDGER_UNAVAILABLE"].includes(code(answer)), `${answer.status} ${answer.text.slice(0, 200)}`);
        assert.equal(answer.status, code(answer) === refused ? 429 : 503);
        assert(Number(answer.headers["retry-after"]) >= 1, `${code(answer)} without Retry-After`);
      }
    }

    const again = (path) => async () => [await watch(1_000, free), (await watchDuring(flood(path), free))[1]];

    test(`${distanceMs} ms away: the origin never has more calls at once than slots, even if clients leave`, async (t) => {
      const path = "/slots?take_ms=400";
      const leaving = (i) => (i % 3 ? {} : { leaveMs: 30 + distanceMs + (i * 37) % 200 });
      const [[answers, own], meanwhile] = await watchDuring(
        Promise.all([flood(path, leaving), burst(SLOTS, () => send("victim", 0, path))]), free,
      );
      t.diagnostic(`${JSON.stringify(tally(answers))}; ${told(quiet, meanwhile)}`);
      assertAnswered([...answers, ...own], "CONCURRENCY_LIMITED");
      assert(counting.most("mallory", "/slots") <= SLOTS, `${counting.most("mallory", "/slots")} calls at once`);
      assert(served(answers) > 0);
      assert.equal(served(own), SLOTS);
      await assertUnharmed(quiet, meanwhile, path, again(path));
    });

    for (const [key, refused] of [["strict", "QUOTA_EXCEEDED"], ["leased", "QUOTA_EXCEEDED"], ["rate", "RATE_LIMITED"]]) {
      test(`${distanceMs} ms away: a flood beyond an exhausted ${key} limit is refused, in time and cheaply`, async (t) => {
        const path = `/${key}`;
        const first = await burst(LIMIT + 10, () => send("mallory", 0, path));
        const begun = gate.usage().cpuMs;
        const [[more, own], meanwhile] = await watchDuring(
          Promise.all([flood(path), burst(LIMIT + 10, () => send("victim", 0, path))]), free,
        );
        const cpuMs = (gate.usage().cpuMs - begun) / (more.length + own.length + meanwhile.length);
        const answers = [...first, ...more];
        t.diagnostic(`${JSON.stringify(tally(answers))}; ${told(quiet, meanwhile)}; CPU ${freeMs.toFixed(1)} → ${cpuMs.toFixed(1)} ms`);
        assertAnswered([...answers, ...own], refused);
        assert.equal(served(answers), LIMIT, JSON.stringify(tally(answers)));
        assert.equal(counting.calls("mallory", path).length, LIMIT);
        // The victim gets exactly its own limit, and 429 beyond it, because it causes no overload.
        assert.deepEqual(tally(own), { 200: LIMIT, 429: 10 });
        await assertUnharmed(quiet, meanwhile, path, again(path));
        const most = freeMs * CPU.times + CPU.plusMs;
        assert(cpuMs <= most, `a request costs ${cpuMs.toFixed(1)} ms of CPU, an unmetered one ${freeMs.toFixed(1)} ms`);
      });
    }

    test(`${distanceMs} ms away: at most 8 of 60 sequential requests on a lease wait for the ledger`, { skip: distanceMs < 50 }, async (t) => {
      const times = [];
      for (let i = 0; i < 60; i++) {
        const { status, ms } = await send("victim", 0, "/plenty");
        assert.equal(status, 200);
        times.push(ms);
      }
      // The first requests wait while the lease grows.
      const waited = times.filter((ms) => ms >= distanceMs).length;
      t.diagnostic(`${waited} of 60 requests waited for the ledger`);
      assert(waited <= 8, times.map((ms) => ms.toFixed(0)).join(" "));
    });

    test(`${distanceMs} ms away: a burst beyond an exhausted strict limit is answered and refused`, async (t) => {
      // At long distances, the ledger cannot count this many before requests time out.
      const count = distanceMs < 1000 ? 500 : 2_500;
      const [answers, meanwhile] = await watchDuring(burst(count, () => send("mallory", 0, "/strict")), free);
      t.diagnostic(`${JSON.stringify(tally(answers))}; ${told(quiet, meanwhile)}`);
      assertAnswered(answers, "QUOTA_EXCEEDED");
      assert.equal(served(answers), 0);
      assert.equal(counting.calls("mallory", "/strict").length, LIMIT);
      assert.deepEqual(Object.keys(tally(meanwhile)), ["200"]);
    });
  });
}
