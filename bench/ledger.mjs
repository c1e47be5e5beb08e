// (f) The ledger on raw workerd: durable consumption with event ids, beside two Durable Objects in JavaScript that do the
// same by hand, one write a request and one for a group; and the leased path beside an empty Worker.

import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { publish } from "../pkg/node.js";
import { workerd } from "../tests/worker/workerd.mjs";

const ROUND_MS = 1200;
const ROUNDS = Number(process.env.ROUNDS ?? 5);
const CONNECTIONS = [1, 16, 64];

const seed = {
  catalog: {
    version: 1,
    resolution: { strategies: [{ strategy: "header" }] },
    routes: [{ path: "/leased", limits: { month: 1 } }],
    limits: { exact: { kind: "quota", period: "month", mode: "strict", on_error: "closed" }, month: { kind: "quota", period: "month", on_error: "closed" } },
    plans: { "pro@1": { limits: { exact: 1_000_000_000, month: 1_000_000_000 } } },
  },
  tenants: [{ id: "t_acme", slug: "acme", plan: "pro@1" }],
};

// What both do: claim the event's id, count, refuse beyond the limit, answer when it is on disk.
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
  save() { this.sql.exec("INSERT INTO counters (name, used) VALUES ('exact', ?) ON CONFLICT (name) DO UPDATE SET used = excluded.used", this.used); }
  answer(repeated) { return Response.json({ allowed: this.used <= LIMIT, used: this.used, repeated }); }
}
// One write a request, made durable before the next request is heard.
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

const empty = `export default { fetch() { return new Response("{}", { headers: { "content-type": "application/json", "cache-control": "private, no-store" } }); } }`;

let event = 0;
const post = (path, extra = "") => () => {
  const body = `{"tenant":"t_acme","limits":{"exact":1},"idempotency_key":"event-${process.pid}-${event++}"}`;
  return `POST ${path} HTTP/1.1\r\nHost: a\r\n${extra}Content-Length: ${body.length}\r\n\r\n${body}`;
};
const get = (path) => () => `GET ${path} HTTP/1.1\r\nHost: a\r\nX-Tenant-ID: acme\r\n\r\n`;

/** Requests a second over so many connections, one under way on each; every answer must be a good one. */
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
        if (!text.startsWith("HTTP/1.1 200") || text.includes('"allowed":false') || text.includes('"repeated":true')) return fail(new Error(text.slice(0, 600)));
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

/** Rows of the ledger. */
export async function ledger() {
  // Where the project is: what a disk costs is part of what is measured.
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
          // The first round warms up.
          if (round) rates[name].push(rate);
        }
      }
      for (const [peer, title, target] of [["write", "one write a request", null], ["group", "group commit", 1.5]]) {
        const ratio = median(rates.own.map((rate, i) => rate / rates[peer][i]));
        rows.push({
          name: `durable consume, ${connections} connection${connections > 1 ? "s" : ""}, beside JS: ${title}`, value: median(rates.own), unit: "requests/s",
          peer: median(rates[peer]), ratio, target: connections >= 16 ? target : null, ok: target && connections >= 16 ? ratio >= target : null,
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
    rows.push({ name: "leased path, one hot tenant, beside an empty JS Worker", value: median(rates[0]), unit: "requests/s", peer: median(rates[1]), ratio, target: null, ok: null });
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
