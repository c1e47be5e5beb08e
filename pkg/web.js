// The entry for pages and bundlers: `await init()` once, then use the rest.
import { load } from "./load.js";
import { part } from "./module.js";

export const init = (source = () => new URL("./dist/tenantgate_bg.wasm", import.meta.url)) => load(part, source);

export * from "./all.js";
