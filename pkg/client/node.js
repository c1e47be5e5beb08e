// The client where there is a disk: for tests, and for rendering on a server.
import { readFileSync } from "node:fs";
import { instantiateClient } from "../client.js";

instantiateClient(readFileSync(new URL("../dist/client_bg.wasm", import.meta.url)));

/** Nothing to wait for: for code that also runs where there is. */
export async function init() {}

export { FeatureClient } from "../client.js";
export { DocumentError, GateFailedError, InputError, TenantgateError } from "../errors.js";
