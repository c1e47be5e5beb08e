// The client for the edge runtime of Next.js and Vercel, which compiles modules while bundling.
import module from "../dist/client_bg.wasm?module";
import { instantiateNow } from "../instance.js";
import { part } from "../client.js";

instantiateNow(part, () => module);

/** Does nothing here; exists for code that also runs in other runtimes. */
export async function init() {}

export { FeatureClient } from "../client.js";
export { DocumentError, GateFailedError, InputError, TenantgateError } from "../errors.js";
