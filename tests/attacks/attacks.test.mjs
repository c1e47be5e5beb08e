// Every attack of the table, against the running Worker: none is left out, none gets through.

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
    test(`${attack.about}: ${attack.name}`, async () => {
      const { verdict, outcome, missing } = await attempt(attack, own);
      assert.equal(verdict, "held", missing ? `left out: needs ${missing}` : `came to \`${outcome}\`, right is ${attack.right}`);
    });
  }

  test("the table can fail: a gate that lets everything through is found out", async () => {
    const { createServer } = await import("node:http");
    const open = createServer((request, response) => response.end(JSON.stringify({ code: "ALLOWED", snapshot: {}, tenant: { id: "t_victim" } })));
    await new Promise((resolve) => open.listen(0, "127.0.0.1", resolve));
    const victim = { ...own, url: `http://127.0.0.1:${open.address().port}/` };
    const verdicts = await Promise.all(attacks.map((attack) => attempt(attack, victim)));
    open.close();
    // Requests that the attacker's own client, or any server, refuses to take hold everywhere.
    const held = attacks.filter((_, i) => verdicts[i].verdict !== "through").filter(({ right }) => !right.includes("0") && !right.includes("400"));
    assert.deepEqual(held.map(({ name }) => name), []);
  });
});
