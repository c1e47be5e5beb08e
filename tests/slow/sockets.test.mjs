// Sockets over crashes, hibernation and slow clients, on workerd as a process of its own.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, describe, test } from "node:test";
import { publish } from "../../pkg/node.js";
import { OPERATOR, storage } from "../support/harness.mjs";
import { issuer } from "../support/issuer.mjs";
import { admitted, connect } from "../support/sockets.mjs";
import { sleep, until } from "../support/wait.mjs";
import { workerd } from "../support/workerd.mjs";

const idp = await issuer({ label: "slow" });
after(() => idp.stop());
const seed = {
  catalog: {
    version: 1,
    resolution: { strategies: [{ strategy: "subdomain", base_domains: ["app.example.com"] }, { strategy: "jwt" }], central_hosts: ["ws.example.com"] },
    issuers: { main: { ...idp.entry, leeway_ms: 0 } },
    limits: { connections: { kind: "concurrency", mode: "strict" } },
    realtime: { connections: "connections", channels: { news: {} } },
    plans: { "pro@1": { limits: { connections: "unlimited" } }, "small@1": { limits: { connections: 10 } } },
  },
  tenants: [...["acme", "many", "slow", "asleep"].map((slug) => ({ id: `t_${slug}`, slug, plan: "pro@1" })), { id: "t_small", slug: "small", plan: "small@1" }],
};
const jwks = [`jwks:${idp.url}`, JSON.stringify({ fetched_at: Date.now(), jwks: { keys: [...idp.keys.values()].map(({ jwk }) => jwk) } })];
const KILLS = 20;

/** A gate on a disk of its own, and what tests do with it. */
async function world() {
  const disk = await storage();
  const made = workerd({ folder: disk.folder, build: "build/test", objects: ["TenantLedger", "TenantHub"], entries: [...publish(seed), jwks], bindings: { OPERATOR_TOKEN: OPERATOR } });
  let server = await made.start();
  const gate = {
    get urls() { return [`http://127.0.0.1:${server.ports.gate}/`]; },
    get pid() { return server.pid; },
    async restart() {
      await server.kill();
      server = await made.start();
    },
    async stop() {
      await server.kill();
      await disk.remove();
    },
    async publish(slug, messages) {
      const body = JSON.stringify({ tenant: `t_${slug}`, messages: messages.map((data) => ({ data })) });
      const response = await fetch(new URL("/_gate/v1/messages", gate.urls[0]), { method: "POST", body, headers: { authorization: `Bearer ${OPERATOR}` } });
      return { status: response.status, body: await response.json() };
    },
    open: async (slug, { sub = "user-1", exp, ...options } = {}) => admitted(gate, { host: `${slug}.app.example.com`, token: await idp.sign(`t_${slug}`, { sub, ...(exp && { exp }) }), ...options }),
  };
  return gate;
}

/** The resident memory of a process in MiB. */
const memory = (pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]) / 1024;

describe("SIGKILL", () => {
  test(`${KILLS} times: whatever a client has seen is in the log, and each client sees everything once, in order`, async () => {
    const gate = await world();
    const seen = Array.from({ length: 6 }, () => ({ position: null, messages: new Map() }));
    const log = new Map();
    let published = 0;
    for (let kill = 0; kill <= KILLS; kill++) {
      const clients = await Promise.all(seen.map(async ({ position }, i) => gate.open("acme", { sub: `u${i}`, query: position ? `epoch=${position.epoch}&seq=${position.seq}${i % 2 ? "&packed=true" : ""}` : "" })));
      const greeted = clients.map(({ greeting }) => greeting);
      assert(kill === 0 || greeted.every(({ recovered }) => recovered), JSON.stringify(greeted[0]));
      let done = false;
      const work = [0, 1, 2].map(async (i) => {
        while (!done && !clients[i].closed) {
          const sends = i ? clients[i].ask({ action: "broadcast", data: `m${published++}` }) : gate.publish("acme", [`m${published++}`, `m${published++}`]);
          await sends.catch(() => {});
        }
      });
      await sleep(kill === KILLS ? 100 : 20 + Math.random() * 150);
      if (kill < KILLS) await gate.restart();
      done = true;
      for (const client of clients) client.socket.terminate();
      await Promise.all(work);
      if (kill === KILLS) await sleep(100);
      // The log, as one who was never there receives it.
      const { epoch, seq: start } = greeted[0];
      const reader = await gate.open("acme", { query: `epoch=${epoch}&seq=${start}` });
      assert.equal(reader.greeting.recovered, true);
      await until(() => reader.messages.length === reader.greeting.seq - start);
      for (const { seq, data } of reader.messages) log.set(seq, data);
      reader.socket.terminate();
      clients.forEach((client, i) => {
        const { messages } = seen[i];
        for (const { seq, data } of client.messages) {
          assert(!messages.has(seq), `client ${i} saw ${seq} twice`);
          if (seq > start) assert.equal(log.get(seq), data, `client ${i} saw ${seq}, and the log has something else`);
          messages.set(seq, data);
        }
        const last = Math.max(0, ...messages.keys());
        seen[i].position = { epoch: greeted[i].epoch, seq: Math.max(last, kill === 0 ? greeted[i].seq : 0, seen[i].position?.seq ?? 0) };
      });
    }
    for (const [i, { messages, position }] of seen.entries()) {
      for (let seq = Math.min(...messages.keys()); seq <= position.seq; seq++) assert(messages.has(seq), `client ${i} has not seen ${seq}`);
    }
    assert(log.size > KILLS * 5, `${log.size} messages`);
    await gate.stop();
  });

  test("leaves no slot occupied: 10 of 10 before, 10 of 64 after", async () => {
    const gate = await world();
    for (let n = 0; n < 10; n++) await gate.open("small", { sub: `u${n}` });
    const token = await idp.sign("t_small");
    const refused = await connect(gate, { host: "small.app.example.com", token }).ended();
    assert.equal(refused.status, 429);
    await gate.restart();
    const racing = Array.from({ length: 64 }, () => connect(gate, { host: "small.app.example.com", token }));
    await until(() => racing.every((client) => client.refused || client.frames.length || client.closed));
    assert.equal(racing.filter((client) => client.frames.some(({ success }) => success)).length, 10);
    for (const { socket } of racing) socket.terminate();
    await gate.stop();
  });
});

describe("many", () => {
  test("1,000 sockets receive 20 messages in order, and all return after a crash with what they missed", async () => {
    const gate = await world();
    const opened = async (options) => {
      const clients = [];
      for (let n = 0; n < 1_000; n += 50) clients.push(...await Promise.all(Array.from({ length: 50 }, (_, i) => gate.open("many", { sub: `u${n + i}`, ...options }))));
      return clients;
    };
    const clients = await opened({});
    const { epoch } = clients[0].greeting;
    for (let n = 0; n < 20; n++) assert.equal((await gate.publish("many", [n])).status, 200);
    await until(() => clients.every((client) => client.messages.length === 20));
    const expected = Array.from({ length: 20 }, (_, n) => n);
    for (const client of clients) assert.deepEqual(client.messages.map(({ data }) => data), expected);
    await gate.restart();
    for (let n = 0; n < 5; n++) await gate.publish("many", Array.from({ length: 20 }, (_, i) => n * 20 + i));
    const begun = performance.now();
    const back = await opened({ query: `epoch=${epoch}&seq=20&packed=true` });
    await until(() => back.every((client) => client.messages.length === 100), undefined, { ms: 30_000 });
    for (const client of back) assert.deepEqual(client.messages.map(({ seq }) => seq), Array.from({ length: 100 }, (_, i) => i + 21));
    console.log(`1,000 clients had 100 messages each after ${Math.round(performance.now() - begun)} ms`);
    for (const { socket } of back) socket.terminate();
    await gate.stop();
  });

  test("readers that stop cost the process bounded memory, and are disconnected", async () => {
    const gate = await world();
    const [other, ...stuck] = await Promise.all(Array.from({ length: 101 }, (_, i) => gate.open("slow", { sub: `u${i}` })));
    for (const { socket } of stuck) socket._socket.pause();
    await gate.publish("slow", ["warm"]);
    const before = memory(gate.pid);
    const text = "x".repeat(16 << 10);
    for (let n = 0; n < 200; n++) await gate.publish("slow", [text, text]);
    await until(() => other.messages.length === 401);
    const grown = memory(gate.pid) - before;
    console.log(`6.4 MB to each of 100 readers that stopped: ${Math.round(grown)} MiB more`);
    assert(grown < 120, `${grown} MiB`);
    // What a stopped reader has not read is bounded; the runtime ends the connection in half a minute.
    const list = async () => (await (await fetch(new URL("/_gate/v1/connections?tenant=t_slow", gate.urls[0]), { headers: { authorization: `Bearer ${OPERATOR}` } })).json()).connections.length;
    await until(async () => (await list()) === 1, undefined, { ms: 60_000, everyMs: 500 });
    for (const { socket } of stuck) socket.terminate();
    await gate.stop();
  });
});

test("a hub that has slept goes on where it was", async () => {
  const gate = await world();
  const clients = await Promise.all([0, 1, 2].map((n) => gate.open("asleep", { sub: `u${n}`, query: "channel=news" })));
  await gate.publish("asleep", ["before"]);
  await until(() => clients.every(({ messages }) => messages.length === 1));
  // The runtime hibernates an object after ten seconds without an event.
  await sleep(13_000);
  for (const client of clients) client.send('{"action":"ping"}');
  await until(() => clients.every(({ frames }) => frames.some(({ action }) => action === "pong")));
  await gate.publish("asleep", ["after"]);
  await until(() => clients.every(({ messages }) => messages.length === 2));
  assert.deepEqual(clients.map(({ messages }) => messages.map(({ seq }) => seq)), [[1, 2], [1, 2], [1, 2]]);
  assert.equal((await clients[0].ask({ action: "send", to: "u2", data: "you" })).success, true);
  await until(() => clients[2].messages.length === 3);
  assert.equal(clients[1].messages.length, 2);
  // A credential that ends while the hub sleeps.
  const end = Math.floor(Date.now() / 1_000) + 30;
  const ends = await gate.open("asleep", { exp: end });
  // It is told in half of the time that is left, which finds the hub asleep.
  await until(() => ends.frames.some(({ action }) => action === "expiring"), "the client is told", { ms: 20_000 });
  assert(end * 1_000 - Date.now() > 12_000, "long before the end");
  await until(() => ends.closed !== null, "the credential ends", { ms: 20_000 });
  assert.deepEqual(ends.closed, { code: 4401, reason: "UNAUTHENTICATED" });
  for (const { socket } of clients) socket.terminate();
  await gate.stop();
});

for (const [where, host] of [["a hub", "acme.app.example.com"], ["the lobby", "ws.example.com"]]) {
  test(`a socket of ${where} whose client never says who it is is closed after 30 seconds`, async () => {
    const gate = await world();
    const silent = connect(gate, { host });
    await until(() => silent.socket.readyState === 1);
    const begun = performance.now();
    // A message without a credential does not prolong that.
    await sleep(20_000);
    silent.send({ action: "ping" });
    await until(() => silent.closed !== null, undefined, { ms: 15_000 });
    const seconds = (performance.now() - begun) / 1_000;
    assert.deepEqual(silent.closed, { code: 4401, reason: "UNAUTHENTICATED" });
    assert(seconds > 29 && seconds < 33, `${seconds} s`);
    await gate.stop();
  });
}
