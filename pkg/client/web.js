// Features in a page: `await init()` once, then make a client.
import { instantiateClient } from "../client.js";
import { compile } from "../load.js";

export async function init(source = new URL("../dist/client_bg.wasm", import.meta.url)) {
  instantiateClient(await compile(source));
}

export { FeatureClient } from "../client.js";
export { DocumentError, GateFailedError, InputError, TenantgateError } from "../errors.js";
