// The client in the edge runtime of Next.js and Vercel, which compiles modules while it bundles.
import module from "../dist/client_bg.wasm?module";
import { instantiateNow } from "../instance.js";
import { part } from "../client.js";

instantiateNow(part, () => module);

/** Nothing to wait for: for code that also runs where there is. */
export async function init() {}

export { FeatureClient } from "../client.js";
export { DocumentError, GateFailedError, InputError, TenantgateError } from "../errors.js";
