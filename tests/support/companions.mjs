// Ledgers with faults. They are the built ledger in a companion object, which does to it what a
// runtime or a disk may do.

import assert from "node:assert/strict";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { after } from "node:test";
import { filesOf, OPERATOR, workers } from "./harness.mjs";
import { until as untilHolds } from "./wait.mjs";

const root = join(import.meta.dirname, "../..");

const COMPANION = `
import gate, { TenantLedger } from "./gate.js";
class Companion {
  life = crypto.randomUUID();
  constructor(state, env) { [this.state, this.ledger] = [state, new TenantLedger(state, env)]; }
  alarm() { return this.ledger.alarm(); }
  async fetch(request) {
    switch (new URL(request.url).pathname) {
      case "/sql": return Response.json(this.state.storage.sql.exec(await request.text()).raw().toArray());
      case "/life": return new Response(this.life);
      case "/abort": return this.state.abort("cut off by a test");
      case "/alarms": return new Response((await Promise.all(Array.from(await request.text(), () => this.alarm()))).length);
      case "/crowd": return new Response(this.crowd = await request.text());
    }
    if (!this.crowd) return this.ledger.fetch(request);
    const [, answer] = [this.crowd, await request.text()].map((body) => this.ledger.fetch(new Request(request.url, { method: "POST", body })));
    return answer;
  }
}
export { gate as default, Companion as TenantLedger };`;

const folder = mkdtempSync(join(tmpdir(), "tenantgate-faults-"));
after(() => rmSync(folder, { recursive: true, force: true }));
for (const name of filesOf("build/test")) cpSync(join(root, "build/test", name), join(folder, name === "entry.js" ? "gate.js" : name));
writeFileSync(join(folder, "entry.js"), COMPANION);

const slug = (tenant) => tenant.slice(2).replaceAll("_", "-");
const strict = { kind: "quota", period: "month", mode: "strict" };
const leased = { kind: "quota", period: "month", on_error: "closed" };
export const seed = {
  catalog: {
    version: 1,
    resolution: { strategies: [{ strategy: "header" }] },
    routes: [...["closed", "open", "leased", "scarce"].map((key) => ({ path: `/${key}`, limits: { [key]: 1 } })), { path: "/both", limits: { open: 1, closed: 1 } }],
    limits: { few: strict, open: { ...strict, on_error: "open" }, closed: { ...strict, on_error: "closed" }, leased, scarce: leased },
    metrics: { tokens: { event: "llm.completion", value: "tokens" } },
    plans: { "pro@1": { limits: { few: 1_000_000, open: 1_000_000, closed: 1_000_000, leased: 1_000_000, scarce: 400 } } },
  },
  tenants: ["t_acme", "t_other", "t_trap_ledger"].map((id) => ({ id, slug: slug(id), plan: "pro@1" })),
};

/** Starts gates with companions for ledgers, and returns them by name. `gates`: options by name. */
export async function start(gates) {
  const built = relative(root, folder);
  const all = await workers(Object.fromEntries(Object.entries(gates).map(([name, options]) => [name, { seed, folder: built, ...options }])));
  after(() => Object.values(all)[0].stop());
  return Object.fromEntries(Object.entries(all).map(([name, gate]) => [name, companions(gate)]));
}

/** A gate with functions that send requests to it and to the companions of its ledgers. */
function companions(gate) {
  // Bodies are read to their end, because Miniflare waits long for unread ones.
  const tell = async (tenant, path, body = "") => {
    const response = await inTime((await gate.ledger(tenant)).fetch(`https://ledger/${path}`, { method: "POST", body, duplex: "half" }));
    return { status: response.status, retryAfter: response.headers.get("retry-after"), text: await response.text() };
  };
  const sql = async (tenant, text) => JSON.parse((await tell(tenant, "sql", text)).text);
  const call = async (isolate, path, init) => {
    const response = await inTime(gate.sendTo(isolate, path, init));
    return { status: response.status, retryAfter: response.headers.get("retry-after"), body: await response.json() };
  };
  const headers = { authorization: `Bearer ${OPERATOR}` };
  const post = (isolate, path, body) => call(isolate, path, { method: "POST", body: JSON.stringify(body), headers });
  const ask = (question, isolate = 0) => post(isolate, "/_gate/v1/decide", question);
  const get = (path, tenant = "t_acme", isolate = 0) => call(isolate, path, { headers: { "x-tenant-id": slug(tenant), ...headers } });
  const used = async (tenant, ...limits) => {
    const { body } = await ask({ tenant, limits: Object.fromEntries(limits.map((key) => [key, 0])) });
    return limits.map((key) => body.limits.find((limit) => limit.key === key).used);
  };
  return { ...gate, tell, sql, post, ask, get, used };
}

/** The number of requests that took too long. Each one fails its test. */
let hung = 0;
function inTime(promise) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`hung: ${++hung}`)), 20_000); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Checks often, because under load the condition may hold only for a moment. */
export const until = (holds, what) => untilHolds(holds, what, { ms: 20_000, everyMs: 5 });

/** Makes every write to these tables fail, in SQLite itself. Returns a function that undoes it. */
export const broken = async (gate, tables) => {
  const all = (statement) => Promise.all(tables.map((table) => gate.sql("t_acme", statement(table))));
  await all((table) => `CREATE TRIGGER broken_${table} BEFORE INSERT ON ${table} BEGIN SELECT RAISE(ABORT, 'broken by a test'); END`);
  return () => all((table) => `DROP TRIGGER broken_${table}`);
};

/**
 * Starts clients that each send an event, under its idempotency key, until it is acknowledged, then
 * the next one; and clients that spend the limit `spends`.
 */
export function load(gate, { tenants, isolates, each = 4, spends }) {
  const count = () => Object.fromEntries(tenants.map((tenant) => [tenant, 0]));
  const [acknowledged, told, spent] = [count(), count(), count()];
  let [done, given, next] = [false, false, 0];
  // If the test fails, its clients stop.
  after(() => { done = given = true; });
  const settled = (promise, is) => promise.then(is, () => false).then((good) => good || new Promise((go) => setImmediate(go, false)));
  const client = async (tenant, isolate) => {
    while (!done) {
      const question = { tenant, limits: { closed: 1 }, idempotency_key: `event-${next++}` };
      told[tenant]++;
      while (!given && !(await settled(gate.ask(question, isolate), ({ body }) => body.allowed === true && !body.fallback.length)));
      acknowledged[tenant]++;
    }
  };
  const spender = async (tenant, isolate) => {
    while (!done) spent[tenant] += Number(await settled(gate.get(`/${spends}`, tenant, isolate), ({ status }) => status === 200));
  };
  const at = (what, tenant, count) => Array.from({ length: count }, (_, i) => what(tenant, i % isolates));
  const all = tenants.flatMap((tenant) => [...at(client, tenant, each), ...at(spender, tenant, isolates)]);
  const sum = () => Object.values(acknowledged).reduce((a, b) => a + b);
  return {
    acknowledged,
    /** Waits for `count` more acknowledgements. */
    more: (count, from = sum()) => until(() => sum() >= from + count, `${count} more events are acknowledged`),
    /** Checks that the ledger has what it has acknowledged so far. */
    async keeps() {
      for (const [tenant, before] of Object.entries({ ...acknowledged })) {
        const [used] = await gate.used(tenant, "closed");
        assert(used >= before, `${tenant}: ${used} of ${before} acknowledged events are kept`);
      }
    },
    /** Stops the clients. Checks that every event counts once, and that leased requests count. */
    async ends() {
      done = true;
      await Promise.all(all);
      assert.equal(hung, 0);
      assert.deepEqual(acknowledged, told);
      for (const tenant of tenants) {
        const [used, booked] = await gate.used(tenant, "closed", spends);
        assert.equal(used, told[tenant], tenant);
        const bound = seed.catalog.plans["pro@1"].limits[spends];
        assert(spent[tenant] > 0 && spent[tenant] <= booked && booked <= bound, `${tenant}: ${spent[tenant]} requests let through, ${booked} counted`);
      }
    },
  };
}
