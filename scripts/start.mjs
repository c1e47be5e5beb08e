// Serves a seed on 127.0.0.1 with wrangler's local workerd.
// Usage: npm start [-- --seed FILE --port N]

import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { buildNpm, buildWorker } from "./build.mjs";
import { env, fail, root, run, setup, start } from "./setup.mjs";

const { values } = options();
const port = Number(values.port);
if (!Number.isInteger(port) || port < 1 || port > 65535) fail(`--port must be a number from 1 to 65535, not \`${values.port}\`.`);
const file = resolve(values.seed);
if (!existsSync(file)) {
  fail(`The file \`${values.seed}\` does not exist: --seed must name a JSON document {"catalog": …, "tenants": […]}.`);
}

setup({ tools: ["wasm-bindgen"] });
buildNpm({ quick: true, pages: false });
const { issueApiKey, publish } = await import("../pkg/node.js");
const document = readFileSync(file, "utf8");
published(document);
const visitor = guest(JSON.parse(document));
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
await imported();
// Locally no cron trigger fires. This calls the handler every minute, as `triggers` in
// `wrangler.toml` does.
setInterval(() => {
  fetch(`http://127.0.0.1:${port}/cdn-cgi/handler/scheduled?cron=${encodeURIComponent("* * * * *")}`).catch(() => {});
}, 60_000).unref();
console.log(`\ntenantgate serves ${values.seed} on http://127.0.0.1:${port}. Requests to try:\n`);
for (const line of requests(JSON.parse(document), visitor)) console.log(`  ${line}\n`);
console.log(`To see decisions step by step, open http://127.0.0.1:${port}/_gate/ui and enter the token above.\n`);

function options() {
  try {
    return parseArgs({ options: { seed: { type: "string", default: "examples/demo.json" }, port: { type: "string", default: "8787" } } });
  } catch (error) {
    return fail(`${error.message}. Usage: npm start -- --seed FILE --port N`);
  }
}

function published(text) {
  try {
    return publish(text);
  } catch (error) {
    const { problems } = error;
    if (!problems) throw error;
    const list = problems.map(({ path, found, expected }) => `  ${path}: found ${found}, expected ${expected}`).join("\n");
    return fail(`\`${values.seed}\` has ${problems.length} problem${problems.length === 1 ? "" : "s"}:\n${list}`);
  }
}

/**
 * The first active tenant, with a new API key for this run if the catalog has the strategy
 * `api_key`.
 */
function guest({ catalog, tenants }) {
  const tenant = tenants.find(({ status = "active" }) => status === "active");
  const reads = catalog.resolution.strategies.find(({ strategy }) => strategy === "api_key");
  if (!tenant || !reads) return { tenant };
  const scopes = [...new Set((catalog.routes ?? []).flatMap(({ scopes = [] }) => scopes))];
  return { tenant, header: reads.header_name ?? "X-API-Key", ...issueApiKey({ tenant: tenant.id, scopes, name: "npm start" }) };
}

/**
 * Imports the document into the control plane. Keeps what exists there, unless the document has
 * changed.
 */
async function imported() {
  const seed = JSON.parse(document);
  const body = JSON.stringify({ ...seed, api_keys: [...(seed.api_keys ?? []), ...(visitor.record ? [visitor.record] : [])] });
  const print = createHash("sha256").update(document).digest("hex");
  const stamp = join(state, "imported");
  const overwrite = existsSync(stamp) && readFileSync(stamp, "utf8") !== print;
  const init = { method: "POST", headers: { authorization: `Bearer ${token}` }, body };
  const response = await fetch(`http://127.0.0.1:${port}/_gate/v1/admin/import?overwrite=${overwrite}`, init);
  if (response.ok) return writeFileSync(stamp, print);
  server.kill();
  const { error } = await response.json();
  fail(`Importing \`${values.seed}\` failed: ${error.code}: ${error.message} ${JSON.stringify(error.details)}`);
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
function requests({ catalog }, { tenant, header: keyHeader, key }) {
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
