// The entry for the edge runtime of Next.js and Vercel, which compiles modules while it bundles.
import module from "./dist/tenantgate_bg.wasm?module";
import { instantiateNow } from "./instance.js";
import { part } from "./module.js";

instantiateNow(part, () => module);

/** Nothing to wait for: for code that also runs where there is. */
export async function init() {}

export * from "./all.js";
