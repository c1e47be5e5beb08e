// The built Worker on real workerd, with real KV and Durable Objects, driven through Miniflare.

import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Miniflare, convertV4MiniflareOptions } from "miniflare";
import { publish } from "../../pkg/node.js";

const root = join(import.meta.dirname, "../..");
export const OPERATOR = "operator-token-for-tests";

const modules = (folder) => [
  { type: "ESModule", path: join(root, folder, "entry.js") },
  { type: "ESModule", path: join(root, folder, "index.js") },
  { type: "CompiledWasm", path: join(root, folder, "index_bg.wasm") },
];

/**
 * Starts the Worker with a catalog and tenants. `origin`: a fetch handler in JS text, as its upstream; `isolates`: how many
 * times it runs, each with an isolate of its own before the same KV and the same ledgers; `control`: with the system of record;
 * `more`: bindings of other kinds; `beside`: other Workers.
 */
export async function worker({ seed, bindings = {}, origin, resolver, ledger = true, control = false, folder = "build/test", storage, isolates = 1, more = {}, beside = [] } = {}) {
  const gate = {
    name: "gate",
    modules: modules(folder),
    modulesRoot: join(root, folder),
    compatibilityDate: "2026-11-01",
    compatibilityFlags: ["enable_request_signal"],
    kvNamespaces: ["SNAPSHOTS"],
    bindings: { OPERATOR_TOKEN: OPERATOR, ...bindings },
    serviceBindings: { ...(origin && { UPSTREAM: "origin" }), ...(resolver && { RESOLVER: "resolver" }) },
    ...(ledger && { durableObjects: { LEDGER: { className: "TenantLedger", useSQLite: true } } }),
    ...(control && { d1Databases: { CONTROL_DB: "control" } }),
    ...more,
  };
  const service = (name, script) => ({ name, modules: true, script, compatibilityDate: "2026-11-01" });
  const others = Array.from({ length: isolates - 1 }, (_, i) => ({
    ...gate, name: `gate${i + 1}`, durableObjects: { LEDGER: { className: "TenantLedger", scriptName: "gate" } },
  }));
  const log = [];
  const options = convertV4MiniflareOptions({
    workers: [gate, ...others, ...(origin ? [service("origin", origin)] : []), ...(resolver ? [service("resolver", resolver)] : []), ...beside],
    handleStructuredLogs: ({ message }) => log.push(message),
  });
  const flare = new Miniflare({ ...options, ...(storage && { resourcePersistencePath: storage }) });
  const url = await flare.ready;
  const kv = await flare.getKVNamespace("SNAPSHOTS", "gate");
  const db = control ? await flare.getD1Database("CONTROL_DB", "gate") : undefined;
  if (db) await migrate(db);
  if (seed) for (const [key, value] of publish(seed)) await kv.put(key, value);

  /** Sends a request as a client would: to the real port, with the `Host` header of the tenant. */
  const send = (path, { host = "app.example.com", ...init } = {}) =>
    flare.dispatchFetch(`http://${host}${path}`, { redirect: "manual", ...init });
  const decide = async (question) => {
    const response = await send("/_gate/v1/decide", {
      method: "POST", body: JSON.stringify(question), headers: { authorization: `Bearer ${OPERATOR}` },
    });
    return { status: response.status, headers: response.headers, body: await response.json() };
  };
  const fetchers = await Promise.all(Array.from({ length: isolates }, (_, i) => flare.getWorker(i ? `gate${i}` : "gate")));
  /** Sends a request to one of several isolates. */
  const sendTo = (isolate, path, { host = "app.example.com", ...init } = {}) => fetchers[isolate].fetch(`http://${host}${path}`, init);
  /** Asks the admin API: its status, its answer, its headers. `as`: the token; `isolate`: which one is asked. */
  const admin = async (method, path, body, { as = OPERATOR, isolate = 0, ...headers } = {}) => {
    const init = { method, headers: { authorization: `Bearer ${as}`, ...headers }, ...(body !== undefined && { body: typeof body === "string" ? body : JSON.stringify(body) }) };
    const response = await sendTo(isolate, `/_gate/v1/admin${path}`, init);
    const text = await response.text();
    const json = response.headers.get("content-type").includes("json") && !response.headers.get("content-type").includes("ndjson");
    return { status: response.status, body: json ? JSON.parse(text) : text, headers: response.headers };
  };
  /** The clock's turn. */
  const tick = () => fetchers[0].scheduled({ cron: "* * * * *" });
  return { flare, kv, db, send, sendTo, decide, admin, tick, log, url, stop: () => flare.dispose() };
}

/** Makes the tables of the system of record, as `wrangler d1 migrations apply` does. */
async function migrate(db) {
  const made = await db.prepare("SELECT 1 FROM sqlite_master WHERE name = 'tenants'").all();
  if (made.results.length) return;
  for (const name of (await readdir(join(root, "migrations"))).sort()) {
    const text = (await readFile(join(root, "migrations", name), "utf8")).replace(/--.*$/gm, "");
    await db.batch(text.split(/;\s*\n/).map((sql) => sql.trim()).filter(Boolean).map((sql) => db.prepare(sql)));
  }
}

/** A folder for storage that outlives a Worker. */
export async function storage() {
  const folder = await mkdtemp(join(tmpdir(), "tenantgate-"));
  return { folder, remove: () => rm(folder, { recursive: true, force: true }) };
}

/** The vector files that every runtime runs. */
export async function vectors() {
  const folder = join(root, "tests/vectors");
  const names = (await readdir(folder)).filter((name) => name.endsWith(".json")).sort();
  return Promise.all(names.map(async (name) => ({ name, ...JSON.parse(await readFile(join(folder, name), "utf8")) })));
}

/** Where `found` differs from `expected`: members that `expected` does not name do not matter. */
export function difference(expected, found, path = "$") {
  if (Array.isArray(expected) && Array.isArray(found) && expected.length === found.length) {
    return expected.map((value, i) => difference(value, found[i], `${path}[${i}]`)).find(Boolean);
  }
  if (expected && found && typeof expected === "object" && typeof found === "object" && !Array.isArray(expected)) {
    return Object.entries(expected).map(([key, value]) => difference(value, found[key] ?? null, `${path}.${key}`)).find(Boolean);
  }
  return expected === found ? undefined : `${path} is ${JSON.stringify(found)}, expected ${JSON.stringify(expected)}`;
}
