// The entry for Workers: the runtime has compiled the module already.
import module from "./dist/tenantgate_bg.wasm";
import { part } from "./module.js";

part.instantiate(module);

/** Nothing to wait for: for code that also runs where there is. */
export async function init() {}

export * from "./all.js";
