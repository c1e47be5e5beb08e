// The entry point for pages and bundlers: call `await init()` once before anything else.
import { load } from "./load.js";
import { part } from "./module.js";

export const init = (source = () => new URL("./dist/tenantgate_bg.wasm", import.meta.url)) => load(part, source);

export * from "./all.js";
