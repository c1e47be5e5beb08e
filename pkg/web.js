// The entry for pages and bundlers: `await init()` once, then use the rest.
import { compile } from "./load.js";
import { instantiate } from "./module.js";

export async function init(source = new URL("./dist/tenantgate_bg.wasm", import.meta.url)) {
  instantiate(await compile(source));
}

export * from "./all.js";
