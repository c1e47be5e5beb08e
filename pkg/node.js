// The entry for Node: the module is read from disk when the package is imported.
import { readFileSync } from "node:fs";
import { instantiate } from "./module.js";

try {
  instantiate(readFileSync(new URL("./dist/tenantgate_bg.wasm", import.meta.url)));
} catch (error) {
  // In a bundle the file is not there: whoever made that brings the module by way of `tenantgate/slim`.
  if (error.code !== "ENOENT") throw error;
}

/** Nothing to wait for: for code that also runs where there is. */
export async function init() {}

export * from "./all.js";
