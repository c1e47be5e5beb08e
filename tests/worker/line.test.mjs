// Concurrent requests to one ledger share messages.

import assert from "node:assert/strict";
import { test } from "node:test";
import { askLedger } from "../../src/worker/ledger_client.js";

const context = { waitUntil() {} };
const answering = (fetch) => ({ stub: () => ({ fetch }) });
const echo = answering(async (_, { body }) => new Response(body.split("\n").map((one) => `answer to ${one}`).join("\n")));

test("each of many concurrent ledger requests gets its own response", async () => {
  const orders = Array.from({ length: 100 }, (_, i) => String(i));
  const answers = await Promise.all(orders.map((body) => askLedger(echo, "answers", body, context)));
  assert.deepEqual(answers, orders.map((body) => `answer to ${body}`));
});
