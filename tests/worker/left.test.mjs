// No request waits for another one, so clients that disconnect do not affect the others. If one
// queue drove all futures of an instance, from the request that came first, requests would hang or
// fail once that request's client is gone. Whether they do depends on the runtime's timing, so the
// sources are checked too.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { ask } from "../support/client.mjs";
import { OPERATOR, as, worker } from "../support/harness.mjs";
import { sleep } from "../support/wait.mjs";

const [ANSWERS, LEFT] = [250, 50];
const seed = {
  catalog: {
    version: 1,
    resolution: { strategies: [{ strategy: "header" }] },
    routes: [{ path: "/strict", limits: { exact: 1 } }, { path: "/leased", limits: { month: 1 } }, { path: "/slots", limits: { slots: 1 } }],
    limits: {
      exact: { kind: "quota", period: "month", mode: "strict", on_error: "closed", default: 1_000_000 },
      month: { kind: "quota", period: "month", on_error: "closed", default: 1_000_000 },
      slots: { kind: "concurrency", on_error: "closed", default: 10_000 },
    },
    plans: { "pro@1": {} },
  },
  tenants: Array.from({ length: 20 }, (_, i) => ({ id: `t_${i}`, slug: `s${i}`, plan: "pro@1" })),
};
// Sends its response in pieces, a few milliseconds apart.
const origin = `export default { fetch: () => new Response(new ReadableStream({ async start(stream) {
  for (const piece of ["or", "ig", "in"]) {
    await scheduler.wait(2);
    stream.enqueue(new TextEncoder().encode(piece));
  }
  stream.close();
} })) };`;
const gate = await worker({ seed, origin, direct: true });
after(() => gate.stop());

const below = (number) => Math.floor(Math.random() * number);
let next = 0;
/**
 * Sends a request that waits for a record that is not held yet, for the ledger or for the origin.
 */
function one(more) {
  const number = next++;
  const slug = `s${number % seed.tenants.length}`;
  if (number % 4 === 0) {
    const question = { tenant: `t_${number % seed.tenants.length}`, limits: { exact: 1 }, idempotency_key: `event-${number}` };
    const headers = { authorization: `Bearer ${OPERATOR}`, host: "app.example.com" };
    return ask(gate.url, "/_gate/v1/decide", { method: "POST", body: JSON.stringify(question), headers, ...more });
  }
  return ask(gate.url, ["", "/strict", "/leased", "/slots"][number % 4], { ...as(slug), ...more });
}

test("clients that stay are answered, however many others leave", async (t) => {
  const [answers, left] = [[], []];
  let done = false;
  const gone = () => left.filter(({ status }) => status === "left").length;
  const stays = async () => {
    while (answers.length < ANSWERS || gone() < LEFT) answers.push(await one());
  };
  const leaves = async () => {
    while (!done) {
      left.push(await one({ leaveMs: below(30) }));
      await sleep(20);
    }
  };
  const leavers = Array.from({ length: 4 }, leaves);
  await Promise.all(Array.from({ length: 8 }, stays));
  done = true;
  await Promise.all(leavers);
  t.diagnostic(`${answers.length} were answered, ${gone()} left`);
  const bad = answers.filter(({ status, text }) => status !== 200 || !(text === "origin" || JSON.parse(text).allowed));
  assert.deepEqual(bad.slice(0, 3), [], `${bad.length} of ${answers.length} responses are wrong`);
});

test("the Worker's sources put no future into the queue of `wasm-bindgen-futures`", () => {
  const folder = join(import.meta.dirname, "../../src/worker");
  const files = readdirSync(folder, { recursive: true }).filter((name) => name.endsWith(".rs"));
  const found = files.filter((name) => /\b(future_to_promise|spawn_local)\b/.test(readFileSync(join(folder, name), "utf8")));
  assert(files.includes(join("runtime", "task.rs")), "`task.rs`, which drives the futures, has moved");
  assert.deepEqual(found, [], "futures must be driven by `task::promise`");
});
