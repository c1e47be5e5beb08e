// workerd is killed repeatedly under load and started again on the same disk: acknowledged events
// are kept, and after retries each event has counted once.

import assert from "node:assert/strict";
import { test } from "node:test";
import { publish } from "../../pkg/node.js";
import { BUILT, OPERATOR, storage } from "../support/harness.mjs";
import * as metering from "../support/usage.mjs";
import { sleep } from "../support/wait.mjs";
import { workerd } from "../support/workerd.mjs";

const seed = {
  catalog: {
    version: 1,
    resolution: { strategies: [{ strategy: "header" }] },
    routes: [{ path: "/", limits: { month: 1 } }],
    limits: { exact: { kind: "quota", period: "month", mode: "strict", on_error: "closed" }, month: { kind: "quota", period: "month", on_error: "closed" } },
    plans: { "pro@1": { limits: { exact: "unlimited", month: 100_000 } } },
  },
  tenants: [{ id: "t_acme", slug: "acme", plan: "pro@1" }],
};
const KILLS = 5;

test("acknowledged events survive SIGKILL, and each event counts once after retries", async () => {
  const disk = await storage();
  const gate = workerd({ folder: disk.folder, build: BUILT, entries: publish(seed), bindings: { OPERATOR_TOKEN: "operator" } });
  let server = await gate.start();
  const at = (path) => `http://127.0.0.1:${server.ports.gate}${path}`;
  const decide = async (question, signal) => {
    const init = { method: "POST", body: JSON.stringify({ tenant: "t_acme", ...question }), headers: { authorization: "Bearer operator" }, signal };
    return (await fetch(at("/_gate/v1/decide"), init)).json();
  };
  let next = 0;
  let done = false;
  const acknowledged = new Set();
  let leased = 0;
  // Each client sends an event until it is acknowledged, then the next one. It abandons one
  // response in five.
  const client = async () => {
    while (!done) {
      const id = `event-${next++}`;
      for (let told = false; !told;) {
        const signal = Math.random() < 0.2 ? AbortSignal.timeout(1 + Math.floor(Math.random() * 6)) : undefined;
        told = await decide({ limits: { exact: 1 }, idempotency_key: id }, signal).then(({ allowed }) => allowed === true, () => false);
        if (!told) await new Promise(setImmediate);
      }
      acknowledged.add(id);
    }
  };
  const spender = async () => {
    while (!done) {
      const status = await fetch(at("/"), { headers: { "x-tenant-id": "acme" } }).then(({ status }) => status, () => 0);
      if (status === 200) leased++;
      if (status === 0) await new Promise(setImmediate);
    }
  };
  const clients = [...Array.from({ length: 12 }, client), ...Array.from({ length: 4 }, spender)];
  const reached = async (count) => {
    while (acknowledged.size < count) await sleep(5);
  };
  for (let kill = 1; kill <= KILLS; kill++) {
    await reached(kill * 300);
    await server.kill();
    const before = acknowledged.size;
    server = await gate.start();
    const { limits } = await decide({ limits: { exact: 0 } });
    assert(limits[0].used >= before, `kill ${kill}: ${limits[0].used} of ${before} acknowledged events are kept`);
  }
  await reached((KILLS + 1) * 300);
  done = true;
  await Promise.all(clients);
  const { limits } = await decide({ limits: { exact: 0, month: 0 } });
  const used = Object.fromEntries(limits.map(({ key, used }) => [key, used]));
  assert.equal(used.exact, acknowledged.size);
  assert.equal(acknowledged.size, next);
  assert(used.month >= leased, `leases let ${leased} requests through, ${used.month} are counted`);
  await server.kill();
  await disk.remove();
});

test("usage events that are sent until they are acknowledged count exactly once despite SIGKILL", { timeout: 180_000 }, async () => {
  const { client, event, tokens } = metering;
  const below = (number) => Math.floor(Math.random() * number);
  const disk = await storage();
  const gate = workerd({ folder: disk.folder, build: BUILT, entries: publish(metering.seed), bindings: { OPERATOR_TOKEN: OPERATOR } });
  let server = await gate.start();
  const usage = client((path, init) => fetch(`http://127.0.0.1:${server.ports.gate}${path}`, init));
  const acknowledged = new Map();
  let [next, done] = [0, false];
  const teller = async () => {
    while (!done) {
      const batch = Array.from({ length: 1 + below(3) }, () => event(`k-${next++}`, tokens(1 + below(50), `m-${below(90)}`), { subject: next % 2 ? "t_acme" : "t_team" }));
      for (let told = false; !told; await new Promise(setImmediate)) {
        // The client abandons one response in five.
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
    while (acknowledged.size < count) await sleep(5);
  };
  for (let kill = 1; kill <= 3; kill++) {
    await reached(kill * 400);
    await server.kill();
    const before = acknowledged.size;
    server = await gate.start();
    const { calls } = await usage.values("t_acme");
    assert(calls >= before, `kill ${kill}: ${calls} of ${before} acknowledged events are kept`);
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
