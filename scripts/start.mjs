// Serves a seed on 127.0.0.1 with wrangler's local workerd.
// Usage: npm start [-- --seed FILE --port N]

import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { buildWorker } from "./build.mjs";
import { env, fail, root, run, setup, start } from "./setup.mjs";

const { values } = options();
const port = Number(values.port);
if (!Number.isInteger(port) || port < 1 || port > 65535) fail(`--port must be a number from 1 to 65535, not \`${values.port}\`.`);
const file = resolve(values.seed);
if (!existsSync(file)) {
  fail(`The file \`${values.seed}\` does not exist: --seed must name a JSON document {"catalog": …, "tenants": […]}.`);
}

const document = readFileSync(file, "utf8");
const seed = parsed(document);

setup({ packages: "serving", tools: ["wasm-bindgen"] });
buildWorker({ quick: true });

// Local secrets are in a file that git ignores, so the operator token survives restarts.
const secrets = join(root, ".dev.vars");
if (!existsSync(secrets)) writeFileSync(secrets, `OPERATOR_TOKEN=${randomBytes(16).toString("hex")}\n`);
const token = /^OPERATOR_TOKEN=(.*)$/m.exec(readFileSync(secrets, "utf8"))?.[1] ?? "";

// Each document has its own state, which survives restarts.
const state = join(root, ".wrangler", `state-${createHash("sha256").update(file).digest("hex").slice(0, 8)}`);
const quiet = { stdio: ["ignore", "ignore", "inherit"] };
run("wrangler", ["d1", "migrations", "apply", "CONTROL_DB", "--local", "--persist-to", state], quiet);

const quick = { env: { ...env, TENANTGATE_PROFILE: "quick" } };
const server = start(
  "wrangler",
  [
    "dev", "--ip", "127.0.0.1", "--port", String(port), "--persist-to", state, "--log-level", "warn",
    "--show-interactive-dev-session=false",
  ],
  { stdio: ["ignore", "inherit", "pipe"], ...quick },
);
// wrangler warns that crons do not run locally. The interval below runs them.
const CRONS = /^.*Scheduled Workers are not automatically triggered[^]*?#test-cron-triggers-locally.*\s*/m;
server.stderr.setEncoding("utf8").on("data", (text) => process.stderr.write(text.replace(CRONS, "")));
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => server.kill(signal));
server.on("exit", (code) => process.exit(code ?? 0));

await ready();
const visitor = await imported();
// Locally no cron trigger fires. This calls the handler every minute, as `triggers` in
// `wrangler.toml` does.
setInterval(() => {
  fetch(`http://127.0.0.1:${port}/cdn-cgi/handler/scheduled?cron=${encodeURIComponent("* * * * *")}`).catch(() => {});
}, 60_000).unref();
console.log(`\ntenantgate serves ${values.seed} on http://127.0.0.1:${port}. Requests to try:\n`);
for (const line of requests(seed.catalog, visitor)) console.log(`  ${line}\n`);
console.log(`To see decisions step by step, open http://127.0.0.1:${port}/_gate/ui and enter the token above.\n`);

function options() {
  try {
    return parseArgs({ options: { seed: { type: "string", default: "examples/demo.json" }, port: { type: "string", default: "8787" } } });
  } catch (error) {
    return fail(`${error.message}. Usage: npm start -- --seed FILE --port N`);
  }
}

function parsed(text) {
  let seed;
  try {
    seed = JSON.parse(text);
  } catch (error) {
    return fail(`\`${values.seed}\` is not valid JSON: ${error.message}`);
  }
  if (!Array.isArray(seed?.tenants) || !seed.catalog) return fail(`\`${values.seed}\` must be a JSON document {"catalog": …, "tenants": […]}.`);
  return seed;
}

/**
 * Imports the document into the control plane. Keeps what exists there, unless the document has
 * changed. Returns who may send requests: the first active tenant, and its API key.
 */
async function imported() {
  const stamp = join(state, "import.json");
  const print = createHash("sha256").update(document).digest("hex");
  const last = existsSync(stamp) ? JSON.parse(readFileSync(stamp, "utf8")) : {};
  await admin(`/import?overwrite=${last.print !== undefined && last.print !== print}`, document);
  const visitor = last.print === print ? last.visitor : await guest(seed);
  writeFileSync(stamp, JSON.stringify({ print, visitor }));
  return visitor;
}

/** The first active tenant, with an API key if the catalog has the strategy `api_key`. */
async function guest({ catalog, tenants }) {
  const tenant = tenants.find(({ status = "active" }) => status === "active");
  const reads = catalog.resolution.strategies.find(({ strategy }) => strategy === "api_key");
  if (!tenant || !reads) return { tenant };
  const scopes = [...new Set((catalog.routes ?? []).flatMap(({ scopes = [] }) => scopes))];
  const { key } = await admin(`/tenants/${tenant.id}/api-keys`, JSON.stringify({ name: "npm start", scopes }));
  return { tenant, header: reads.header_name ?? "X-API-Key", key };
}

async function admin(path, body) {
  const init = { method: "POST", headers: { authorization: `Bearer ${token}` }, body };
  const response = await fetch(`http://127.0.0.1:${port}/_gate/v1/admin${path}`, init);
  const answer = await response.json();
  if (response.ok) return answer;
  server.kill();
  const { code, message, details } = answer.error;
  const problems = details?.problems?.map(({ path, found, expected }) => `\n  ${path}: found ${found}, expected ${expected}`);
  return fail(`Importing \`${values.seed}\` failed: ${code}: ${message}${problems?.join("") ?? ` ${JSON.stringify(details)}`}`);
}

async function ready() {
  for (let attempt = 0; attempt < 240; attempt++) {
    const response = await fetch(`http://127.0.0.1:${port}/_gate/openapi.json`).catch(() => undefined);
    if (response?.ok) return;
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  server.kill();
  fail(`The Worker did not respond on port ${port} within a minute; see wrangler's messages above.`);
}

/**
 * Requests that fit the document: one of its first active tenant, one with an explanation, one with
 * an API key, and one to the decision API.
 */
function requests(catalog, { tenant, header: keyHeader, key }) {
  if (!tenant) return ["(the document has no active tenant)"];
  const strategies = Object.fromEntries(catalog.resolution.strategies.map((one) => [one.strategy, one]));
  const open = (route) => (route.auth === "none" || !(strategies.jwt || strategies.api_key)) && route.access !== "public";
  const routes = catalog.routes ?? [];
  const path = (routes.find((route) => route.feature && open(route)) ?? routes.findLast(open))?.path ?? "/";
  const named = (one) => (one.identifies === "id" ? tenant.id : tenant.slug);
  const at = `http://127.0.0.1:${port}`;
  const { header, path: prefix, query, subdomain, custom_domain: domain } = strategies;
  const host = subdomain ? `${tenant.slug}.${subdomain.base_domains[0]}` : domain && tenant.domains?.[0]?.host;
  const request = header ? `-H '${header.header_name ?? "X-Tenant-ID"}: ${named(header)}' ${at}${path}`
    : prefix ? `${at}${prefix.prefix ?? "/t/"}${named(prefix)}${path}`
    : query ? `'${at}${path}?${query.query_param ?? "tenant"}=${named(query)}'`
    : host ? `-H 'Host: ${host}' ${at}${path}`
    : undefined;
  const closed = routes.find((route) => route.scopes?.length)?.path ?? routes.find((route) => !open(route))?.path ?? "/";
  return [
    request && `curl ${request}`,
    request && `curl -H 'X-Gate-Explain: ${token}' ${request}`,
    key && `curl -H '${keyHeader}: ${key}' ${at}${closed}`,
    `curl -H 'Authorization: Bearer ${token}' -d '{"tenant": "${tenant.id}", "all_features": true}' ${at}/_gate/v1/decide`,
  ].filter(Boolean);
}
