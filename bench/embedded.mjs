// (c) The gate inside a Worker: one decision beside `Gate` in the same isolate; an application with
// Hono and the middleware beside the application alone; calls by RPC beside calls by HTTP.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative, resolve } from "node:path";
import { buildSync } from "esbuild";
import { gzipSync } from "node:zlib";
import { publish } from "../pkg/node.js";
import { bundle } from "../tests/support/embedded.mjs";
import { workerd } from "../tests/support/workerd.mjs";
import { get, ratio, turns } from "./load.mjs";
import { median } from "./measure.mjs";

const root = resolve(import.meta.dirname, "..");
const TOKEN = "operator-token-of-the-benchmark";

const seed = {
  catalog: {
    version: 1,
    resolution: { strategies: [{ strategy: "header" }] },
    features: { checkout: { default: true } },
    limits: { requests: { kind: "rate", window_ms: 1000 }, own: { kind: "rate", window_ms: 1000, mode: "local" } },
    routes: [{ path: "/leased", feature: "checkout", limits: { requests: 1 } }, { path: "/own", feature: "checkout", limits: { own: 1 } }],
    plans: { "pro@1": { limits: { requests: 10_000_000, own: 10_000_000 } } },
  },
  tenants: [{ id: "t_acme", slug: "acme", plan: "pro@1" }],
};

/** `/gate` and `/edge` decide as often as the query says; the runtime's clock stands still meanwhile. */
const LOOPS = `
import { edgeGate, TenantLedger } from "./workers.js";
import { Gate } from "./workerd.js";
export { TenantLedger };
const gate = new Gate(${JSON.stringify(seed.catalog)}, ${JSON.stringify(seed.tenants)});
const facts = (path) => ({ method: "GET", host: "app.example.com", path, query: "", headers: { "x-tenant-id": "acme" } });
export default {
  async fetch(request, env, ctx) {
    const { pathname, searchParams } = new URL(request.url);
    const edge = edgeGate(env, ctx);
    const [asked, path] = [pathname.split("/")[1], searchParams.get("path")];
    await edge.decide(facts(path));
    let waited = 0;
    for (let i = Number(searchParams.get("n")); i > 0; i--) {
      const decision = asked === "gate" ? gate.decide(facts(path)) : edge.decideNow(facts(path));
      if (decision === null) { waited++; await edge.decide(facts(path)); } else if (!decision.allowed) throw new Error(decision.code);
    }
    return new Response(String(waited));
  },
};`;

const hono = (middle) => `
import { Hono } from "hono";
import { TenantLedger, tenants } from "./workers.js";
export { TenantLedger };
const app = new Hono();
${middle}
app.get("*", (c) => c.json({ ok: true, tenant: "t_acme" }));
export default app;`;

const CALLER = `
import { RemoteGate } from "./remote.js";
export default {
  async fetch(request, { RPC, HTTP }) {
    const gate = request.url.endsWith("/rpc") ? RPC : new RemoteGate({ service: HTTP, token: "${TOKEN}" });
    return Response.json(await gate.take("t_acme", { requests: 1 }));
  },
};`;

const row = (name, value, unit, peer = null, ratio = null, target = null, ok = null) => ({ name, value, unit, peer, ratio, target, ok });

/** Microseconds of one decision: what `n` more of them add to a response. */
async function loop(port, which, path, n = 20_000) {
  const time = async (n) => {
    const begun = performance.now();
    const response = await fetch(`http://127.0.0.1:${port}/${which}?n=${n}&path=${path}`);
    if (!response.ok) throw new Error(await response.text());
    return performance.now() - begun;
  };
  return ((await time(n)) - (await time(0))) * 1_000 / n;
}

/** What an import adds to a bundle, minified and compressed, in KB. */
function bundled(entry) {
  const { outputFiles } = buildSync({ entryPoints: [join(root, "pkg", entry)], bundle: true, minify: true, write: false, format: "esm", external: ["cloudflare:*"], loader: { ".wasm": "copy" }, outdir: "out" });
  return outputFiles.reduce((sum, { contents }) => sum + gzipSync(contents, { level: 9 }).length, 0) / 1024;
}

export async function embedded() {
  const folder = mkdtempSync(join(tmpdir(), "tenantgate-bench-"));
  const built = (name, source) => relative(root, bundle(join(folder, name), source));
  const { start } = workerd({
    folder, entries: publish(seed), bindings: { OPERATOR_TOKEN: TOKEN },
    workers: {
      loops: { built: built("loops", LOOPS) },
      withGate: { built: built("with", hono("app.use(tenants());")) }, alone: { built: built("alone", hono("")) },
      caller: { built: built("caller", CALLER), objects: [], services: { RPC: { name: "gate", entrypoint: "TenantGate" }, HTTP: { overHttp: "gate" } } },
    },
  });
  const { ports, kill } = await start();
  try {
    const rows = [];
    for (const path of ["/own", "/leased"]) {
      const [edge, gate] = [[], []];
      for (let round = 0; round < 15; round++) {
        edge.push(await loop(ports.loops, "edge", path));
        gate.push(await loop(ports.loops, "gate", path));
      }
      const both = [median(edge), median(gate)];
      rows.push(row(`\`decideNow\` beside \`Gate.decide\` in the same isolate, ${path.slice(1)} limit`, both[0], "µs", both[1], both[0] / both[1], 1.3, both[0] / both[1] <= 1.3));
    }
    const request = (path) => get(path, { "X-Tenant-ID": "acme" });
    for (const path of ["/own", "/leased"]) {
      const { withGate, alone } = await turns({ withGate: { port: ports.withGate, request: request(path), expected: "t_acme" }, alone: { port: ports.alone, request: request(path), expected: "t_acme" } });
      const beside = ratio(withGate, alone);
      rows.push(row(`Hono with the middleware beside Hono alone, ${path.slice(1)} limit`, withGate.rate, "requests/s", alone.rate, beside, 0.85, beside >= 0.85));
    }
    const { rpc, http } = await turns({ rpc: { port: ports.caller, request: get("/rpc"), connections: 1 }, http: { port: ports.caller, request: get("/http"), connections: 1 } });
    const beside = 1 / ratio(rpc, http);
    rows.push(row("`take` by RPC beside `RemoteGate` by HTTP, one after the other", 1_000 / rpc.rate, "ms", 1_000 / http.rate, beside, 0.5, beside <= 0.5));
    for (const [entry, target] of [["workers.js", 400], ["worker.js", null], ["remote.js", 10]]) {
      const size = bundled(entry);
      rows.push(row(`\`tenantgate/${entry.slice(0, -3)}\` in a bundle`, size, "KB gzip", null, null, target, target && size <= target));
    }
    return rows;
  } finally {
    await kill();
    rmSync(folder, { recursive: true, force: true });
  }
}

if (process.argv[1] === import.meta.filename) {
  console.table(await embedded());
  process.exit(0);
}
