// The entry for bundles that run in Node: the module is part of their code, since bundlers leave files behind.
import base64 from "./dist/tenantgate_wasm.js";
import { instantiateNow } from "./instance.js";
import { load } from "./load.js";
import { part } from "./module.js";

instantiateNow(part, () => Buffer.from(base64, "base64"));

export const init = (source) => load(part, source);

export * from "./all.js";
