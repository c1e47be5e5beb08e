// The line of orders to a ledger. A ledger that accepts a message and never answers cannot be had from the local runtime, so what
// stands in for it here is a promise that never settles.

import assert from "node:assert/strict";
import { test } from "node:test";
import { askLedger } from "../../src/worker/ledger_client.js";

const context = { waitUntil() {} };
const answering = (fetch) => ({ stub: () => ({ fetch }) });
const echo = answering(async (_, { body }) => new Response(body.split("\n").map((one) => `answer to ${one}`).join("\n")));

test("each order has its own answer, whoever sent it", async () => {
  const orders = Array.from({ length: 100 }, (_, i) => String(i));
  const answers = await Promise.all(orders.map((body) => askLedger(echo, "answers", body, context)));
  assert.deepEqual(answers, orders.map((body) => `answer to ${body}`));
});

test("a ledger that never answers holds up nobody, the sender included", { timeout: 30_000 }, async () => {
  const silent = answering(() => new Promise(() => {}));
  for (const end of await Promise.allSettled(["1", "2", "3"].map((body) => askLedger(silent, "silent", body, context)))) {
    assert.match(String(end.reason), /the ledger did not answer in time/);
  }
  assert.equal(await askLedger(echo, "silent", "4", context), "answer to 4");
});
