// The ledger in trouble: its WebAssembly traps, its commits fail, it is cut off and built anew, it has too much to do, its
// alarms come together. What it acknowledged is there, what it refused is not, and it goes on. Nothing here plays the ledger:
// a companion object runs the built one, and does to it what a runtime or a disk may do.

import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { after, describe, test } from "node:test";
import { OPERATOR, worker } from "./harness.mjs";

const root = join(import.meta.dirname, "../..");
const [MAX_LEDGER_QUEUE, MAX_LEDGER_MESSAGE_BYTES] = [4_096, 16 << 20];

const COMPANION = `
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
export { Companion as TenantLedger };`;

const folder = mkdtempSync(join(tmpdir(), "tenantgate-faults-"));
after(() => rmSync(folder, { recursive: true, force: true }));
for (const name of ["index.js", "index_bg.wasm"]) cpSync(join(root, "build/test", name), join(folder, name));
const entry = readFileSync(join(root, "build/test/entry.js"), "utf8");
assert(entry.includes("export { TenantLedger };"));
writeFileSync(join(folder, "entry.js"), entry.replace("export { TenantLedger };", COMPANION));

const slug = (tenant) => tenant.slice(2).replaceAll("_", "-");
const strict = { kind: "quota", period: "month", mode: "strict" };
const leased = { kind: "quota", period: "month", on_error: "closed" };
const seed = {
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

/** The Worker with companions for ledgers, and what may be said to both. */
async function start(options = {}) {
  const gate = await worker({ seed, folder: relative(root, folder), ...options });
  after(() => gate.stop());
  const space = await gate.flare.getDurableObjectNamespace("LEDGER", "gate");
  // Bodies are read to their end: Miniflare waits long for those that are not.
  const tell = async (tenant, path, body = "") => {
    const response = await inTime(space.get(space.idFromName(tenant)).fetch(`https://ledger/${path}`, { method: "POST", body, duplex: "half" }));
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

/** Nobody waits for ever: what takes longer fails the test. */
let hung = 0;
function inTime(promise) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`hung: ${++hung}`)), 20_000); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

async function until(condition, what) {
  for (const end = Date.now() + 20_000; !(await condition());) {
    assert(Date.now() < end, what);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Clients that each tell their event, with its key, until it is acknowledged, then the next; and others that spend `spends`. */
function load(gate, { tenants, isolates, each = 4, spends }) {
  const count = () => Object.fromEntries(tenants.map((tenant) => [tenant, 0]));
  const [acknowledged, told, spent] = [count(), count(), count()];
  let [done, given, next] = [false, false, 0];
  // Where the test fails, its clients give up.
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
    /** After so many more acknowledgements. */
    more: (count, from = sum()) => until(() => sum() >= from + count, `${count} more are acknowledged`),
    /** What was acknowledged until now is there. */
    async keeps() {
      for (const [tenant, before] of Object.entries({ ...acknowledged })) {
        const [used] = await gate.used(tenant, "closed");
        assert(used >= before, `${tenant}: ${used} of ${before}`);
      }
    },
    /** Ends it: every event has counted once, and what was let through on leases is booked, within the limit. */
    async ends() {
      done = true;
      await Promise.all(all);
      assert.equal(hung, 0);
      assert.deepEqual(acknowledged, told);
      for (const tenant of tenants) {
        const [used, booked] = await gate.used(tenant, "closed", spends);
        assert.equal(used, told[tenant], tenant);
        const bound = seed.catalog.plans["pro@1"].limits[spends];
        assert(spent[tenant] > 0 && spent[tenant] <= booked && booked <= bound, `${tenant}: ${spent[tenant]} let through, ${booked} booked`);
      }
    },
  };
}

test("a trap in one ledger loses and doubles nothing that any ledger has acknowledged, and it serves again", async () => {
  const gate = await start({ isolates: 3 });
  const clients = load(gate, { tenants: ["t_acme", "t_other", "t_trap_ledger"], isolates: 3, each: 6, spends: "leased" });
  for (let trap = 0; trap < 6; trap++) {
    await clients.more(150);
    // In builds for tests, this tenant's ledger traps whenever it is asked for `few`; with whatever orders came along.
    const { length } = gate.log;
    await gate.ask({ tenant: "t_trap_ledger", limits: { few: 1 } }, trap % 3).catch(() => {});
    await until(() => gate.log.slice(length).some((line) => line.includes("a fault was asked for")), "it traps");
    await clients.keeps();
  }
  await clients.more(150);
  await clients.ends();
  assert.deepEqual(await gate.sql("t_trap_ledger", "SELECT name FROM counters WHERE name LIKE '%/few'"), []);
});

describe("a commit that fails", () => {
  /** From now on whatever is written to these tables fails, in SQLite itself; returns what repairs it. */
  const broken = async (gate, tables) => {
    const all = (statement) => Promise.all(tables.map((table) => gate.sql("t_acme", statement(table))));
    await all((table) => `CREATE TRIGGER broken_${table} BEFORE INSERT ON ${table} BEGIN SELECT RAISE(ABORT, 'broken by a test'); END`);
    return () => all((table) => `DROP TRIGGER broken_${table}`);
  };
  const KEYS = ["keys_0", "keys_1"];

  test("is refused, or let through, as `on_error` says; counts go on from what was acknowledged", async () => {
    const gate = await start();
    for (let i = 0; i < 3; i++) assert.equal((await gate.get("/both")).status, 200);
    for (const [round, tables] of [["counters"], KEYS, ["counters", ...KEYS, "leases"]].entries()) {
      const repair = await broken(gate, tables);
      if (tables.includes("counters")) {
        for (const path of ["/closed", "/both", ...(tables.includes("leases") ? ["/leased"] : [])]) {
          const { status, body, retryAfter } = await gate.get(path);
          assert.deepEqual([status, body.error.code, retryAfter], [503, "LEDGER_UNAVAILABLE", "5"], path);
        }
        const { status, body } = await gate.get("/open");
        assert.deepEqual([status, body.allowed, body.fallback], [200, true, ["ledger"]]);
      }
      const event = { tenant: "t_acme", limits: { closed: 5, open: 5 }, idempotency_key: `event-${round}` };
      const told = await gate.ask(event);
      assert.deepEqual([told.body.allowed, told.body.code, told.retryAfter], [false, "LEDGER_UNAVAILABLE", "5"]);
      await repair();
      const before = 3 + 6 * round;
      assert.deepEqual(await gate.used("t_acme", "closed", "open", "leased"), [before, before, 0]);
      // What failed was not done: under the same key it is done now, once.
      for (const repeated of [undefined, true]) {
        const { body } = await gate.ask(event);
        assert.deepEqual([body.allowed, body.repeated, body.fallback], [true, repeated, []]);
      }
      assert.equal((await gate.get("/both")).status, 200);
      assert.deepEqual(await gate.used("t_acme", "closed", "open", "leased"), [before + 6, before + 6, 0]);
    }
  });

  test("and cannot be read either: what was not written is not there, and nothing is counted twice", async () => {
    const gate = await start();
    const ask = async () => (await gate.ask({ tenant: "t_acme", limits: { closed: 5 }, idempotency_key: "event" })).body;
    assert.equal((await gate.get("/closed")).status, 200);
    await gate.sql("t_acme", "CREATE TRIGGER broken BEFORE INSERT ON counters BEGIN SELECT RAISE(ABORT, 'broken by a test'); END; ALTER TABLE holds RENAME COLUMN value TO hidden");
    for (let i = 0; i < 3; i++) assert.equal((await ask()).code, "LEDGER_UNAVAILABLE");
    await gate.sql("t_acme", "ALTER TABLE holds RENAME COLUMN hidden TO value; DROP TRIGGER broken");
    assert.deepEqual(await gate.used("t_acme", "closed"), [1]);
    assert.equal((await ask()).repeated, undefined);
    assert.equal((await ask()).repeated, true);
    assert.deepEqual(await gate.used("t_acme", "closed"), [6]);
  });

  test("now and then, in mid-load: every event counts once all the same, and other ledgers go on meanwhile", async () => {
    const gate = await start({ isolates: 2 });
    const clients = load(gate, { tenants: ["t_acme", "t_other"], isolates: 2, spends: "leased" });
    for (const tables of [["counters"], KEYS, ["leases"], ["counters", ...KEYS]]) {
      await clients.more(100);
      const repair = await broken(gate, tables);
      const before = clients.acknowledged.t_other;
      await until(() => clients.acknowledged.t_other > before + 50, "the other ledger goes on");
      await repair();
      await clients.keeps();
    }
    await clients.more(100);
    await clients.ends();
  });
});

test("a ledger that is cut off and built anew, again and again in mid-load, has all it acknowledged, and grants nothing twice", async () => {
  const gate = await start({ isolates: 4 });
  const clients = load(gate, { tenants: ["t_acme", "t_other"], isolates: 4, each: 8, spends: "scarce" });
  const lives = new Set();
  for (let cut = 1; cut <= 12; cut++) {
    await clients.more(40);
    assert.equal(lives.add((await gate.tell("t_acme", "life")).text).size, cut);
    await assert.rejects(gate.tell("t_acme", "abort"));
    await clients.keeps();
  }
  await clients.more(100);
  await clients.ends();
});

describe("a message to a ledger", () => {
  const meter = { kind: "quota", limit: 1_000_000, starts_ms: 0, ends_ms: 4_102_444_800_000 };
  const take = (units = 1) => JSON.stringify({ charges: [{ counter: "t_acme/closed", meter, op: { take: units } }] });
  const lines = (count) => Array(count).fill(take()).join("\n");
  const taken = async (gate) => JSON.parse((await gate.tell("t_acme", "", take(0))).text).verdicts[0].used;

  test("with more orders than may wait for one commit is refused as a whole, the next one is served", async () => {
    const gate = await start();
    assert.deepEqual(await gate.tell("t_acme", "", lines(MAX_LEDGER_QUEUE + 1)), { status: 503, retryAfter: "1", text: "" });
    assert.equal(await taken(gate), 0);
    const { status, text } = await gate.tell("t_acme", "", lines(MAX_LEDGER_QUEUE));
    const last = JSON.parse(text.split("\n")[MAX_LEDGER_QUEUE - 1]);
    assert.deepEqual([status, last.allowed, last.verdicts[0].used], [200, true, MAX_LEDGER_QUEUE]);
    // Nor may several wait together that are too many; of those that were refused nothing was taken.
    const statuses = (await Promise.all(Array.from({ length: 12 }, () => gate.tell("t_acme", "", lines(1_500))))).map(({ status }) => status);
    assert(statuses.every((status) => status === 200 || status === 503));
    assert.equal(await taken(gate), MAX_LEDGER_QUEUE + 1_500 * statuses.filter((status) => status === 200).length);
  });

  test("that finds the ledger too busy is refused, whatever `on_error` says: a flood lifts no limit", async () => {
    const gate = await start();
    let [counted, busy] = [0, 0];
    // From now on whatever is said to the ledger finds as much waiting as may wait.
    await gate.tell("t_acme", "crowd", "\n".repeat(MAX_LEDGER_QUEUE - 1));
    await until(async () => {
      for (const { status, retryAfter, body } of await Promise.all(Array.from({ length: 20 }, () => gate.get("/open")))) {
        if (status === 200) assert.deepEqual([body.fallback, ++counted > 0], [[], true]);
        else assert.deepEqual([status, body.error.code, retryAfter, ++busy > 0], [503, "LEDGER_UNAVAILABLE", "5", true]);
      }
      return busy >= 20;
    }, "it is busy");
    await gate.tell("t_acme", "crowd");
    assert.deepEqual(await gate.used("t_acme", "open"), [counted]);
  });

  test("that is too large is refused, whether it says so beforehand or not", async () => {
    const gate = await start();
    const large = `${take()}\n${"x".repeat(MAX_LEDGER_MESSAGE_BYTES)}`;
    for (const body of [large, new Blob([large]).stream()]) {
      assert.deepEqual(await gate.tell("t_acme", "", body), { status: 413, retryAfter: null, text: "" });
    }
    assert.equal(await taken(gate), 0);
    assert.equal((await gate.get("/closed")).status, 200);
  });

  test("may have lines that are no orders: their answers are empty, their neighbours are served", async () => {
    const gate = await start();
    const nonsense = ["", "{", "null", "[1]", "\u0000", '{"charges":1}', `${take()}${take()}`, take(-1), take(0.5), take(2 ** 64), '{"once":{"id":"é"}}'];
    const { text } = await gate.tell("t_acme", "", nonsense.flatMap((line) => [line, take()]).join("\n"));
    const answers = text.split("\n").map((answer) => answer && JSON.parse(answer).verdicts[0].used);
    assert.deepEqual(answers, nonsense.flatMap((_, i) => ["", i + 1]));
    assert.equal(await taken(gate), nonsense.length);
  });
});

test("alarms that come together, while events arrive and the ledger is cut off, hand every event on, under one name, and leave nothing", async () => {
  const consumer = `const told = []; export default {
    queue({ messages }) { told.push(...messages.map(({ body }) => body)); },
    fetch() { return Response.json(told); } }`;
  const beside = [{ name: "consumer", modules: true, script: consumer, compatibilityDate: "2026-11-01", queueConsumers: { usage: { maxBatchTimeout: 0 } } }];
  const gate = await start({ isolates: 2, more: { queueProducers: { USAGE_QUEUE: "usage" } }, beside });
  const heard = async () => (await (await gate.flare.getWorker("consumer")).fetch("https://consumer/")).json();
  const [accepted, time] = [new Set(), new Date().toISOString()];
  let done = false;
  after(() => { done = true; });
  const name = ({ source, id }) => `${source} ${id}`;
  const teller = async (source) => {
    for (let round = 0; !done; round++) {
      const more = { specversion: "1.0", source, type: "llm.completion", subject: "t_acme", time, data: { tokens: 3 } };
      const events = Array.from({ length: 7 }, (_, i) => ({ id: `${round}-${i}`, ...more }));
      // Told until they are acknowledged, as of any try some may be there already.
      const tell = () => gate.post(round % 2, "/_gate/v1/usage", events).then(({ status }) => status === 200, () => false);
      await until(tell, "events are accepted");
      for (const event of events) accepted.add(name(event));
    }
  };
  const tellers = Array.from({ length: 5 }, (_, i) => teller(`/source-${i}`));
  for (let round = 1; round <= 20; round++) {
    await until(() => accepted.size >= round * 50, "events are accepted");
    await Promise.all([1, 2, 3].map((count) => gate.tell("t_acme", "alarms", "!".repeat(count))));
    if (round % 5 === 0) await Promise.allSettled([gate.tell("t_acme", "alarms", "!!"), gate.tell("t_acme", "abort")]);
  }
  done = true;
  await Promise.all(tellers);
  await until(async () => (await gate.sql("t_acme", "SELECT count(*) FROM outbox"))[0][0] === 0, "the outbox is empty");
  const names = async () => new Set((await heard()).map(name));
  await until(async () => (await names()).size >= accepted.size, "every event is handed on");
  assert.deepEqual(await names(), accepted);
  // However often one was handed on, it was the same.
  assert.equal(new Set((await heard()).map((event) => JSON.stringify(event))).size, accepted.size);
  assert.equal((await gate.get("/_gate/v1/usage?tenant=t_acme")).body.usage[0].value, 3 * accepted.size);
  // An alarm for nothing does nothing.
  const before = (await heard()).length;
  await gate.tell("t_acme", "alarms", "!!!!!");
  assert.equal((await heard()).length, before);
});
