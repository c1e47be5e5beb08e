// The command line `tenantgate`, run as a process against a real Worker with its control plane.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { OPERATOR, worker } from "../support/harness.mjs";
import { serve as serveHttp } from "../support/server.mjs";

const root = join(import.meta.dirname, "../..");
const folder = mkdtempSync(join(tmpdir(), "tenantgate-cli-"));
const file = (name, content) => {
  const path = join(folder, name);
  if (content !== undefined) writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
};
const text = (path) => readFileSync(path, "utf8");

const servers = [];
/** Starts a server that stops after the tests. */
const serve = async (answer) => {
  const server = await serveHttp(answer);
  servers.push(server);
  return server;
};
/** The TXT records that the DNS server returns, by name. */
const records = new Map();
const dns = await serve((request, response) => {
  const found = records.get(new URL(request.url, "http://dns").searchParams.get("name"));
  response.end(JSON.stringify(found ? { Status: 0, Answer: [{ type: 16, data: `"${found}"` }] } : { Status: 3 }));
});
const gate = await worker({ control: true, bindings: { DNS_URL: dns.url } });
after(async () => {
  await gate.stop();
  for (const server of servers) await server.stop();
  rmSync(folder, { recursive: true });
});
const url = gate.url.origin;

/** Makes the child process treat its stderr as a terminal. */
const TERMINAL = ["--import", "data:text/javascript,process.stderr.isTTY = true; process.stderr.columns = 80;"];

/** Runs the command line. Returns its exit code and its output. */
const run = (args, { env = {}, terminal = false } = {}) => new Promise((done) => {
  const command = [...(terminal ? TERMINAL : []), join(root, "pkg/cli.js"), ...args];
  const variables = { PATH: process.env.PATH, TENANTGATE_URL: url, TENANTGATE_TOKEN: OPERATOR, ...env };
  execFile(process.execPath, command, { env: variables, maxBuffer: 64 << 20 }, (error, stdout, stderr) =>
    done({ code: error ? error.code : 0, stdout, stderr }));
});
/** Runs a command that must succeed. Returns its stdout. */
const good = async (...args) => {
  const { code, stdout, stderr } = await run(args);
  assert.equal(code, 0, `${args.join(" ")}\n${stdout}${stderr}`);
  return stdout;
};
/** Runs a command with `--json` that must succeed. Returns the parsed stdout. */
const json = async (...args) => JSON.parse(await good(...args, "--json"));
/** Runs a command that must end with this exit code. Returns its stderr. */
const bad = async (code, ...args) => {
  const found = await run(args);
  assert.equal(found.code, code, `${args.join(" ")}\n${found.stdout}${found.stderr}`);
  return found.stderr;
};
/** Writes records to D1 as the admin API does, because provisioning many tenants takes long. */
const insert = (records) => gate.db.prepare(`INSERT INTO tenants (id, slug, status, plan, root, epoch, record, created_at, changed_at)
  SELECT value ->> 'id', value ->> 'slug', 'active', value ->> 'plan', value ->> 'id', 1, value, ?2, ?2 FROM json_each(?1)`).bind(JSON.stringify(records), Date.now()).run();
/** Returns the cells of the table row that begins with `word`. */
const row = (table, word) => table.split("\n").find((line) => line.startsWith(`${word} `))?.split(/ {2,}/);

const catalog = {
  version: 1,
  resolution: { strategies: [{ strategy: "subdomain", base_domains: ["app.example.com"] }, { strategy: "custom_domain", domain_lookup: "index" }] },
  routes: [{ path: "/hooks", feature: "webhooks" }],
  features: { webhooks: {}, sso: {}, size: { type: "number", default: 10 } },
  limits: { month: { kind: "quota", period: "month" }, calls: { kind: "rate", window_ms: 1000, default: 100 } },
  metrics: { tokens: { event: "llm.completion", value: "tokens", unit: "token" } },
  plans: {
    "free@1": { limits: { month: 100 } },
    "pro@1": { features: ["webhooks"], limits: { month: 1000 } },
    "pro@2": { features: { webhooks: true, sso: true, size: 20 }, limits: { month: 500, calls: { limit: 50, burst: 5 } } },
    "bulk@1": { limits: { month: 1 } },
    "bulk@2": { limits: { month: 2 } },
  },
};
const with_ = (changes) => Object.assign(structuredClone(catalog), changes);
const tenants = [
  { id: "t_acme", slug: "acme", plan: "pro@1" }, { id: "t_globex", slug: "globex", plan: "free@1" },
  { id: "t_team", slug: "team", parent: "t_acme", overrides: [{ limit: "month", allowance: 7, reason: "a team's share" }] },
];

describe("commands that work offline", () => {
  // These commands send no requests, so they get neither a URL nor a token.
  const offline = { TENANTGATE_URL: "", TENANTGATE_TOKEN: "" };
  const at = (...args) => run(args, { env: offline });

  test("`validate` accepts valid documents and reports every problem with its path", async () => {
    assert.deepEqual(await at("validate", file("catalog.json", catalog)), { code: 0, stdout: "Valid: catalog version 1.\n", stderr: "" });
    assert.equal((await at("validate", file("seed.json", { catalog, tenants }))).stdout, "Valid: catalog version 1, 3 tenants, 0 API keys.\n");
    const wrong = file("wrong.json", { catalog: with_({ version: -1, plan: {} }), tenants: [{ id: "t_acme", slug: "acme", plan: "gold@1" }, 7] });
    const table = await at("validate", wrong);
    assert.equal(table.code, 1);
    assert.match(table.stdout, /^Path +Found +Expected\n/);
    const { code, stdout } = await at("validate", wrong, "--json");
    const { valid, kind, problems } = JSON.parse(stdout);
    assert.deepEqual([code, valid, kind], [1, false, "seed"]);
    assert.deepEqual(problems.map(({ path }) => path), ["$.catalog.plan", "$.catalog.version", "$.tenants[1]"]);
    for (const { path, expected } of problems) assert(table.stdout.includes(path) && table.stdout.includes(expected), path);
    assert.match((await at("validate", file("bare.json", { ...catalog, plans: { "free@1": {} } }))).stdout, /^\$\.plans\["free@1"\]\.limits\.month /m);
    assert.match((await at("validate", file("broken.json", "{"))).stdout, /^\$ /m);
  });

  test("`validate` ends with exit code 2 if it cannot read its file", async () => {
    const { code, stdout, stderr } = await at("validate", join(folder, "nothing.json"));
    assert.deepEqual([code, stdout], [2, ""]);
    assert.match(stderr, /nothing\.json` cannot be read: ENOENT/);
  });

  test("`diff` lists each change with its path, and what each tenant gains or loses", async () => {
    const old = file("old.json", { catalog, tenants });
    const plans = { ...structuredClone(catalog.plans), "pro@1": { features: ["sso"], limits: { month: "unlimited", calls: { limit: 50, burst: 5 } } } };
    const now = file("new.json", { catalog: with_({ version: 2, plans }), tenants: [tenants[0], { ...tenants[1], status: "suspended" }, tenants[2], { id: "t_new", slug: "new", plan: "free@1" }] });
    const { stdout } = await at("diff", old, now, "--json");
    const { changes, tenants: impacts } = JSON.parse(stdout);
    assert.deepEqual(changes.map(({ path }) => path).sort(), [
      '$.catalog.plans["pro@1"].features[0]', '$.catalog.plans["pro@1"].limits.calls', '$.catalog.plans["pro@1"].limits.month', "$.catalog.version",
      '$.tenants[?@.id=="t_globex"].status', '$.tenants[?@.id=="t_new"]',
    ]);
    const effects = ({ code, features, limits }) => [code?.effect, ...Object.entries({ ...features, ...limits }).map(([key, { effect }]) => `${key} ${effect}`)];
    const expected = ["webhooks loss", "sso gain", "calls loss", "month gain"].sort();
    assert.deepEqual(impacts.map((one) => [one.tenant, ...effects(one).slice(0, 1)]), [["t_acme", undefined], ["t_globex", "loss"], ["t_team", undefined], ["t_new", "gain"]]);
    assert.deepEqual(effects(impacts[0]).slice(1).sort(), expected);
    // The team inherits everything from its parent, except its own allowance of `month`.
    assert.deepEqual(effects(impacts[2]).slice(1).sort(), expected.filter((one) => one !== "month gain"));
    assert.deepEqual(impacts[0].limits.month, { before: 1000, after: "unlimited", effect: "gain" });
    assert.deepEqual(impacts[0].limits.calls.after, { limit: 50, burst: 5, window_ms: 1000 });
    const table = await at("diff", old, now);
    assert.equal(table.code, 0);
    assert.match(table.stdout, /^t_team +feature webhooks +loss +true +false$/m);
    // The order of members and tenants does not matter.
    const same = await at("diff", old, file("turned.json", { tenants: [...tenants].reverse(), catalog }));
    assert.deepEqual([same.code, same.stdout], [0, "No differences.\n"]);
  });

  test("`diff` compares two catalogs, and refuses an invalid catalog or a seed beside a catalog", async () => {
    const [one, two] = [file("one.json", catalog), file("two.json", with_({ version: 2 }))];
    assert.match((await at("diff", one, two)).stdout, /^\$\.version +1 +2$/m);
    assert.equal((await at("diff", one, file("seed.json", { catalog, tenants }))).code, 2);
    const invalid = await at("diff", one, file("invalid.json", with_({ version: -1 })));
    assert.equal(invalid.code, 1);
    assert.match(invalid.stderr, /^INVALID: .*invalid\.json` has 1 problem\n  \$\.version: found -1, expected/);
  });

  test("`diff` compares more limits than one decision may name", async () => {
    const limits = Object.fromEntries(Array.from({ length: 130 }, (_, i) => [`limit_${i}`, { kind: "gauge", default: 1 }]));
    const many = (last) => ({ catalog: with_({ limits: { ...catalog.limits, ...limits, limit_129: { kind: "gauge", default: last } } }), tenants });
    const { stdout } = await at("diff", file("many.json", many(1)), file("more.json", many(2)), "--json");
    assert.deepEqual(JSON.parse(stdout).tenants.map(({ limits }) => Object.keys(limits)), [["limit_129"], ["limit_129"], ["limit_129"]]);
  });
});

describe("usage, exit codes and secrets", () => {
  const groups = { plan: 2, catalog: 2, feature: 2, tenant: 15, override: 3, audit: 3, token: 3, key: 4, domain: 4, licence: 6, job: 3 };
  const described = (help) => [...help.split("Options:")[0].matchAll(/^ {2}tenantgate (\S+(?: \S+)*?) {2,}(\S.*(?:\n {8,}\S.*)*)/gm)].map(([, name, about]) => [name, about.replace(/\s+/g, " ")]);

  test("`--help` describes every command in one sentence", async () => {
    const top = described(await good("--help"));
    assert.deepEqual(top.map(([name]) => name.split(" ")[0]).sort(), [...Object.keys(groups), "completion", "denials", "deploy", "dev", "diff", "expiring", "explain", "init", "publish", "status", "usage", "validate"].sort());
    const helps = await Promise.all(Object.entries(groups).map(async ([name, count]) => {
      const commands = described(await good(name, "--help"));
      assert.equal(commands.length, count, name);
      return commands;
    }));
    for (const [name, about] of [...top, ...helps.flat()]) assert.match(about, /^[A-Z][^.]*\.$/, name);
    assert.match(await good("tenant", "create", "--help"), /--idempotency-key/);
    assert.match(await good("--version"), /^\d+\.\d+\.\d+\n$/);
  });

  test("the command line prints a completion script and completes subcommands", async () => {
    assert.match(await good("completion"), /complete .* -F _tenantgate_yargs_completions tenantgate/);
    const offered = (await good("--get-yargs-completions", "tenantgate", "tenant", "")).trim().split("\n");
    for (const name of ["create", "offboard", "export"]) assert(offered.includes(name), name);
  });

  test("wrong usage ends with exit code 2 and names the mistake", async () => {
    for (const [args, said] of [
      [[], /the command is missing/], [["tenant"], /the command is missing/], [["tenat", "list"], /unknown command/], [["tenant", "list", "--colour=red"], /unknown option: --colour/],
      [["tenant", "list", "--limit", "few"], /`few` is not a whole number/], [["tenant", "list", "--limit", "5", "--all"], /mutually exclusive/], [["tenant", "get"], /got 0, need at least 1/],
      [["tenant", "set", "t_acme", "name"], /change 1 is not key=value/], [["tenant", "set", "t_acme", "a=1", "a.b=2"], /`a.b` is changed twice/], [["tenant", "move", "t_acme"], /exactly one of/],
      [["plan", "dry-run"], /needs --catalog or --move/], [["plan", "dry-run", "--move", "pro@1"], /not from=to/], [["plan", "move", "pro@1"], /Missing required argument: to/],
      [["audit", "export", "catalog", "--format", "xml"], /Choices: "lines"/], [["audit", "export", "catalog", "--format", "csv", "--json"], /-o/],
      [["explain", "ftp://example.com/"], /http or https/], [["key", "revoke", "t_acme", ".."], /`\.\.` is not a valid name/],
    ]) assert.match(await bad(2, ...args), said, args.join(" "));
    for (const [env, said] of [[{ TENANTGATE_URL: "" }, /TENANTGATE_URL/], [{ TENANTGATE_TOKEN: "" }, /TENANTGATE_TOKEN/], [{ TENANTGATE_URL: "example.com" }, /http or https URL/]]) {
      const { code, stderr } = await run(["tenant", "list"], { env });
      assert.equal(code, 2);
      assert.match(stderr, said);
    }
  });

  test("an unreachable server, or one without an admin API, ends with exit code 3", async () => {
    const gone = await serve(() => {});
    await gone.stop();
    const pages = await serve((request, response) => response.writeHead(request.url.includes("tokens") ? 302 : 200, { location: "https://example.com/" }).end("<p>Welcome"));
    for (const [there, said] of [[gone.url, /^UNREACHABLE: .* does not answer: ECONNREFUSED\n/], [pages.url, /^NO_GATE: /]]) {
      for (const args of [["tenant", "list"], ["token", "list"], ["status"], ["audit", "verify"], ["usage", "t_acme"], ["plan", "dry-run", "--move", "pro@1=pro@2"]]) {
        assert.match(await bad(3, ...args, "--url", there), said, args.join(" "));
      }
    }
    assert.match(await bad(3, "explain", `${gone.url}/`), /ECONNREFUSED/);
    assert.match(await bad(1, "explain", `${pages.url}/`), /NO_TRACE/);
    // The tenant may exist by now. The message names the idempotency key that makes a retry safe.
    assert.match(await bad(3, "tenant", "create", "--name", "Lost", "--plan", "pro@1", "--url", gone.url, "--idempotency-key", "signup-9"), /Retry with --idempotency-key signup-9/);
  });

  test("the token goes only to its own deployment, even if responses redirect or link elsewhere", async () => {
    const seen = [];
    const other = await serve((request, response) => response.end(String(seen.push(request.headers.authorization))));
    const there = await serve((request, response) => {
      if (request.url.includes("/audit")) response.writeHead(200, { "content-type": "application/x-ndjson", link: `<${other.url}/more>; rel="next"` }).end("");
      else response.writeHead(307, { location: `${other.url}/_gate` }).end();
    });
    for (const args of [["audit", "export", "catalog"], ["audit", "verify"], ["tenant", "list"], ["tenant", "delete", "t_acme"]]) await bad(3, ...args, "--url", there.url);
    await bad(1, "explain", `${there.url}/`);
    assert.deepEqual(seen, []);
  });

  test("a 503 ends with exit code 3, and `plan move --wait` tries a conflicting step five times", async () => {
    const error = (code, message) => JSON.stringify({ error: { code, message, details: {} } });
    const job = { id: "j_1", state: "running", total: 2, done: 0, failed: 0 };
    let runs = 0;
    const there = await serve((request, response) => {
      if (!request.url.includes("/jobs/")) return response.writeHead(request.url.includes("/plans/") ? 202 : 503).end(request.url.includes("/plans/") ? JSON.stringify(job) : error("CONTROL_UNAVAILABLE", "try again"));
      // Every fifth run succeeds. After the tenth, every run conflicts.
      runs += 1;
      return runs % 5 || runs > 10 ? response.writeHead(409).end(error("CONFLICT", "somebody else")) : response.end(JSON.stringify({ ...job, state: runs === 10 ? "done" : "running", done: runs / 5 }));
    });
    assert.match(await bad(3, "tenant", "list", "--url", there.url), /^CONTROL_UNAVAILABLE: try again\n/);
    const move = ["plan", "move", "a@1", "--to", "b@1", "--wait", "--url", there.url];
    assert.deepEqual(await json(...move).then(({ state, done }) => [state, done, runs]), ["done", 2, 10]);
    assert.match(await bad(1, ...move), /^CONFLICT: /);
    assert.equal(runs, 15);
  });

  test("failing commands print no secrets", async () => {
    const token = "tg_admn_0123456789abcdefghijABCDEFGHIJ";
    const other = "a plain operator's token, with blanks";
    const simple = "plain-operator-token";
    for (const [args, env] of [
      [["tenant", "list", "--token", token]], [["tenant", "list", token]], [["tenant", "list", "--token", other]], [["tenant", "list"], { TENANTGATE_TOKEN: `${token}\n` }],
      [["tenant", "list", `--token=${token}`, "--json"]], [["tenant", "list", "--token", simple, "--limit", simple]], [["tenant", "get", "--limit", `x${simple}`, "--json"], { TENANTGATE_TOKEN: simple }], [["tenant", "list", "--limit", token]], [["tenant", "get", token]], [["validate", token]],
      [["tenant", "list", "--url", `http://operator:${token}@127.0.0.1:1`]], [["explain", `http://operator:${token}@127.0.0.1:1/`]],
      [["explain", "/", "-H", token]], [["explain", "/", "-H", `Authorization: Bearer ${token}\u0001`]], [["explain", "/", "-H", "Authorization:", "Bearer", other]],
      [["explain", "http://127.0.0.1:1/?key=" + token]], [["token", "revoke", token]],
    ]) {
      const { code, stdout, stderr } = await run(args, { env });
      assert.notEqual(code, 0, args.join(" "));
      assert.notEqual(stderr, "");
      for (const secret of [token, token.slice(8), other, simple]) assert(!(stdout + stderr).includes(secret), `${args[0]}: ${stderr}`);
    }
  });

  test("with `--json`, stderr is one JSON error and stdout is empty", async () => {
    const { code, stdout, stderr } = await run(["tenant", "get", "t_nobody", "--json"]);
    assert.deepEqual([code, stdout, JSON.parse(stderr).error.code], [1, "", "NOT_FOUND"]);
    assert.equal(JSON.parse((await run(["tenant", "get", "--json"])).stderr).error.code, "WRONG_USAGE");
  });

  test("only the command line imports the package's dependencies, in the tested versions", () => {
    const manifest = JSON.parse(text(join(root, "pkg/package.json")));
    const workspace = JSON.parse(text(join(root, "package.json")));
    for (const [name, version] of Object.entries(manifest.dependencies)) assert.equal(workspace.devDependencies[name], version, name);
    for (const name of readdirSync(join(root, "pkg")).filter((name) => name.endsWith(".js") && name !== "cli.js")) {
      for (const [, from] of text(join(root, "pkg", name)).matchAll(/from "([^"]+)"/g)) assert.match(from, /^(\.\/(?!cli\b)|node:|cloudflare:|react$|kysely$|drizzle-orm$|@openfeature\/)/, name);
    }
    for (const name of readdirSync(join(root, "pkg/cli"), { recursive: true }).filter((name) => name.endsWith(".js"))) {
      for (const [, from] of text(join(root, "pkg/cli", name)).matchAll(/^(?:import|export|\}).* from "([^".][^"]*)";$/gm)) assert(from.startsWith("node:") || from in manifest.dependencies, from);
    }
  });
});

test("without a catalog, `catalog get` fails with NO_CATALOG and `status` reports unavailable", async () => {
  assert.match(await bad(1, "catalog", "get"), /^NO_CATALOG: /);
  const { code, stdout } = await run(["status", "--json"]);
  assert.deepEqual([code, JSON.parse(stdout).health.status], [1, "unavailable"]);
});

test("`catalog put` reports every problem and honours `--if-match`; `catalog get` returns the catalog", async () => {
  const wrong = file("wrong-catalog.json", with_({ plans: { "free@1": { limits: { month: -1 } }, "no-version": {} } }));
  const refused = await bad(1, "catalog", "put", wrong);
  assert.match(refused, /^BAD_REQUEST: /);
  for (const path of ['$.plans["free@1"].limits.month', '$.plans["no-version"]']) assert(refused.includes(`  ${path}: found `), refused);
  assert.match(await bad(1, "catalog", "put", file("broken.json", "{")), /\$: found text that is not a JSON object/);
  assert.equal(await good("catalog", "put", file("seed.json", { catalog, tenants })), "The catalog is at version 1.\n");
  const got = file("got.json");
  assert.equal(await good("catalog", "get", "-o", got), "");
  assert.deepEqual(JSON.parse(text(got)), catalog);
  assert.deepEqual(await json("catalog", "get"), catalog);
  assert.deepEqual(await json("catalog", "get", "-o", got), { file: got });
  // The version that was read can be put back once. After that it is no longer the present one.
  assert.equal((await json("catalog", "put", got, "--if-match")).version, 2);
  assert.match(await bad(1, "catalog", "put", got, "--if-match"), /^PRECONDITION_FAILED: .*\n {2}version: 2/);
  assert.equal(await bad(2, "catalog", "get", "-o", join(folder, "no/folder.json")).then((said) => /cannot be written: ENOENT/.test(said)), true);
});

let acme;
test("`tenant create` provisions once per idempotency key, shows the API key once, reports every problem", async () => {
  const args = ["tenant", "create", "--name", "Acme", "--plan", "pro@1", "--scopes", "api.read, api.write", "--idempotency-key", "signup-1"];
  const made = await good(...args);
  const [, key] = /Its API key, shown only once:\n\n {2}(tg_live_\w+)\n/.exec(made);
  const id = row(made, "id")[1];
  assert.deepEqual([row(made, "slug")[1], row(made, "plan")[1], row(made, "features")[1]], ["acme", "pro@1", "size, webhooks"]);
  const again = await good(...args);
  assert(again.includes(id) && !again.includes(key), again);
  assert.match(again, new RegExp(`was shown before; \`tenantgate key rotate ${id} `));
  // Without an idempotency key, each call creates another tenant.
  const [one, two] = [await json("tenant", "create", "--name", "Acme", "--plan", "pro@1"), await json("tenant", "create", "--name", "Acme", "--plan", "pro@1")];
  assert.deepEqual([one.tenant.slug, two.tenant.slug], ["acme-2", "acme-3"]);
  assert.match(await bad(1, "tenant", "create", "--slug", "acme", "--plan", "pro@1"), /^SLUG_TAKEN: /);
  const refused = await bad(1, "tenant", "create");
  assert.match(refused, /\$: found neither `name` nor `slug`/);
  assert.match(refused, /\$\.plan: found nothing/);
  acme = await json("tenant", "get", id);
  assert.deepEqual((await json("key", "list", id)).items[0].scopes, ["api.read", "api.write"]);
});

test("`tenant list` pages by cursor, filters by slug or plan, and refuses an invalid limit", async () => {
  const first = await run(["tenant", "list", "--limit", "2"]);
  assert.equal(first.stdout.trimEnd().split("\n").length, 3);
  const [, cursor] = /--cursor (\S+)\./.exec(first.stderr);
  const { items } = await json("tenant", "list", "--limit", "2", "--cursor", cursor);
  assert.equal(items.length, 1);
  assert(!first.stdout.includes(items[0].id));
  assert.deepEqual((await json("tenant", "list", "--slug", "acme")).items.map(({ id }) => id), [acme.id]);
  assert.equal(await good("tenant", "list", "--plan", "free@1"), "No tenants.\n");
  assert.match(await bad(1, "tenant", "list", "--limit", "0"), /limit: found 0, expected 1 to 1000/);
});

test("`tenant set` sends a merge patch, with values as JSON where they parse", async () => {
  const changed = await json("tenant", "set", acme.id, "name=Acme Inc", "metadata.crm=7", "metadata.tier=gold", 'metadata.tags=["a","b"]', "residency=[\"eu\"]");
  assert.deepEqual([changed.name, changed.metadata, changed.residency], ["Acme Inc", { crm: 7, tier: "gold", tags: ["a", "b"] }, ["eu"]]);
  const next = await json("tenant", "set", acme.id, "metadata.crm=null", "residency=null", "metadata.__proto__.x=1", "--if-match", String(changed.epoch));
  assert.deepEqual([Object.keys(next.metadata), next.residency], [["__proto__", "tags", "tier"], undefined]);
  assert.match(await bad(1, "tenant", "set", acme.id, "name=Late", "--if-match", String(changed.epoch)), /^PRECONDITION_FAILED/);
  assert.match(await bad(1, "tenant", "set", acme.id, "status=active"), /\$\.status: found a member that has its own operation/);
  assert.match(await bad(1, "tenant", "set", acme.id, "plan=gold@1"), /\$\.plan: found `gold@1`/);
  // Control characters of a name are printed escaped, so that they do not reach the terminal.
  const named = await good("tenant", "set", acme.id, "name=\u001b[2J\u202eAcme");
  assert(!/[\u001b\u202e]/.test(named) && named.includes("\\u001b[2J\\u202eAcme"), named);
  await good("tenant", "set", acme.id, "name=Acme", "metadata=null");
});

test("`tenant` commands suspend, reactivate, deactivate, offboard, export, move and delete a tenant", async () => {
  const { tenant } = await json("tenant", "create", "--name", "Brief", "--plan", "free@1");
  const passes = [["suspend", "suspended"], ["reactivate", "active"], ["maintenance", "maintenance"], ["deactivate", "inactive"], ["offboard", "inactive"]];
  for (const [verb, status] of passes) {
    const more = verb === "offboard" ? ["--retention-days", "7"] : [];
    assert.equal(await good("tenant", verb, tenant.id, "--reason", `why ${verb}`, ...more), `${tenant.id} is ${status}.\n`);
  }
  assert.match(await bad(1, "tenant", "maintenance", tenant.id), /^WRONG_STATUS: .*\n(.*\n)* {2}status: inactive/);
  const actions = (await json("audit", "show", tenant.id)).items.filter(({ reason }) => reason).map(({ action, reason }) => [action, reason]);
  assert.deepEqual(actions, passes.map(([verb]) => [`tenant.${verb}`, `why ${verb}`]));
  const exported = await json("tenant", "export", tenant.id);
  const days = (Date.parse(exported.purge_at) - Date.parse(exported.exported_at)) / 86_400_000;
  assert(days > 6.99 && days < 7.01, String(days));
  assert.equal((await json("tenant", "move", tenant.id, "--parent", acme.id, "--reason", "bought")).parent, acme.id);
  assert.match(await good("tenant", "move", tenant.id, "--root"), /is a root/);
  assert.match(await bad(1, "tenant", "move", tenant.id, "--parent", "t_nobody"), /\$\.parent: found `t_nobody`/);
  assert.equal(await good("tenant", "delete", tenant.id, "--reason", "the end"), `${tenant.id} is deleted.\n`);
  assert.equal((await json("audit", "show", tenant.id, "--last", "1")).items[0].reason, "the end");
  for (const verb of ["get", "suspend", "delete", "export"]) assert.match(await bad(1, "tenant", verb, tenant.id), /^NOT_FOUND: /);
});

test("`feature kill` and `feature revive` change the catalog, and the audit trail records the kill", async () => {
  assert.match(await good("feature", "kill", "webhooks", "--reason", "incident"), /^webhooks is off for all tenants\. The catalog is at version 3\.\n$/);
  assert.deepEqual(await json("feature", "revive", "webhooks"), { feature: "webhooks", kill: false, version: 4 });
  assert.match(await bad(1, "feature", "kill", "nothing"), /^NOT_FOUND: /);
  assert.match(await good("audit", "show", "catalog", "--action", "feature.kill"), /^3 .* operator +feature\.kill +incident/m);
});

test("`explain` shows the stages of a decision and the tier of each feature", async () => {
  const host = ["-H", "Host: acme.app.example.com"];
  const allowed = await good("explain", `${url}/hooks`, ...host);
  assert.match(allowed, new RegExp(`^allowed: ${acme.id} on pro@1\n\nStage +Found +What would change it\n`.replace("Stage +", "Stage +")));
  assert.match(allowed, /^tenant +passed +subdomain names/m);
  assert.match(allowed, /^webhooks +true +plan +PLAN/m);
  // A path without a host refers to the deployment.
  assert.equal((await json("explain", "/hooks", ...host)).tenant.id, acme.id);
  const denied = await run(["explain", "/hooks", "-H", "host: nobody.app.example.com", "--method", "post"]);
  assert.equal(denied.code, 2, "a method in lower case is wrong usage");
  const stopped = await run(["explain", "/hooks", "-H", "host: nobody.app.example.com", "--method", "POST"]);
  assert.equal(stopped.code, 1);
  assert.match(stopped.stdout, /^TENANT_NOT_FOUND: /);
  assert.match(stopped.stdout, /^tenant +stopped /m);
  assert.match(await bad(1, "explain", "/hooks", ...host, "--token", "another-token"), /^NO_TRACE: the response with status 401 has no trace/);
});

test("`override` commands set, list and remove overrides, and `expiring` lists those that end", async () => {
  const ends = new Date(Date.now() + 86_400_000).toISOString();
  assert.match(await good("override", "set", acme.id, "--feature", "size", "--value", "99", "--ends-at", ends, "--reason", "a trial"), /^size +99 +.*a trial/m);
  await good("override", "set", acme.id, "--limit", "month", "--allowance", "unlimited");
  assert.deepEqual((await json("override", "list", acme.id)).map((one) => one.value ?? one.allowance), [99, "unlimited"]);
  assert.match(await good("expiring"), new RegExp(`${acme.id} +${acme.slug} +override +size$`, "m"));
  const shown = await good("tenant", "show", acme.id);
  assert.match(await bad(1, "tenant", "show", acme.slug), new RegExp(`\`${acme.slug}\` is the slug of the tenant \`${acme.id}\``));
  assert.doesNotMatch(await bad(1, "tenant", "show", "nobody"), /slug/);
  assert.match(shown, /^size +99 +on +override$/m);
  assert.match(shown, /^month +quota +its own +unlimited +0 /m);
  for (const key of ["size", "month"]) await good("override", "remove", acme.id, key);
  assert.equal(await good("override", "list", acme.id), "No overrides.\n");
  for (const args of [[], ["--feature", "size", "--limit", "month"], ["--limit", "month"]]) await bad(2, "override", "set", acme.id, ...args);
  assert.match(await bad(1, "override", "set", acme.id, "--feature", "nothing"), /\$\.overrides\[0\]/);
});

test("`tenant refund` refunds units, and the audit trail records the reason", async () => {
  await gate.decide({ tenant: acme.id, limits: { month: 30 } });
  assert.match(await good("tenant", "refund", acme.id, "month", "20", "--reason", "an outage"), /^20 units of month have been refunded; 10 are used\.$/m);
  assert.match(await good("audit", "show", acme.id, "--action", "usage.refund"), /an outage/);
  assert.match(await good("usage", acme.id), /^month +10 +\d+ /m);
  assert.match(await bad(1, "tenant", "refund", acme.id, "month", "11", "--reason", "more"), /\$\.units: found 11, expected at most 10/);
  await bad(2, "tenant", "refund", acme.id, "month", "few", "--reason", "x");
  await bad(2, "tenant", "refund", acme.id, "month", "1");
});

test("`tenant impersonate` issues a ticket, and the audit trail records the reason", async () => {
  const shown = await good("tenant", "impersonate", acme.id, "--reason", "ticket 7");
  assert.match(shown, /The ticket, shown only once:\n\n {2}tg_\w+\n/);
  assert.match(await good("audit", "show", acme.id, "--action", "support.ticket"), /ticket 7/);
});

test("`licence activations` lists activations, and `licence end-activation` ends one", async () => {
  const { tenant: { id: tenant } } = await json("tenant", "create", "--name", "Licensed", "--plan", "pro@1");
  const { key, id: licence } = await json("licence", "issue", tenant, "--max-activations", "1");
  await good("licence", "validate", key, "--instance", "server-1");
  assert.match(await good("licence", "activations", tenant, licence), /^server-1 /m);
  assert.match(await good("licence", "end-activation", tenant, licence, "server-1"), /server-1 has ended/);
  assert.match(await bad(1, "licence", "end-activation", tenant, licence, "server-1"), /^NOT_FOUND: /);
  await good("tenant", "delete", tenant);
});

test("`denials` reports that a tenant has no denials", async () => {
  assert.equal(await good("denials", acme.id), "No denials.\n");
});

test("`usage` reports what a tenant has used, by period and by day", async () => {
  const event = { specversion: "1.0", id: "e-1", source: "/api", type: "llm.completion", subject: acme.id, data: { tokens: 812 } };
  const told = await gate.send("/_gate/v1/usage", { method: "POST", headers: { authorization: `Bearer ${OPERATOR}` }, body: JSON.stringify(event) });
  assert.equal(told.status, 200);
  const table = await good("usage", acme.id);
  assert.match(table, /^tokens +sum +812 +token +\S+Z +\S+Z$/m);
  assert.match(table, /^tokens +\d{4}-\d\d-\d\d +812$/m);
  assert.equal((await json("usage", acme.id, "--metric", "tokens")).usage[0].value, 812);
  assert.equal((await json("usage", acme.id, "--at", "2026-01-01T00:00:00Z")).usage[0].value, 0);
  assert.match(await bad(1, "usage", acme.id, "--metric", "nothing"), /^USAGE_NOT_FOUND: /);
  assert.match(await bad(1, "usage", acme.id, "--at", "soon"), /at: found soon, expected a time/);
});

test("`token issue` shows an admin token once, `token list` omits its secret, `token revoke` ends it", async () => {
  const shown = await good("token", "issue", "--name", "reader", "--permissions", "tenants:read", "--expires-at", "2100-01-01T00:00:00Z");
  const [, token] = /The token, shown only once:\n\n {2}(tg_admn_\w+)\n/.exec(shown);
  const id = row(shown, "id")[1];
  assert.equal((await run(["tenant", "list", "--token", token])).code, 0);
  const forbidden = await run(["tenant", "suspend", acme.id], { env: { TENANTGATE_TOKEN: token } });
  assert.equal(forbidden.code, 1);
  assert.match(forbidden.stderr, /^FORBIDDEN: /);
  const listed = await good("token", "list");
  assert(listed.includes(id) && listed.includes("tenants:read") && !listed.includes(token));
  assert.match(await good("token", "revoke", id), /has been revoked/);
  assert.match(await bad(1, "tenant", "list", "--token", token), /^UNAUTHENTICATED: /);
  assert.match(await bad(1, "token", "issue", "--name", "x", "--permissions", "everything"), /\$\.permissions\[0\]: found/);
  assert.match(await bad(1, "token", "revoke", "0000000000000000"), /^NOT_FOUND: /);
});

test("`key issue` shows an API key once, `key rotate` replaces it, `key revoke` ends it", async () => {
  const shown = await good("key", "issue", acme.id, "--name", "ci", "--scopes", "api.read");
  const [, key] = /The API key, shown only once:\n\n {2}(tg_live_\w+)\n/.exec(shown);
  const id = row(shown, "id")[1];
  assert(!(await good("key", "list", acme.id)).includes(key));
  const rotated = await json("key", "rotate", acme.id, id, "--overlap-ms", "60000");
  assert.notEqual(rotated.key, key);
  assert.equal(rotated.replaced.id, id);
  assert.match(await good("key", "rotate", acme.id, rotated.record.id), new RegExp(`^replaces +${rotated.record.id}$`, "m"));
  assert.match(await good("key", "revoke", acme.id, id), new RegExp(`^The API key ${id} has been revoked since 20`));
  assert.match(await bad(1, "key", "rotate", acme.id, id), /^WRONG_STATUS: /);
  assert.match(await bad(1, "key", "revoke", acme.id, "0000000000000000"), /^NOT_FOUND: /);
  assert.match(await bad(1, "key", "issue", acme.id, "--expires-at", "soon"), /\$\.expires_at: found/);
  assert.match(await bad(2, "key", "issue", acme.id, "--environment", "prod"), /Choices/);
});

test("`domain` commands claim, verify and remove a custom domain", async () => {
  const claimed = await good("domain", "claim", acme.id, "shop.acme.example");
  const [, name, value] = /^TXT +(\S+) +(\S+)$/m.exec(claimed);
  assert.match(await bad(1, "domain", "verify", acme.id, "shop.acme.example"), new RegExp(`^DOMAIN_UNPROVEN: .*\n {2}proof: .*${value}`));
  records.set(name, value);
  assert.equal(await good("domain", "verify", acme.id, "shop.acme.example"), "shop.acme.example is verified.\n");
  assert.equal((await json("explain", "/", "-H", "Host: shop.acme.example")).tenant.id, acme.id);
  assert.match(await good("domain", "remove", acme.id, "shop.acme.example"), new RegExp(`no longer belongs to ${acme.id}`));
  assert.match(await bad(1, "domain", "remove", acme.id, "shop.acme.example"), /^NOT_FOUND: /);
  assert.match(await bad(1, "domain", "claim", acme.id, "x.app.example.com"), /host: found .*expected a host that is neither/);
});

test("`licence` commands issue, list, validate and change a licence", async () => {
  const issued = await good("licence", "issue", acme.id, "--domains", "example.com,*.shop.example", "--max-activations", "1");
  const [key] = /tg_lice_\w+/.exec(issued);
  const { items } = await json("licence", "list", acme.id);
  assert.deepEqual(items.map(({ terms, activations }) => [terms.domains, activations]), [[["example.com", "*.shop.example"], 0]]);
  assert.match(await good("licence", "validate", key, "--domain", "a.shop.example", "--instance", "one"), /^code +VALID$/m);
  assert.match(await good("licence", "list", acme.id), /1 of 1/);
  const { code, stdout } = await run(["licence", "validate", key, "--domain", "example.com", "--instance", "two", "--json"]);
  assert.deepEqual([code, JSON.parse(stdout)], [1, { valid: false, code: "ACTIVATIONS_EXCEEDED" }]);
  assert.match(await good("licence", "change", acme.id, items[0].id, "--status", "revoked"), /revoked/);
  assert.match(await bad(1, "licence", "change", acme.id, items[0].id, "--status", "active"), /^WRONG_STATUS: /);
  assert.match(await bad(1, "licence", "issue", acme.id, "--domains", "*.*"), /\$\.domains\[0\]/);
});

describe("commands over many tenants", () => {
  const MANY = 520;
  const id = (i) => `t_bulk_${String(i).padStart(4, "0")}`;
  const bulk = Array.from({ length: MANY }, (_, i) => ({ id: id(i), slug: `bulk-${i}`, plan: "bulk@1", epoch: 1 }));
  // The last record has a domain below a base domain, which the gate does not accept any more.
  bulk[MANY - 1].domains = [{ host: "old.app.example.com", state: "verified" }];

  test("`plan dry-run` shows what each tenant gains or loses, over all pages, and replays a log", async () => {
    await insert(bulk);
    const proposed = with_({ features: { ...catalog.features, sso: { default: true } } });
    const log = file("log.ndjson", `${[
      { tenant: acme.id, features: ["sso"] }, { tenant: id(MANY - 1), limits: { month: 2 } }, { tenant: id(0), limits: { month: 2 } },
    ].map((question) => JSON.stringify({ at: "2026-11-24T00:00:00Z", question })).join("\n")}\n`);
    const args = ["plan", "dry-run", "--catalog", file("proposed.json", proposed), "--move", "bulk@1=bulk@2", "--move", "pro@1=pro@2", "--log", log];
    const found = await json(...args);
    const total = (await json("tenant", "list", "--all")).items.length;
    assert(total > MANY);
    assert.deepEqual([found.compared, found.tenants.length], [total, total]);
    assert.equal(new Set(found.tenants.map(({ tenant }) => tenant)).size, total);
    assert.deepEqual(found.tenants.find(({ tenant }) => tenant === id(MANY - 1)).limits, { month: { before: 1, after: 2, effect: "gain" } });
    // The log names tenants of the first and of the last page. All of its entries are replayed.
    assert.deepEqual(found.replayed, { asked: 3, changed: { 1: { before: "QUOTA_EXCEEDED", after: "ALLOWED", effect: "gain" }, 2: { before: "QUOTA_EXCEEDED", after: "ALLOWED", effect: "gain" } } });
    const table = await good(...args);
    assert.match(table, new RegExp(`^${acme.id} +limit month +loss +1000 +500$`, "m"));
    assert.match(table, /^2 +gain +QUOTA_EXCEEDED +ALLOWED$/m);
    assert(table.endsWith(`Tenants compared: ${total}. Tenants affected: ${total}. Questions replayed: 3.\n`), table.slice(-200));
    assert.match(await good("plan", "dry-run", "--move", "free@1=pro@1"), /^No tenant gains or loses anything\.\n/);
  });

  test("`plan dry-run` reports every problem of its input", async () => {
    assert.match(await bad(1, "plan", "dry-run", "--move", "pro=pro@2"), /\$\.plans\.pro: found/);
    assert.match(await bad(1, "plan", "dry-run", "--catalog", file("wrong-catalog.json", with_({ plan: {} }))), /\$\.plan: found an unknown field/);
    assert.match(await bad(1, "plan", "dry-run", "--move", "pro@1=pro@2", "--log", file("broken.ndjson", "{}\n{\n\n3\n")), /line 2: found.*\n {2}line 4: found/);
  });

  test("a progress bar appears only on a terminal, and never with `--json`", async () => {
    const args = ["plan", "dry-run", "--move", "bulk@1=bulk@2"];
    const drawn = await run(args, { terminal: true });
    assert.equal(drawn.code, 0, drawn.stderr);
    assert.match(drawn.stderr, /Comparing tenants .*\d+\/\d+/);
    assert.doesNotMatch(drawn.stdout, /Comparing/);
    for (const { stderr } of [await run(args), await run([...args, "--json"], { terminal: true })]) assert.equal(stderr, "");
  });

  test("`plan move --wait` runs the move to its end and reports tenants that stay on the old plan", async () => {
    const begun = await json("plan", "move", "free@1", "--to", "pro@1");
    assert.deepEqual([begun.state, begun.done], ["running", 0]);
    // An unknown member makes the record invalid. Another release may have written it.
    const damage = (change) => gate.db.prepare(`UPDATE tenants SET record = ${change} WHERE id = ?`).bind(id(MANY - 1)).run();
    await damage("json_set(record, '$.colour', 'red')");
    const { code, stdout, stderr } = await run(["plan", "move", "bulk@1", "--to", "bulk@2", "--reason", "new terms", "--wait"], { terminal: true });
    await damage("json_remove(record, '$.colour')");
    assert.equal(code, 1, stderr);
    assert.deepEqual(["state", "total", "moved", "failed"].map((name) => row(stdout, name)[1]), ["done", String(MANY), String(MANY - 1), "1"]);
    assert.match(stderr, /Moving tenants .*520\/520/);
    assert.match(stderr, /stay on the old one/);
    // `job show` names the tenant and its problem.
    const [, job] = row(stdout, "job");
    const left = await run(["job", "show", job]);
    assert.equal(left.code, 1);
    assert.match(left.stdout, new RegExp(`^${id(MANY - 1)} +\\$\\.colour +an unknown field`, "m"));
    assert.match(await good("job", "list"), new RegExp(`^${job} +plan +bulk@1 +bulk@2 +done +${MANY} +${MANY - 1} +1 `, "m"));
    assert.equal((await json("job", "run", job)).state, "done");
    assert.match(await bad(1, "job", "show", "j_none"), /^NOT_FOUND: /);
    assert.equal((await json("tenant", "get", id(0))).plan, "bulk@2");
    const moved = await json("plan", "move", "pro@1", "--to", "pro@2", "--wait");
    assert.deepEqual([moved.state, moved.done, moved.failed], ["done", 3, 0]);
    assert.match(await bad(1, "plan", "move", "pro@2", "--to", "gold@1"), /\$\.to: found `gold@1`/);
  });

  test("`publish --all` publishes until no publication waits", async () => {
    assert.match(await good("status"), /^waiting +0$/m);
    for (const one of [acme.id, id(MANY - 1)]) await gate.kv.delete(`tenant:${one}`);
    const { code, stdout, stderr } = await run(["publish", "--all"], { terminal: true });
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^Published: [1-9]\d*\. Repaired: \d+\. Waiting: 0\.\n$/);
    assert.match(stderr, /Publishing .*\d+\/\d+/);
    for (const one of [acme.id, id(MANY - 1)]) assert.equal(JSON.parse(await gate.kv.get(`tenant:${one}`)).id, one);
    assert.deepEqual(await json("publish").then(({ waiting }) => waiting), 0);
    const { health, publication } = await json("status");
    assert.deepEqual([health.status, publication.waiting], ["ok", 0]);
  });

  test("`publish` ends with exit code 1 if a publication cannot be made", async () => {
    // No ledger has this name, so the publication never succeeds.
    await gate.db.prepare("INSERT INTO publications (key, epoch, ledger, at) VALUES (?1, 1, 'no family', 1)").bind(`tenant:${acme.id}`).run();
    assert.match(await bad(1, "publish"), /^NOT_PUBLISHED: .*\n {2}published: 0\n {2}mended: \d+\n {2}waiting: 1/);
    const waits = await good("status");
    assert.match(waits, /^waiting +1$/m);
    assert.doesNotMatch(waits, /^failures +0$/m);
    await gate.db.prepare("DELETE FROM publications WHERE ledger = 'no family'").run();
    assert.match(await bad(1, "publish", "--token", "another-token"), /^UNAUTHENTICATED: /);
  });
});

describe("`audit` commands", () => {
  const hash = (line) => createHash("sha256").update(line).digest("hex");
  const LONG = 2_345;
  const long = "t_long";
  let lines;

  test("`audit show` lists the actor, the action and the changed members of each entry", async () => {
    const table = await good("audit", "show", acme.id);
    assert.match(table, /^1 +\S+Z +operator +tenant\.create /m);
    assert.match(table, /tenant\.change +name\n?/);
    const { items, head } = await json("audit", "show", acme.id, "--action", "key.issue", "--last", "1");
    assert.deepEqual([items.length, items[0].action, head.hash.length], [1, "key.issue", 64]);
    assert.equal(items[0].from.user_agent.startsWith("tenantgate-cli/"), true);
    assert.match(await bad(1, "audit", "show", "t_nobody"), /^NOT_FOUND: /);
  });

  test("`audit export` writes all pages in each format", async () => {
    await insert([{ id: long, slug: "long", plan: "free@1", epoch: 1 }]);
    let previous = "";
    lines = Array.from({ length: LONG }, (_, i) => {
      const line = JSON.stringify({ chain: long, number: i + 1, previous, at: "2026-11-24T00:00:00Z", actor: { kind: "operator", id: "" }, from: {}, action: "tenant.change", changes: { name: { after: `=é ${i}` } } });
      previous = hash(line);
      return line;
    });
    const rows = lines.map((line, i) => [i + 1, hash(line), line]);
    await gate.db.prepare("INSERT INTO audit (chain, number, hash, entry) SELECT ?1, value ->> 0, value ->> 1, value ->> 2 FROM json_each(?2)").bind(long, JSON.stringify(rows)).run();
    const out = file("trail.ndjson");
    const written = await run(["audit", "export", long, "-o", out]);
    assert.deepEqual([written.code, written.stdout, written.stderr], [0, "", `Written to ${out}.\n`]);
    assert.equal(text(out), `${lines.join("\n")}\n`);
    assert.equal(await good("audit", "export", long), `${lines.join("\n")}\n`);
    const csv = (await good("audit", "export", long, "--format", "csv")).split("\r\n");
    assert.deepEqual([csv.length, csv[0], csv.filter((line) => line.startsWith("number")).length, csv[LONG].split(",")[0], csv.at(-1)], [LONG + 2, "number,at,actor,ip,action,reason,changes", 1, `"${LONG}"`, ""]);
    const whole = await json("audit", "export", long);
    assert.deepEqual([whole.items.length, whole.items.at(-1).number, whole.head], [LONG, LONG, { number: LONG, hash: previous }]);
    assert.deepEqual(await json("audit", "export", "catalog", "--format", "csv", "-o", file("catalog.csv")), { file: file("catalog.csv"), format: "csv" });
    assert.match(text(file("catalog.csv")), /"catalog\.put"/);
  });

  test("`audit export` ends without an error if its reader closes the pipe", async () => {
    const { code, stderr } = await new Promise((done) => {
      const child = execFile(process.execPath, [join(root, "pkg/cli.js"), "audit", "export", long], { env: { TENANTGATE_URL: url, TENANTGATE_TOKEN: OPERATOR } }, (error, stdout, stderr) => done({ code: error ? error.code : 0, stderr }));
      child.stdout.destroy();
    });
    assert.deepEqual([code, stderr], [0, ""]);
  });

  test("`audit export` creates no file if it is refused", async () => {
    assert.match(await bad(1, "audit", "export", "t_nobody", "-o", file("none.ndjson")), /^NOT_FOUND: /);
    assert(!readdirSync(folder).includes("none.ndjson"));
  });

  const verdict = async (content, ...args) => {
    const { code, stdout } = await run(["audit", "verify", file("checked.ndjson", content), "--json", ...args]);
    const { valid, head, broken } = JSON.parse(stdout);
    assert.deepEqual([valid, broken === undefined], [code === 0, code === 0]);
    return { code, head: head.number, at: broken?.number, why: broken?.why };
  };

  test("`audit verify` of a file reports its head, or the first entry that breaks the chain", async () => {
    const all = `${lines.join("\n")}\n`;
    const said = await good("audit", "verify", file("checked.ndjson", all));
    assert.match(said, /^The trail of t_long is valid\.\n/);
    assert(said.includes(hash(lines.at(-1))) && said.includes(String(LONG)));
    const changed = (i, edit) => lines.map((line, at) => (at === i ? edit(line) : line)).join("\n");
    assert.deepEqual(await verdict(changed(7, (line) => line.replace("=é 7", "=é 8"))), { code: 1, head: 8, at: 9, why: "its hash of the previous entry is wrong" });
    assert.deepEqual(await verdict(lines.filter((_, i) => i !== 3).join("\n")), { code: 1, head: 3, at: 4, why: "its number is wrong" });
    assert.deepEqual(await verdict(changed(4, (line) => line.slice(1))), { code: 1, head: 4, at: 5, why: "it is not a JSON object" });
    assert.deepEqual(await verdict(lines.slice(1).join("\n")), { code: 1, head: 0, at: 1, why: "its number is wrong" });
    assert.equal((await verdict(all.replaceAll("\n", "\r\n"))).at, 2);
    assert.deepEqual([(await verdict("")).code, (await verdict("\n")).why], [1, "it is not a JSON object"]);
    const forged = lines[1].replace('"t_long"', '"t_acme"');
    assert.equal((await verdict([lines[0], forged].join("\n"))).why, "it belongs to another trail");
    assert.deepEqual(await verdict(all, "--tenant", acme.id), { code: 1, head: 0, at: 1, why: "it belongs to another trail" });
    assert.match((await run(["audit", "verify", file("checked.ndjson", lines.slice(1).join("\n"))])).stdout, /^Entry 1 breaks the chain: its number is wrong\.\n/);
    assert.match(await bad(2, "audit", "verify", join(folder, "nothing.ndjson")), /cannot be read/);
  });

  test("`audit verify --head` detects a file that ends before the remembered entry", async () => {
    const remembered = hash(lines[100]);
    assert.equal((await verdict(lines.join("\n"), "--head", remembered)).code, 0);
    assert.deepEqual(await verdict(lines.slice(0, 90).join("\n"), "--head", remembered), { code: 1, head: 90, at: 90, why: "the trail ends here, without the entry that --head names" });
  });

  test("`audit verify` checks the deployment's own trails, including their last entry", async () => {
    assert.match(await good("audit", "verify"), /^The trail of catalog is valid\.\n/);
    const { chain, head } = await json("audit", "verify", "--tenant", long);
    assert.deepEqual([chain, head], [long, { number: LONG, hash: hash(lines.at(-1)) }]);
    assert.match(await bad(1, "audit", "verify", "--tenant", "t_nobody"), /^NOT_FOUND: /);
    // A trigger protects the audit trail, so tampering with it begins with dropping the trigger.
    await gate.db.prepare("DROP TRIGGER audit_keeps").run();
    const write = (number, line) => gate.db.prepare("UPDATE audit SET entry = ? WHERE chain = ? AND number = ?").bind(line, long, number).run();
    const found = async () => {
      const { code, stdout } = await run(["audit", "verify", "--tenant", long, "--json"]);
      return [code, JSON.parse(stdout).broken.number];
    };
    await write(LONG, lines.at(-1).replace("operator", "nobody"));
    assert.deepEqual(await found(), [1, LONG]);
    await write(LONG, lines.at(-1));
    await write(1_500, lines[1_499].replace("operator", "nobody"));
    assert.deepEqual(await found(), [1, 1_501]);
  });
});
