// The entry for those who bring the module themselves: `dist/tenantgate_bg.wasm`, by whatever way their bundler has for it.
import { compile } from "./load.js";
import { instantiate } from "./module.js";

export async function init(source) {
  instantiate(await compile(source));
}

export function initSync(module) {
  instantiate(module);
}

export * from "./all.js";
