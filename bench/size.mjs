// (d) The sizes of the modules, compressed.

import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { gzipSync } from "node:zlib";

const root = resolve(import.meta.dirname, "..");

/** Rows for sizes. */
export function size() {
  const row = (name, files, target) => {
    const value = files.reduce((sum, file) => sum + gzipSync(readFileSync(join(root, file)), { level: 9 }).length, 0) / 1024;
    return { name, value, unit: "KB gzip", peer: null, ratio: null, target, ok: value <= target };
  };
  return [
    row("npm core", ["pkg/dist/tenantgate_bg.wasm", "pkg/dist/tenantgate.js", "pkg/gate.js"], 150),
    row("npm client, for pages", ["pkg/dist/client_bg.wasm", "pkg/dist/client.js", "pkg/client.js"], 150),
    row("Worker", ["build/index_bg.wasm", "build/entry.js"], 450),
  ];
}
