// The README's requests, sent to the demo: the answers are those that the README prints, times apart.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, test } from "node:test";
import { OPERATOR, workers } from "../support/harness.mjs";

const read = (path) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");
const examples = [...read("README.md").matchAll(/```console\n\$ curl (.*?)\n(.*?)\n```/gs)];

/** An answer without what depends on when it was given. */
const timeless = (text) => JSON.parse(text, (key, value) => (["resets_at", "valid_until", "age_ms"].includes(key) ? typeof value : value));

const { gate: demo, control } = await workers({ gate: { seed: read("examples/demo.json") }, control: { control: true } });
after(() => demo.stop());

test("the README's requests", async () => {
  assert(examples.length >= 3);
  for (const [, command, answer] of examples) {
    const headers = Object.fromEntries([...command.matchAll(/-H '(.*?): (.*?)'/g)].map(([, name, value]) => [name, value]));
    const { pathname, host } = new URL(/http:\S+/.exec(command)[0]);
    const response = await demo.send(pathname, { host, headers });
    assert.deepEqual(timeless(await response.text()), timeless(answer), command);
  }
});

test("the README's requests to the control plane", async () => {
  assert.equal((await control.admin("POST", "/import", read("examples/demo.json"))).status, 200);
  const blocks = [...read("README.md").matchAll(/```sh\n(.*?)```/gs)].map(([, block]) => block).filter((block) => block.includes("/_gate/v1/admin"));
  const commands = blocks.flatMap((block) => block.replaceAll(/\\\n\s*/g, "").trim().split("\n")).filter((line) => line.startsWith("curl"));
  assert(commands.length >= 5);
  for (const command of commands) {
    const headers = Object.fromEntries([...command.matchAll(/-H ['"](.*?): (.*?)['"]/g)].map(([, name, value]) => [name.toLowerCase(), value.replace("$TOKEN", OPERATOR)]));
    const body = / -d '(.*?)'/.exec(command)?.[1];
    const method = /-X (\w+)/.exec(command)?.[1] ?? (body ? "POST" : "GET");
    const { pathname, search } = new URL(/http:[^\s']+/.exec(command)[0]);
    const response = await control.send(pathname + search, { method, headers, body });
    assert(response.ok, `${command}: ${response.status} ${await response.text()}`);
  }
});
