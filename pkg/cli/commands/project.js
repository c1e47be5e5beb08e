// A project of one's own: `init` writes it, `dev` serves it on this machine. `deploy.js` brings it
// to Cloudflare.

import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync, watch, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { basename, dirname, join, resolve } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { Failure, hide, wrongUsage } from "../failure.js";
import { flag, text, whole } from "../options.js";
import { configuration, configurationIn, firstRequest, hasBinding, importSeed, localToken, putSnapshots, SEED, seedOf, started, wrangler } from "../project.js";
import { files, manifest, TEMPLATES } from "../templates.js";

/**
 * The name of the package and of its Worker: what Cloudflare allows in a host name, and not that of
 * the package which it depends on.
 */
function nameOf(folder) {
  const name = basename(folder).toLowerCase().replace(/[^a-z0-9-]+/g, "-").slice(0, 40).replace(/^-+|-+$/g, "");
  return ["", "tenantgate", "node-modules"].includes(name) ? "my-gate" : name;
}

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
    const added = [manifested(folder, argv.template), ignored(folder, argv.template)].flat();
    const [written, kept] = [[], []];
    const config = configurationIn(folder);
    for (const [path, content] of Object.entries(files(nameOf(folder), argv.template, config !== undefined))) {
      const file = join(folder, path);
      // A second configuration would take the place of the first.
      const there = path === "wrangler.jsonc" && config !== undefined ? config : existsSync(file) && path;
      if (there) {
        kept.push(there);
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
      if (config !== undefined) {
        const { main, needed } = TEMPLATES[argv.template];
        out.lines(["", `Your ${config} needs this too, if it lacks it:`, "", ...(config.endsWith(".toml") ? inToml(main) : inJson(main))]);
        if (needed) out.lines(["", "Your Worker needs this:", "", ...needed.map((line) => `  ${line}`)]);
      }
      // A project with scripts of its own keeps them.
      const own = packaged(join(folder, "package.json")).scripts?.dev !== manifest(argv.template).scripts.dev;
      out.lines(["", "Next:", "", ...(argv.folder ? [`  cd ${/^[\w./-]+$/.test(argv.folder) ? argv.folder : JSON.stringify(argv.folder)}`] : []), "  npm install", own ? "  npx tenantgate dev" : "  npm run dev"]);
    });
  },
};

const BINDINGS = [
  '  "kv_namespaces": [{ "binding": "SNAPSHOTS" }]', '  "durable_objects": { "bindings": [{ "name": "LEDGER", "class_name": "TenantLedger" }] }',
  '  "migrations": [{ "tag": "tenantgate", "new_sqlite_classes": ["TenantLedger"] }]',
  '  "d1_databases": [{ "binding": "CONTROL_DB", "database_name": "control", "migrations_dir": "node_modules/tenantgate/migrations" }]',
  '  "triggers": { "crons": ["* * * * *"] }', '  "compatibility_flags": ["enable_request_signal"]',
];
const BINDINGS_IN_TOML = [
  'compatibility_flags = ["enable_request_signal"]', "# anywhere below:", "[triggers]", 'crons = ["* * * * *"]', "[[kv_namespaces]]", 'binding = "SNAPSHOTS"',
  "[[durable_objects.bindings]]", 'name = "LEDGER"', 'class_name = "TenantLedger"', "[[migrations]]", 'tag = "tenantgate"', 'new_sqlite_classes = ["TenantLedger"]',
  "[[d1_databases]]", 'binding = "CONTROL_DB"', 'database_name = "control"', 'migrations_dir = "node_modules/tenantgate/migrations"',
];

/** What an existing configuration needs. `main`: the file that it names, if the template has one. */
const inJson = (main) => [...(main ? [`  "main": ${JSON.stringify(main)}`] : []), ...BINDINGS];
const inToml = (main) => ["# above the first table:", ...(main ? [`main = ${JSON.stringify(main)}`] : []), ...BINDINGS_IN_TOML].map((line) => `  ${line}`);

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
function ignored(folder, template) {
  const file = join(folder, ".gitignore");
  const lines = existsSync(file) ? readFileSync(file, "utf8").split("\n") : [];
  const missing = ["node_modules", ".wrangler", ".dev.vars", ...(TEMPLATES[template].ignored ?? [])].filter((name) => !lines.some((line) => line.replace(/^\/|\/$/g, "") === name));
  if (missing.length === 0) return [];
  appendFileSync(file, `${lines.length > 0 && lines.at(-1) !== "" ? "\n" : ""}${missing.join("\n")}\n`);
  return [`${missing.join(", ")} to .gitignore`];
}

const dev = {
  command: "dev",
  describe: "Serve the project on this machine, and follow changes of its catalog and tenants.",
  options: { ...SEED, port: whole("The port.", { default: "8787" }), reset: flag("Forget first what an earlier run has stored.") },
  async run({ argv, out }) {
    const config = configuration();
    if (!hasBinding(config, "SNAPSHOTS")) throw wrongUsage(`${config} has no binding \`SNAPSHOTS\`: \`tenantgate init\` prints what it needs`);
    const token = localToken();
    hide(token);
    const first = seedOf(argv.catalog, argv.tenants);
    await free(argv.port);
    if (argv.reset) rmSync(".wrangler/state", { recursive: true, force: true });
    // A Worker without a control plane reads snapshots that somebody has published.
    const controlled = hasBinding(config, "CONTROL_DB");
    if (controlled) wrangler(["d1", "migrations", "apply", "CONTROL_DB", "--local"], { quiet: true });
    else putSnapshots(first, "--local");
    const server = await started(["dev", "--ip", "127.0.0.1", "--port", String(argv.port), "--show-interactive-dev-session=false", "--log-level", "warn"]);
    const ended = new Promise((done) => server.once("exit", done));
    for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => server.kill(signal));
    // wrangler warns that crons do not run locally. The interval below runs them.
    server.stderr.setEncoding("utf8").on("data", (text) => process.stderr.write(text.replace(CRONS, "")));
    const base = new URL(`http://127.0.0.1:${argv.port}`);
    try {
      await answering(base, ended);
      if (controlled) await importAndCheck(base, token, first);
    } catch (error) {
      server.kill();
      throw error;
    }
    out.lines(["", `Serving on ${base.href} Try:`, "", `  ${firstRequest(base, first)}`, ""]);
    if (controlled) out.lines(["For `tenantgate` in another terminal:", "", `  export TENANTGATE_URL=${base.origin} TENANTGATE_TOKEN=$(sed -n 's/^OPERATOR_TOKEN=//p' .dev.vars)`, ""]);
    let held = first;
    following([argv.catalog, argv.tenants], async () => {
      try {
        const seed = seedOf(argv.catalog, argv.tenants);
        const left = held.tenants.filter(({ id }) => !seed.tenants.some((tenant) => tenant.id === id));
        if (controlled) await importSeed(base, token, seed);
        else putSnapshots(seed, "--local");
        out.line(controlled ? "Took over the changed catalog and tenants." : "Published the changed catalog and tenants: start again to see them at once.");
        held = seed;
        const remedy = (id) => (controlled ? `end it by \`tenantgate tenant delete ${id}\`, or start` : "start");
        for (const { id } of left) out.line(`${id} is gone from ${argv.tenants} and still there: ${remedy(id)} over by \`tenantgate dev --reset\`.`);
      } catch (error) {
        const problems = (error.details?.problems ?? []).map(({ path, found, expected }) => `  ${path}: found ${found}, expected ${expected}`);
        out.lines([`Kept the catalog and tenants as they were: ${error.message}`, ...problems, ...(error.hint ? [error.hint] : [])]);
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

/** Imports a seed, and makes sure that the gate serves by it. */
async function importAndCheck(base, token, seed) {
  await importSeed(base, token, seed);
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

/**
 * Calls `changed`, one call at a time, after the files were written, also by editors that replace a
 * file.
 */
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

export const commands = [init, dev];
