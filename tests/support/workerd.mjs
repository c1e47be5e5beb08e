// workerd as it is, without Miniflare: a process of its own that can be killed, with ledgers on disk.

import { spawn } from "node:child_process";
import { cpSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { COMPATIBILITY_DATE } from "./harness.mjs";
import { freePort } from "./server.mjs";
import { sleep } from "./wait.mjs";

const root = join(import.meta.dirname, "../..");

/** KV that holds `entries` and forgets nothing: the runtime speaks HTTP to it. */
const kv = (entries) => `const entries = new Map(${JSON.stringify(entries)});
export default { async fetch(request) {
  const key = decodeURIComponent(new URL(request.url).pathname.slice(1));
  if (request.method === "PUT") { entries.set(key, await request.text()); return new Response(null); }
  return entries.has(key) ? new Response(entries.get(key)) : new Response(null, { status: 404 });
} }`;

/**
 * Lays out a configuration in `folder`: the Worker of `build` as the service `gate`, and `workers`, JavaScript by name, each
 * with the Durable Object classes `objects`.
 * @returns {{start: () => Promise<{ports: Record<string, number>, kill: (signal?: string) => Promise<void>}>}}
 */
export function workerd({ folder, build = "build", entries, bindings = {}, workers = {} }) {
  mkdirSync(join(folder, "disk"), { recursive: true });
  for (const name of ["entry.js", "index.js", "index_bg.wasm"]) cpSync(join(root, build, name), join(folder, name));
  writeFileSync(join(folder, "kv.js"), kv(entries));
  for (const [name, { script }] of Object.entries(workers)) writeFileSync(join(folder, `${name}.js`), script);
  const texts = Object.entries(bindings).map(([name, text]) => `, (name = "${name}", text = ${JSON.stringify(text)})`).join("");
  const spaces = (name, classes) => classes.map((one) => `(className = "${one}", uniqueKey = "${name}-${one}", enableSql = true)`).join(", ");
  const own = (classes) => classes.map((one) => `(name = "${one}", durableObjectNamespace = "${one}")`).join(", ");
  const config = (ports) => `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "gate", worker = .gate), (name = "kv", worker = .kv), (name = "disk", disk = (path = "${join(folder, "disk")}", writable = true))${Object.keys(workers).map((name) => `, (name = "${name}", worker = .${name})`).join("")}],
  sockets = [${Object.entries(ports).map(([name, port]) => `(name = "${name}", address = "127.0.0.1:${port}", http = (), service = "${name}")`).join(", ")}],
);
const gate :Workerd.Worker = (
  modules = [(name = "entry.js", esModule = embed "entry.js"), (name = "index.js", esModule = embed "index.js"), (name = "index_bg.wasm", wasm = embed "index_bg.wasm")],
  compatibilityDate = "${COMPATIBILITY_DATE}",
  compatibilityFlags = ["enable_request_signal"],
  bindings = [(name = "SNAPSHOTS", kvNamespace = "kv"), (name = "LEDGER", durableObjectNamespace = "TenantLedger")${texts}],
  durableObjectNamespaces = [${spaces("gate", ["TenantLedger"])}],
  durableObjectStorage = (localDisk = "disk"),
);
const kv :Workerd.Worker = (modules = [(name = "kv.js", esModule = embed "kv.js")], compatibilityDate = "${COMPATIBILITY_DATE}");
${Object.entries(workers).map(([name, { objects = [] }]) => `const ${name} :Workerd.Worker = (
  modules = [(name = "${name}.js", esModule = embed "${name}.js")], compatibilityDate = "${COMPATIBILITY_DATE}",
  bindings = [${own(objects)}], durableObjectNamespaces = [${spaces(name, objects)}], durableObjectStorage = (localDisk = "disk"),
);`).join("\n")}
`;
  const start = async () => {
    const ports = {};
    for (const name of ["gate", ...Object.keys(workers)]) ports[name] = await freePort();
    writeFileSync(join(folder, "config.capnp"), config(ports));
    const process = spawn(join(root, "node_modules/.bin/workerd"), ["serve", join(folder, "config.capnp")], { stdio: ["ignore", "ignore", "inherit"] });
    const ended = new Promise((done) => process.on("exit", done));
    for (let attempt = 0; ; attempt++) {
      if (await fetch(`http://127.0.0.1:${ports.gate}/_gate/healthz`).then(({ ok }) => ok, () => false)) break;
      if (attempt > 200 || process.exitCode !== null) throw new Error("workerd did not start");
      await sleep(50);
    }
    return { ports, kill: (signal = "SIGKILL") => (process.kill(signal), ended) };
  };
  return { start };
}
