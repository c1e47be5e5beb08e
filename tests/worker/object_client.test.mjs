// The client of Durable Objects that answer many questions in one message: what callers learn if an
// object is overloaded, and if it fails.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ObjectClient } from "../../src/worker/object_client.js";

const context = { waitUntil: (work) => work.catch(() => {}) };
/** A client whose object answers each message by `answer`. */
const client = (answer, ms = 1_000) => new ObjectClient("object", ms, async (_, body) => answer(body.split("\n")));
const echo = (lines) => new Response(lines.map((line) => line.toUpperCase()).join("\n"));

test("questions that wait for a message share the next one, and each has its answer", async () => {
  const sizes = [];
  const asked = client((lines) => { sizes.push(lines.length); return echo(lines); });
  const answers = await Promise.all(["a", "b", "c"].map((one) => asked.ask("x", one, context)));
  assert.deepEqual([answers, sizes], [["A", "B", "C"], [1, 2]]);
});

test("each of many concurrent questions has its own answer", async () => {
  const questions = Array.from({ length: 600 }, (_, n) => `q${n}`);
  const asked = client(echo);
  assert.deepEqual(await Promise.all(questions.map((one) => asked.ask("x", one, context))), questions.map((one) => one.toUpperCase()));
});

for (const [what, answer] of [
  ["answers 503", () => new Response(null, { status: 503 })],
  ["is overloaded for the runtime", () => { throw Object.assign(new Error("too many requests"), { overloaded: true }); }],
]) {
  test(`an object that ${what} is overloaded: null`, async () => {
    assert.equal(await client(answer).ask("x", "a", context), null);
  });
}

test("an object that answers 500, or not in time, has failed", async () => {
  await assert.rejects(client(() => new Response(null, { status: 500 })).ask("x", "a", context), /answered 500/);
  await assert.rejects(client(() => new Promise(() => {}), 50).ask("x", "a", context), /did not answer in time/);
});

test("a question that finds the queue full is refused at once, and the others have their answers", async () => {
  const held = [];
  const asked = client((lines) => new Promise((resolve) => { held.push(() => resolve(echo(lines))); }), 20_000);
  const questions = [];
  const refused = [];
  // One message is in flight at first; full ones join it, and then the queue fills.
  for (let n = 0; n < 3_000; n++) {
    questions.push(asked.ask("x", "a", context).then((answer) => { if (answer === null) refused.push(n); return answer; }));
    if (n % 100 === 0) await new Promise(setImmediate);
  }
  await new Promise(setImmediate);
  assert(refused.length > 0 && refused.length < 3_000, `${refused.length} refused`);
  const early = refused.length;
  const release = setInterval(() => held.splice(0).forEach((one) => one()), 1);
  const answers = await Promise.all(questions);
  clearInterval(release);
  assert.equal(answers.filter((answer) => answer === "A").length, 3_000 - early);
});
