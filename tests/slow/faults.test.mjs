// The ledger with faults under load: its WebAssembly traps, its commits fail, it is aborted and
// constructed again, its alarms run together. It keeps what it acknowledged, drops what it refused,
// and continues.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { broken, load, start, until } from "../support/companions.mjs";
import { COMPATIBILITY_DATE } from "../support/harness.mjs";

const KEYS = ["keys_0", "keys_1"];
const consumer = `const told = []; export default {
  queue({ messages }) { told.push(...messages.map(({ body }) => body)); },
  fetch() { return Response.json(told); } }`;
const gates = await start({
  traps: { isolates: 3 }, fails: { isolates: 2 }, cut: { isolates: 4 },
  alarms: {
    isolates: 2, more: { queueProducers: { USAGE_QUEUE: "usage" } },
    beside: [{ name: "consumer", modules: true, script: consumer, compatibilityDate: COMPATIBILITY_DATE, queueConsumers: { usage: { maxBatchTimeout: 0 } } }],
  },
});

test("a trap in one ledger neither loses nor doubles acknowledged events, and the ledger serves again", async () => {
  const gate = gates.traps;
  const clients = load(gate, { tenants: ["t_acme", "t_other", "t_trap_ledger"], isolates: 3, each: 6, spends: "leased" });
  for (let trap = 0; trap < 6; trap++) {
    await clients.more(150);
    // In test builds, this tenant's ledger traps on a charge of `few`, together with all ledger
    // requests of the same message.
    const { length } = gate.log;
    await gate.ask({ tenant: "t_trap_ledger", limits: { few: 1 } }, trap % 3).catch(() => {});
    await until(() => gate.log.slice(length).some((line) => line.includes("fault on request")), "the ledger traps");
    await clients.keeps();
  }
  await clients.more(150);
  await clients.ends();
  assert.deepEqual(await gate.sql("t_trap_ledger", "SELECT name FROM counters WHERE name LIKE '%/few'"), []);
});

test("commits that fail under load: every event counts exactly once, and other ledgers continue", async () => {
  const gate = gates.fails;
  const clients = load(gate, { tenants: ["t_acme", "t_other"], isolates: 2, spends: "leased" });
  for (const tables of [["counters"], KEYS, ["leases"], ["counters", ...KEYS]]) {
    await clients.more(100);
    const repair = await broken(gate, tables);
    const before = clients.acknowledged.t_other;
    await until(() => clients.acknowledged.t_other > before + 50, "the other ledger continues");
    await repair();
    await clients.keeps();
  }
  await clients.more(100);
  await clients.ends();
});

test("a ledger that is aborted 12 times under load keeps what it acknowledged and grants no unit twice", async () => {
  const gate = gates.cut;
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

test("concurrent alarms hand on every event under one name, even if the ledger is aborted", async () => {
  const gate = gates.alarms;
  const heard = async () => (await (await gate.flare.getWorker("consumer")).fetch("https://consumer/")).json();
  const [accepted, time] = [new Set(), new Date().toISOString()];
  let done = false;
  after(() => { done = true; });
  const name = ({ source, id }) => `${source} ${id}`;
  const teller = async (source) => {
    for (let round = 0; !done; round++) {
      const more = { specversion: "1.0", source, type: "llm.completion", subject: "t_acme", time, data: { tokens: 3 } };
      const events = Array.from({ length: 7 }, (_, i) => ({ id: `${round}-${i}`, ...more }));
      // Sent until they are acknowledged, because a failed try may have stored some of them.
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
  // Each time that an event was handed on, it was the same.
  assert.equal(new Set((await heard()).map((event) => JSON.stringify(event))).size, accepted.size);
  assert.equal((await gate.get("/_gate/v1/usage?tenant=t_acme")).body.usage[0].value, 3 * accepted.size);
  // Alarms without pending events hand nothing on.
  const before = (await heard()).length;
  await gate.tell("t_acme", "alarms", "!!!!!");
  assert.equal((await heard()).length, before);
});
