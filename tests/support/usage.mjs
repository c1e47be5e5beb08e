// Usage events, and a client of the endpoints that accept and report them.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { COMPATIBILITY_DATE, OPERATOR } from "./harness.mjs";

export const DAY = 86_400_000;
export const NOW = Date.now();
export const today = NOW - (NOW % DAY);
export const iso = (ms) => new Date(ms).toISOString();
// Periods begin in the middle of a day, so that this day belongs to two periods.
export const ANCHORS = { t_acme: today - 9.5 * DAY, t_team: today - 2.5 * DAY };
export const metrics = {
  tokens: { event: "llm.completion", value: "tokens", unit: "token", limit: "tokens" },
  calls: { event: "llm.completion", aggregation: "count" },
  largest: { event: "llm.completion", aggregation: "max", value: "tokens" },
  models: { event: "llm.completion", aggregation: "unique", value: "model.name" },
  seats: { event: "seats.changed", aggregation: "latest", value: "seats" },
};
export const seed = {
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
export const tokens = (number, model = "m-1") => ({ data: { tokens: number, model: { name: model } } });
export const seats = (number) => ({ type: "seats.changed", data: { seats: number } });
export const event = (id, ...more) => Object.assign({ specversion: "1.0", id, source: "/api", type: "llm.completion", subject: "t_acme", time: iso(NOW), ...tokens(1) }, ...more);
export const events = (name, number, more = () => ({})) => Array.from({ length: number }, (_, i) => event(`${name}-${i}`, more(i)));
/** A client over `send(path, init)`. */
export function client(send) {
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

const consumer = `export default {
  async queue({ messages }, env) { await Promise.all(messages.map(({ body }) => env.SEEN.put([body.subject, body.source, body.id].join(" "), JSON.stringify(body)))); },
};`;
const TABLE = readFileSync(join(import.meta.dirname, "../../migrations/0001_usage.sql"), "utf8").replace(/--.*/g, "");

/** The name of an event, as it is in the queue and in the database. */
export const name = ({ subject, tenant = subject, source, id }) => [tenant, source, id].join(" ");
export const names = (events) => events.map(name).sort();

/** Options of the gate `gate`, which hands its events on to a queue and to D1. */
export const handsOn = (gate) => ({
  more: { queueProducers: { USAGE_QUEUE: { queueName: `usage-${gate}` } }, d1Databases: { USAGE_DB: `usage-${gate}` } },
  beside: [{
    name: `consumer-${gate}`, modules: true, script: consumer, compatibilityDate: COMPATIBILITY_DATE, kvNamespaces: { SEEN: `seen-${gate}` },
    queueConsumers: { [`usage-${gate}`]: { maxBatchSize: 100, maxBatchTimeout: 0.1 } },
  }],
});

/** The queue and the database that receive a gate's events. `create()` creates the table. */
export async function handedOn({ flare, name: gate }) {
  const [db, seen] = [await flare.getD1Database("USAGE_DB", gate), await flare.getKVNamespace("SEEN", `consumer-${gate}`)];
  const queued = async () => (await seen.list()).keys.map(({ name }) => name);
  const stored = async () => names((await db.prepare("SELECT tenant, source, id FROM usage_events").all()).results);
  const create = () => db.batch(TABLE.split(";").filter((one) => one.trim()).map((one) => db.prepare(one)));
  return { db, seen, queued, stored, create };
}
