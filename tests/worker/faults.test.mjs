// A ledger whose commits fail, or that is overloaded, keeps what it acknowledged, forgets what it
// refused, and recovers. Traps, cuts and alarms under load are in `tests/slow`.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { broken, start, until } from "../support/companions.mjs";

const [MAX_LEDGER_QUEUE, MAX_LEDGER_MESSAGE_BYTES] = [4_096, 16 << 20];
// Each gate has its own ledgers, so a fault affects one test only.
const gates = await start({ refused: {}, unreadable: {}, queue: {}, busy: {}, large: {}, nonsense: {} });

describe("failed commits", () => {
  const KEYS = ["keys_0", "keys_1"];

  test("while commits fail, `on_error` decides requests, and counts resume from what was acknowledged", async () => {
    const gate = gates.refused;
    for (let i = 0; i < 3; i++) assert.equal((await gate.get("/both")).status, 200);
    for (const [round, tables] of [["counters"], KEYS, ["counters", ...KEYS, "leases"]].entries()) {
      const repair = await broken(gate, tables);
      if (tables.includes("counters")) {
        for (const path of ["/closed", "/both", ...(tables.includes("leases") ? ["/leased"] : [])]) {
          const { status, body, retryAfter } = await gate.get(path);
          assert.deepEqual([status, body.error.code, retryAfter], [503, "LEDGER_UNAVAILABLE", "5"], path);
        }
        const { status, body } = await gate.get("/open");
        assert.deepEqual([status, body.allowed, body.fallback], [200, true, ["ledger"]]);
      }
      const event = { tenant: "t_acme", limits: { closed: 5, open: 5 }, idempotency_key: `event-${round}` };
      const told = await gate.ask(event);
      assert.deepEqual([told.body.allowed, told.body.code, told.retryAfter], [false, "LEDGER_UNAVAILABLE", "5"]);
      await repair();
      const before = 3 + 6 * round;
      assert.deepEqual(await gate.used("t_acme", "closed", "open", "leased"), [before, before, 0]);
      // What failed was not done, so under the same idempotency key it is done now, once.
      for (const repeated of [undefined, true]) {
        const { body } = await gate.ask(event);
        assert.deepEqual([body.allowed, body.repeated, body.fallback], [true, repeated, []]);
      }
      assert.equal((await gate.get("/both")).status, 200);
      assert.deepEqual(await gate.used("t_acme", "closed", "open", "leased"), [before + 6, before + 6, 0]);
    }
  });

  test("a failed commit has no effect, even if the ledger cannot read its state again", async () => {
    const gate = gates.unreadable;
    const ask = async () => (await gate.ask({ tenant: "t_acme", limits: { closed: 5 }, idempotency_key: "event" })).body;
    assert.equal((await gate.get("/closed")).status, 200);
    await gate.sql("t_acme", "CREATE TRIGGER broken BEFORE INSERT ON counters BEGIN SELECT RAISE(ABORT, 'broken by a test'); END; ALTER TABLE holds RENAME COLUMN value TO hidden");
    for (let i = 0; i < 3; i++) assert.equal((await ask()).code, "LEDGER_UNAVAILABLE");
    await gate.sql("t_acme", "ALTER TABLE holds RENAME COLUMN hidden TO value; DROP TRIGGER broken");
    assert.deepEqual(await gate.used("t_acme", "closed"), [1]);
    assert.equal((await ask()).repeated, undefined);
    assert.equal((await ask()).repeated, true);
    assert.deepEqual(await gate.used("t_acme", "closed"), [6]);
  });
});

describe("messages to a ledger", () => {
  const meter = { kind: "quota", limit: 1_000_000, starts_ms: 0, ends_ms: 4_102_444_800_000 };
  const take = (units = 1) => JSON.stringify({ charges: [{ counter: "t_acme/closed", meter, op: { take: units } }] });
  const lines = (count) => Array(count).fill(take()).join("\n");
  const taken = async (gate) => JSON.parse((await gate.tell("t_acme", "", take(0))).text).verdicts[0].used;

  test("a message with more requests than may wait is refused as a whole, and the next one is served", async () => {
    const gate = gates.queue;
    assert.deepEqual(await gate.tell("t_acme", "", lines(MAX_LEDGER_QUEUE + 1)), { status: 503, retryAfter: "1", text: "" });
    assert.equal(await taken(gate), 0);
    const { status, text } = await gate.tell("t_acme", "", lines(MAX_LEDGER_QUEUE));
    const last = JSON.parse(text.split("\n")[MAX_LEDGER_QUEUE - 1]);
    assert.deepEqual([status, last.allowed, last.verdicts[0].used], [200, true, MAX_LEDGER_QUEUE]);
    // The bound also holds for several messages together, and refused ones take nothing.
    const statuses = (await Promise.all(Array.from({ length: 12 }, () => gate.tell("t_acme", "", lines(1_500))))).map(({ status }) => status);
    assert(statuses.every((status) => status === 200 || status === 503));
    assert.equal(await taken(gate), MAX_LEDGER_QUEUE + 1_500 * statuses.filter((status) => status === 200).length);
  });

  test("a busy ledger refuses requests, whatever `on_error` says, so that a flood lifts no limit", async () => {
    const gate = gates.busy;
    let [counted, busy] = [0, 0];
    // From now on every message to the ledger finds as many requests waiting as may wait.
    await gate.tell("t_acme", "crowd", "\n".repeat(MAX_LEDGER_QUEUE - 1));
    await until(async () => {
      for (const { status, retryAfter, body } of await Promise.all(Array.from({ length: 20 }, () => gate.get("/open")))) {
        if (status === 200) assert.deepEqual([body.fallback, ++counted > 0], [[], true]);
        else assert.deepEqual([status, body.error.code, retryAfter, ++busy > 0], [503, "LEDGER_UNAVAILABLE", "5", true]);
      }
      return busy >= 20;
    }, "the ledger refuses twenty requests");
    await gate.tell("t_acme", "crowd");
    assert.deepEqual(await gate.used("t_acme", "open"), [counted]);
  });

  test("a message that is too large is refused, with or without a declared length", async () => {
    const gate = gates.large;
    const large = `${take()}\n${"x".repeat(MAX_LEDGER_MESSAGE_BYTES)}`;
    for (const body of [large, new Blob([large]).stream()]) {
      assert.deepEqual(await gate.tell("t_acme", "", body), { status: 413, retryAfter: null, text: "" });
    }
    assert.equal(await taken(gate), 0);
    assert.equal((await gate.get("/closed")).status, 200);
  });

  test("invalid lines of a message get empty answers, and the lines beside them are served", async () => {
    const gate = gates.nonsense;
    const nonsense = ["", "{", "null", "[1]", "\u0000", '{"charges":1}', `${take()}${take()}`, take(-1), take(0.5), take(2 ** 64), '{"once":{"id":"é"}}'];
    const { text } = await gate.tell("t_acme", "", nonsense.flatMap((line) => [line, take()]).join("\n"));
    const answers = text.split("\n").map((answer) => answer && JSON.parse(answer).verdicts[0].used);
    assert.deepEqual(answers, nonsense.flatMap((_, i) => ["", i + 1]));
    assert.equal(await taken(gate), nonsense.length);
  });
});
