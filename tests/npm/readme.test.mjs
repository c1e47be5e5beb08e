// The JavaScript of the READMEs runs, and prints what it says it prints.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { test } from "node:test";

const root = new URL("../../", import.meta.url);
const { exports: entries } = JSON.parse(readFileSync(new URL("pkg/package.json", root), "utf8"));

/** Where Node finds an entry of the package. */
const entry = (name) => {
  const { node, default: plain } = entries[`.${name}`];
  return new URL(`pkg/${node?.default ?? plain}`, root).href;
};

for (const file of ["README.md", "pkg/README.md"]) {
  test(`the JavaScript examples of ${file}`, async () => {
    const blocks = [...readFileSync(new URL(file, root), "utf8").matchAll(/```js\n(.*?)```/gs)].map(([, code]) => code);
    assert(blocks.length > 0);
    // Where what they import besides is found.
    const folder = new URL("build/readme/", root);
    mkdirSync(folder, { recursive: true });
    for (const [index, block] of blocks.entries()) {
      const code = block
        .replaceAll(/"tenantgate(\/[a-z/]+)?"/g, (_, name = "") => JSON.stringify(entry(name)))
        .replace("console.log(", "export const printed = [")
        .replace(/\); \/\/ (.*)\n/, "].join(' ');\nexport const said = String.raw`$1`;\n");
      const module = new URL(`${file.replace(/\W/g, "-")}-${index}.mjs`, folder);
      writeFileSync(module, code);
      const { printed, said } = await import(module);
      assert.equal(printed, said);
    }
    rmSync(folder, { recursive: true });
  });
}
