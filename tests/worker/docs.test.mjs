// Runs the commands of the READMEs and of `docs/` against the demo that `npm start` serves. A
// printed answer must equal that of the Worker, apart from times; a command without one must
// succeed.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { difference, lines, pages, place, read, request, root, runnable, words } from "../docs/examples.mjs";
import { OPERATOR, worker } from "../support/harness.mjs";

const secret = () => generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" });

/** Starts the demo as `npm start` serves it. */
async function demo() {
  const bindings = { LICENCE_KEY: secret(), ASSERTION_KEY: secret() };
  const gate = await worker({ control: true, bindings });
  assert.equal((await gate.admin("POST", "/import", read("examples/demo.json"))).status, 200);
  return gate;
}

/** Runs a command: `text` is what it prints, `ok` is whether it succeeds. */
async function run(gate, command, variables) {
  if (!command.startsWith("curl")) return cli(gate, words(command, variables));
  const { url, host, method, headers, body, status, head } = request(command, variables);
  const response = await gate.send(url.pathname + url.search, { host, method, headers, body });
  const text = await response.text();
  const code = String(response.status);
  if (status) return { ok: true, text: code };
  if (!head) return { ok: response.ok, text };
  return { ok: response.ok, text: [`HTTP/1.1 ${code}`, ...[...response.headers].map(([name, value]) => `${name}: ${value}`), "", text].join("\n") };
}

/** Runs the command line with these arguments. */
function cli(gate, [, , ...args]) {
  const env = { ...process.env, TENANTGATE_URL: gate.url.origin, TENANTGATE_TOKEN: OPERATOR };
  return new Promise((resolve) => {
    execFile("node", [join(root, "pkg/cli.js"), ...args], { env, cwd: root }, (error, stdout, stderr) => resolve({ ok: !error, text: stdout + stderr }));
  });
}

/** Compares what a page prints with the real answer; returns the difference, if there is one. */
function compare(printed, text, kept) {
  if (!printed.startsWith("HTTP/1.1")) return /^[{[]/.test(printed) ? difference(printed, text, kept) : printed === text.trim() ? undefined : text;
  // Header lines must be equal, apart from numbers.
  const [head, body] = printed.split("\n\n");
  const shape = (line) => line.toLowerCase().replaceAll(/\d+/g, "0");
  const given = text.split("\n\n")[0].split("\n").map(shape);
  const [first, ...named] = head.split("\n");
  if (!text.startsWith(first.slice(0, "HTTP/1.1 200".length))) return text;
  const missing = named.find((line) => !given.includes(shape(line)));
  return missing ? `no header \`${missing}\` in ${text}` : body && difference(body, text.split("\n\n").slice(1).join("\n\n"), kept);
}

test("the tests find the commands of the documentation pages", () => {
  const found = (language) => pages().flatMap((page) => runnable(page, language)).length;
  assert(found("console") >= 25 && found("sh") >= 20, `${found("console")} with answers, ${found("sh")} without`);
  assert(runnable("README.md", "console").length >= 2);
});

describe("commands of the documentation", () => {
  for (const page of pages()) {
    const found = runnable(page, "console", "sh");
    if (!found.some(({ code }) => /^(\$ )?(curl|npx tenantgate)/m.test(code))) continue;
    test(`the commands of ${page} work as printed`, async () => {
      const gate = await demo();
      after(() => gate.stop());
      const variables = { TOKEN: OPERATOR };
      for (const block of found) {
        const commands = block.language === "console"
          ? block.code.split(/^\$ /m).slice(1).map((text) => /^((?:[^\n]*\\\n)*[^\n]*)\n?(.*)$/s.exec(text).slice(1))
          : lines(block.code).filter((line) => /^(curl|npx tenantgate)/.test(line)).map((line) => [line]);
        for (const [command, printed] of commands) {
          const { ok, text } = await run(gate, lines(command)[0], variables);
          if (printed?.trim()) assert.equal(compare(printed.trim(), text, variables), undefined, `${place(block)}: ${command}: ${text}`);
          else assert(ok, `${place(block)}: ${command}: ${text}`);
        }
      }
    });
  }
});
