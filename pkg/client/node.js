// The client where there is a disk: for tests, and for rendering on a server.
import { readFileSync } from "node:fs";
import { instantiateNow } from "../instance.js";
import { load } from "../load.js";
import { part } from "../client.js";

instantiateNow(part, () => readFileSync(new URL("../dist/client_bg.wasm", import.meta.url)));

/** Nothing to wait for, but in a bundle that has left the file behind: then the module is taken from the code. */
export const init = (source = embedded) => load(part, source);

async function embedded() {
  const [{ gunzipSync }, { default: packed }] = await Promise.all([import("node:zlib"), import("../dist/client_wasm.js")]);
  return gunzipSync(Buffer.from(packed, "base64"));
}

export { FeatureClient } from "../client.js";
export { DocumentError, GateFailedError, InputError, TenantgateError } from "../errors.js";
