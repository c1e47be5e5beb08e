// Sockets: a hub beside a room written by hand, which has no log, no order and no limits. Both in
// one workerd process; beside them, for comparison, the same room in Node with `ws` and in Bun, and
// socket.io for what is missed in a crash. The clients are plain TCP, so that they cost little.

import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { Agent, request } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { io } from "socket.io-client";
import { publish } from "../pkg/node.js";
import { worker } from "../tests/support/harness.mjs";
import { workerd } from "../tests/support/workerd.mjs";
import { median } from "./measure.mjs";

const root = resolve(import.meta.dirname, "..");
const build = process.env.BENCH_BUILD ?? "build";
const SOCKETS = 1_000;
const ROUNDS = 40;

const seed = {
  catalog: {
    version: 1,
    resolution: { strategies: [{ strategy: "header" }] },
    limits: { exact: { kind: "quota", period: "month", mode: "strict" } },
    realtime: {},
    plans: { "pro@1": { limits: { exact: "unlimited" } } },
  },
  tenants: ["acme", "packed", "few", "back"].map((slug) => ({ id: `t_${slug}`, slug, plan: "pro@1" })),
};

/** A client that counts the frames that it receives, and sends text. */
class Client {
  frames = 0;
  /** The first frame, and whether the server has closed the socket. */
  first = null;
  isClosed = false;
  #rest = Buffer.alloc(0);
  #open;

  constructor(port, path, headers = {}) {
    this.socket = connect(port, "127.0.0.1");
    this.socket.setNoDelay(true);
    const lines = Object.entries({ Host: "app.example.com", Upgrade: "websocket", Connection: "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": randomBytes(16).toString("base64"), ...headers });
    this.socket.write(`GET ${path} HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n`);
    this.opened = new Promise((resolve, reject) => {
      this.#open = resolve;
      this.socket.on("error", reject);
    });
    this.socket.on("data", (data) => this.#read(data));
  }

  #read(data) {
    let all = this.#rest.length ? Buffer.concat([this.#rest, data]) : data;
    if (this.#open) {
      const end = all.indexOf("\r\n\r\n");
      if (end < 0) { this.#rest = all; return; }
      if (!all.subarray(0, 12).toString().endsWith("101")) throw new Error(all.toString());
      this.#open();
      this.#open = null;
      all = all.subarray(end + 4);
    }
    let at = 0;
    while (all.length - at >= 2) {
      const short = all[at + 1] & 127;
      const head = short === 126 ? 4 : short === 127 ? 10 : 2;
      if (all.length - at < head) break;
      const length = short === 126 ? all.readUInt16BE(at + 2) : short === 127 ? Number(all.readBigUInt64BE(at + 2)) : short;
      if (all.length - at < head + length) break;
      this.first ??= all.subarray(at + head, at + head + length).toString();
      this.isClosed ||= (all[at] & 15) === 8;
      at += head + length;
      this.frames++;
    }
    this.#rest = all.subarray(at);
  }

  send(text) {
    const body = Buffer.from(text);
    this.socket.write(Buffer.concat([Buffer.from([0x81, 0x80 | body.length, 0, 0, 0, 0]), body]));
  }
}

async function opened(count, make) {
  const clients = [];
  for (let n = 0; n < count; n += 50) {
    const some = Array.from({ length: Math.min(50, count - n) }, make);
    await Promise.all(some.map((client) => client.opened));
    clients.push(...some);
  }
  // The greeting.
  await new Promise((resolve) => setTimeout(resolve, 300));
  return clients;
}

async function received(clients, frames) {
  while (!clients.every((client) => client.frames >= frames)) await new Promise(setImmediate);
}

const row = (name, value, unit, peer = null, ratio = null, target = null, ok = null) => ({ name, value, unit, peer, ratio, target, ok });

/** Milliseconds until all clients of each contender have received what it sends, in turns. */
async function turns(contenders, rounds = ROUNDS) {
  const samples = Object.fromEntries(Object.keys(contenders).map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const [name, { clients, send, frames }] of Object.entries(contenders)) {
      const wanted = clients[0].frames + frames;
      const begun = performance.now();
      await send();
      await received(clients, wanted);
      samples[name].push(performance.now() - begun);
    }
  }
  return samples;
}

/** Starts a server outside Workers: a file of `bench/peers`. Returns its port. */
async function peerServer(command, file, ...args) {
  const process = spawn(command, [join(root, "bench/peers", file), ...args], { stdio: ["ignore", "pipe", "inherit"] });
  const port = await new Promise((resolve, reject) => {
    process.stdout.once("data", (text) => resolve(Number(text)));
    process.once("error", reject);
    process.once("exit", () => reject(new Error(`${file} did not start in ${command}`)));
  });
  const ended = new Promise((resolve) => { process.once("exit", resolve); });
  return { port, stop: () => process.kill("SIGKILL") && ended };
}

const percentile = (samples, share) => samples.toSorted((a, b) => a - b)[Math.floor((samples.length - 1) * share)];

/** Requests a second of 16 callers. */
async function rate(send, ms = 3_000) {
  let done = 0;
  const end = performance.now() + ms;
  await Promise.all(Array.from({ length: 16 }, async () => { while (performance.now() < end) { await send(); done++; } }));
  return (done * 1_000) / ms;
}

/**
 * Kills a socket.io server with recovery, starts it again, and sends messages before the clients are
 * back. Returns how many of them a client never receives, on average.
 */
async function lostBySocketIo(sockets, messages, post) {
  let server = await peerServer(process.execPath, "socketio.mjs");
  const clients = Array.from({ length: sockets }, () => io(`http://127.0.0.1:${server.port}`, { transports: ["websocket"], forceNew: true, reconnectionDelay: 5_000, randomizationFactor: 0 }));
  const all = (event) => Promise.all(clients.map((client) => new Promise((resolve) => { client.once(event, resolve); })));
  try {
    await all("connect");
    let seen = 0;
    const first = all("message");
    await post(server.port, "/", { messages: [{ data: "first" }] });
    await first;
    for (const client of clients) client.on("message", () => { seen++; });
    const gone = all("disconnect");
    await server.stop();
    await gone;
    const back = all("connect");
    server = await peerServer(process.execPath, "socketio.mjs", String(server.port));
    await post(server.port, "/", { messages });
    if (clients.some(({ connected }) => connected)) throw new Error("a client was back before the messages were sent");
    await back;
    const last = all("message");
    await post(server.port, "/", { messages: [{ data: "last" }] });
    await last;
    return messages.length - (seen - sockets) / sockets;
  } finally {
    for (const client of clients) client.disconnect();
    await server.stop();
  }
}

/** Milliseconds from the suspension of a tenant to the end of the last of its sockets, in some runs. */
async function suspensions(sockets, runs) {
  const gate = await worker({ control: true, direct: true, folder: build });
  try {
    const [{ port }, times] = [new URL(gate.urls[0]), []];
    await gate.admin("PUT", "/catalog", { version: 1, resolution: { strategies: [{ strategy: "header" }] }, realtime: {}, plans: { "pro@1": {} } });
    for (let n = 0; n < runs; n++) {
      const { body } = await gate.admin("POST", "/tenants", { name: `suspended ${n}`, plan: "pro@1" });
      const { id, slug } = body.tenant;
      const clients = await opened(sockets, () => new Client(port, "/_gate/v1/connect", { "X-Tenant-ID": slug }));
      const begun = performance.now();
      await gate.admin("POST", `/tenants/${id}/suspend`, { reason: "unpaid" });
      while (!clients.every(({ isClosed }) => isClosed)) await new Promise(setImmediate);
      times.push(performance.now() - begun);
      for (const { socket } of clients) socket.destroy();
    }
    return times;
  } finally {
    await gate.stop();
  }
}

export async function realtime() {
  const folder = mkdtempSync(join(tmpdir(), "tenantgate-bench-"));
  const setting = workerd({
    folder, build, objects: ["TenantLedger", "TenantHub"], entries: publish(seed), bindings: { OPERATOR_TOKEN: "operator" },
    workers: { room: { script: readFileSync(join(root, "bench/workers/room.js"), "utf8"), objects: ["Room"] } },
  });
  let server = await setting.start();
  try {
    let { gate } = server.ports;
    const { room } = server.ports;
    // `fetch` would cost more than what is measured.
    const agent = new Agent({ keepAlive: true, maxSockets: 16 });
    const post = (port, path, body) => new Promise((resolve, reject) => {
      const sent = request({ port, host: "127.0.0.1", path, method: "POST", agent, headers: { authorization: "Bearer operator" } }, (response) => {
        let text = "";
        response.on("data", (data) => { text += data; });
        response.on("end", () => (response.statusCode === 200 ? resolve(text) : reject(new Error(`${response.statusCode} ${text}`))));
      });
      sent.on("error", reject);
      sent.end(JSON.stringify(body));
    });
    const data = "x".repeat(150);
    const messages = (count) => Array.from({ length: count }, () => ({ data }));
    const toHub = (slug, count) => () => post(gate, "/_gate/v1/messages", { tenant: `t_${slug}`, messages: messages(count) });
    const toRoom = (name, count) => () => post(room, `/${name}`, { messages: messages(count) });
    const hubClient = (slug, query = "") => () => new Client(gate, `/_gate/v1/connect${query}`, { "X-Tenant-ID": slug });
    const roomClient = (name) => () => new Client(room, `/${name}`);

    const hub = await opened(SOCKETS, hubClient("acme"));
    const peer = await opened(SOCKETS, roomClient("one"));
    const rooms = { ws: await peerServer(process.execPath, "room.mjs"), Bun: await peerServer(join(root, "node_modules/bun/bin/bun.exe"), "room.mjs") };
    const others = {};
    for (const [name, { port }] of Object.entries(rooms)) {
      const clients = await opened(SOCKETS, () => new Client(port, "/"));
      others[name] = { clients, send: () => post(port, "/", { messages: messages(1) }), frames: 1 };
    }
    const one = await turns({ hub: { clients: hub, send: toHub("acme", 1), frames: 1 }, room: { clients: peer, send: toRoom("one", 1), frames: 1 }, ...others });
    for (const name of Object.keys(rooms)) {
      for (const { socket } of others[name].clients) socket.destroy();
      rooms[name].stop();
    }
    const rows = [];
    const perSecond = (ms, count) => (count * 1_000) / ms;
    const [own, other] = [perSecond(median([...one.hub]), SOCKETS), perSecond(median([...one.room]), SOCKETS)];
    rows.push(row(`one message to ${SOCKETS} sockets, beside a room by hand`, own, "frames/s", other, own / other, 0.9, own / other >= 0.9));
    for (const name of Object.keys(rooms)) {
      const rate = perSecond(median([...one[name]]), SOCKETS);
      rows.push(row(`one message to ${SOCKETS} sockets, beside ${name} without Workers`, own, "frames/s", rate, own / rate));
    }
    const p99 = percentile(one.hub, 0.99);
    rows.push(row(`from a message to the last of ${SOCKETS} sockets, p99`, p99, "ms", percentile(one.room, 0.99), null, "≤ 60", p99 <= 60));

    // Some never read. They fall behind before the others are measured.
    const stuck = await opened(200, hubClient("acme"));
    for (const { socket } of stuck) socket.pause();
    for (let n = 0; n < 10; n++) await toHub("acme", 100)();
    await received(hub, hub[0].frames);
    const beside = await turns({ hub: { clients: hub, send: toHub("acme", 1), frames: 1 } });
    const slowed = percentile(beside.hub, 0.99);
    rows.push(row(`the same beside 200 sockets that do not read, p99`, slowed, "ms", p99, slowed / p99, "≤ 1.5", slowed / p99 <= 1.5));
    for (const client of stuck) client.socket.destroy();

    // A hub sleeps after ten quiet seconds. The first message wakes it.
    for (const client of hub) client.socket.destroy();
    const sleepers = await opened(2 * SOCKETS, hubClient("acme"));
    const once = async (rounds) => (await turns({ hub: { clients: sleepers, send: toHub("acme", 1), frames: 1 } }, rounds)).hub;
    await once(3);
    const warm = median(await once(15));
    const woken = [];
    for (let n = 0; n < 3; n++) {
      await new Promise((resolve) => setTimeout(resolve, 12_000));
      woken.push(...(await once(1)));
    }
    const wake = median(woken);
    rows.push(row(`the first message to ${sleepers.length} sockets after sleep, beside one while awake`, wake, "ms", warm, wake / warm, "≤ 2", wake / warm <= 2));
    for (const client of sleepers) client.socket.destroy();

    const packed = await opened(SOCKETS, hubClient("packed", "?packed=true"));
    const twenty = await turns({ hub: { clients: packed, send: toHub("packed", 20), frames: 1 }, room: { clients: peer, send: toRoom("one", 20), frames: 20 } }, 15);
    const [many, otherMany] = [perSecond(median(twenty.hub), SOCKETS * 20), perSecond(median(twenty.room), SOCKETS * 20)];
    rows.push(row(`20 messages at once to ${SOCKETS} sockets, beside a room by hand`, many, "messages/s", otherMany, many / otherMany, 5, many / otherMany >= 5));
    for (const client of [...packed, ...peer]) client.socket.destroy();

    const few = await opened(10, hubClient("few", "?packed=true"));
    const published = await rate(toHub("few", 1));
    const consumed = await rate(() => post(gate, "/_gate/v1/decide", { tenant: "t_few", limits: { exact: 1 } }));
    rows.push(row("durable messages of 16 callers to 10 sockets, beside durable units of a ledger", published, "1/s", consumed, published / consumed, 0.8, published / consumed >= 0.8));
    for (const client of few) client.socket.destroy();

    // Less than what one socket may send at once.
    const echoes = 100;
    const costs = { hub: [], room: [] };
    for (let round = 0; round < 15; round++) {
      for (const [name, make] of [["hub", hubClient("few")], ["room", roomClient("echo")]]) {
        const [client] = await opened(1, make);
        const wanted = client.frames + echoes;
        const begun = performance.now();
        for (let n = 0; n < echoes; n++) client.send(`{"action":"ping","id":${n}}`);
        await received([client], wanted);
        costs[name].push(((performance.now() - begun) * 1_000) / echoes);
        client.socket.destroy();
      }
    }
    const [mine, theirs] = [median(costs.hub), median(costs.room)];
    rows.push(row("a message of a client, beside an echo by hand", mine, "µs", theirs, mine / theirs, "≤ 1.3", mine / theirs <= 1.3));

    // The process is killed. What is published until the clients return, they have missed.
    const [gone] = await opened(1, hubClient("back"));
    await post(gate, "/_gate/v1/messages", { tenant: "t_back", messages: messages(1) });
    const { epoch } = JSON.parse(gone.first);
    await server.kill();
    server = await setting.start();
    ({ gate } = server.ports);
    await post(gate, "/_gate/v1/messages", { tenant: "t_back", messages: messages(100) });
    const begun = performance.now();
    const back = Array.from({ length: SOCKETS }, hubClient("back", `?epoch=${epoch}&seq=1`));
    // The greeting, and what was missed.
    await received(back, 101);
    const caughtUp = performance.now() - begun;
    rows.push(row(`${SOCKETS} clients return after a crash, with 100 missed messages each`, caughtUp, "ms", null, null, "≤ 10,000", caughtUp <= 10_000));
    const twice = back.filter(({ frames }) => frames > 101).length;
    if (twice > 0) throw new Error(`${twice} clients received messages twice`);
    const lost = 101 - back.reduce((sum, { frames }) => sum + frames, 0) / SOCKETS;
    const lostByPeer = await lostBySocketIo(100, messages(100), post);
    rows.push(row("of 100 messages missed in a crash, those that a client never receives, beside socket.io with recovery", lost, "messages", lostByPeer, null, 0, lost === 0));
    for (const { socket } of back) socket.destroy();

    const closed = await suspensions(2_000, 20);
    const slowest = Math.max(...closed);
    rows.push(row("from a suspension to the end of the last of 2,000 sockets", median(closed), "ms", slowest, null, "≤ 1,000, all ≤ 10,000", median([...closed]) <= 1_000 && slowest <= 10_000));
    return rows;
  } finally {
    await server.kill();
    rmSync(folder, { recursive: true, force: true });
  }
}

if (process.argv[1] === import.meta.filename) {
  console.table(await realtime());
  process.exit(0);
}
