// The exports that every entry point has in common.
export * from "./errors.js";
export { Features } from "./features.js";
export { defineCatalog } from "./define.js";
export { denialOf } from "./denials.js";
export { Gate, issueApiKey, publish, verifyAssertion } from "./gate.js";
export { RemoteGate } from "./remote.js";
