// The entry for Node: the module is read from disk when the package is imported.
import { readFileSync } from "node:fs";
import { instantiate } from "./gate.js";

instantiate(readFileSync(new URL("./dist/tenantgate_bg.wasm", import.meta.url)));

export { DocumentError, Gate, issueApiKey, publish, verifyAssertion } from "./gate.js";
