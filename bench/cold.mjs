// (h) Cold start: from importing the package to the first decision, in new Node processes and in
// new Chromium pages, which fetch the package from the local machine with empty caches; and from the
// start of workerd to the first decision of the Worker, beside the first answer of an empty one.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { extname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { chrome } from "../tests/support/chrome.mjs";
import { publish } from "../pkg/node.js";
import { serve } from "../tests/support/server.mjs";
import { workerd } from "../tests/support/workerd.mjs";
import { catalog } from "./decision.mjs";
import { median } from "./measure.mjs";

const root = resolve(import.meta.dirname, "..");
const PROCESSES = 15;
const PAGES = 10;
const TARGET_MS = 15;
// Includes an icon, which Chromium would request otherwise.
const PAGE = '<!doctype html><link rel="icon" href="data:,">';
const TYPES = { ".js": "text/javascript", ".wasm": "application/wasm" };

const seed = {
  catalog,
  tenants: [{ id: "t_acme", slug: "acme", plan: "pro@1" }],
  request: { host: "acme.app.example.com", path: "/" },
};

/**
 * The times at which each step was done. Is passed on as text, and runs where the package has not
 * been loaded before.
 */
async function start({ entry, seed }) {
  const at = [performance.now()];
  const { Gate, init } = await import(entry);
  await init?.();
  at.push(performance.now());
  const gate = new Gate(seed.catalog, seed.tenants);
  at.push(performance.now());
  const { allowed } = gate.decide(seed.request);
  at.push(performance.now());
  if (!allowed) throw new Error("the first decision is a denial");
  return at;
}

function inNode() {
  const facts = JSON.stringify({ entry: pathToFileURL(join(root, "pkg/node.js")).href, seed });
  const script = `console.log(JSON.stringify(await (${start})(${facts})));`;
  const args = ["--input-type=module", "--eval", script];
  return Array.from({ length: PROCESSES }, () => JSON.parse(execFileSync(process.execPath, args, { encoding: "utf8" })));
}

async function inChromium() {
  const server = await serve(({ url }, response) => {
    // Isolated pages have clocks of 5 microseconds, others of 100.
    const isolated = { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" };
    response.writeHead(200, { "content-type": TYPES[extname(url)] ?? "text/html", "cache-control": "no-store", ...isolated });
    response.end(url === "/" ? PAGE : readFileSync(join(root, "pkg", url)));
  });
  const chromium = await chrome();
  const runs = [];
  for (let i = 0; i < PAGES; i++) {
    const context = await chromium.newContext();
    const page = await context.newPage();
    await page.goto(server.url);
    runs.push(await page.evaluate(start, { entry: `${server.url}/web.js`, seed }));
    await context.close();
  }
  await chromium.close();
  await server.stop();
  return runs;
}

function rows(place, runs) {
  const row = (step, from, to, target = null) => {
    const value = median(runs.map((at) => at[to] - at[from]));
    const ok = target === null ? null : value <= target;
    return { name: `cold start in ${place}: ${step}`, value, unit: "ms", peer: null, ratio: null, target, ok };
  };
  return [row("from import to first decision", 0, 3, TARGET_MS), row("import", 0, 1), row("new Gate", 1, 2), row("first decision", 2, 3)];
}

/** The text of a response over a connection of its own. Null if nobody listens yet. */
const answer = (port) => new Promise((resolve) => {
  let text = "";
  const socket = connect(port, "127.0.0.1", () => socket.write("GET / HTTP/1.1\r\nHost: acme.app.example.com\r\nConnection: close\r\n\r\n"));
  socket.on("data", (data) => { text += data; }).on("end", () => resolve(text)).on("error", () => resolve(null));
});

/** Milliseconds from the start of workerd to the first answer of a Worker. */
async function started(setting, name) {
  const launch = await setting.prepare();
  const begun = performance.now();
  const server = launch();
  try {
    for (;;) {
      const text = await answer(server.ports[name]);
      const spent = performance.now() - begun;
      if (text?.startsWith("HTTP/1.1 200")) return spent;
      if (text || server.exitCode() !== null || spent > 10_000) throw new Error(`no answer of \`${name}\`: ${text}`);
    }
  } finally {
    await server.kill();
  }
}

/** Rows of the start of the Worker. */
async function inWorkerd() {
  const folders = ["gate", "empty"].map(() => mkdtempSync(join(tmpdir(), "tenantgate-bench-")));
  const settings = {
    gate: workerd({ folder: folders[0], build: process.env.BENCH_BUILD ?? "build", entries: publish({ catalog, tenants: seed.tenants }) }),
    empty: workerd({ folder: folders[1], gate: false, workers: { empty: { script: 'export default { fetch() { return new Response("{}"); } };' } } }),
  };
  const times = { gate: [], empty: [] };
  for (let i = 0; i < PROCESSES; i++) for (const name of Object.keys(settings)) times[name].push(await started(settings[name], name));
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  const [own, empty] = [median(times.gate), median(times.empty)];
  return [{ name: "cold start in workerd: added to an empty Worker's", value: own - empty, unit: "ms", peer: empty, ratio: own / empty, target: "≤ 10", ok: own - empty <= 10 }];
}

/** Rows of cold starts. */
export const cold = async () => [...rows("Node", inNode()), ...rows("Chromium", await inChromium()), ...(await inWorkerd())];

if (process.argv[1] === import.meta.filename) console.table(await cold());
