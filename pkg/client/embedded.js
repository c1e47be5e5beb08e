// The client for bundles that run in Node. Contains the module as code, since bundlers omit other
// files.
import { gunzipSync } from "node:zlib";
import packed from "../dist/client_wasm.js";
import { instantiateNow } from "../instance.js";
import { load } from "../load.js";
import { part } from "../client.js";

instantiateNow(part, () => gunzipSync(Buffer.from(packed, "base64")));

export const init = (source) => load(part, source);

export { FeatureClient } from "../client.js";
export { DocumentError, GateFailedError, InputError, TenantgateError } from "../errors.js";
