// The entry point for Workers: the runtime has already compiled the module.
import module from "./dist/tenantgate_bg.wasm";
import { part } from "./module.js";

part.instantiate(module);

/** Does nothing here; exists for code that also runs in other runtimes. */
export async function init() {}

export * from "./all.js";
