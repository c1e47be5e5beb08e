// The client where there is a disk: for tests, and for rendering on a server.
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { instantiateNow } from "../instance.js";
import { load } from "../load.js";
import { part } from "../client.js";

instantiateNow(part, () => readFileSync(new URL("../dist/client_bg.wasm", import.meta.url)));

/** Nothing to wait for, but in a bundle that has left the file behind: the module is in the code as well, which is loaded then. */
export const init = (source = async () => unpacked((await import("../dist/client_wasm.js")).default)) => load(part, source);

const unpacked = (text) => gunzipSync(Buffer.from(text, "base64"));

export { FeatureClient } from "../client.js";
export { DocumentError, GateFailedError, InputError, TenantgateError } from "../errors.js";
