// Properties of the machine that results depend on: the duration of a disk sync, and the load.

import { closeSync, fsyncSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { join, resolve } from "node:path";

/** Rows that describe the machine. */
export function machine() {
  const folder = mkdtempSync(join(resolve(import.meta.dirname, ".."), ".bench-"));
  const file = openSync(join(folder, "probe"), "w");
  const times = Array.from({ length: 50 }, () => {
    writeSync(file, "x");
    const begun = performance.now();
    fsyncSync(file);
    return performance.now() - begun;
  });
  closeSync(file);
  rmSync(folder, { recursive: true });
  const row = (name, value, unit) => ({ name, value, unit, peer: null, ratio: null, target: null, ok: null });
  return [
    row(`disk sync, median of ${times.length}`, times.sort((a, b) => a - b)[times.length >> 1], "ms"),
    row(`load average at start, ${cpus().length} processors`, loadavg()[0], ""),
  ];
}
