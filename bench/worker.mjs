// (b) The Worker on workerd, compared with what a user would run instead: as a gateway before an
// origin, compared with a gateway written by hand and with a plain proxy; and answering by itself,
// compared with an empty JavaScript Worker that sends the same response. All run in one workerd
// process.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { publish } from "../pkg/node.js";
import { workerd } from "../tests/support/workerd.mjs";
import { catalog } from "./decision.mjs";
import { get, latencies, ratio, turns } from "./load.mjs";

const root = resolve(import.meta.dirname, "..");
const build = process.env.BENCH_BUILD ?? "build";

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

/** A request as a browser sends it. */
const request = get("/api/tasks?page=2", {
  "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
  Accept: "application/json, text/plain, */*", "Accept-Encoding": "identity", "Accept-Language": "en-GB,en;q=0.9,nl;q=0.8",
  Cookie: "sid=0123456789abcdef; theme=dark", Referer: "https://acme.app.example.com/tasks",
  "sec-ch-ua": '"Chromium";v="140"', "sec-ch-ua-mobile": "?0", "sec-ch-ua-platform": '"Linux"',
  "sec-fetch-dest": "empty", "sec-fetch-mode": "cors", "sec-fetch-site": "same-origin", DNT: "1", "X-Requested-With": "XMLHttpRequest",
});

const origin = `export default { fetch({ headers }) {
  return new Response(JSON.stringify({ ok: true, tenant: headers.get("x-tenant-id") }), { headers: { "content-type": "application/json" } });
} }`;
const proxy = "export default { fetch(request, { UPSTREAM }) { return UPSTREAM.fetch(request); } }";
const constant = ({ headers, body }) => `const headers = ${JSON.stringify(headers)}, body = ${JSON.stringify(body)};
export default { fetch() { return new Response(body, { headers }); } }`;

/** What the gate answers by itself, without the headers that the server adds. */
async function ownResponse(port) {
  const response = await fetch(`http://127.0.0.1:${port}/api/tasks?page=2`, { headers: { host: "acme.app.example.com" } });
  const { "content-length": _, ...headers } = Object.fromEntries(response.headers);
  return { headers, body: await response.text() };
}

const row = (name, value, unit, peer = null, ratio = null, target = null) => ({ name, value, unit, peer, ratio, target, ok: target === null ? null : ratio >= target });
const percentile = (sorted, p) => sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * p) / 100))];

/** Rows of the comparison. */
export async function worker() {
  const folder = mkdtempSync(join(tmpdir(), "tenantgate-bench-"));
  const services = { UPSTREAM: "origin" };
  const setting = (response) => workerd({
    folder, build, entries: publish(seed),
    workers: {
      gateway: { services }, byHand: { script: readFileSync(join(root, "bench/workers/by_hand.js"), "utf8"), services },
      proxy: { script: proxy, services }, origin: { script: origin }, empty: { script: constant(response) },
    },
  });
  let server = await setting({}).start();
  try {
    // The empty Worker sends what the gate has just sent.
    const response = await ownResponse(server.ports.gate);
    await server.kill();
    server = await setting(response).start();
    const { ports, pid } = server;
    const served = '"tenant":"t_acme"';
    const gateway = await turns({
      gateway: { port: ports.gateway, request, expected: served }, byHand: { port: ports.byHand, request, expected: served },
      proxy: { port: ports.proxy, request }, origin: { port: ports.origin, request },
    }, { pid });
    const itself = await turns({ gate: { port: ports.gate, request }, empty: { port: ports.empty, request } }, { pid });
    const compared = (name, one, other, target) => row(name, one.rate, "requests/s", other.rate, ratio(one, other), target);
    const cost = (name, one, other) => row(name, one.cpuUs, "µs CPU", other.cpuUs, other.cpuUs && one.cpuUs / other.cpuUs);
    const rows = [
      compared("gateway beside one written by hand", gateway.gateway, gateway.byHand, 1),
      compared("gateway beside a plain proxy", gateway.gateway, gateway.proxy, 0.75),
      cost("gateway beside one written by hand, a request", gateway.gateway, gateway.byHand),
      compared("gate answering by itself beside an empty JS Worker", itself.gate, itself.empty, 0.9),
      cost("gate answering by itself beside an empty JS Worker, a request", itself.gate, itself.empty),
    ];
    const half = Math.min(gateway.gateway.rate, gateway.byHand.rate) / 2;
    const own = await latencies({ port: ports.gateway, request }, half, 5_000);
    const peer = await latencies({ port: ports.byHand, request }, half, 5_000);
    for (const p of [50, 99, 99.9]) {
      const [value, other] = [percentile(own, p), percentile(peer, p)];
      rows.push(row(`gateway beside one written by hand, p${p} at ${Math.round(half)} requests/s`, value, "ms", other, value / other));
    }
    return rows;
  } finally {
    await server.kill();
    rmSync(folder, { recursive: true, force: true });
  }
}

if (process.argv[1] === import.meta.filename) {
  console.table(await worker());
  process.exit(0);
}
