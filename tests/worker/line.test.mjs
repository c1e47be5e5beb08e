// Concurrent requests to one ledger share messages.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ObjectClient } from "../../src/worker/object_client.js";

const context = { waitUntil() {} };
const echo = new ObjectClient("ledger", 5_000, async (_, body) => new Response(body.split("\n").map((one) => `answer to ${one}`).join("\n")));

test("each of many concurrent ledger requests gets its own response", async () => {
  const orders = Array.from({ length: 100 }, (_, i) => String(i));
  const answers = await Promise.all(orders.map((body) => echo.ask("answers", body, context)));
  assert.deepEqual(answers, orders.map((body) => `answer to ${body}`));
});
