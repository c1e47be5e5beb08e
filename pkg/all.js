// What every entry exports.
export * from "./errors.js";
export { Features } from "./features.js";
export { Gate, issueApiKey, publish, verifyAssertion } from "./gate.js";
export { RemoteGate } from "./remote.js";
