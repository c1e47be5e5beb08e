// The entry for Node: the module is read from disk when the package is imported.
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { instantiateNow } from "./instance.js";
import { load } from "./load.js";
import { part } from "./module.js";

instantiateNow(part, () => readFileSync(new URL("./dist/tenantgate_bg.wasm", import.meta.url)));

/** Nothing to wait for, but in a bundle that has left the file behind: the module is in the code as well, which is loaded then. */
export const init = (source = async () => unpacked((await import("./dist/tenantgate_wasm.js")).default)) => load(part, source);

const unpacked = (text) => gunzipSync(Buffer.from(text, "base64"));

export * from "./all.js";
