// Behaviour over time: leases that end, windows that slide, ledgers that do not answer. The tests
// run concurrently, because each of them waits.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { ObjectClient } from "../../src/worker/object_client.js";
import { as, worker } from "../support/harness.mjs";
import { until } from "../support/wait.mjs";

const seed = {
  catalog: {
    version: 1,
    resolution: { strategies: [{ strategy: "header" }] },
    routes: [{ path: "/quota", limits: { month: 1 } }, { path: "/sliding", limits: { sliding: 1 } }],
    limits: { month: { kind: "quota", period: "month", default: 1000 }, sliding: { kind: "window", window_ms: 2000, default: 20 } },
    plans: { "pro@1": {} },
  },
  tenants: ["spare", "b"].map((slug) => ({ id: `t_${slug}`, slug, plan: "pro@1" })),
};
const gate = await worker({ seed, isolates: 4 });
after(() => gate.stop());
const many = (count, ask) => Promise.all(Array.from({ length: count }, (_, i) => ask(i)));

describe("behaviour over time", { concurrency: true }, () => {
  test("unspent units of a lease return to the ledger before the lease ends", async () => {
    let admitted = 0;
    for (let i = 0; i < 120; i++) admitted += (await gate.send("/quota", as("spare"))).status === 200 ? 1 : 0;
    const used = async () => (await gate.decide({ tenant: "t_spare", limits: { month: 0 } })).body.limits[0].used;
    assert(await used() > admitted, "the isolate holds units that it has not spent");
    // A lease lasts ten seconds. The isolate reports unspent units before that.
    await until(async () => (await used()) === admitted, "the unspent units have returned", { ms: 14_000, everyMs: 250 });
  });

  test("a sliding window admits at most its limit in any interval of its length", async () => {
    const admitted = [];
    for (const end = Date.now() + 5_000; Date.now() < end;) {
      await many(8, async (i) => {
        const sent = Date.now();
        const { status } = await gate.sendTo(i % 4, "/sliding", as("b"));
        if (status === 200) admitted.push({ sent, answered: Date.now() });
      });
    }
    // A request that was sent and answered within an interval was admitted within it.
    const within = ({ sent }) => admitted.filter((other) => other.sent >= sent && other.answered < sent + 2000).length;
    assert(admitted.every((first) => within(first) <= 20), `${Math.max(...admitted.map(within))} requests admitted within two seconds`);
    assert(admitted.length >= 30, `${admitted.length} requests admitted in five seconds`);
  });

  // The local runtime cannot provide a ledger that accepts a message and never answers. A promise
  // that never resolves stands in for it.
  test("requests to a ledger that never answers fail in time and do not block later requests", { timeout: 30_000 }, async () => {
    const context = { waitUntil() {} };
    const echo = async (_, body) => new Response(body.split("\n").map((one) => `answer to ${one}`).join("\n"));
    let ledger = () => new Promise(() => {});
    const client = new ObjectClient("ledger", 5_000, (...message) => ledger(...message));
    for (const end of await Promise.allSettled(["1", "2", "3"].map((body) => client.ask("silent", body, context)))) {
      assert.match(String(end.reason), /the ledger did not answer in time/);
    }
    ledger = echo;
    assert.equal(await client.ask("silent", "4", context), "answer to 4");
  });
});
