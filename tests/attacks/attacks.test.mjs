// Runs every attack of the table against the Worker: all are tried, and all fail.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { attempt } from "./run.mjs";
import { attacks } from "./table.mjs";
import { target } from "./target.mjs";

describe("attacks", () => {
  let own;
  before(async () => { own = await target(); });
  after(() => own.stop());

  for (const attack of attacks) {
    test(`${attack.about} attack fails: ${attack.name}`, async () => {
      const { verdict, outcome, missing } = await attempt(attack, own);
      assert.equal(verdict, "held", missing ? `skipped, because it needs ${missing}` : `the outcome is \`${outcome}\`, expected ${attack.right}`);
    });
  }

  test("attacks that only a gate can stop succeed against a gate that allows everything", async () => {
    const { createServer } = await import("node:http");
    const open = createServer((request, response) => response.end(JSON.stringify({ code: "ALLOWED", snapshot: {}, tenant: { id: "t_victim" } })));
    await new Promise((resolve) => open.listen(0, "127.0.0.1", resolve));
    const victim = { ...own, url: `http://127.0.0.1:${open.address().port}/` };
    const verdicts = await Promise.all(attacks.map((attack) => attempt(attack, victim)));
    open.close();
    // Requests that the attacker's own client or any server refuses cannot succeed anywhere.
    const held = attacks.filter((_, i) => verdicts[i].verdict !== "through").filter(({ right }) => !right.includes("0") && !right.includes("400"));
    assert.deepEqual(held.map(({ name }) => name), []);
  });
});
