// The built Worker on real workerd, with real KV, D1 and Durable Objects, driven through Miniflare.
// A start of workerd takes seconds, another gate in the same process a few tenths of one: a test
// file starts workerd once, with all gates that its tests need.

import { readdirSync } from "node:fs";
import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Miniflare, convertV4MiniflareOptions } from "miniflare";
import { publish } from "../../pkg/node.js";
import { embedded } from "./embedded.mjs";

const root = join(import.meta.dirname, "../..");
export const OPERATOR = "operator-token-for-tests";
export const COMPATIBILITY_DATE = "2026-11-01";

/** The part of a request that names a tenant by its slug, for the strategy `header`. */
export const as = (slug, headers = {}) => ({ headers: { "x-tenant-id": slug, ...headers } });

/** The files of a built Worker: `entry.js` is its main module. */
export const filesOf = (folder) => readdirSync(join(root, folder)).filter((name) => /\.(js|wasm)$/.test(name)).sort((a, b) => (b === "entry.js") - (a === "entry.js"));
export const modules = (folder) =>
  filesOf(folder).map((name) => ({ type: name.endsWith(".wasm") ? "CompiledWasm" : "ESModule", path: join(root, folder, name) }));
/** The Worker under test: the gateway, or the gate inside a Worker of a user's own. */
export const BUILT = process.env.TENANTGATE_GATE === "embedded" ? embedded() : "build/test";
const script = (name, script) => ({ name, modules: true, script, compatibilityDate: COMPATIBILITY_DATE });

/** Starts workerd with one gate; see `workers`. `durable`: the gate can be restarted. */
export async function worker({ durable = false, ...options } = {}) {
  return (await workers({ gate: options }, { durable })).gate;
}

/**
 * Starts workerd once with several gates, and returns them by name. Each gate has isolates, KV,
 * ledgers and D1 of its own. Options of a gate:
 * - `seed`: a catalog and tenants, published to its KV;
 * - `origin`, `resolver`: fetch handlers in JavaScript text, as its upstream and its resolver;
 * - `isolates`: the number of isolates, all with the same KV, D1 and ledgers;
 * - `shares`: the name of an earlier gate with whose KV, D1 and ledgers this one works;
 * - `ledger: false`: without the ledger's binding; `control: true`: with the control plane's D1;
 * - `direct: true`: `url` is a socket of its own, to which requests arrive as they are sent;
 * - `bindings`: texts; `more`: members of Miniflare's options; `beside`: other Workers.
 * With `durable`, `restart()` of any gate stops workerd and starts all gates on the same storage,
 * the folder `disk`.
 */
export async function workers(gates, { durable = false } = {}) {
  const disk = durable ? await mkdtemp(join(tmpdir(), "tenantgate-")) : undefined;
  const log = [];
  const all = Object.entries(gates).map(([name, options], index) => handle({ name, log, first: index === 0, ...options }));
  const options = convertV4MiniflareOptions({
    workers: all.flatMap(({ services }) => services),
    handleStructuredLogs: ({ message }) => log.push(message),
  });
  let flare;
  const start = async () => {
    flare = new Miniflare({ ...options, ...(disk && { resourcePersistencePath: disk }) });
    await flare.ready;
    for (const { attach } of all) await attach(flare);
  };
  const stop = async () => {
    await flare?.dispose();
    if (disk) await rm(disk, { recursive: true, force: true });
  };
  const restart = async () => {
    if (!disk) throw new Error("only what is started with `durable` can be restarted");
    await flare.dispose();
    await start();
  };
  try {
    await start();
    for (const { gate, seed } of all) {
      Object.assign(gate, { stop, restart, disk });
      if (seed) await gate.seed(seed);
    }
  } catch (error) {
    await stop();
    throw error;
  }
  return Object.fromEntries(all.map(({ name, gate }) => [name, gate]));
}

/** A gate as Workers of one configuration, and what tests do with it once it is started. */
function handle({
  name, log, first, seed, bindings = {}, origin, resolver, ledger = true, control = false, folder = BUILT,
  isolates = 1, shares, direct = false, more = {}, beside = [],
}) {
  const store = shares ?? name;
  const [upstream, custom] = ["origin", "resolver"].map((service) => (first ? service : `${name}-${service}`));
  const object = (className, scriptName) => ({ className, ...(scriptName ? { scriptName } : { useSQLite: true }) });
  // The gate inside a Worker of a user's own has no sockets, nor has the first release.
  const hubs = ["build/test", "build"].includes(folder);
  const ledgerOf = (scriptName) => ({ durableObjects: { LEDGER: object("TenantLedger", scriptName), ...(hubs && { HUBS: object("TenantHub", scriptName) }) } });
  const worker = {
    name,
    modules: modules(folder),
    modulesRoot: join(root, folder),
    compatibilityDate: COMPATIBILITY_DATE,
    compatibilityFlags: ["enable_request_signal", "no_web_socket_compression"],
    kvNamespaces: { SNAPSHOTS: `snapshots-${store}` },
    bindings: { OPERATOR_TOKEN: OPERATOR, ...bindings },
    serviceBindings: { ...(origin && { UPSTREAM: upstream }), ...(resolver && { RESOLVER: custom }) },
    ...(ledger && ledgerOf(shares)),
    ...(control && { d1Databases: { CONTROL_DB: `control-${store}` } }),
    ...(direct && { unsafeDirectSockets: [{ host: "127.0.0.1" }] }),
    ...more,
  };
  const others = Array.from({ length: isolates - 1 }, (_, i) => ({ ...worker, name: `${name}${i + 1}`, ...(ledger && ledgerOf(store)) }));
  const services = [
    worker, ...others, ...(origin ? [script(upstream, origin)] : []), ...(resolver ? [script(custom, resolver)] : []), ...beside,
  ];
  const names = [name, ...others.map((other) => other.name)];

  let fetchers;
  const gate = {
    name,
    log,
    /** Sends a request as a client would: over the port, with the `Host` header of the tenant. */
    send(path, { host = "app.example.com", headers, ...init } = {}) {
      const sent = new Headers(headers);
      // The port is the first gate's, unless Miniflare's own entry is told otherwise.
      if (!first) sent.set("MF-Route-Override", name);
      return gate.flare.dispatchFetch(`http://${host}${path}`, { redirect: "manual", headers: sent, ...init });
    },
    /** Sends a request to one of several isolates. */
    sendTo: (isolate, path, { host = "app.example.com", ...init } = {}) => fetchers[isolate].fetch(`http://${host}${path}`, init),
    /** Asks for a decision; with `isolate`, one of several isolates. */
    async decide(question, { isolate } = {}) {
      const init = { method: "POST", body: JSON.stringify(question), headers: { authorization: `Bearer ${OPERATOR}` } };
      const path = "/_gate/v1/decide";
      const response = await (isolate === undefined ? gate.send(path, init) : gate.sendTo(isolate, path, init));
      return { status: response.status, headers: response.headers, body: await response.json() };
    },
    /** Sends a request to the admin API. `as`: the token; `isolate`: the isolate that answers. */
    async admin(method, path, body, { as = OPERATOR, isolate = 0, ...headers } = {}) {
      const text = typeof body === "string" ? body : JSON.stringify(body);
      const init = { method, headers: { authorization: `Bearer ${as}`, ...headers }, ...(body !== undefined && { body: text }) };
      const response = await gate.sendTo(isolate, `/_gate/v1/admin${path}`, init);
      const type = response.headers.get("content-type");
      const answer = await response.text();
      return { status: response.status, body: /json/.test(type) && !/ndjson/.test(type) ? JSON.parse(answer) : answer, headers: response.headers };
    },
    /** Runs the scheduled handler, which cron calls once a minute. */
    tick: () => fetchers[0].scheduled({ cron: "* * * * *" }),
    /** Writes a catalog and tenants to KV, as `tenantgate publish` does. */
    async seed(document) {
      for (const [key, value] of publish(document)) await gate.kv.put(key, value);
    },
    /** Writes a record and its slug to KV, without checks. */
    async putTenant(record) {
      await gate.kv.put(`tenant:${record.id}`, JSON.stringify(record));
      await gate.kv.put(`slug:${record.slug}`, record.id);
    },
    /** Writes an issuer's keys to KV, as an isolate does that fetched them `ageMs` ago. */
    putIssuerKeys: (url, keys, ageMs = 0) => gate.kv.put(`jwks:${url}`, JSON.stringify({ fetched_at: Date.now() - ageMs, jwks: { keys } })),
    /** Sends a request to the origin or to the resolver itself. */
    askOrigin: async (path) => (await gate.flare.getWorker(upstream)).fetch(`http://origin${path}`),
    askResolver: async (path) => (await gate.flare.getWorker(custom)).fetch(`http://resolver${path}`),
    /** The Durable Object of a family's ledger. */
    async ledger(root) {
      const space = await gate.flare.getDurableObjectNamespace("LEDGER", store);
      return space.get(space.idFromName(root));
    },
  };
  const attach = async (flare) => {
    gate.flare = flare;
    gate.kv = await flare.getKVNamespace("SNAPSHOTS", name);
    if (direct) gate.urls = await Promise.all(names.map((name) => flare.unsafeGetDirectURL(name)));
    gate.url = direct ? gate.urls[0] : await flare.ready;
    fetchers = await Promise.all(names.map((name) => flare.getWorker(name)));
    if (control) {
      gate.db = await flare.getD1Database("CONTROL_DB", name);
      await migrate(gate.db);
    }
  };
  return { name, services, gate, attach, seed };
}

/** Creates the tables of the control plane, as `wrangler d1 migrations apply` does. */
async function migrate(db) {
  const made = await db.prepare("SELECT 1 FROM sqlite_master WHERE name = 'tenants'").all();
  if (made.results.length) return;
  for (const name of (await readdir(join(root, "migrations"))).sort()) {
    const text = (await readFile(join(root, "migrations", name), "utf8")).replace(/--.*$/gm, "");
    await db.batch(text.split(/;\s*\n/).map((sql) => sql.trim()).filter(Boolean).map((sql) => db.prepare(sql)));
  }
}

/** A folder for storage that outlives a process. */
export async function storage() {
  const folder = await mkdtemp(join(tmpdir(), "tenantgate-"));
  return { folder, remove: () => rm(folder, { recursive: true, force: true }) };
}
