// The client where there is a disk: for tests, and for rendering on a server.
import { readFileSync } from "node:fs";
import { loadFrom } from "../disk.js";
import { instantiateNow } from "../instance.js";
import { part } from "../client.js";

instantiateNow(part, () => readFileSync(new URL("../dist/client_bg.wasm", import.meta.url)));

export const init = (source) => loadFrom(part, source);

export { FeatureClient } from "../client.js";
export { DocumentError, GateFailedError, InputError, TenantgateError } from "../errors.js";
