// workerd without Miniflare: a process that can be killed, with ledgers on disk.

import { execFileSync, spawn } from "node:child_process";
import { cpSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { COMPATIBILITY_DATE, filesOf } from "./harness.mjs";
import { freePort } from "./server.mjs";
import { sleep } from "./wait.mjs";

const root = join(import.meta.dirname, "../..");
const runtime = join(root, "node_modules/.bin/workerd");

/** A KV that holds `entries` and never expires them. The runtime accesses it over HTTP. */
const kv = (entries) => `const entries = new Map(${JSON.stringify(entries)});
export default { async fetch(request) {
  const key = decodeURIComponent(new URL(request.url).pathname.slice(1));
  if (request.method === "PUT") { entries.set(key, await request.text()); return new Response(null); }
  return entries.has(key) ? new Response(entries.get(key)) : new Response(null, { status: 404 });
} }`;

/** The bindings of a gate's Durable Objects. */
const BINDINGS = { TenantLedger: "LEDGER", TenantHub: "HUBS" };

/**
 * Lays out a configuration in `folder`: a Worker named `gate` from the folder `build`, and
 * `workers` by name. A worker has a `script`, a folder `built`, or is another gate. `objects`: its
 * Durable Object classes, a gate's ledger unless told otherwise. `ledger`: the worker with whose
 * ledgers it works. `bindings`: its variables. `services`: workers by the names of their bindings,
 * or `{name, entrypoint}`, or `{overHttp: name}` for one over its socket. `gate`: whether there is
 * one. `start` waits until it is healthy; `launch` waits for nothing; `prepare` returns a function
 * that launches.
 * @returns {{
 *   start: () => Promise<Server>, launch: () => Promise<Server>, prepare: () => Promise<() => Server>,
 * }} where a server is `{ports: Record<string, number>, pid, exitCode(), kill(signal?)}`
 */
export function workerd({ folder, build = "build", objects, entries = [], bindings = {}, workers = {}, gate = true }) {
  mkdirSync(join(folder, "disk"), { recursive: true });
  writeFileSync(join(folder, "kv.js"), kv(entries));
  const all = { ...(gate && { gate: { bindings, ...(objects && { objects }) } }), ...workers };
  for (const [name, { script, built = build }] of Object.entries(all)) {
    if (script) writeFileSync(join(folder, `${name}.js`), script);
    else for (const file of filesOf(built)) cpSync(join(root, built, file), join(folder, `${name}-${file}`));
  }
  const names = Object.keys(all);
  const list = (items) => `[${items.join(", ")}]`;
  const binding = (service) => {
    if (typeof service === "string") return `"${service}"`;
    return service.overHttp ? `"${service.overHttp}-over-http"` : `(name = "${service.name}", entrypoint = "${service.entrypoint}")`;
  };
  const worker = ([name, { script, built = build, objects = script ? [] : ["TenantLedger"], ledger, bindings = {}, services = {} }]) => `const ${name} :Workerd.Worker = (
  modules = ${list(script ? [`(name = "${name}.js", esModule = embed "${name}.js")`] : filesOf(built).map((file) => `(name = "${file}", ${file.endsWith(".wasm") ? "wasm" : "esModule"} = embed "${name}-${file}")`))},
  compatibilityDate = "${COMPATIBILITY_DATE}",
  compatibilityFlags = ${list(script ? [] : ['"enable_request_signal"', '"no_web_socket_compression"'])},
  bindings = ${list([
    ...(script ? [] : ['(name = "SNAPSHOTS", kvNamespace = "kv")']),
    ...(script ? [] : objects).map((one) => `(name = "${BINDINGS[one]}", durableObjectNamespace = "${one}")`),
    ...(ledger ? [`(name = "LEDGER", durableObjectNamespace = (className = "TenantLedger", serviceName = "${ledger}"))`] : []),
    ...(script ? objects : []).map((one) => `(name = "${one}", durableObjectNamespace = "${one}")`),
    ...Object.entries(bindings).map(([name, text]) => `(name = "${name}", text = ${JSON.stringify(text)})`),
    ...Object.entries(services).map(([name, service]) => `(name = "${name}", service = ${binding(service)})`),
  ])},
  durableObjectNamespaces = ${list(objects.map((one) => `(className = "${one}", uniqueKey = "${name}-${one}", enableSql = true)`))},
  durableObjectStorage = (localDisk = "disk"),
);`;
  const config = (ports) => `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = ${list([...[...names, "kv"].map((name) => `(name = "${name}", worker = .${name})`), `(name = "disk", disk = (path = "${join(folder, "disk")}", writable = true))`,
    ...names.map((name) => `(name = "${name}-over-http", external = (address = "127.0.0.1:${ports[name]}", http = ()))`)])},
  sockets = ${list(names.map((name) => `(name = "${name}", address = "127.0.0.1:${ports[name]}", http = (), service = "${name}")`))},
);
const kv :Workerd.Worker = (modules = [(name = "kv.js", esModule = embed "kv.js")], compatibilityDate = "${COMPATIBILITY_DATE}");
${Object.entries(all).map(worker).join("\n")}
`;
  const prepare = async () => {
    const ports = {};
    for (const name of names) ports[name] = await freePort();
    const [text, binary] = ["config.capnp", "config.bin"].map((name) => join(folder, name));
    writeFileSync(text, config(ports));
    // The configuration is compiled beforehand, so that reading it is not measured.
    writeFileSync(binary, execFileSync(runtime, ["compile", "--config-only", text], { maxBuffer: 1 << 30 }));
    return () => {
      const process = spawn(runtime, ["serve", "--binary", binary], { stdio: ["ignore", "ignore", "inherit"] });
      const ended = new Promise((done) => process.on("exit", done));
      return { ports, pid: process.pid, exitCode: () => process.exitCode, kill: (signal = "SIGKILL") => (process.kill(signal), ended) };
    };
  };
  const launch = async () => (await prepare())();
  const start = async () => {
    const server = await launch();
    for (let attempt = 0; ; attempt++) {
      if (await fetch(`http://127.0.0.1:${server.ports.gate}/_gate/healthz`).then(({ ok }) => ok, () => false)) return server;
      if (attempt > 200 || server.exitCode() !== null) throw new Error("workerd did not start");
      await sleep(50);
    }
  };
  return { start, launch, prepare };
}
