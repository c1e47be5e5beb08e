// The README's JavaScript runs, and prints what it says it prints.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
const blocks = [...readme.matchAll(/```js\n(.*?)```/gs)].map(([, code]) => code);

test("the JavaScript examples", async () => {
  assert(blocks.length > 0);
  for (const block of blocks) {
    const entry = new URL("../../pkg/node.js", import.meta.url).href;
    const code = block.replace('"tenantgate"', JSON.stringify(entry)).replace("console.log(", "export const printed = String([").replace(/\); \/\/ (.*)/, "].join(' ')); export const said = `$1`;");
    const { printed, said } = await import(`data:text/javascript,${encodeURIComponent(code)}`);
    assert.equal(printed, said);
  }
});
