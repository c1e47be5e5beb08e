// The README's requests, sent to the demo: the answers are those that the README prints, times apart.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, test } from "node:test";
import { worker } from "./harness.mjs";

const read = (path) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");
const examples = [...read("README.md").matchAll(/```console\n\$ curl (.*?)\n(.*?)\n```/gs)];

/** An answer without what depends on when it was given. */
const timeless = (text) => JSON.parse(text, (key, value) => (key === "resets_at" || key === "age_ms" ? typeof value : value));

test("the README's requests", async () => {
  assert(examples.length >= 3);
  const gate = await worker({ seed: read("examples/demo.json") });
  after(() => gate.stop());
  for (const [, command, answer] of examples) {
    const headers = Object.fromEntries([...command.matchAll(/-H '(.*?): (.*?)'/g)].map(([, name, value]) => [name, value]));
    const { pathname, host } = new URL(/http:\S+/.exec(command)[0]);
    const response = await gate.send(pathname, { host, headers });
    assert.deepEqual(timeless(await response.text()), timeless(answer), command);
  }
});
