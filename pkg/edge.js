// The entry point for the edge runtime of Next.js and Vercel, which compiles modules while
// bundling.
import module from "./dist/tenantgate_bg.wasm?module";
import { instantiateNow } from "./instance.js";
import { part } from "./module.js";

instantiateNow(part, () => module);

/** Does nothing here; exists for code that also runs in other runtimes. */
export async function init() {}

export * from "./all.js";
