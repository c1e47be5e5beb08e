// The client in Workers: the runtime has compiled the module already.
import module from "../dist/client_bg.wasm";
import { part } from "../client.js";

part.instantiate(module);

/** Nothing to wait for: for code that also runs where there is. */
export async function init() {}

export { FeatureClient } from "../client.js";
export { DocumentError, GateFailedError, InputError, TenantgateError } from "../errors.js";
