// The built Worker before a ledger that is far away, with a socket for each isolate.

import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { worker } from "./harness.mjs";

const root = join(import.meta.dirname, "../..");

// The main module of every isolate: the gate, with a ledger that waits half a round trip each way.
const far = (distanceMs) => `
import { DurableObject } from "cloudflare:workers";
import gate, { TenantLedger as NearLedger } from "./entry.js";
export class TenantLedger extends DurableObject {
  async fetch(request) {
    const body = await request.text();
    await scheduler.wait(${distanceMs / 2});
    const near = this.env.NEAR.get(this.env.NEAR.idFromName(this.ctx.id.name));
    const response = await near.fetch(request.url, { method: "POST", body });
    await scheduler.wait(${distanceMs / 2});
    return response;
  }
}
export { NearLedger };
export * from "./entry.js";
export default gate;`;

const modules = (build, distanceMs) => [
  { type: "ESModule", path: join(build, "far.js"), contents: far(distanceMs) },
  { type: "ESModule", path: join(build, "entry.js") },
  { type: "CompiledWasm", path: join(build, "index_bg.wasm") },
];

/**
 * Starts the Worker in `isolates` isolates, `distanceMs` away from its ledgers, with the origin at
 * `upstream`; other options are those of `worker`. `urls` has one for each isolate, `usage()` is
 * the memory and CPU of its processes.
 */
export async function world({ distanceMs = 0, isolates = 1, upstream, bindings, folder = "build/test", ...options }) {
  const before = new Set(descendants());
  const gate = await worker({
    ...options,
    isolates,
    folder,
    bindings: { ...bindings, ...(upstream && { UPSTREAM_URL: upstream }) },
    direct: true,
    more: distanceMs ? {
      modules: modules(join(root, folder), distanceMs),
      durableObjects: {
        LEDGER: { className: "TenantLedger", useSQLite: true }, NEAR: { className: "NearLedger", useSQLite: true },
        HUBS: { className: "TenantHub", useSQLite: true },
      },
    } : {},
  });
  const pids = descendants().filter((pid) => !before.has(pid));
  return { ...gate, usage: () => usage(pids) };
}

/** Whether processes can be measured here. */
export const measurable = process.platform === "linux";

/** Resident memory in MB and CPU time in ms of those of these processes that still run. */
function usage(pids) {
  let [memoryMb, cpuMs] = [0, 0];
  for (const pid of pids) {
    try {
      memoryMb += Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024;
      const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
      // User and system time, in hundredths of a second.
      cpuMs += (Number(fields[11]) + Number(fields[12])) * 10;
    } catch (error) {
      if (error.code !== "ENOENT" && error.code !== "ESRCH") throw error;
    }
  }
  return { memoryMb, cpuMs };
}

/** All descendants of this process. */
function descendants() {
  if (!measurable) return [];
  const parents = new Map();
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      parents.set(Number(pid), Number(readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ")[1]));
    } catch {
      // The process has ended meanwhile.
    }
  }
  const below = (pid) => [...parents].filter(([, parent]) => parent === pid).flatMap(([child]) => [child, ...below(child)]);
  return below(process.pid);
}
