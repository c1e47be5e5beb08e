// A restart loses nothing that was acknowledged. A start takes seconds, so all scenarios share
// their restarts: each runs until it yields, then workerd restarts on the same disk, and each
// continues.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { publish } from "../../pkg/node.js";
import { as, workers } from "../support/harness.mjs";
import { questions } from "../support/questions.mjs";
import * as metering from "../support/usage.mjs";
import { until, untilEqual } from "../support/wait.mjs";

const strict = { kind: "quota", period: "month", mode: "strict" };
const seed = {
  catalog: {
    version: 1,
    resolution: { strategies: [{ strategy: "header" }] },
    routes: [{ path: "/few", limits: { few: 1 } }, { path: "/month", limits: { month: 1 } }, { path: "/api", breaker: "api" }],
    limits: {
      few: { ...strict, default: 20 }, exact: { ...strict, default: 50 }, month: { kind: "quota", period: "month", default: 1000 },
      tokens: { kind: "quota", period: "month", default: 100 },
      seats: { kind: "gauge", default: 5 }, desks: { kind: "gauge", overage: "soft", default: 5 },
    },
    breakers: { api: { min_calls: 5, open_ms: 600_000 } },
    plans: { "pro@1": {} },
  },
  tenants: ["hot", "broken", "held", "seated", "leased", "keys", "other"].map((slug) => ({ id: `t_${slug}`, slug, plan: "pro@1" })),
};
// Fails if a header of the request says so.
const origin = `export default { fetch: (request) => new Response("origin", { status: Number(request.headers.get("x-status") ?? 200) }) }`;

const { gate, metered, events } = await workers({
  gate: { seed, origin, isolates: 3 },
  metered: { seed: metering.seed, isolates: 3 },
  events: { seed: metering.seed, ...metering.handsOn("events") },
}, { durable: true });
after(() => gate.stop());
const { ask, used, take, reserve, settle } = questions(gate);
const many = (count, ask) => Promise.all(Array.from({ length: count }, (_, i) => ask(i)));

const scenarios = {
  async* "exactly the limit of concurrent requests passes, and a restart keeps the count"() {
    const statuses = async (count) => (await many(count, () => gate.send("/few", as("hot")))).map(({ status }) => status);
    const first = await statuses(200);
    assert.equal(first.filter((status) => status === 200).length, 20);
    assert.equal(first.filter((status) => status === 429).length, 180);
    yield;
    assert.equal(await used("t_hot", "few"), 20);
    assert.equal((await statuses(1))[0], 429);
  },

  async* "an open breaker stays open over a restart of the ledger"() {
    const open = async (status) => (await (await gate.send("/api", as("broken", { "x-status": status }))).text()).includes("TENANT_CIRCUIT_OPEN");
    await until(() => open("503"), "the breaker opens");
    yield;
    // The first call passes. Its failure makes the new isolate report to the ledger, and one
    // failure is too few to open the breaker anew.
    assert.equal(await open("503"), false);
    await until(() => open("200"), "the isolate learns that the breaker is open");
  },

  async* "a restart loses no unit that a request has consumed"() {
    let admitted = 0;
    for (let life = 0; life < 4; life++) {
      if (life) yield;
      const answers = await many(400, (i) => gate.sendTo(i % 3, "/month", as("leased")));
      admitted += answers.filter(({ status }) => status === 200).length;
      const booked = await used("t_leased", "month");
      // Units leased to an isolate that died count as used, so they are never consumed twice.
      assert(admitted <= booked && booked <= 1000, `${admitted} admitted, ${booked} counted`);
    }
    assert(admitted >= 500, String(admitted));
  },

  async* "a retry with the same idempotency key counts once, even after a restart"() {
    const ask = (tenant, key, cost = 1) => gate.decide({ tenant, limits: { exact: cost, month: cost }, idempotency_key: key });
    const used = async () => (await gate.decide({ tenant: "t_keys", limits: { exact: 0, month: 0 } })).body.limits.map(({ used }) => used);
    const answers = await many(30, () => ask("t_keys", "event-1"));
    assert.equal(answers.filter(({ body }) => body.repeated).length, 29);
    assert.deepEqual(await used(), [1, 1]);
    yield;
    assert.equal((await ask("t_keys", "event-1")).body.repeated, true);
    assert.deepEqual(await used(), [1, 1]);
    assert.equal((await ask("t_keys", "event-1", 2)).body.code, "IDEMPOTENCY_KEY_REUSED");
    assert.deepEqual(await used(), [1, 1]);
  },

  async* "a restart keeps reservations, their settlements and their end times"() {
    assert.equal(await reserve("t_held", "open", { tokens: 50 }), "ALLOWED held 50");
    assert.equal(await reserve("t_held", "short", { tokens: 50 }, 1000), "ALLOWED held 100");
    yield;
    await until(async () => (await used("t_held", "tokens")) === 50, "the open reservation is held, and the ended one is not");
    assert.equal(await reserve("t_held", "open", { tokens: 50 }), "ALLOWED held repeated 50");
    assert.equal(await settle("t_held", "open", { tokens: 30 }), "ALLOWED 30");
    assert.equal(await settle("t_held", "short", { tokens: 1 }), "ALLOWED lapsed 31");
    yield;
    assert.equal(await settle("t_held", "open", { tokens: 30 }), "ALLOWED repeated 31");
  },

  // The restart makes the isolate read the lowered record.
  async* "a gauge above a lowered allowance keeps its level, and may shrink but not grow"() {
    const steps = async (...list) => {
      for (const [seats, allowed, used] of list) assert.equal(await take("t_seated", { seats }), `${allowed ? "ALLOWED" : "QUOTA_EXCEEDED"} ${used}`);
    };
    await steps([{ set: 4 }, true, 4], [1, true, 5], [1, false, 5], [{ release: 2 }, true, 3], [{ set: 6 }, false, 3], [{ set: 5 }, true, 5]);
    for (const [desks, units] of [[{ set: 7 }, 2], [1, 3], [{ release: 4 }, 0]]) {
      assert.deepEqual((await ask("t_seated", { desks })).limits[0].overage, { policy: "soft", units });
    }
    const lowered = { id: "t_seated", slug: "seated", plan: "pro@1", epoch: 2, overrides: [{ limit: "seats", allowance: 2 }] };
    for (const [key, value] of publish({ ...seed, tenants: [lowered] })) if (key === "tenant:t_seated") await gate.kv.put(key, value);
    yield;
    const { limits: [{ limit, used, remaining }], snapshot } = await ask("t_seated", { seats: 0 });
    assert.deepEqual([limit, used, remaining, snapshot.epoch], [2, 5, 0, 2]);
    await steps([1, false, 5], [{ set: 6 }, false, 5], [{ set: 5 }, true, 5], [{ set: 4 }, true, 4], [{ release: 1 }, true, 3], [1, false, 3]);
    await steps([{ release: 2 }, true, 1], [1, true, 2], [1, false, 2], [{ release: 100 }, true, 0]);
  },

  async* "a usage event counts once, even if it is repeated concurrently, in one batch or after a restart"() {
    const { client, event, tokens } = metering;
    const one = event("e-1", tokens(5));
    const usages = [0, 1, 2].map((isolate) => client((path, init) => metered.sendTo(isolate, path, init)));
    const answers = await many(30, (i) => usages[i % 3].post(one));
    assert.deepEqual(answers.map(({ body }) => body.accepted).sort(), [...Array(29).fill(0), 1]);
    assert(answers.every(({ status, body }) => status === 200 && body.accepted + body.duplicates === 1));
    await usages[0].told([event("e-2"), event("e-2"), one], 1, 2);
    // This is the same event, written in another way.
    const { specversion, data, ...rest } = one;
    await usages[0].told(JSON.stringify({ traceparent: "00-ab", data: { model: data.model, tokens: 5 }, ...rest, specversion }, null, 1), 0, 1);
    yield;
    const usage = client(metered.send);
    await usage.told([one, event("e-2")], 0, 2);
    assert.deepEqual(await usage.values("t_acme"), { tokens: 6, calls: 2, largest: 5, models: 1, seats: 0 });
    assert.deepEqual((await usage.limit("t_acme")).used, { t_acme: 6 });
  },

  async* "usage events wait while the database fails, even over a restart, and arrive once it works"() {
    const { client, names } = metering;
    const usage = client(events.send);
    const [early, late] = [metering.events("early", 130), metering.events("late", 130)];
    let there = await metering.handedOn(events);
    await usage.told(early, 130);
    // Once the queue has the first events, writing to the database has certainly failed.
    await until(async () => (await there.queued()).length >= 100, "the queue has the first events");
    yield;
    there = await metering.handedOn(events);
    await there.create();
    // No request has reached the ledger since the restart.
    await untilEqual(there.stored, names(early));
    await there.db.prepare("ALTER TABLE usage_events RENAME TO away").run();
    await usage.told([...early, ...late], 130, 130);
    await until(async () => (await there.queued()).length >= 230, "the queue has the late events");
    await there.db.prepare("ALTER TABLE away RENAME TO usage_events").run();
    await untilEqual(there.stored, names([...early, ...late]));
    await untilEqual(there.queued, names([...early, ...late]));
  },
};

test("state survives restarts", async (t) => {
  let running = Object.entries(scenarios).map(([name, scenario]) => ({ name, steps: scenario() }));
  for (let life = 1; running.length; life++) {
    if (life > 1) await gate.restart();
    const waiting = [];
    for (const one of running) {
      await t.test(`start ${life}: ${one.name}`, async () => {
        const { done } = await one.steps.next();
        if (!done) waiting.push(one);
      });
    }
    running = waiting;
  }
});
