// The client for Workers: the runtime has already compiled the module.
import module from "../dist/client_bg.wasm";
import { part } from "../client.js";

part.instantiate(module);

/** Does nothing here; exists for code that also runs in other runtimes. */
export async function init() {}

export { FeatureClient } from "../client.js";
export { DocumentError, GateFailedError, InputError, TenantgateError } from "../errors.js";
