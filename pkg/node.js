// The entry for Node: the module is read from disk when the package is imported.
import { readFileSync } from "node:fs";
import { loadFrom } from "./disk.js";
import { instantiateNow } from "./instance.js";
import { part } from "./module.js";

instantiateNow(part, () => readFileSync(new URL("./dist/tenantgate_bg.wasm", import.meta.url)));

export const init = (source) => loadFrom(part, source);

export * from "./all.js";
