// Floods by one hostile tenant or by strangers, beside a victim in the same isolate. Each is a
// row of the table that is printed at the end.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { issuer } from "../support/issuer.mjs";
import { bomb } from "./bomb.mjs";
import { ask, burst, code, dawdle, pace } from "../support/client.mjs";
import { secret, tokens } from "./forge.mjs";
import { assertUnharmed, latency, peak, tally, watch, watchDuring } from "./measure.mjs";
import { origin } from "./origin.mjs";
import { table } from "./table.mjs";
import { sleep } from "../support/wait.mjs";
import { measurable, world } from "../support/world.mjs";

const BASE = "app.example.com";
const FLOOD = { perSecond: 200, ms: 2_500 };
const LIMIT = 40;
/** Seconds for which a page waits for a change of its features. */
const WAIT_S = 12;
/** How many changes a tenant admin attempts, and for how long. Its budget must end earlier. */
const CHANGES = { most: 700, ms: 10_000 };
/** The most by which memory may grow. */
const MEMORY_MB = 64;

let [gate, counting, source, evil, mallory, victim, admin, token] = [];
const rows = [["flood", "requests", "answered", "victim median (ms)", "victim p95 (ms)", "memory (MB)"]];

/** Sends a request to the isolate that all tenants share. */
const send = (path, { host = BASE, headers, ...more } = {}) => ask(gate.urls[0], path, { headers: { host, ...headers }, ...more });
const bearer = (text) => ({ authorization: `Bearer ${text}` });
const hostOf = ({ slug }) => `${slug}.${BASE}`;
const asMallory = (path, more) => send(path, { host: hostOf(mallory), ...more });
const steadily = (one) => pace(FLOOD.perSecond, FLOOD.ms, one);

/** The victim's requests: open, metered, and with a token that is already verified. */
const victims = (i) => [
  () => send("/free", { host: hostOf(victim) }),
  () => send("/own", { host: hostOf(victim) }),
  () => send("/private", { host: hostOf(victim), headers: bearer(token) }),
][i % 3]();

before(async () => {
  [counting, source] = [await origin(), await issuer({ alg: "ES384" })];
  gate = await world({ distanceMs: 50, isolates: 2, control: true, upstream: counting.url });
  const catalog = {
    version: 1,
    resolution: { strategies: [{ strategy: "jwt" }, { strategy: "api_key" }, { strategy: "subdomain", base_domains: [BASE] }] },
    issuers: { main: source.entry },
    features: { beta: { client: true } },
    limits: {
      own: { kind: "quota", period: "month", default: 100_000 },
      leased: { kind: "quota", period: "month", default: LIMIT },
      strict: { kind: "quota", period: "month", mode: "strict", default: LIMIT },
      teams: { kind: "gauge", default: 200 },
    },
    sub_tenants: "teams",
    routes: [
      { path: "/free", auth: "none" }, { path: "/private" },
      ...["own", "leased", "strict"].map((key) => ({ path: `/${key}`, auth: "none", limits: { [key]: 1 } })),
    ],
    plans: { "pro@1": {} },
  };
  const put = async (body) => {
    const said = await gate.admin("PUT", "/catalog", body);
    assert.equal(said.status, 200, JSON.stringify(said.body));
  };
  await put(catalog);
  const make = async (name) => (await gate.admin("POST", "/tenants", { name, slug: name.toLowerCase(), plan: "pro@1" })).body.tenant;
  [mallory, victim] = [await make("Mallory"), await make("Victim")];
  evil = await bomb([mallory.id]);
  await put({ ...catalog, issuers: { ...catalog.issuers, mallory: evil.entry } });
  admin = await source.sign(mallory.id, { scope: "tenantgate:admin" });
  token = await source.sign(victim.id);
  for (let i = 0; i < 9; i++) assert.equal((await victims(i)).status, 200);
});
after(async () => {
  console.log(table(rows));
  for (const one of [gate, counting, source, evil]) await one?.stop();
});

/** Adds a test and a row. `flood` returns responses with one of `statuses`; `then` checks more. */
function row(name, flood, { statuses, then, memory = false }) {
  test(`a flood does not harm the victim: ${name}`, { timeout: 60_000 }, async () => {
    const quiet = await watch(1_000, victims);
    const idleMb = gate.usage().memoryMb;
    const [[answers, flooded], mostMb] = await peak(gate, watchDuring(flood(), victims));
    const answered = Object.entries(tally(answers)).map(([status, count]) => `${status}: ${count}`).join(", ");
    const change = (figure) => `${latency(quiet)[figure].toFixed(0)} → ${latency(flooded)[figure].toFixed(0)}`;
    rows.push([name, String(answers.length), answered, change("median"), change("p95"), `${idleMb.toFixed(0)} → ${mostMb.toFixed(0)}`]);
    for (const answer of answers) assert(statuses.includes(answer.status), `${answer.status} ${answer.text?.slice(0, 200)}`);
    for (const answer of answers.filter(({ status }) => status === 429 || status === 503)) {
      assert(Number(answer.headers["retry-after"]) >= 1, `${code(answer)} without Retry-After`);
    }
    await then?.(answers);
    await assertUnharmed(quiet, flooded, name, async () => [await watch(1_000, victims), (await watchDuring(flood(), victims))[1]]);
    if (memory && measurable) assert(mostMb - idleMb < MEMORY_MB, `memory grows by ${(mostMb - idleMb).toFixed(0)} MB`);
  });
}

const served = (answers) => answers.filter(({ status }) => status === 200).length;

describe("exhausted limits", () => {
  for (const key of ["leased", "strict"]) {
    row(`an exhausted ${key} quota`, async () => {
      const first = await burst(LIMIT + 10, () => asMallory(`/${key}`));
      return [...first, ...await steadily(() => asMallory(`/${key}`))];
    }, { statuses: [200, 429, 503], then: (answers) => {
      assert.equal(served(answers), LIMIT);
      assert.equal(counting.calls(mallory.slug, `/${key}`).length, LIMIT);
    } });
  }
});

describe("unknown names and forged credentials", () => {
  const unknown = () => send("/free", { host: `x${randomBytes(8).toString("hex")}.${BASE}` });
  row("unknown subdomains", () => steadily(unknown), { statuses: [404, 429, 503] });

  const forged = async (count) => {
    const texts = await tokens(source, victim.id, count);
    return steadily((i) => send("/private", { headers: bearer(texts[i % count]) }));
  };
  row("forged tokens with a published kid (ES384)", () => forged(500), { statuses: [401, 429] });
  row("one forged token, repeated", () => forged(1), { statuses: [401, 429] });
  const administrate = () => send("/_gate/v1/admin/tenants", { headers: bearer(secret("tg_admn_")) });
  row("unknown admin tokens", () => steadily(administrate), { statuses: [401, 429] });

  const post = (path, body) => send(path, { method: "POST", body: JSON.stringify(body) });
  row("unknown support tickets", () => steadily(() => post("/_gate/v1/tickets", { ticket: secret("tg_tick_") })), { statuses: [401, 429] });
  row("unknown licence keys", () => steadily(() => post("/_gate/v1/licences/validate", { key: secret("tg_lice_"), instance: "a" })), {
    statuses: [200, 429],
    then: (answers) => {
      for (const { text } of answers.filter(({ status }) => status === 200)) assert.equal(JSON.parse(text).valid, false);
    },
  });
});

describe("held connections", () => {
  const page = (tenant, known, seconds, more) => send("/_gate/v1/features", {
    host: hostOf(tenant), ...more,
    headers: { ...bearer(tenant === victim ? token : admin), "if-none-match": known, prefer: `wait=${seconds}` },
  });
  const etag = async (tenant) => (await page(tenant, "\"none\"", 0)).headers.etag;

  let waited;
  for (const [name, known] of [["any ETag", () => "*"], ["the current ETag", () => etag(mallory)]]) {
    row(`300 waiting pages with ${name}`, async () => {
      const [tag, own] = [await known(), await etag(victim)];
      const held = burst(300, () => page(mallory, tag, WAIT_S, { patienceMs: WAIT_S * 1_000 + 8_000 }));
      await sleep(1_000);
      waited = await page(victim, own, 3);
      return held;
    }, { statuses: [200, 304, 429, 503], then: () => {
      // The victim's own page can still wait for a change.
      assert.equal(waited.status, 304);
      assert(waited.ms > 2_000, `the victim's page waited for only ${waited.ms.toFixed(0)} ms`);
    } });
  }

  row("100 slow uploads to the gate, and 100 to the origin", async () => {
    const upload = (path) => dawdle(gate.urls[0], path, { host: hostOf(mallory), ms: 5_000 });
    return Promise.all([
      burst(100, () => upload("/_gate/ofrep/v1/evaluate/flags")), burst(100, () => upload("/free")),
    ]).then((all) => all.flat());
  }, { statuses: ["open", 401, 408, 413, 429, 503], memory: true, then: async () => {
    assert.equal((await asMallory("/free")).status, 200);
  } });
});

describe("changes by a tenant admin", () => {
  const change = (method, path, body) => send(`/_gate/v1/admin${path}`, { method, headers: bearer(admin), body: JSON.stringify(body) });
  const size = async () => (await gate.db.prepare("SELECT 1").all()).meta.size_after;

  let [sizeBefore, sizeAfter] = [];
  row("API keys with long names, issued and revoked", async () => {
    const [answers, end] = [[], Date.now() + CHANGES.ms];
    sizeBefore = await size();
    // The API refuses names that are too long. Shorter ones count against the budget.
    const lengths = [64_000, 200, 100];
    const told = async (answer) => { answers.push(await answer); return answers.at(-1); };
    await Promise.all(Array.from({ length: 3 }, async () => {
      while (answers.length < CHANGES.most && Date.now() < end && answers.at(-1)?.status !== 429) {
        const made = await told(change("POST", `/tenants/${mallory.id}/api-keys`, { name: "x".repeat(lengths[0]) }));
        if (made.status === 400 && lengths.length > 1) lengths.shift();
        if (made.status === 201) await told(change("DELETE", `/tenants/${mallory.id}/api-keys/${JSON.parse(made.text).record.id}`));
      }
    }));
    sizeAfter = await size();
    return answers;
  }, { statuses: [200, 201, 400, 409, 429], then: async (answers) => {
    assert(answers.some(({ status }) => status === 429), `${answers.length} changes did not exhaust the budget`);
    assert(sizeAfter - sizeBefore < 16 << 20, `the database grows by ${((sizeAfter - sizeBefore) / 1e6).toFixed(1)} MB`);
    // Changes of other tenants have their own budgets.
    assert.equal((await gate.admin("POST", `/tenants/${victim.id}/api-keys`, {})).status, 201);
    const own = await source.sign(victim.id, { scope: "tenantgate:admin" });
    assert.equal((await gate.admin("POST", `/tenants/${victim.id}/api-keys`, {}, { as: own })).status, 201);
  } });

  row("sub-tenants created by a tenant admin", () => burst(4, async (lane) => {
    const [answers, end] = [[], Date.now() + CHANGES.ms];
    for (let i = 0; i < 10 && Date.now() < end; i++) {
      answers.push(await change("POST", "/tenants", { name: "Team", slug: `team-${lane}-${i}`, parent: mallory.id }));
    }
    return answers;
  }).then((all) => all.flat()), { statuses: [201, 409, 429] });
});

describe("compressed issuer keys", () => {
  const unpack = (i) => send("/private", { headers: bearer(evil.token(mallory.id, `k${i}`)) });
  row("issuer keys that unpack to 100 MB", () => pace(50, FLOOD.ms, unpack), { statuses: [401, 429, 503], memory: true });
});

describe("the victim after all floods", () => {
  test("after all floods, the victim's calls are counted and its limits are exact", async () => {
    const calls = counting.calls(victim.slug, "/own").length;
    const { body } = await gate.decide({ tenant: victim.id, limits: { own: 0 } });
    assert(body.limits[0].used >= calls, `${body.limits[0].used} counted of ${calls}`);
    for (const key of ["leased", "strict"]) {
      const answers = await burst(LIMIT + 20, () => send(`/${key}`, { host: hostOf(victim) }));
      assert.deepEqual(tally(answers), { 200: LIMIT, 429: 20 });
    }
  });
});
