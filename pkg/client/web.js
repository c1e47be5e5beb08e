// The client for pages: call `await init()` once, then create a client.
import { load } from "../load.js";
import { part } from "../client.js";

export const init = (source = () => new URL("../dist/client_bg.wasm", import.meta.url)) => load(part, source);

export { FeatureClient } from "../client.js";
export { DocumentError, GateFailedError, InputError, TenantgateError } from "../errors.js";
