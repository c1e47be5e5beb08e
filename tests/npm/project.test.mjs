// A project of one's own by the command line: `init` writes it, `dev` serves it by wrangler, `deploy`
// runs wrangler's commands. Cloudflare cannot be reached here: a stand-in records the commands.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { after, describe, test } from "node:test";
import { freePort } from "../support/server.mjs";
import { until } from "../support/wait.mjs";

const root = join(import.meta.dirname, "../..");
const folders = mkdtempSync(join(tmpdir(), "tenantgate-project-"));
after(() => rmSync(folders, { recursive: true, force: true }));

let made = 0;
function empty() {
  const folder = join(folders, `my-saas-${++made}`);
  mkdirSync(folder);
  return folder;
}

const cli = join(root, "pkg/cli.js");
const run = (folder, args, env = {}) => spawnSync(process.execPath, [cli, ...args], { cwd: folder, encoding: "utf8", env: { ...process.env, ...env } });
const json = (folder, name) => JSON.parse(readFileSync(join(folder, name), "utf8"));

/** Has the package and what a project needs besides resolve to those of this repository. */
function installed(folder) {
  mkdirSync(join(folder, "node_modules"));
  symlinkSync(join(root, "pkg"), join(folder, "node_modules/tenantgate"));
  for (const name of [".bin", "hono", "wrangler", "workerd", "vitest", "@cloudflare"]) symlinkSync(join(root, "node_modules", name), join(folder, "node_modules", name));
}

describe("`init`", () => {
  for (const template of ["gateway", "hono", "next", "worker"]) {
    test(`writes a ${template} project whose documents are valid and whose Worker compiles`, () => {
      const folder = empty();
      const { status, stdout } = run(folder, ["init", "--template", template, "--json"]);
      assert.equal(status, 0);
      assert.deepEqual(JSON.parse(stdout).kept, []);
      assert.match(readFileSync(join(folder, "wrangler.jsonc"), "utf8"), /"name": "my-saas-\d+"/);
      assert.match(readFileSync(join(folder, ".dev.vars"), "utf8"), /^OPERATOR_TOKEN=[0-9a-f]{32}\n$/);
      assert.equal(run(folder, ["validate", "catalog.json"]).status, 0);
      installed(folder);
      if (template === "next") {
        // OpenNext is not installed here, and makes this file of a build that takes a minute.
        mkdirSync(join(folder, ".open-next/assets"), { recursive: true });
        writeFileSync(join(folder, ".open-next/worker.js"), "export default { fetch: () => new Response() };");
        const built = spawnSync(join(root, "node_modules/.bin/wrangler"), ["deploy", "--dry-run", "--outdir", "out"], { cwd: folder, encoding: "utf8" });
        assert.equal(built.status, 0, built.stderr);
        return;
      }
      const checked = spawnSync(join(root, "node_modules/.bin/tsc"), ["-p", "."], { cwd: folder, encoding: "utf8" });
      assert.equal(checked.stdout, "");
    });
  }

  test("keeps what exists, adds what is missing, and says so", () => {
    const folder = empty();
    writeFileSync(join(folder, "wrangler.jsonc"), "{}\n");
    writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "mine", scripts: { dev: "my own" }, dependencies: { hono: "4.1.0" } }));
    writeFileSync(join(folder, ".gitignore"), "/node_modules/\ndist");
    const { status, stdout } = run(folder, ["init"]);
    assert.equal(status, 0);
    assert.match(stdout, /kept wrangler\.jsonc[^]*needs this too[^]*SNAPSHOTS/);
    assert.equal(readFileSync(join(folder, "wrangler.jsonc"), "utf8"), "{}\n");
    const { name, scripts, dependencies, devDependencies } = json(folder, "package.json");
    assert.deepEqual([name, scripts.dev, scripts.deploy, dependencies.hono, typeof devDependencies.wrangler], ["mine", "my own", "tenantgate deploy", "4.1.0", "string"]);
    assert.equal(readFileSync(join(folder, ".gitignore"), "utf8"), "/node_modules/\ndist\n.wrangler\n.dev.vars\n");
    const [before, again] = [readFileSync(join(folder, "package.json"), "utf8"), run(folder, ["init", "--json"])];
    assert.deepEqual([JSON.parse(again.stdout).written, JSON.parse(again.stdout).added, readFileSync(join(folder, "package.json"), "utf8")], [[], [], before]);
  });

  for (const name of ["wrangler.toml", "wrangler.json"]) {
    test(`puts no second configuration beside ${name}, and says what the Worker of the project needs`, () => {
      const folder = empty();
      writeFileSync(join(folder, name), "");
      const { status, stdout } = run(folder, ["init"]);
      assert.equal(status, 0);
      assert.deepEqual(["wrangler.jsonc", "src/index.ts", "test/app.test.ts"].filter((path) => existsSync(join(folder, path))), []);
      assert.deepEqual(["catalog.json", "test/tenants.test.ts"].filter((path) => !existsSync(join(folder, path))), []);
      assert.match(stdout, name.endsWith("toml") ? /\[\[kv_namespaces\]\]\n {2}binding = "SNAPSHOTS"/ : /"kv_namespaces": \[\{ "binding": "SNAPSHOTS"/);
      assert.match(stdout, /app\.use\(tenants\(\)\)/);
    });
  }

  test("says where `main` belongs, in the language of the configuration", () => {
    for (const [name, line] of [["wrangler.toml", 'main = "src/index.ts"'], ["wrangler.jsonc", '"main": "src/index.ts"']]) {
      const folder = empty();
      writeFileSync(join(folder, name), "");
      const { stdout } = run(folder, ["init", "--template", "gateway"]);
      assert.match(stdout, new RegExp(`needs this too[^]*\\n {2}${line}\\n`));
      assert.doesNotMatch(stdout, /Your Worker needs/);
    }
  });

  test("`dev` reads wrangler.toml as TOML", () => {
    for (const [content, expected] of [['# [[kv_namespaces]]\n# binding = "SNAPSHOTS"\n', /has no binding `SNAPSHOTS`/], ["[[kv_namespaces", /wrangler\.toml is not valid: [^\n]+$/m]]) {
      const folder = empty();
      run(folder, ["init"]);
      rmSync(join(folder, "wrangler.jsonc"));
      writeFileSync(join(folder, "wrangler.toml"), content);
      const { status, stderr } = run(folder, ["dev"]);
      assert.deepEqual([status > 0, expected.test(stderr)], [true, true], stderr);
    }
  });

  test("names the command, where a script of the project has the name", () => {
    const folder = empty();
    writeFileSync(join(folder, "package.json"), '{ "scripts": { "dev": "my own" } }');
    assert.match(run(folder, ["init"]).stdout, /npx tenantgate dev\n/);
  });

  test("refuses a broken package.json before it writes anything", () => {
    const folder = empty();
    writeFileSync(join(folder, "package.json"), "{");
    const { status, stderr } = run(folder, ["init"]);
    assert.deepEqual([status, /package\.json is not valid JSON/.test(stderr), existsSync(join(folder, "wrangler.jsonc"))], [2, true, false]);
  });

  test("refuses an unknown template, and `dev` and `deploy` a folder without a project", () => {
    const folder = empty();
    const { status, stderr } = run(folder, ["init", "--template", "rails"]);
    assert.deepEqual([status, /unknown template `rails`: the templates are gateway, hono, next, worker/.test(stderr)], [2, true]);
    for (const command of ["dev", "deploy"]) {
      const refused = run(folder, [command]);
      assert.deepEqual([refused.status, /tenantgate init/.test(refused.stderr)], [2, true], command);
    }
    assert.equal(existsSync(join(folder, "package.json")), false);
  });
});

test("the test of a new project passes", () => {
  for (const [template, count] of [["hono", 4], ["worker", 3]]) {
    const folder = empty();
    run(folder, ["init", "--template", template]);
    installed(folder);
    const { status, stdout } = spawnSync(join(root, "node_modules/.bin/vitest"), ["run", "--no-color"], { cwd: folder, encoding: "utf8", env: { ...process.env, NODE_OPTIONS: "--preserve-symlinks" } });
    assert.equal(status, 0, stdout);
    assert.match(stdout, new RegExp(`Tests +${count} passed`));
  }
});

test("`dev` serves the project, follows its files, and keeps serving when they are wrong", async () => {
  const folder = empty();
  run(folder, ["init"]);
  installed(folder);
  const port = await freePort();
  const child = spawn(process.execPath, [cli, "dev", "--port", String(port)], { cwd: folder });
  let printed = "";
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => { printed += text; });
  const ended = new Promise((done) => child.once("exit", done));
  try {
    await until(() => printed.includes("Serving on"), "it serves", { ms: 60_000 }).catch((error) => { throw new Error(`${error.message}\n${printed}`); });
    const command = /curl -H '([^:]+): ([^']+)' (\S+)/.exec(printed);
    const [, header, slug, url] = command;
    assert.deepEqual(await (await fetch(url, { headers: { [header]: slug } })).json(), { tenant: "acme" });
    const exports = async (name) => (await fetch(`http://127.0.0.1:${port}/api/exports`, { method: "POST", headers: { "x-tenant-id": name } })).status;
    assert.deepEqual([await exports("acme"), await exports("globex"), await exports("hooli")], [200, 403, 404]);
    writeFileSync(join(folder, "tenants.json"), JSON.stringify([...json(folder, "tenants.json"), { id: "t_hooli", slug: "hooli", plan: "pro@1" }]));
    await until(async () => (await exports("hooli")) === 200, "the new tenant is served");
    writeFileSync(join(folder, "tenants.json"), JSON.stringify(json(folder, "tenants.json").slice(0, 2)));
    await until(() => printed.includes("t_hooli is gone from tenants.json and still there"), "a tenant that is left is named");
    const whole = readFileSync(join(folder, "catalog.json"), "utf8");
    writeFileSync(join(folder, "catalog.json"), whole.replace('"kind": "rate"', '"kind": "rat"'));
    await until(() => printed.includes("catalog.json: $.limits.requests.kind: found"), "a problem is named by its file");
    writeFileSync(join(folder, "catalog.json"), "{");
    await until(() => printed.includes("Kept the catalog and tenants as they were: `catalog.json` is not valid JSON"), "the mistake is reported");
    assert.equal(await exports("acme"), 200);
  } finally {
    child.kill("SIGTERM");
    await ended;
  }
});

test("`npm create tenantgate` writes the project and installs what it needs", () => {
  const folder = empty();
  const [own, bin] = [join(folder, "create"), join(folder, "bin")];
  mkdirSync(join(own, "node_modules"), { recursive: true });
  symlinkSync(join(root, "pkg"), join(own, "node_modules/tenantgate"));
  cpSync(join(root, "create/index.js"), join(own, "index.js"));
  writeFileSync(join(own, "package.json"), '{ "type": "module" }');
  mkdirSync(bin);
  writeFileSync(join(bin, "npm"), `#!/bin/sh\necho "$PWD $*" >> ${join(folder, "npm.log")}\n`);
  chmodSync(join(bin, "npm"), 0o755);
  const create = (...args) => spawnSync(process.execPath, [join(own, "index.js"), ...args], { cwd: folder, encoding: "utf8", env: { ...process.env, PATH: [bin, process.env.PATH].join(delimiter) } });
  assert.equal(create("--template", "worker", "shop").status, 0);
  assert.match(readFileSync(join(folder, "shop/wrangler.jsonc"), "utf8"), /"name": "shop"/);
  assert.match(readFileSync(join(folder, "npm.log"), "utf8"), /\/shop install --no-fund --no-audit\n$/);
  assert.equal(create("--no-install", "later").status, 0);
  assert.equal(readFileSync(join(folder, "npm.log"), "utf8").split("\n").length, 2);
  assert.equal(create("--template", "rails").status, 2);
});

test("`dev` serves a Worker without a control plane from published snapshots", async () => {
  const folder = empty();
  run(folder, ["init", "--template", "worker"]);
  installed(folder);
  const settings = readFileSync(join(folder, "wrangler.jsonc"), "utf8").replace(/^.*d1_databases.*\n/m, "").replace(/^.*The control plane.*\n/m, "");
  writeFileSync(join(folder, "wrangler.jsonc"), settings);
  rmSync(join(folder, ".dev.vars"));
  writeFileSync(join(folder, "src/index.ts"), `import { denialOf, edgeGate, TenantLedger } from "tenantgate/workers";
export default { async fetch(request: Request, env: object, ctx: ExecutionContext) {
  const decision = await edgeGate(env, ctx).decide(request);
  return decision.allowed ? Response.json({ tenant: decision.tenant?.slug }) : denialOf(decision).getResponse();
} };
export { TenantLedger };`);
  const port = await freePort();
  const child = spawn(process.execPath, [cli, "dev", "--port", String(port)], { cwd: folder });
  let printed = "";
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => { printed += text; });
  const ended = new Promise((done) => child.once("exit", done));
  try {
    await until(() => printed.includes("Serving on"), "it serves", { ms: 60_000 }).catch((error) => { throw new Error(`${error.message}\n${printed}`); });
    const get = (slug) => fetch(`http://127.0.0.1:${port}/api`, { headers: { "x-tenant-id": slug } });
    assert.deepEqual([(await get("acme")).status, (await get("hooli")).status], [200, 404]);
    const taken = run(folder, ["dev", "--port", String(port)]);
    assert.deepEqual([taken.status, /the port \d+ is taken/.test(taken.stderr)], [2, true]);
  } finally {
    child.kill("SIGTERM");
    await ended;
  }
});

/** Stands for wrangler: records each command and its input, and prints what wrangler prints. */
const STAND_IN = `#!/usr/bin/env node
const { appendFileSync, readFileSync } = require("node:fs");
const args = process.argv.slice(2);
const input = args[0] === "secret" ? readFileSync(0, "utf8") : undefined;
appendFileSync(process.env.RECORD, JSON.stringify({ args, input }) + "\\n");
const said = {
  kv: '{ "kv_namespaces": [{ "binding": "MY", "id": "0123456789abcdef0123456789abcdef" }] }',
  d1: '{ "d1_databases": [{ "database_name": "x", "database_id": "01234567-89ab-cdef-0123-456789abcdef" }] }',
  deploy: "Deployed\\n  https://my-saas.example.workers.dev",
};
if (process.env.BROKEN === args[0]) process.exit(7);
console.log(said[args[0]] ?? "");
`;

describe("`deploy`", () => {
  const bin = join(folders, "bin");
  mkdirSync(bin);
  writeFileSync(join(bin, "wrangler"), STAND_IN);
  chmodSync(join(bin, "wrangler"), 0o755);

  /** Deploys a new project; `site`: the deployed Worker, of which only the import is played. */
  async function deployed(args = [], env = {}, files = {}, refusal = undefined) {
    const folder = empty();
    run(folder, ["init"]);
    for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
    const record = join(folder, "record");
    writeFileSync(record, "");
    const imports = [];
    const site = createServer(async (request, response) => {
      let body = "";
      for await (const part of request) body += part;
      imports.push({ url: request.url, token: request.headers.authorization, body: JSON.parse(body) });
      // A new secret takes a moment.
      const error = imports.length === 1 ? { code: "UNAUTHENTICATED", message: "…" } : refusal;
      response.writeHead(imports.length === 1 ? 401 : error ? 409 : 200, { "content-type": "application/json" });
      response.end(JSON.stringify({ error }));
    });
    await new Promise((done) => site.listen(0, "127.0.0.1", done));
    const url = `http://127.0.0.1:${site.address().port}`;
    const environment = { ...process.env, PATH: [bin, process.env.PATH].join(delimiter), RECORD: record, ...env };
    const child = spawn(process.execPath, [cli, "deploy", "--worker-url", url, ...args], { cwd: folder, env: environment });
    let [stdout, stderr] = ["", ""];
    child.stdout.on("data", (text) => { stdout += text; });
    child.stderr.on("data", (text) => { stderr += text; });
    const status = await new Promise((done) => child.once("exit", done));
    site.close();
    const commands = readFileSync(record, "utf8").split("\n").filter(Boolean).map((line) => JSON.parse(line));
    return { folder, status, stdout, stderr, commands, imports };
  }

  test("creates what is missing, in order, and publishes the catalog with the token that it has set", async () => {
    const { folder, status, stdout, stderr, commands, imports } = await deployed(["--json"]);
    assert.equal(status, 0, stderr);
    const name = /"name": "([^"]+)"/.exec(readFileSync(join(folder, "wrangler.jsonc"), "utf8"))[1];
    assert.deepEqual(commands.map(({ args }) => args.join(" ")), [
      `kv namespace create ${name}-snapshots`, `d1 create ${name}-control`, "d1 migrations apply CONTROL_DB --remote", "deploy", "secret put OPERATOR_TOKEN",
    ]);
    const settings = readFileSync(join(folder, "wrangler.jsonc"), "utf8");
    assert.match(settings, /"binding": "SNAPSHOTS",\s+"id": "0123456789abcdef0123456789abcdef"/);
    assert.match(settings, /"binding": "CONTROL_DB",[^}]*"database_id": "01234567-89ab-cdef-0123-456789abcdef"/);
    assert.match(settings, /\/\/ The clock/);
    const token = commands.at(-1).input;
    assert.deepEqual(imports.map(({ url, token: used }) => [url, used === `Bearer ${token}`]), [["/_gate/v1/admin/import?overwrite=true", true], ["/_gate/v1/admin/import?overwrite=true", true]]);
    assert.deepEqual([imports[1].body.catalog.version, imports[1].body.tenants.length, "$schema" in imports[1].body.catalog], [1, 2, false]);
    assert.match(JSON.parse(stdout).first_request, /^curl -H 'X-Tenant-ID: acme' http/);
    assert(!stderr.includes(token), "the token stands in no message");
  });

  test("`--keep-token` publishes with the token of the environment, and sets none", async () => {
    const { status, stdout, commands, imports } = await deployed(["--keep-token", "--json"], { TENANTGATE_TOKEN: "the-token-in-use" });
    assert.deepEqual([status, commands.some(({ args }) => args[0] === "secret"), "operator_token" in JSON.parse(stdout)], [0, false, false]);
    assert.equal(imports.at(-1).token, "Bearer the-token-in-use");
    const without = await deployed(["--keep-token"], { TENANTGATE_TOKEN: "" });
    assert.deepEqual([without.status, without.commands, /needs the Worker's operator token/.test(without.stderr)], [2, [], true]);
  });

  test("`--dry-run` shows the steps and runs none", async () => {
    const { status, stdout, commands, imports } = await deployed(["--dry-run"]);
    assert.deepEqual([status, commands, imports], [0, [], []]);
    assert.match(stdout, /wrangler kv namespace create[^]*wrangler deploy[^]*secret put OPERATOR_TOKEN[^]*Publish the catalog/);
  });

  test("without a control plane, the snapshots go to KV", async () => {
    const settings = '{ // mine\n  "name": "bare", "main": "src/index.ts", "kv_namespaces": [{ "binding": "SNAPSHOTS", },],\n  // "binding": "CONTROL_DB"\n}';
    const { folder, status, stderr, commands, imports } = await deployed(["--json"], {}, { "wrangler.jsonc": settings });
    assert.deepEqual([status, imports], [0, []], stderr);
    const shown = commands.map(({ args }) => args.join(" ").replace(/\S+snapshots.json/, "FILE"));
    assert.deepEqual(shown, ["kv namespace create bare-snapshots", "deploy", "secret put OPERATOR_TOKEN", "kv bulk put FILE --binding SNAPSHOTS --remote"]);
    assert.match(readFileSync(join(folder, "wrangler.jsonc"), "utf8"), /\/\/ mine[^]*"id": "0123456789abcdef0123456789abcdef"[^]*\/\/ "binding": "CONTROL_DB"/);
  });

  test("shows the new token even if the import fails, since the Worker has it by then", async () => {
    const { status, stdout, stderr, commands } = await deployed([], {}, {}, { code: "CATALOG_IN_USE", message: "in use" });
    assert.equal(status, 1, stderr);
    assert.match(stdout + stderr, new RegExp(commands.at(-1).input));
  });

  test("refuses a configuration that it cannot read or complete", async () => {
    for (const [name, content, expected] of [["wrangler.jsonc", '{ "name": ', /is not valid/], ["wrangler.jsonc", '{ "name": "x" }', /no binding `SNAPSHOTS`/]]) {
      const { status, stderr, commands } = await deployed([], {}, { [name]: content });
      assert.deepEqual([status > 0, expected.test(stderr), commands], [true, true, []], stderr);
    }
    const folder = empty();
    writeFileSync(join(folder, "wrangler.toml"), 'name = "x"\n');
    const { status, stderr } = run(folder, ["deploy"]);
    assert.deepEqual([status, /reads and completes wrangler.jsonc/.test(stderr)], [2, true]);
  });

  test("stops at the first command that fails", async () => {
    const { status, stderr, commands, imports } = await deployed([], { BROKEN: "d1" });
    assert.equal(status, 1);
    assert.match(stderr, /`wrangler d1 create [\w-]+` failed with exit code 7/);
    assert.deepEqual([commands.length, imports], [2, []]);
  });

  test("an invalid catalog stops it before anything is created", async () => {
    const folder = empty();
    run(folder, ["init"]);
    writeFileSync(join(folder, "catalog.json"), JSON.stringify({ ...json(folder, "catalog.json"), plans: { "free@1": { limits: { nothing: 1 } } } }));
    const { status, stderr } = run(folder, ["deploy"], { PATH: [bin, process.env.PATH].join(delimiter), RECORD: join(folder, "record") });
    assert.deepEqual([status, /nothing/.test(stderr), existsSync(join(folder, "record"))], [1, true, false]);
  });
});
