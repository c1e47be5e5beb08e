// The entry for those who bring the module themselves: `dist/tenantgate_bg.wasm`, by whatever way their bundler has for it.
import { load } from "./load.js";
import { part } from "./module.js";

export const init = (source) => load(part, source);

export function initSync(module) {
  part.instantiate(module);
}

export * from "./all.js";
