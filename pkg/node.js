// The entry point for Node: reads the module from disk when the package is imported.
import { readFileSync } from "node:fs";
import { instantiateNow } from "./instance.js";
import { load } from "./load.js";
import { part } from "./module.js";

instantiateNow(part, () => readFileSync(new URL("./dist/tenantgate_bg.wasm", import.meta.url)));

/** Does nothing, except in a bundle that omitted the file: then loads the module from code. */
export const init = (source = embedded) => load(part, source);

async function embedded() {
  const [{ gunzipSync }, { default: packed }] = await Promise.all([import("node:zlib"), import("./dist/tenantgate_wasm.js")]);
  return gunzipSync(Buffer.from(packed, "base64"));
}

export * from "./all.js";
