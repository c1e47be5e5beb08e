// The client for Node, for tests and server-side rendering: reads the module from disk when
// imported.
import { readFileSync } from "node:fs";
import { instantiateNow } from "../instance.js";
import { load } from "../load.js";
import { part } from "../client.js";

instantiateNow(part, () => readFileSync(new URL("../dist/client_bg.wasm", import.meta.url)));

/** Does nothing, except in a bundle that omitted the file: then loads the module from code. */
export const init = (source = embedded) => load(part, source);

async function embedded() {
  const [{ gunzipSync }, { default: packed }] = await Promise.all([import("node:zlib"), import("../dist/client_wasm.js")]);
  return gunzipSync(Buffer.from(packed, "base64"));
}

export { FeatureClient } from "../client.js";
export { DocumentError, GateFailedError, InputError, TenantgateError } from "../errors.js";
