// A project of one's own: `init` writes it, `dev` serves it on this machine, `deploy` brings it to
// Cloudflare.

import { randomBytes } from "node:crypto";
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, watch, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { publish } from "../../node.js";
import { Failure, hide, wrongUsage } from "../failure.js";
import { flag, text, whole } from "../options.js";
import { configuration, firstRequest, imported, localToken, seedOf, started, wrangler } from "../project.js";
import { files, manifest, TEMPLATES } from "../templates.js";

const SEED = {
  catalog: text("The file with the catalog.", { default: "catalog.json" }),
  tenants: text("The file with the list of tenants.", { default: "tenants.json" }),
};

/** The name of a Worker: what Cloudflare allows in a host name. */
const nameOf = (folder) => basename(folder).toLowerCase().replace(/[^a-z0-9-]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 40) || "gate";

const init = {
  command: "init [folder]",
  describe: "Write a project with a Worker, a catalog and a test, and keep every file that exists.",
  positionals: { folder: "The folder; by default this one." },
  options: {
    template: text(`What to write: ${Object.entries(TEMPLATES).map(([name, { about }]) => `${name} (${about})`).join(", ")}.`, { default: "hono" }),
  },
  run({ argv, out }) {
    if (!Object.hasOwn(TEMPLATES, argv.template)) throw wrongUsage(`unknown template \`${argv.template}\`: the templates are ${Object.keys(TEMPLATES).join(", ")}`);
    const folder = resolve(argv.folder ?? ".");
    mkdirSync(folder, { recursive: true });
    const added = [manifested(folder, argv.template), ignored(folder)].flat();
    const [written, kept] = [[], []];
    for (const [path, content] of Object.entries(files(nameOf(folder), argv.template))) {
      const file = join(folder, path);
      if (existsSync(file)) {
        kept.push(path);
        continue;
      }
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, content);
      written.push(path);
    }
    out.result({ folder, written, kept, added }, () => {
      for (const path of written) out.line(`wrote ${path}`);
      for (const path of kept) out.line(`kept ${path}, which exists`);
      for (const what of added) out.line(`added ${what}`);
      if (kept.includes("wrangler.jsonc")) out.lines(["", "Your wrangler.jsonc needs these bindings too, if it lacks them:", ...BINDINGS]);
      out.lines(["", "Next:", "", ...(argv.folder ? [`  cd ${/^[\w./-]+$/.test(argv.folder) ? argv.folder : JSON.stringify(argv.folder)}`] : []), "  npm install", "  npm run dev"]);
    });
  },
};

const BINDINGS = [
  '  "kv_namespaces": [{ "binding": "SNAPSHOTS" }]', '  "durable_objects": { "bindings": [{ "name": "LEDGER", "class_name": "TenantLedger" }] }',
  '  "migrations": [{ "tag": "tenantgate", "new_sqlite_classes": ["TenantLedger"] }]',
  '  "d1_databases": [{ "binding": "CONTROL_DB", "database_name": "control", "migrations_dir": "node_modules/tenantgate/migrations" }]',
];

/** Adds what `package.json` lacks. Returns the names of what was added. */
function manifested(folder, template) {
  const file = join(folder, "package.json");
  const before = existsSync(file) ? packaged(file) : { name: nameOf(folder), private: true, type: "module" };
  const added = [];
  for (const [part, members] of Object.entries(manifest(template))) {
    const there = { ...before.dependencies, ...before.devDependencies, ...(part === "scripts" && before.scripts) };
    for (const [name, value] of Object.entries(members)) {
      if (Object.hasOwn(there, name)) continue;
      before[part] = { ...before[part], [name]: value };
      added.push(name);
    }
  }
  if (added.length === 0) return [];
  writeFileSync(file, `${JSON.stringify(before, null, 2)}\n`);
  return [`${added.join(", ")} to package.json`];
}

function packaged(file) {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch {
    throw wrongUsage("package.json is not valid JSON: correct it and run again");
  }
}

/** Keeps local secrets and state out of git. */
function ignored(folder) {
  const file = join(folder, ".gitignore");
  const lines = existsSync(file) ? readFileSync(file, "utf8").split("\n") : [];
  const missing = ["node_modules", ".wrangler", ".dev.vars"].filter((name) => !lines.some((line) => line.replace(/^\/|\/$/g, "") === name));
  if (missing.length === 0) return [];
  appendFileSync(file, `${lines.length > 0 && lines.at(-1) !== "" ? "\n" : ""}${missing.join("\n")}\n`);
  return [`${missing.join(", ")} to .gitignore`];
}

const dev = {
  command: "dev",
  describe: "Serve the project on this machine, and follow changes of its catalog and tenants.",
  options: { ...SEED, port: whole("The port.", { default: "8787" }), reset: flag("Forget first what an earlier run has stored.") },
  async run({ argv, out }) {
    const settings = readFileSync(configuration(), "utf8");
    const token = localToken();
    hide(token);
    const first = seedOf(argv.catalog, argv.tenants);
    await free(argv.port);
    if (argv.reset) rmSync(".wrangler/state", { recursive: true, force: true });
    // A Worker without a control plane reads snapshots that somebody has published.
    const controlled = /"?CONTROL_DB"?/.test(settings);
    if (controlled) wrangler(["d1", "migrations", "apply", "CONTROL_DB", "--local"], { quiet: true });
    else published(first);
    const server = await started(["dev", "--ip", "127.0.0.1", "--port", String(argv.port), "--show-interactive-dev-session=false", "--log-level", "warn"]);
    const ended = new Promise((done) => server.once("exit", done));
    for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => server.kill(signal));
    // wrangler warns that crons do not run locally. The interval below runs them.
    server.stderr.setEncoding("utf8").on("data", (text) => process.stderr.write(text.replace(CRONS, "")));
    const base = new URL(`http://127.0.0.1:${argv.port}`);
    try {
      await answering(base, ended);
      if (controlled) await takenOver(base, token, first);
    } catch (error) {
      server.kill();
      throw error;
    }
    out.lines(["", `Serving on ${base.href} Try:`, "", `  ${firstRequest(base, first)}`, ""]);
    if (controlled) out.lines(["For `tenantgate` in another terminal:", "", `  export TENANTGATE_URL=${base.origin} TENANTGATE_TOKEN=$(sed -n 's/^OPERATOR_TOKEN=//p' .dev.vars)`, ""]);
    following([argv.catalog, argv.tenants], async () => {
      try {
        const seed = seedOf(argv.catalog, argv.tenants);
        if (controlled) await imported(base, token, seed);
        else published(seed);
        out.line(controlled ? "Took over the changed catalog and tenants." : "Published the changed catalog and tenants: start again to see them at once.");
      } catch (error) {
        const problems = (error.details?.problems ?? []).map(({ path, found, expected }) => `  ${path}: found ${found}, expected ${expected}`);
        out.lines([`Kept the catalog and tenants as they were: ${error.message}`, ...problems]);
      }
    });
    setInterval(() => fetch(new URL("/cdn-cgi/handler/scheduled?cron=*+*+*+*+*", base)).catch(() => {}), 60_000).unref();
    return (await ended) ?? 0;
  },
};

/** Refuses a port on which somebody else answers, who would receive the token. */
function free(port) {
  return new Promise((done, fail) => {
    const server = createServer();
    server.once("error", () => fail(wrongUsage(`the port ${port} is taken: choose another one by --port`)));
    server.listen(port, "127.0.0.1", () => server.close(done));
  });
}

/** Publishes a seed to the local KV. */
function published(seed) {
  const folder = mkdtempSync(join(tmpdir(), "tenantgate-"));
  try {
    const file = join(folder, "snapshots.json");
    writeFileSync(file, JSON.stringify(publish(seed).map(([key, value]) => ({ key, value }))));
    wrangler(["kv", "bulk", "put", file, "--binding", "SNAPSHOTS", "--local"], { quiet: true });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Imports a seed, and makes sure that the gate serves by it. */
async function takenOver(base, token, seed) {
  try {
    await imported(base, token, seed);
  } catch (error) {
    if (error.code === "PLAN_IN_USE") error.hint = "A plan version that tenants have stays as it is: add a new version, or start over with `tenantgate dev --reset`.";
    throw error;
  }
  const { status, reason = "see the messages above" } = await fetch(new URL("/_gate/healthz", base)).then((response) => response.json(), () => ({}));
  if (status !== "ok") throw new Failure(`the gate does not work: its health is \`${status}\`: ${reason}`, { code: "UNHEALTHY" });
}

const CRONS = /^.*Scheduled Workers are not automatically triggered[^]*?#test-cron-triggers-locally.*\s*/m;

async function answering(base, ended) {
  let running = true;
  ended.then(() => { running = false; });
  for (let attempt = 0; attempt < 240 && running; attempt++) {
    if (await fetch(new URL("/_gate/openapi.json", base)).then(() => true, () => false)) return;
    await pause(250);
  }
  throw new Failure("the Worker did not answer within a minute: see wrangler's messages", { code: "NOT_STARTED" });
}

/** Calls `changed`, one call at a time, after the files were written, also by editors that replace a file. */
function following(names, changed) {
  let timer;
  let last = Promise.resolve();
  const folders = new Set(names.map((name) => dirname(resolve(name))));
  for (const folder of folders) {
    watch(folder, (_, name) => {
      if (!names.some((one) => basename(one) === name)) return;
      clearTimeout(timer);
      timer = setTimeout(() => { last = last.then(changed); }, 200);
    }).unref();
  }
}

const deploy = {
  command: "deploy",
  describe: "Create what the project lacks at Cloudflare, deploy it, and publish the catalog.",
  options: {
    ...SEED,
    "dry-run": flag("Show the steps, and do nothing."),
    "worker-url": text("The address of the deployed Worker; by default the one that wrangler prints."),
    "keep-token": flag("Keep the Worker's operator token, which TENANTGATE_TOKEN holds; otherwise a new one replaces it."),
  },
  async run({ argv, out }) {
    const config = configuration();
    const seed = seedOf(argv.catalog, argv.tenants);
    const settings = readFileSync(config, "utf8");
    const lacksKv = lacks(settings, "SNAPSHOTS", "id");
    const lacksD1 = lacks(settings, "CONTROL_DB", "database_id");
    const database = /"database_name":\s*"([^"]+)"/.exec(settings)?.[1] ?? "tenantgate-control";
    const name = /"name":\s*"([^"]+)"/.exec(settings)?.[1] ?? "tenantgate";
    const kept = argv["keep-token"];
    const token = kept ? process.env.TENANTGATE_TOKEN : randomBytes(24).toString("hex");
    if (!token) throw wrongUsage("--keep-token needs the Worker's operator token in TENANTGATE_TOKEN");
    hide(token);
    let output = "";
    const steps = [
      lacksKv && ["Create the KV namespace", ["kv", "namespace", "create", `${name}-snapshots`], (text) => fill(config, "SNAPSHOTS", "id", /"id":\s*"([0-9a-f]{32})"/.exec(text)?.[1])],
      lacksD1 && ["Create the D1 database", ["d1", "create", database], (text) => fill(config, "CONTROL_DB", "database_id", /"database_id":\s*"([0-9a-f-]{36})"/.exec(text)?.[1])],
      ["Create the control plane's tables", ["d1", "migrations", "apply", "CONTROL_DB", "--remote"]],
      ["Deploy the Worker", ["deploy"], (text) => { output = text; }],
      !kept && ["Set a new operator token", ["secret", "put", "OPERATOR_TOKEN"], undefined, token],
    ].filter(Boolean);
    if (argv["dry-run"]) {
      const shown = steps.map(([what, args]) => ({ what, command: `wrangler ${args.join(" ")}` }));
      const last = { what: "Publish the catalog and the tenants", command: `${seed.tenants.length} tenants, catalog version ${seed.catalog.version}` };
      out.result({ steps: [...shown, last] }, () => out.table(["Step", "Command"], [...shown, last].map(({ what, command }) => [what, command])));
      return;
    }
    for (const [what, args, then, input] of steps) {
      out.note(`${what}: wrangler ${args.join(" ")}`);
      const text = wrangler(args, { input });
      then?.(text);
    }
    const address = argv["worker-url"] ?? /https:\/\/[\w.-]+\.workers\.dev/.exec(output)?.[0];
    if (address === undefined) throw new Failure("wrangler printed no address of the Worker: run again with --worker-url", { code: "NO_ADDRESS" });
    const base = new URL(address);
    await announced(base, token, seed);
    out.result({ url: base.href, operator_token: kept ? undefined : token, first_request: firstRequest(base, seed) }, () => {
      if (!kept) out.secret("OPERATOR_TOKEN", token);
      out.lines(["", `Deployed to ${base.href} Try:`, "", `  ${firstRequest(base, seed)}`, ""]);
    });
  },
};

/** Whether the binding stands in the configuration without its id. */
const lacks = (settings, binding, id) => {
  const found = new RegExp(`\\{[^{}]*"${binding}"[^{}]*\\}`).exec(settings)?.[0];
  if (found === undefined) throw wrongUsage(`wrangler.jsonc has no binding \`${binding}\``);
  return !found.includes(`"${id}"`);
};

/** Writes the id of what was created into the configuration, which keeps its comments. */
function fill(config, binding, name, id) {
  if (id === undefined) throw new Failure(`wrangler printed no id for \`${binding}\`: add it to ${config} and run again`, { code: "NO_ID" });
  const settings = readFileSync(config, "utf8");
  writeFileSync(config, settings.replace(new RegExp(`(\\{[^{}]*"binding":\\s*"${binding}")`), `$1, "${name}": "${id}"`));
}

/** A new secret and a new host take a moment to be known everywhere. */
async function announced(base, token, seed) {
  for (let attempt = 0; ; attempt++) {
    try {
      return await imported(base, token, seed);
    } catch (error) {
      const passes = error.code === "UNAUTHENTICATED" || error.code === "IMPORT_FAILED" || error instanceof TypeError;
      if (!passes || attempt === 20) throw error;
      await pause(1_500);
    }
  }
}

export const commands = [init, dev, deploy];
