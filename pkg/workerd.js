// The entry for Workers: the runtime has compiled the module already.
import module from "./dist/tenantgate_bg.wasm";
import { instantiate } from "./module.js";

instantiate(module);

/** Nothing to wait for: for code that also runs where there is. */
export async function init() {}

export * from "./all.js";
