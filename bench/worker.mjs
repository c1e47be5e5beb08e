// (b) The Worker on workerd, compared with an empty JavaScript Worker that sets the same headers.
// Both run in one workerd process and are measured in turns, with the same number of connections.

import { spawn } from "node:child_process";
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { publish } from "../pkg/node.js";
import { freePort } from "../tests/support/server.mjs";
import { catalog } from "./decision.mjs";

const root = resolve(import.meta.dirname, "..");
const CONNECTIONS = 16;
const ROUND_MS = 1500;
const ROUNDS = Number(process.env.ROUNDS ?? 8);

// Stages that need no ledger: resolution, status, a feature, a rate.
const seed = {
  catalog: {
    ...catalog,
    features: { checkout: { default: true } },
    limits: { requests: { kind: "rate", window_ms: 1000, mode: "local" } },
    routes: [{ path: "/api", feature: "checkout", limits: { requests: 1 } }],
    plans: { "pro@1": { limits: { requests: 1_000_000 } } },
  },
  tenants: [{ id: "t_acme", slug: "acme", plan: "pro@1" }],
};

const kv = (entries) => `const entries = new Map(${JSON.stringify(entries)});
export default { fetch({ url }) {
  const key = decodeURIComponent(new URL(url).pathname.slice(1));
  return entries.has(key) ? new Response(entries.get(key)) : new Response(null, { status: 404 });
} }`;

const empty = (headers, body) => `const headers = ${JSON.stringify(headers)}, body = ${JSON.stringify(body)};
export default { fetch() { return new Response(body, { headers }); } }`;

const config = (ports) => `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "gate", worker = .gate), (name = "kv", worker = .kv), (name = "empty", worker = .empty)],
  sockets = [
    (name = "gate", address = "127.0.0.1:${ports[0]}", http = (), service = "gate"),
    (name = "empty", address = "127.0.0.1:${ports[1]}", http = (), service = "empty"),
  ],
);
const gate :Workerd.Worker = (
  modules = [
    (name = "entry.js", esModule = embed "entry.js"), (name = "index.js", esModule = embed "index.js"),
    (name = "index_bg.wasm", wasm = embed "index_bg.wasm"),
  ],
  compatibilityDate = "2026-11-01",
  compatibilityFlags = ["enable_request_signal"],
  bindings = [(name = "SNAPSHOTS", kvNamespace = "kv")],
);
const kv :Workerd.Worker = (modules = [(name = "kv.js", esModule = embed "kv.js")], compatibilityDate = "2026-11-01");
const empty :Workerd.Worker = (modules = [(name = "empty.js", esModule = embed "empty.js")], compatibilityDate = "2026-11-01");
`;

const request = "GET /api/tasks HTTP/1.1\r\nHost: acme.app.example.com\r\n\r\n";

/** Requests per second over `CONNECTIONS` connections, with one request in flight on each. */
function load(port, ms) {
  return new Promise((done, fail) => {
    let count = 0;
    const sockets = Array.from({ length: CONNECTIONS }, () => {
      const socket = connect(port, "127.0.0.1", () => socket.write(request));
      let text = "";
      socket.setNoDelay(true).setEncoding("latin1").on("error", fail).on("data", (chunk) => {
        text += chunk;
        const head = text.indexOf("\r\n\r\n");
        if (head < 0) return;
        if (!text.startsWith("HTTP/1.1 200")) return fail(new Error(text.slice(0, 300)));
        const length = Number(/content-length: (\d+)/i.exec(text)[1]);
        if (text.length < head + 4 + length) return;
        text = "";
        count++;
        socket.write(request);
      });
      return socket;
    });
    const begun = performance.now();
    setTimeout(() => {
      const rate = (count * 1000) / (performance.now() - begun);
      for (const socket of sockets) socket.destroy();
      done(rate);
    }, ms);
  });
}

const median = (numbers) => numbers.sort((a, b) => a - b)[Math.floor(numbers.length / 2)];

/** Rows of the comparison. */
export async function worker() {
  const folder = mkdtempSync(join(tmpdir(), "tenantgate-bench-"));
  const ports = [await freePort(), await freePort()];
  for (const name of ["entry.js", "index.js", "index_bg.wasm"]) copyFileSync(join(root, "build", name), join(folder, name));
  writeFileSync(join(folder, "kv.js"), kv(publish(seed)));
  writeFileSync(join(folder, "empty.js"), empty({}, ""));
  writeFileSync(join(folder, "config.capnp"), config(ports));
  let server = await serve(folder, ports[0]);
  try {
    // The empty Worker sends the headers and the body that the gate has just sent.
    const response = await fetchRaw(ports[0]);
    server.kill();
    writeFileSync(join(folder, "empty.js"), empty(response.headers, response.body));
    server = await serve(folder, ports[0]);
    for (const port of ports) await load(port, 1000);
    const rates = [[], []];
    for (let round = 0; round < ROUNDS; round++) for (const i of [0, 1]) rates[i].push(await load(ports[i], ROUND_MS));
    // Compares each pair of rounds, so that other load on the machine affects both.
    const ratio = median(rates[0].map((rate, i) => rate / rates[1][i]));
    const [own, peer] = rates.map((list) => median([...list]));
    const name = "Worker compared with an empty JS Worker";
    return [{ name, value: own, unit: "requests/s", peer, ratio, target: 0.9, ok: ratio >= 0.9 }];
  } finally {
    server.kill();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function serve(folder, port) {
  const args = ["serve", join(folder, "config.capnp")];
  const server = spawn(join(root, "node_modules/.bin/workerd"), args, { stdio: ["ignore", "inherit", "inherit"] });
  for (let attempt = 0; attempt < 100; attempt++) {
    await new Promise((done) => setTimeout(done, 100));
    if (await fetchRaw(port).then(() => true, () => false)) return server;
  }
  server.kill();
  throw new Error("workerd did not start");
}

function fetchRaw(port) {
  return new Promise((done, fail) => {
    let text = "";
    const once = request.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    const socket = connect(port, "127.0.0.1", () => socket.write(once));
    socket.setEncoding("utf8").on("error", fail).on("data", (chunk) => (text += chunk)).on("end", () => {
      const [head, body] = [text.slice(0, text.indexOf("\r\n\r\n")), text.slice(text.indexOf("\r\n\r\n") + 4)];
      if (!head.startsWith("HTTP/1.1 200")) return fail(new Error(text.slice(0, 300)));
      const lines = head.split("\r\n").slice(1).map((line) => line.split(/: (.*)/s));
      done({ headers: Object.fromEntries(lines.filter(([name]) => !/content-length|connection/i.test(name))), body });
    });
  });
}

if (process.argv[1] === import.meta.filename) console.table(await worker());
