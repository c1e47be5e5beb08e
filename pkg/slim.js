// The entry point for applications that load the module `dist/tenantgate_bg.wasm` themselves.
import { load } from "./load.js";
import { part } from "./module.js";

export const init = (source) => load(part, source);

export function initSync(module) {
  part.instantiate(module);
}

export * from "./all.js";
