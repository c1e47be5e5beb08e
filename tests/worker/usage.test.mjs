// Metering: usage events count once, in the periods of their own times, and are delivered to a real
// queue and a real D1.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { as, workers } from "../support/harness.mjs";
import {
  ANCHORS, DAY, NOW, client, event, events, handedOn, handsOn, iso, metrics, name, names, seats, seed, today, tokens,
} from "../support/usage.mjs";
import { until, untilEqual } from "../support/wait.mjs";

// Each gate counts the usage of the same tenants separately.
const gates = await workers({
  adds: { seed }, conflicts: { seed }, refuses: { seed },
  arrives: { seed, ...handsOn("arrives") }, large: { seed, ...handsOn("large") },
});
after(() => gates.adds.stop());

const below = (number) => Math.floor(Math.random() * number);
const refused = ({ status, body }, expected) => assert.deepEqual([status, body.error?.details.problems?.map(({ path }) => path)], [400, expected]);

describe("aggregation", () => {
  const gate = gates.adds;
  const usage = client(gate.send);

  test("five aggregations are right by period and by day, in any order of events, and for the parent too", async () => {
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

  test("a suspended tenant's usage counts, on its UTC day, or today if the event has no time", async () => {
    const { time, ...timeless } = event("timeless", tokens(3), { subject: "t_gone" });
    await usage.told(timeless, 1);
    await usage.told(timeless, 0, 1);
    const date = (days) => iso(today - days * DAY).slice(0, 10);
    await usage.told(event("zoned", tokens(4), { subject: "t_gone", time: `${date(5)}T03:59:59.999+04:00` }), 1);
    const { days } = (await usage.report("t_gone", today - 6 * DAY)).tokens;
    assert.equal(days.find((day) => day.date === date(6))?.value, 4);
    assert.equal((await usage.report("t_gone")).tokens.days.at(-1).value, 3);
  });

  test("events debit the quotas of the whole line, even beyond the limit, and later requests are refused", async () => {
    const tell = (id, subject, units, at = NOW) => usage.told(event(id, tokens(units), { subject, time: iso(at) }), 1);
    await tell("q-1", "t_small", 500);
    await tell("q-2", "t_child", 100);
    assert.deepEqual(await usage.limit("t_child"), { code: "ALLOWED", used: { t_child: 100, t_small: 600 } });
    // This time is in the parent's current period, and in an ended period of the child.
    await tell("q-3", "t_child", 50, today - 4 * DAY);
    // This time is in no tenant's current period.
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
    // Units that were leased before may still be spent for a while, but no others.
    await until(async () => (await gate.send("/llm", as("small"))).status === 429, "the leased units are spent");
  });
});

describe("identity of events", () => {
  test("an event that differs under the same identity is refused, and the rest of its batch counts", async () => {
    const usage = client(gates.conflicts.send);
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
    // The same id from another source, or for another tenant, is another event.
    await usage.told([event("e-1", { source: "/worker", data }), event("e-1", { subject: "t_other", data }), event("e-1", { subject: "t_team", data })], 3);
    assert.deepEqual(await usage.values("t_acme"), { tokens: 7, calls: 5, largest: 2, models: 1, seats: 0 });
    assert.deepEqual(await usage.values("t_other"), { tokens: 3, calls: 2, largest: 2, models: 1, seats: 0 });
  });
});

describe("refusals of usage", () => {
  const usage = client(gates.refuses.send);

  test("a batch with problems is refused with all of them, and nothing of it is counted", async () => {
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
    // The id of the refused event is still free, and a member that is null counts as absent.
    await usage.told(event("good", tokens(2), { time: null, datacontenttype: null, traceparent: "00" }), 1);
    await usage.told(event("other", tokens(2), { datacontenttype: "application/vnd.usage+json; charset=utf-8" }), 1);
  });

  test("usage needs the operator token, an allowed method and a body within the bounds", async () => {
    const path = "/_gate/v1/usage";
    for (const headers of [{}, { authorization: "Bearer other" }]) {
      assert.equal((await usage.call(path, { headers, method: "POST", body: JSON.stringify(event("secret")) })).status, 401);
      assert.equal((await usage.call(`${path}?tenant=t_acme`, { headers })).status, 401);
    }
    for (const method of ["PUT", "DELETE", "PATCH"]) {
      const { status, allow } = await usage.call(path, { method });
      assert.deepEqual([status, allow], [405, "GET, HEAD, POST"]);
    }
    const large = (bytes) => JSON.stringify(event("large")).padEnd(bytes);
    assert.equal((await usage.post(large((1 << 20) + 1))).status, 413);
    // The connection of a body that nobody has read ends, and the next request on it can notice.
    await usage.call(path, { method: "PUT" }).catch(() => {});
    await usage.told(large(1 << 20), 1);
    await usage.told(events("many", 1_000, () => ({ subject: "t_other" })), 1_000);
    assert.equal((await usage.values("t_other")).calls, 1_000);
  });

  test("reports of unknown tenants or metrics are not found, and invalid queries are refused", async () => {
    for (const query of ["tenant=t_nobody", "tenant=t_acme&metric=nothing", "tenant=t_nobody&metric=tokens"]) {
      const { status, body } = await usage.call(`/_gate/v1/usage?${query}`);
      assert.deepEqual([status, body.error?.code], [404, "USAGE_NOT_FOUND"], query);
    }
    const wrong = { "": ["tenant"], "tenant=a%20b": ["tenant"], "tenant=t_acme&at=soon": ["at"], "tenant=t_acme&since=1": ["since"], "at=x&y=z": ["tenant", "at", "y"] };
    for (const [query, paths] of Object.entries(wrong)) refused(await usage.call(`/_gate/v1/usage?${query}`), paths);
    for (const at of [0, Date.parse("9999-12-31T23:59:59Z"), NOW + 300 * DAY]) assert.equal((await usage.values("t_team", at)).tokens, 0);
  });
});

describe("delivery of events", () => {
  test("every event reaches the queue and the database, and a duplicate does not reach them twice", async () => {
    const gate = gates.arrives;
    const { db, seen, queued, stored, create } = await handedOn(gate);
    const usage = client(gate.send);
    await create();
    const many = events("e", 250, (i) => ({ ...tokens(i, `m "\\\n${i}`), subject: ["t_acme", "t_team", "t_other"][i % 3], source: `/s"'${i % 2}é` }));
    await Promise.all([0, 50, 100, 150, 200].map((from) => usage.told(many.slice(from, from + 50), 50)));
    await usage.told(many, 0, 250);
    assert.equal((await usage.post({ ...many[0], ...tokens(9) })).status, 409);
    const last = event("last", seats(12));
    await usage.told(last, 1);
    await untilEqual(queued, names([...many, last]));
    await untilEqual(stored, names([...many, last]));
    const { subject: tenant, specversion, ...rest } = many[17];
    const counted = { tokens: 17, calls: 1, largest: 17, models: rest.data.model.name };
    const row = await db.prepare("SELECT * FROM usage_events WHERE id = 'e-17'").first();
    assert.deepEqual({ ...row, metrics: JSON.parse(row.metrics), data: JSON.parse(row.data) }, { tenant, ...rest, metrics: counted });
    assert.deepEqual(await seen.get(name(many[17]), "json"), { ...many[17], metrics: counted });
  });

  test("large events reach the queue and the database, and so do small ones beside them", async () => {
    const gate = gates.large;
    const { queued, stored, create } = await handedOn(gate);
    const usage = client(gate.send);
    await create();
    const large = events("l", 24, (i) => ({ data: { ...tokens(1).data, prompt: `${i}"`.padEnd(30_000, '"') } }));
    const small = events("s", 20);
    const told = [...large, ...small].map((event) => usage.told(event, 1));
    await Promise.all(told);
    await untilEqual(stored, names([...large, ...small]));
    await untilEqual(queued, names([...large, ...small]));
  });
});
