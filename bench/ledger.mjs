// (f) The ledger on workerd. Measures durable consumption with event ids, compared with two Durable
// Objects written in JavaScript, one with a write for each request and one with a write for a
// group; leased consumption, compared with an empty Worker; the costs of both; and a ledger with a
// million event ids.

import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { publish } from "../pkg/node.js";
import { filesOf } from "../tests/support/harness.mjs";
import { workerd } from "../tests/support/workerd.mjs";

const root = join(import.meta.dirname, "..");
const ROUND_MS = 1200;
const ROUNDS = Number(process.env.ROUNDS ?? 5);
const CONNECTIONS = [1, 16, 64];

const seed = {
  catalog: {
    version: 1,
    resolution: { strategies: [{ strategy: "header" }] },
    routes: [{ path: "/leased", limits: { month: 1 } }],
    limits: {
      exact: { kind: "quota", period: "month", mode: "strict", on_error: "closed" },
      month: { kind: "quota", period: "month", on_error: "closed" },
    },
    plans: { "pro@1": { limits: { exact: 1_000_000_000, month: 1_000_000_000 } } },
  },
  tenants: [{ id: "t_acme", slug: "acme", plan: "pro@1" }],
};

// Both variants claim the event id, count, refuse beyond the limit, and reply once the write is
// durable.
const byHand = `
const LIMIT = 1e9;
class Ledger {
  constructor({ storage }) {
    this.sql = storage.sql;
    this.storage = storage;
    this.sql.exec("CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, used INTEGER NOT NULL) WITHOUT ROWID");
    this.sql.exec("CREATE TABLE IF NOT EXISTS events (id TEXT PRIMARY KEY) WITHOUT ROWID");
    this.used = this.sql.exec("SELECT used FROM counters WHERE name = 'exact'").raw().toArray()[0]?.[0] ?? 0;
    this.waiting = [];
  }
  known(id) { return this.sql.exec("SELECT 1 FROM events WHERE id = ?", id).raw().toArray().length > 0; }
  save() {
    this.sql.exec("INSERT INTO counters (name, used) VALUES ('exact', ?) ON CONFLICT (name) DO UPDATE SET used = excluded.used", this.used);
  }
  answer(repeated) { return Response.json({ allowed: this.used <= LIMIT, used: this.used, repeated }); }
}
// One write for each request, which is durable before the next request is handled.
export class WritePerRequest extends Ledger {
  async fetch(request) {
    const { idempotency_key: id, limits } = await request.json();
    if (this.known(id)) return this.answer(true);
    this.used += limits.exact;
    this.storage.transactionSync(() => { this.sql.exec("INSERT INTO events (id) VALUES (?)", id); this.save(); });
    await this.storage.sync();
    return this.answer(false);
  }
}
export class GroupCommit extends Ledger {
  async fetch(request) {
    const { idempotency_key: id, limits } = await request.json();
    return new Promise((resolve) => {
      this.waiting.push({ id, cost: limits.exact, resolve });
      if (this.waiting.length === 1) setTimeout(() => this.commit(), 0);
    });
  }
  commit() {
    const group = this.waiting;
    this.waiting = [];
    this.storage.transactionSync(() => {
      for (const one of group) {
        one.repeated = this.known(one.id);
        if (one.repeated) continue;
        this.used += one.cost;
        this.sql.exec("INSERT INTO events (id) VALUES (?)", one.id);
      }
      this.save();
    });
    for (const { resolve, repeated } of group) resolve(this.answer(repeated));
  }
}
export default { async fetch(request, env) {
  const namespace = new URL(request.url).pathname === "/write" ? env.WritePerRequest : env.GroupCommit;
  return namespace.get(namespace.idFromName("t_acme")).fetch("https://ledger/", { method: "POST", body: await request.text() });
} }`;

const empty = `const headers = { "content-type": "application/json", "cache-control": "private, no-store" };
export default { fetch() { return new Response("{}", { headers }); } }`;

let event = 0;
const post = (path, extra = "") => () => {
  const body = `{"tenant":"t_acme","limits":{"exact":1},"idempotency_key":"event-${process.pid}-${event++}"}`;
  return `POST ${path} HTTP/1.1\r\nHost: a\r\n${extra}Content-Length: ${body.length}\r\n\r\n${body}`;
};
const get = (path) => () => `GET ${path} HTTP/1.1\r\nHost: a\r\nX-Tenant-ID: acme\r\n\r\n`;

/**
 * Requests per second over the connections, with one request in flight on each. Every request must
 * be allowed.
 */
function load(port, connections, request, ms) {
  return new Promise((done, fail) => {
    let count = 0;
    const sockets = Array.from({ length: connections }, () => {
      const socket = connect(port, "127.0.0.1", () => socket.write(request()));
      let text = "";
      socket.setNoDelay(true).setEncoding("latin1").on("error", fail).on("data", (chunk) => {
        text += chunk;
        const head = text.indexOf("\r\n\r\n");
        if (head < 0) return;
        const chunked = /transfer-encoding: chunked/i.test(text);
        if (chunked ? !text.endsWith("\r\n0\r\n\r\n") : text.length < head + 4 + Number(/content-length: (\d+)/i.exec(text)[1])) return;
        const isAllowed = text.startsWith("HTTP/1.1 200") && !text.includes('"allowed":false') && !text.includes('"repeated":true');
        if (!isAllowed) return fail(new Error(text.slice(0, 600)));
        text = "";
        count++;
        socket.write(request());
      });
      return socket;
    });
    const begun = performance.now();
    setTimeout(() => {
      for (const socket of sockets) socket.destroy();
      done((count * 1000) / (performance.now() - begun));
    }, ms);
  });
}

const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];

/** Rows for the ledger. */
export async function ledger() {
  // The folder's disk is part of the measurement.
  const folder = mkdtempSync(join(process.env.BENCH_DISK ?? tmpdir(), "tenantgate-ledger-"));
  const operator = "operator";
  const setting = workerd({
    folder, entries: publish(seed), bindings: { OPERATOR_TOKEN: operator },
    workers: { peer: { script: byHand, objects: ["WritePerRequest", "GroupCommit"] }, empty: { script: empty } },
  });
  const { ports, kill } = await setting.start();
  const own = post("/_gate/v1/decide", `Authorization: Bearer ${operator}\r\n`);
  const contenders = { own: [ports.gate, own], write: [ports.peer, post("/write")], group: [ports.peer, post("/group")] };
  const rows = [];
  try {
    for (const connections of CONNECTIONS) {
      const rates = { own: [], write: [], group: [] };
      for (let round = 0; round <= ROUNDS; round++) {
        for (const [name, [port, request]] of Object.entries(contenders)) {
          const rate = await load(port, connections, request, ROUND_MS);
          // The first round is a warm-up.
          if (round) rates[name].push(rate);
        }
      }
      for (const [peer, title, target] of [["write", "one write per request", null], ["group", "group commit", 1.5]]) {
        const ratio = median(rates.own.map((rate, i) => rate / rates[peer][i]));
        rows.push({
          name: `durable consume, ${connections} connection${connections > 1 ? "s" : ""}, compared with JS: ${title}`,
          value: median(rates.own), unit: "requests/s", peer: median(rates[peer]), ratio,
          target: connections >= 16 ? target : null, ok: target && connections >= 16 ? ratio >= target : null,
        });
      }
    }
    const rates = [[], []];
    for (let round = 0; round <= ROUNDS; round++) {
      for (const [i, [port, request]] of [[ports.gate, get("/leased")], [ports.empty, get("/")]].entries()) {
        const rate = await load(port, 16, request, ROUND_MS);
        if (round) rates[i].push(rate);
      }
    }
    const ratio = median(rates[0].map((rate, i) => rate / rates[1][i]));
    const name = "leased path, one hot tenant, compared with an empty JS Worker";
    rows.push({ name, value: median(rates[0]), unit: "decisions/s", peer: median(rates[1]), ratio, target: null, ok: null });
  } finally {
    await kill("SIGTERM");
    rmSync(folder, { recursive: true, force: true });
  }
  return [...rows, ...(await costs(operator, own))];
}

// Cloudflare's list prices in dollars per million, beyond the amounts included in the paid plan.
// Duration is not included. See https://developers.cloudflare.com/durable-objects/platform/pricing
// and https://developers.cloudflare.com/workers/platform/pricing.
const PRICES = { request: 0.3, ledgerRequest: 0.15, rowWritten: 1 };
const IDS = 1_000_000;

// Wraps the built ledger to count its requests and written rows, and to fill it with event ids.
const counting = `
import handler, { TenantLedger } from "./gate.js";
let requests = 0, rows = 0;
class Counting {
  constructor({ storage }, env) {
    const exec = (...args) => {
      const cursor = storage.sql.exec(...args);
      const toArray = () => { const all = cursor.raw().toArray(); rows += cursor.rowsWritten; return all; };
      return { raw: () => ({ toArray }), get rowsWritten() { return cursor.rowsWritten; } };
    };
    const counted = (...args) => { const cursor = storage.sql.exec(...args); cursor.toArray(); rows += cursor.rowsWritten; };
    const sql = { exec: (text, ...args) => (/^\\s*SELECT/.test(text) ? exec(text, ...args) : counted(text, ...args)) };
    this.sql = storage.sql;
    this.ledger = new TenantLedger({ storage: { sql, transactionSync: (work) => storage.transactionSync(work) } }, env);
  }
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/counts") return Response.json({ requests, rows, bytes: this.sql.databaseSize });
    if (pathname === "/fill") {
      const [[half]] = this.sql.exec("SELECT current % 2 FROM generations WHERE name = 'keys'").raw().toArray();
      for (let from = 0; from < ${IDS}; from += 100_000) {
        const series = " WITH RECURSIVE n (i) AS (SELECT ? UNION ALL SELECT i + 1 FROM n WHERE i < ?)";
        const filled = " SELECT 't_acme/filled-' || i, 'abcdefghijklmnop' FROM n";
        this.sql.exec("INSERT INTO keys_" + half + series + filled, from, from + 99_999);
      }
      return new Response("filled");
    }
    requests++;
    return this.ledger.fetch(request);
  }
}
const ask = (path, env) => env.LEDGER.get(env.LEDGER.idFromName("t_acme")).fetch(new Request("https://ledger" + path));
const plain = handler.fetch;
handler.fetch = (request, env, ctx) => {
  const { pathname } = new URL(request.url);
  return pathname.startsWith("/~/") ? ask(pathname.slice(2), env) : plain.call(handler, request, env, ctx);
};
export { handler as default, Counting as TenantLedger };`;

/** Rows for the cost of leased and strict decisions, and for a ledger with a million event ids. */
async function costs(operator, own) {
  const folder = mkdtempSync(join(process.env.BENCH_DISK ?? tmpdir(), "tenantgate-costs-"));
  const build = join(folder, "build");
  for (const name of filesOf("build")) cpSync(join(root, "build", name), join(build, name === "entry.js" ? "gate.js" : name));
  writeFileSync(join(build, "entry.js"), counting);
  const bindings = { OPERATOR_TOKEN: operator };
  const { ports, kill } = await workerd({ folder, build: relative(root, build), entries: publish(seed), bindings }).start();
  const ask = async (path) => (await fetch(`http://127.0.0.1:${ports.gate}/~/${path}`)).text();
  const counts = async () => JSON.parse(await ask("counts"));
  const row = (name, value, unit, peer = null) => ({ name, value, unit, peer, ratio: peer && value / peer, target: null, ok: null });
  const rows = [];
  try {
    for (const [title, request, connections] of [["leased", get("/leased"), 64], ["strict with event ids, 64 connections", own, 64]]) {
      await load(ports.gate, connections, request, ROUND_MS);
      const before = await counts();
      const decisions = (await load(ports.gate, connections, request, 4 * ROUND_MS)) * 4 * ROUND_MS / 1000;
      const after = await counts();
      const [requests, written] = [(after.requests - before.requests) / decisions, (after.rows - before.rows) / decisions];
      rows.push(row(`${title}: requests to the ledger per 1,000 decisions`, requests * 1000, "requests"));
      rows.push(row(`${title}: rows written per 1,000 decisions`, written * 1000, "rows"));
      const dollars = PRICES.request + requests * PRICES.ledgerRequest + written * PRICES.rowWritten;
      rows.push(row(`${title}: a million decisions at list prices`, dollars, "dollars"));
    }
    const rates = [[], []];
    const measure = async (into) => { for (let round = 0; round < ROUNDS; round++) into.push(await load(ports.gate, 64, own, ROUND_MS)); };
    await measure(rates[0]);
    const { bytes } = await counts();
    await ask("fill");
    await measure(rates[1]);
    rows.push(row("durable consume with a million event ids, compared with few", median(rates[1]), "requests/s", median(rates[0])));
    rows.push(row("a million event ids on disk", ((await counts()).bytes - bytes) / 1e6, "MB"));
  } finally {
    await kill("SIGTERM");
    rmSync(folder, { recursive: true, force: true });
  }
  return rows;
}

if (process.argv[1] === import.meta.filename) {
  console.table(await ledger());
  process.exit(0);
}
