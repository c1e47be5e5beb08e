// The entry for Node: the module is read from disk when the package is imported.
import { readFileSync } from "node:fs";
import { instantiate } from "./module.js";

instantiate(readFileSync(new URL("./dist/tenantgate_bg.wasm", import.meta.url)));

/** Nothing to wait for: for code that also runs where there is. */
export async function init() {}

export * from "./all.js";
