// Metering: events of usage count once, in the periods of their own times, and are handed on to a real queue and a real D1.

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { publish } from "../../pkg/node.js";
import { OPERATOR, storage, worker } from "./harness.mjs";
import { workerd } from "./workerd.mjs";

const DAY = 86_400_000;
const NOW = Date.now();
const today = NOW - (NOW % DAY);
const iso = (ms) => new Date(ms).toISOString();
// Periods begin in the middle of a day: that day is in two of them.
const ANCHORS = { t_acme: today - 9.5 * DAY, t_team: today - 2.5 * DAY };
const metrics = {
  tokens: { event: "llm.completion", value: "tokens", unit: "token", limit: "tokens" },
  calls: { event: "llm.completion", aggregation: "count" },
  largest: { event: "llm.completion", aggregation: "max", value: "tokens" },
  models: { event: "llm.completion", aggregation: "unique", value: "model.name" },
  seats: { event: "seats.changed", aggregation: "latest", value: "seats" },
};
const seed = {
  catalog: {
    version: 1, metrics, resolution: { strategies: [{ strategy: "header" }] }, routes: [{ path: "/llm", limits: { tokens: 1 } }],
    limits: { tokens: { kind: "quota", period: "month" } },
    plans: { "pro@1": { limits: { tokens: 1_000 } }, "big@1": { limits: { tokens: "unlimited" } } },
  },
  tenants: [
    { id: "t_acme", slug: "acme", plan: "big@1", billing_anchor: iso(ANCHORS.t_acme) },
    { id: "t_team", slug: "team", parent: "t_acme", billing_anchor: iso(ANCHORS.t_team) },
    { id: "t_small", slug: "small", plan: "pro@1", billing_anchor: iso(ANCHORS.t_acme) },
    { id: "t_child", slug: "child", parent: "t_small", billing_anchor: iso(ANCHORS.t_team), overrides: [{ limit: "tokens", allowance: 400 }] },
    { id: "t_other", slug: "other", plan: "big@1" }, { id: "t_gone", slug: "gone", plan: "big@1", status: "suspended" },
  ],
};
const tokens = (number, model = "m-1") => ({ data: { tokens: number, model: { name: model } } });
const seats = (number) => ({ type: "seats.changed", data: { seats: number } });
const event = (id, ...more) => Object.assign({ specversion: "1.0", id, source: "/api", type: "llm.completion", subject: "t_acme", time: iso(NOW), ...tokens(1) }, ...more);
const events = (name, number, more = () => ({})) => Array.from({ length: number }, (_, i) => event(`${name}-${i}`, more(i)));
function client(send) {
  const call = async (path, init = {}) => {
    const response = await send(path, { headers: { authorization: `Bearer ${OPERATOR}` }, ...init });
    return { status: response.status, allow: response.headers.get("allow"), body: await response.json() };
  };
  const post = (body, signal) => call("/_gate/v1/usage", { method: "POST", body: typeof body === "string" ? body : JSON.stringify(body), signal });
  const told = async (body, accepted, duplicates = 0) => {
    const answer = await post(body);
    assert.deepEqual([answer.status, answer.body], [200, { accepted, duplicates }], JSON.stringify(answer.body));
  };
  const report = async (tenant, at) => {
    const { body } = await call(`/_gate/v1/usage?tenant=${tenant}${at === undefined ? "" : `&at=${iso(at)}`}`);
    return Object.fromEntries(body.usage.map((metric) => [metric.metric, metric]));
  };
  const values = async (tenant, at) => Object.fromEntries(Object.entries(await report(tenant, at)).map(([key, { value }]) => [key, value]));
  const limit = async (tenant, cost = 0) => {
    const { body } = await call("/_gate/v1/decide", { method: "POST", body: JSON.stringify({ tenant, limits: { tokens: cost } }) });
    return { code: body.code, used: Object.fromEntries(body.limits.map((limit) => [limit.tenant, limit.used])) };
  };
  return { call, post, told, report, values, limit };
}
const below = (number) => Math.floor(Math.random() * number);
const refused = ({ status, body }, expected) => assert.deepEqual([status, body.error?.details.problems?.map(({ path }) => path)], [400, expected]);
const until = async (found, expected) => {
  for (const end = Date.now() + 25_000; Date.now() < end; await new Promise((resolve) => setTimeout(resolve, 200))) {
    if (JSON.stringify(await found()) === JSON.stringify(expected)) return;
  }
  assert.deepEqual(await found(), expected);
};

describe("adding up", () => {
  let gate, usage;
  before(async () => { gate = await worker({ seed }); usage = client(gate.send); });
  after(() => gate.stop());

  test("five aggregations by period and by day, in whatever order events come, and for the parent too", async () => {
    const told = events("e", 240, (i) => ({
      ...(i % 4 ? tokens(below(900), `m-${i % 7}`) : seats(below(500))),
      subject: i % 3 ? "t_acme" : "t_team", time: iso(today - below(56) * (DAY / 4) + below(2) * 60_000),
    }));
    const parts = [];
    for (const rest = [...told].sort(() => Math.random() - 0.5); rest.length;) parts.push(rest.splice(0, 1 + below(12)));
    await Promise.all(parts.map((part) => usage.told(part.length === 1 ? part[0] : part, part.length)));
    const add = (list, { aggregation = "sum", value }) => {
      const found = list.map(({ time, data }) => [Date.parse(time), value?.split(".").reduce((inner, name) => inner[name], data)]);
      const all = found.sort(([t1, v1], [t2, v2]) => t1 - t2 || v1 - v2).map(([, value]) => value);
      const sum = all.reduce((a, b) => a + b, 0);
      return { sum, count: all.length, max: Math.max(0, ...all), unique: new Set(all).size, latest: all.at(-1) ?? 0 }[aggregation];
    };
    for (const tenant of ["t_acme", "t_team"]) {
      for (const at of [NOW, ANCHORS[tenant] - 1]) {
        for (const [key, found] of Object.entries(await usage.report(tenant, at))) {
          const metric = metrics[key];
          const [start, end] = [Date.parse(found.starts_at), Date.parse(found.ends_at)];
          assert.equal(at === NOW ? start : end, ANCHORS[tenant], key);
          const own = told.filter(({ subject, type, time }) => [subject, "t_acme"].includes(tenant) && type === metric.event && Date.parse(time) >= start && Date.parse(time) < end);
          const days = [...Map.groupBy(own, ({ time }) => time.slice(0, 10))].sort(([a], [b]) => (a < b ? -1 : 1));
          assert.deepEqual(found.days, days.map(([date, list]) => ({ date, value: add(list, metric) })), `${tenant} ${key}`);
          assert.deepEqual([found.value, found.aggregation, found.unit], [add(own, metric), metric.aggregation ?? "sum", metric.unit ?? null], `${tenant} ${key}`);
        }
      }
    }
    assert.deepEqual((await usage.call("/_gate/v1/usage?tenant=t_acme&metric=seats")).body.usage.map(({ metric }) => metric), ["seats"]);
  });

  test("without a time it is now, an offset leads to the day in UTC, and a suspended tenant's usage has happened", async () => {
    const { time, ...timeless } = event("timeless", tokens(3), { subject: "t_gone" });
    await usage.told(timeless, 1);
    await usage.told(timeless, 0, 1);
    const date = (days) => iso(today - days * DAY).slice(0, 10);
    await usage.told(event("zoned", tokens(4), { subject: "t_gone", time: `${date(5)}T03:59:59.999+04:00` }), 1);
    const { days } = (await usage.report("t_gone", today - 6 * DAY)).tokens;
    assert.equal(days.find((day) => day.date === date(6))?.value, 4);
    assert.equal((await usage.report("t_gone")).tokens.days.at(-1).value, 3);
  });

  test("events debit the quotas of the tenant and its parents, beyond the limit too, and what comes next is refused", async () => {
    const tell = (id, subject, units, at = NOW) => usage.told(event(id, tokens(units), { subject, time: iso(at) }), 1);
    await tell("q-1", "t_small", 500);
    await tell("q-2", "t_child", 100);
    assert.deepEqual(await usage.limit("t_child"), { code: "ALLOWED", used: { t_child: 100, t_small: 600 } });
    // In the parent's current period, and in one of the child's that is over.
    await tell("q-3", "t_child", 50, today - 4 * DAY);
    // In nobody's current period.
    await tell("q-4", "t_child", 7_000, today - 12 * DAY);
    assert.deepEqual((await usage.limit("t_child")).used, { t_child: 100, t_small: 650 });
    assert.equal((await gate.send("/llm", { headers: { "x-tenant-id": "child" } })).status, 200);
    await usage.told(event("q-2", tokens(100), { subject: "t_child" }), 0, 1);
    await tell("q-5", "t_child", 450);
    assert.equal((await usage.limit("t_child", 1)).code, "QUOTA_EXCEEDED");
    assert.equal((await usage.limit("t_small", 1)).code, "QUOTA_EXCEEDED");
    await tell("q-6", "t_small", 5_000);
    const { used } = await usage.limit("t_small");
    assert(used.t_small >= 6_100 && used.t_small <= 7_100, String(used.t_small));
    assert.equal((await usage.values("t_small")).tokens, 6_100);
    assert.equal((await usage.values("t_child")).tokens, 550);
    // What was leased before may still be spent for a while, then nothing.
    await until(async () => (await gate.send("/llm", { headers: { "x-tenant-id": "small" } })).status, 429);
  });
});

describe("identity", () => {
  test("the same event counts once: at the same time, in one batch, and after a restart", async () => {
    const disk = await storage();
    after(() => disk.remove());
    let gate = await worker({ seed, storage: disk.folder, isolates: 3 });
    const one = event("e-1", tokens(5));
    const usages = [0, 1, 2].map((isolate) => client((path, init) => gate.sendTo(isolate, path, init)));
    const answers = await Promise.all(Array.from({ length: 30 }, (_, i) => usages[i % 3].post(one)));
    assert.deepEqual(answers.map(({ body }) => body.accepted).sort(), [...Array(29).fill(0), 1]);
    assert(answers.every(({ status, body }) => status === 200 && body.accepted + body.duplicates === 1));
    await usages[0].told([event("e-2"), event("e-2"), one], 1, 2);
    // The same, in other words.
    const { specversion, data, ...rest } = one;
    await usages[0].told(JSON.stringify({ traceparent: "00-ab", data: { model: data.model, tokens: 5 }, ...rest, specversion }, null, 1), 0, 1);
    await gate.stop();

    gate = await worker({ storage: disk.folder });
    after(() => gate.stop());
    const usage = client(gate.send);
    await usage.told([one, event("e-2")], 0, 2);
    assert.deepEqual(await usage.values("t_acme"), { tokens: 6, calls: 2, largest: 5, models: 1, seats: 0 });
    assert.deepEqual((await usage.limit("t_acme")).used, { t_acme: 6 });
  });

  test("what says something else under the same name is refused by its place, and the others of its batch count", async () => {
    const gate = await worker({ seed });
    after(() => gate.stop());
    const usage = client(gate.send);
    const { data } = tokens(2);
    await usage.told([event("e-1"), event("e-2")], 2);
    for (const other of [{ data }, { time: iso(NOW - 1) }, { data: { ...tokens(1).data, note: "more" } }, seats(1)]) {
      const { status, body } = await usage.post(event("e-1", other));
      assert.deepEqual([status, body.error?.code], [409, "EVENT_CONFLICT"], JSON.stringify(other));
      assert.deepEqual(body.error.details, { accepted: 0, duplicates: 0, conflicts: [0], unheard: 0 });
    }
    const { status, body } = await usage.post([event("e-3"), event("e-1", { data }), event("e-2"), event("e-3", { data }), event("e-4", { subject: "t_other" })]);
    assert.equal(status, 409);
    assert.deepEqual(body.error.details, { accepted: 2, duplicates: 1, conflicts: [1, 3], unheard: 0 });
    // Another source's, and another tenant's, is another event.
    await usage.told([event("e-1", { source: "/worker", data }), event("e-1", { subject: "t_other", data }), event("e-1", { subject: "t_team", data })], 3);
    assert.deepEqual(await usage.values("t_acme"), { tokens: 7, calls: 5, largest: 2, models: 1, seats: 0 });
    assert.deepEqual(await usage.values("t_other"), { tokens: 3, calls: 2, largest: 2, models: 1, seats: 0 });
  });
});

describe("refusals", () => {
  let gate, usage;
  before(async () => { gate = await worker({ seed }); usage = client(gate.send); });
  after(() => gate.stop());

  test("every problem of a batch is named, and nothing of the batch is counted", async () => {
    const wrong = [
      [{ time: iso(NOW - 41 * DAY) }, "time"], [{ time: iso(Date.now() + 600_000) }, "time"], [{ type: "nobody.counts" }, "type"], [{ subject: "t_nobody" }, "subject"],
      ...[1.5, -1, "1", 1e13, null].map((value) => [tokens(value), "data.tokens"]), [{ type: "seats.changed", data: undefined }, "data.seats"],
      [tokens(1, true), "data.model.name"],
    ];
    for (const [other, path] of wrong) refused(await usage.post(event("e", other)), [`$.${path}`]);
    refused(await usage.post(event("e", { data: { tokens: "1", model: { name: true } }, time: iso(NOW - 41 * DAY) })), ["$.time", "$.data.tokens", "$.data.model.name"]);
    refused(await usage.post(event("e", { data: { ...tokens(1).data, prompt: "x".repeat(65_536) } })), ["$.data"]);
    refused(await usage.post([event("good"), ...wrong.map(([other], i) => event(`e-${i}`, other))]), wrong.map(([, path], i) => `$[${i + 1}].${path}`));

    const unreadable = [
      [{ id: "" }, "id"], [{ id: undefined }, "id"], [{ id: 7 }, "id"], [{ source: "s".repeat(256) }, "source"], [{ type: undefined }, "type"], [{ subject: undefined }, "subject"],
      [{ specversion: "0.3" }, "specversion"], [{ time: "yesterday" }, "time"], [{ datacontenttype: "text/xml" }, "datacontenttype"], [{ data: [1] }, "data"],
      [{ data_base64: "AA==", data: undefined }, "data_base64"], [{ Traceparent: "x" }, "Traceparent"],
    ];
    refused(await usage.post([...unreadable.map(([other], i) => event(`u-${i}`, other)), 7, event("good")]),
      [...unreadable.map(([, path], i) => `$[${i}].${path}`), `$[${unreadable.length}]`]);
    refused(await usage.post({ specversion: "1.0" }), ["$.id", "$.source", "$.type", "$.subject"]);
    for (const body of ["", "{", "[", "null", "7", "[]", "\"text\"", events("m", 1_001)]) refused(await usage.post(body), ["$"]);
    assert.deepEqual(await usage.values("t_acme"), { tokens: 0, calls: 0, largest: 0, models: 0, seats: 0 });
    assert.deepEqual((await usage.limit("t_acme")).used, { t_acme: 0 });
    // The name is still free; what is null is absent.
    await usage.told(event("good", tokens(2), { time: null, datacontenttype: null, traceparent: "00" }), 1);
    await usage.told(event("other", tokens(2), { datacontenttype: "application/vnd.usage+json; charset=utf-8" }), 1);
  });

  test("who may ask, how, and how much", async () => {
    const path = "/_gate/v1/usage";
    for (const headers of [{}, { authorization: "Bearer other" }]) {
      assert.equal((await usage.call(path, { headers, method: "POST", body: JSON.stringify(event("secret")) })).status, 401);
      assert.equal((await usage.call(`${path}?tenant=t_acme`, { headers })).status, 401);
    }
    for (const method of ["PUT", "DELETE", "PATCH"]) {
      const { status, allow } = await usage.call(path, { method });
      assert.deepEqual([status, allow], [405, "GET, POST"]);
    }
    const large = (bytes) => JSON.stringify(event("large")).padEnd(bytes);
    assert.equal((await usage.post(large((1 << 20) + 1))).status, 413);
    await usage.told(large(1 << 20), 1);
    await usage.told(events("many", 1_000, () => ({ subject: "t_other" })), 1_000);
    assert.equal((await usage.values("t_other")).calls, 1_000);
  });

  test("reports of what is not there, and questions that are none", async () => {
    for (const query of ["tenant=t_nobody", "tenant=t_acme&metric=nothing", "tenant=t_nobody&metric=tokens"]) {
      const { status, body } = await usage.call(`/_gate/v1/usage?${query}`);
      assert.deepEqual([status, body.error?.code], [404, "USAGE_NOT_FOUND"], query);
    }
    const wrong = { "": ["tenant"], "tenant=a%20b": ["tenant"], "tenant=t_acme&at=soon": ["at"], "tenant=t_acme&since=1": ["since"], "at=x&y=z": ["tenant", "at", "y"] };
    for (const [query, paths] of Object.entries(wrong)) refused(await usage.call(`/_gate/v1/usage?${query}`), paths);
    for (const at of [0, Date.parse("9999-12-31T23:59:59Z"), NOW + 300 * DAY]) assert.equal((await usage.values("t_team", at)).tokens, 0);
  });
});

const consumer = `export default {
  async queue({ messages }, env) { await Promise.all(messages.map(({ body }) => env.SEEN.put([body.subject, body.source, body.id].join(" "), JSON.stringify(body)))); },
};`;
const migration = join(import.meta.dirname, "../../migrations/0001_usage.sql");
const TABLE = existsSync(migration) ? readFileSync(migration, "utf8").replace(/--.*/g, "") : `CREATE TABLE usage_events (
  tenant TEXT NOT NULL, source TEXT NOT NULL, id TEXT NOT NULL, type TEXT NOT NULL, time TEXT NOT NULL, metrics TEXT NOT NULL, data TEXT,
  PRIMARY KEY (tenant, source, id)) WITHOUT ROWID`;

describe("handing on", () => {
  const name = ({ subject, tenant = subject, source, id }) => [tenant, source, id].join(" ");
  const names = (events) => events.map(name).sort();
  const start = async (options) => {
    const gate = await worker({
      seed, ...options,
      more: { queueProducers: { USAGE_QUEUE: { queueName: "usage" } }, d1Databases: { USAGE_DB: "usage" } },
      beside: [{
        name: "consumer", modules: true, script: consumer, compatibilityDate: "2026-11-01", kvNamespaces: ["SEEN"],
        queueConsumers: { usage: { maxBatchSize: 100, maxBatchTimeout: 0.1 } },
      }],
    });
    const [db, seen] = [await gate.flare.getD1Database("USAGE_DB", "gate"), await gate.flare.getKVNamespace("SEEN", "consumer")];
    const queued = async () => (await seen.list()).keys.map(({ name }) => name);
    const stored = async () => names((await db.prepare("SELECT tenant, source, id FROM usage_events").all()).results);
    const create = () => db.batch(TABLE.split(";").filter((one) => one.trim()).map((one) => db.prepare(one)));
    return { ...gate, db, seen, queued, stored, create, usage: client(gate.send) };
  };

  test("every event arrives in the queue and in the database, a duplicate not twice", async () => {
    const gate = await start();
    after(() => gate.stop());
    await gate.create();
    const many = events("e", 250, (i) => ({ ...tokens(i, `m "\\\n${i}`), subject: ["t_acme", "t_team", "t_other"][i % 3], source: `/s"'${i % 2}é` }));
    await Promise.all([0, 50, 100, 150, 200].map((from) => gate.usage.told(many.slice(from, from + 50), 50)));
    await gate.usage.told(many, 0, 250);
    assert.equal((await gate.usage.post({ ...many[0], ...tokens(9) })).status, 409);
    const last = event("last", seats(12));
    await gate.usage.told(last, 1);
    await until(gate.queued, names([...many, last]));
    await until(gate.stored, names([...many, last]));
    const { subject: tenant, specversion, ...rest } = many[17];
    const counted = { tokens: 17, calls: 1, largest: 17, models: rest.data.model.name };
    const row = await gate.db.prepare("SELECT * FROM usage_events WHERE id = 'e-17'").first();
    assert.deepEqual({ ...row, metrics: JSON.parse(row.metrics), data: JSON.parse(row.data) }, { tenant, ...rest, metrics: counted });
    assert.deepEqual(await gate.seen.get(name(many[17]), "json"), { ...many[17], metrics: counted });
  });

  test("large events are handed on too, a few at a time, and hold up nobody", async () => {
    const gate = await start();
    after(() => gate.stop());
    await gate.create();
    const large = events("l", 24, (i) => ({ data: { ...tokens(1).data, prompt: `${i}"`.padEnd(30_000, '"') } }));
    const small = events("s", 20);
    const told = [...large, ...small].map((event) => gate.usage.told(event, 1));
    await Promise.all(told);
    await until(gate.stored, names([...large, ...small]));
    await until(gate.queued, names([...large, ...small]));
  });

  test("events wait while the database fails, also over a restart, and arrive once it is there", async () => {
    const disk = await storage();
    after(() => disk.remove());
    const [early, late] = [events("early", 130), events("late", 130)];
    let gate = await start({ storage: disk.folder });
    await gate.usage.told(early, 130);
    // The queue has heard of the first ones: that the database failed is certain then.
    await until(async () => (await gate.queued()).length >= 100, true);
    await gate.stop();

    gate = await start({ seed: undefined, storage: disk.folder });
    after(() => gate.stop());
    await gate.create();
    // Nobody has spoken to the ledger in this life.
    await until(gate.stored, names(early));
    await gate.db.prepare("ALTER TABLE usage_events RENAME TO away").run();
    await gate.usage.told([...early, ...late], 130, 130);
    await until(async () => (await gate.queued()).length >= 230, true);
    await gate.db.prepare("ALTER TABLE away RENAME TO usage_events").run();
    await until(gate.stored, names([...early, ...late]));
    await until(gate.queued, names([...early, ...late]));
  });
});

test("under SIGKILL, events that are told until they are acknowledged count exactly once", { timeout: 90_000 }, async () => {
  const disk = await storage();
  const gate = workerd({ folder: disk.folder, build: "build/test", entries: publish(seed), bindings: { OPERATOR_TOKEN: OPERATOR } });
  let server = await gate.start();
  const usage = client((path, init) => fetch(`http://127.0.0.1:${server.ports.gate}${path}`, init));
  const acknowledged = new Map();
  let [next, done] = [0, false];
  const teller = async () => {
    while (!done) {
      const batch = Array.from({ length: 1 + below(3) }, () => event(`k-${next++}`, tokens(1 + below(50), `m-${below(90)}`), { subject: next % 2 ? "t_acme" : "t_team" }));
      for (let told = false; !told; await new Promise(setImmediate)) {
        // One answer in five is not waited for.
        const signal = below(5) ? undefined : AbortSignal.timeout(1 + below(8));
        const { status } = await usage.post(batch, signal).catch(() => ({ status: 0 }));
        assert([200, 503, 0].includes(status), String(status));
        told = status === 200;
      }
      for (const { id, data } of batch) acknowledged.set(id, data);
    }
  };
  const tellers = Array.from({ length: 12 }, teller);
  const reached = async (count) => {
    while (acknowledged.size < count) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  for (let kill = 1; kill <= 3; kill++) {
    await reached(kill * 400);
    await server.kill();
    const before = acknowledged.size;
    server = await gate.start();
    const { calls } = await usage.values("t_acme");
    assert(calls >= before, `kill ${kill}: ${calls} of ${before} acknowledged are there`);
  }
  await reached(1_600);
  done = true;
  await Promise.all(tellers);
  const units = [...acknowledged.values()].map(({ tokens }) => tokens);
  const sum = units.reduce((a, b) => a + b, 0);
  assert.equal(acknowledged.size, next);
  const models = new Set([...acknowledged.values()].map(({ model }) => model.name)).size;
  assert.deepEqual(await usage.values("t_acme"), { tokens: sum, calls: next, largest: Math.max(...units), models, seats: 0 });
  assert.deepEqual((await usage.limit("t_acme")).used, { t_acme: sum });
  await server.kill();
  await disk.remove();
});
